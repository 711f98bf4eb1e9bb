//! Asking all keepers for what is new, and checking what each one shows (LEDGER §5.5.2).

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use kms_proto::{
    ledger::{ChainFault, Head, LedgerError, Record, SignedEntry},
    message::{MAX_READ, Query, Refusal, Response},
    transport::{Transport, TransportError},
};
use tokio::time::timeout_at;

use super::{DhtLedger, Keeper, State};

/// How long one question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long reading may take all in all. What was read by then is not read again.
const READ_WITHIN: Duration = Duration::from_secs(6);
/// How long to wait for the others when enough have answered.
const GRACE: Duration = Duration::from_millis(100);

/// What is known of one keeper.
pub(super) struct Standing {
    head: Head,
    fault: Option<Fault>,
    /// It has shown that it does not keep what it took: it counts no more.
    distrusted: bool,
    /// A question is under way.
    asked: bool,
}

/// Why a keeper does not count.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("has not been asked")]
    NotAsked,
    #[error("{0}")]
    Transport(#[from] TransportError),
    #[error("refuses: {0}")]
    Refused(Refusal),
    #[error("answers with something else than what it was asked")]
    Malformed,
    #[error("is too slow")]
    Slow,
    #[error("shows a record {height} that is not genuine: {fault}")]
    Forged { height: u64, fault: ChainFault },
    #[error("has forgotten what it had at record {0}")]
    Forgot(u64),
}

impl Standing {
    pub(super) fn new(genesis: Head) -> Self {
        Self {
            head: genesis,
            fault: Some(Fault::NotAsked),
            distrusted: false,
            asked: false,
        }
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.fault.as_ref().map(ToString::to_string)
    }

    /// It does not count any more, because of this.
    pub(super) fn distrust(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.distrusted = true;
    }
}

/// An entry as one keeper shows it.
pub(super) struct Shown {
    pub(super) keeper: usize,
    pub(super) height: u64,
    pub(super) time: u64,
    pub(super) entry: SignedEntry,
}

/// What was read of one keeper's replica.
pub(super) struct Reading {
    keeper: usize,
    /// In which round it was asked.
    round: u64,
    shown: Vec<Shown>,
    head: Head,
    fault: Option<Fault>,
}

/// Answers that are under way, of this round or of an earlier one.
pub(super) struct Readings {
    round: u64,
    send: mpsc::Sender<Reading>,
    come: mpsc::Receiver<Reading>,
}

impl Default for Readings {
    fn default() -> Self {
        let (send, come) = mpsc::channel();
        Self {
            round: 0,
            send,
            come,
        }
    }
}

impl DhtLedger {
    /// Asks all keepers and takes in what they show; how many of them count. Returns when so many have answered as it
    /// takes, and those that usually answer have had their time. What comes later is taken in the next time.
    pub(super) fn ask_all(&self, state: &mut State) -> Result<usize, LedgerError> {
        state.readings.round += 1;
        let enough = self.quorum.read() - usize::from(self.own.is_some());
        let (mut good, mut expected) = (Vec::new(), Vec::new());
        for (index, keeper) in self.located()?.into_iter().enumerate() {
            let Some(standing) = state.standings.get(index) else {
                continue;
            };
            if self.own == Some(index) {
                continue;
            }
            if matches!(standing.fault, None | Some(Fault::NotAsked)) {
                expected.push(index);
            }
            if !standing.asked {
                self.ask(state, index, keeper);
            }
        }
        let over = Instant::now() + READ_WITHIN;
        let mut in_time = true;
        while in_time {
            let mut shown = Vec::new();
            in_time = self.hear(state, enough, over, &mut good, &mut expected, &mut shown)?;
            self.merge(state, shown)?;
            // One of them may just have shown that it does not count.
            let standings = &state.standings;
            good.retain(|index| standings.get(*index).is_some_and(|it| !it.distrusted));
            if good.len() >= enough || standings.iter().all(|it| !it.asked) {
                break;
            }
        }
        for standing in state.standings.iter_mut().filter(|it| it.asked) {
            standing.fault.get_or_insert(Fault::Slow);
        }
        Ok(good.len() + usize::from(self.own.is_some()))
    }

    /// Waits for answers, until there are enough or the time is over; whether it is not.
    fn hear(
        &self,
        state: &mut State,
        enough: usize,
        over: Instant,
        good: &mut Vec<usize>,
        expected: &mut Vec<usize>,
        shown: &mut Vec<Shown>,
    ) -> Result<bool, LedgerError> {
        let mut until = over;
        while state.standings.iter().any(|it| it.asked) {
            if good.len() >= enough {
                if expected.is_empty() {
                    return Ok(true);
                }
                until = until.min(Instant::now() + GRACE);
            }
            let left = until.saturating_duration_since(Instant::now());
            let Ok(reading) = state.readings.come.recv_timeout(left) else {
                expected.clear();
                return Ok(until < over);
            };
            let (index, late) = (reading.keeper, reading.round != state.readings.round);
            let counts = state.take(reading, shown);
            if late {
                // What it said was about an earlier time.
                if let Some(keeper) = self.located()?.into_iter().nth(index) {
                    self.ask(state, index, keeper);
                }
                continue;
            }
            expected.retain(|it| *it != index);
            if counts {
                good.push(index);
            }
        }
        Ok(true)
    }

    fn ask(&self, state: &mut State, index: usize, keeper: Keeper) {
        let Some(standing) = state.standings.get_mut(index) else {
            return;
        };
        standing.asked = true;
        let asking = Asking {
            round: state.readings.round,
            index,
            keeper,
            head: standing.head,
        };
        let (transport, network) = (Arc::clone(&self.transport), self.network.clone());
        let send = state.readings.send.clone();
        self.runtime.spawn(async move {
            let reading = read_on(&*transport, &network, asking).await;
            // Without a receiver the ledger is closed.
            drop(send.send(reading));
        });
    }
}

impl State {
    /// Notes what a keeper has answered; whether it counts.
    fn take(&mut self, reading: Reading, shown: &mut Vec<Shown>) -> bool {
        let Some(standing) = self.standings.get_mut(reading.keeper) else {
            return false;
        };
        standing.asked = false;
        standing.head = reading.head;
        shown.extend(reading.shown);
        match reading.fault {
            Some(fault @ (Fault::Forgot(_) | Fault::Forged { .. })) => standing.distrust(fault),
            fault if !standing.distrusted => standing.fault = fault,
            _ => {}
        }
        standing.fault.is_none()
    }
}

struct Asking {
    round: u64,
    index: usize,
    keeper: Keeper,
    head: Head,
}

/// Reads one keeper's records from the last one known on, to the head it had when it was asked.
async fn read_on(transport: &dyn Transport, network: &str, asking: Asking) -> Reading {
    let over = tokio::time::Instant::now() + READ_WITHIN;
    let mut reading = Reading {
        keeper: asking.index,
        round: asking.round,
        shown: Vec::new(),
        head: asking.head,
        fault: None,
    };
    let mut goal = None;
    loop {
        let page = timeout_at(
            over,
            page(transport, &asking.keeper, reading.head.height + 1),
        );
        let taken = match page.await {
            Ok(Ok((head, records))) => {
                let goal = *goal.get_or_insert(head.height);
                reading.take(network, head, &records).map(|()| goal)
            }
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Fault::Slow),
        };
        match taken {
            Ok(goal) if reading.head.height >= goal => return reading,
            Ok(_) => {}
            Err(fault) => {
                if matches!(fault, Fault::Forgot(_)) {
                    // From its beginning the next time: what it shows may be of use all the same.
                    reading.head = Head::genesis(network);
                }
                reading.fault = Some(fault);
                return reading;
            }
        }
    }
}

async fn page(
    transport: &dyn Transport,
    keeper: &Keeper,
    from: u64,
) -> Result<(Head, Vec<Vec<u8>>), Fault> {
    let query = Query::LedgerRead {
        from,
        max: MAX_READ,
    };
    let answer = transport.call(&keeper.key, &keeper.addrs, query.to_bytes(), ANSWER_WITHIN);
    match Response::from_bytes(&answer.await?) {
        Ok(Response::Records(page)) => {
            let records = page.records.into_iter().map(serde_bytes::ByteBuf::into_vec);
            Ok((page.head, records.collect()))
        }
        Ok(Response::Refused(refusal)) => Err(Fault::Refused(refusal)),
        _ => Err(Fault::Malformed),
    }
}

impl Reading {
    /// Checks that records follow from what is known of the keeper.
    fn take(&mut self, network: &str, head: Head, records: &[Vec<u8>]) -> Result<(), Fault> {
        let known = self.head;
        if head.height < known.height || (head.height == known.height && head.hash != known.hash) {
            return Err(Fault::Forgot(known.height));
        }
        if head.height > known.height && records.is_empty() {
            return Err(Fault::Malformed);
        }
        for bytes in records {
            let height = self.head.height + 1;
            let forged = |fault| Fault::Forged { height, fault };
            let record = Record::from_bytes(bytes).map_err(|error| forged(error.into()))?;
            match record.follows(&self.head, network) {
                Ok(()) => {}
                // Another record stood before it.
                Err(ChainFault::Unchained | ChainFault::BackInTime) if self.head == known => {
                    return Err(Fault::Forgot(known.height));
                }
                Err(fault) => return Err(forged(fault)),
            }
            self.head = Head {
                height,
                hash: record.hash(),
                time: record.time,
            };
            self.shown.push(Shown {
                keeper: self.keeper,
                height,
                time: record.time,
                entry: record.entry,
            });
        }
        Ok(())
    }
}
