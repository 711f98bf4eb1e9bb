//! Keepers in one process, and a network between them on which each can be made to misbehave.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use kms_crypto::key::{NodeSecret, PublicKey};
use kms_ledger::{
    Clock, DhtLedger, DhtOptions, Keeper,
    conformance::{Author, NETWORK, START, TestClock},
};
use kms_proto::{
    codec,
    ledger::{Head, Ledger, LedgerError, Record, SignedEntry},
    message::{Query, Records, Refusal, Response},
    transport::{BoxFuture, Transport, TransportError},
};
use parking_lot::RwLock;
use serde_bytes::ByteBuf;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How a keeper behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Conduct {
    Honest,
    Away,
    /// Answers, but after others have.
    Slow,
    /// Says that it takes what it is sent, and shows what it had when it began to lie.
    Withholds,
    /// Adds an entry that nobody has signed.
    ForgesEntry,
    /// Adds a record that does not follow.
    BreaksChain,
    /// Has nothing any more.
    Forgets,
}

struct Place {
    key: PublicKey,
    ledger: RwLock<Option<Arc<DhtLedger>>>,
    conduct: RwLock<(Conduct, u64)>,
}

struct Net(Vec<Place>);

/// Some keepers, the network between them, and the clock of all.
pub(crate) struct Keepers {
    net: Arc<Net>,
    quorum: Option<usize>,
    clock: Clock,
    turn: TestClock,
    dir: TempDir,
}

impl Keepers {
    pub(crate) fn started(count: usize, quorum: Option<usize>) -> Self {
        let turn = TestClock::default();
        let mut keepers = Self::new(count, quorum, turn.clock());
        keepers.turn = turn;
        keepers
    }

    pub(crate) fn new(count: usize, quorum: Option<usize>, clock: Clock) -> Self {
        let places = (0..count).map(|_| Place {
            key: NodeSecret::generate(&mut rng()).public(),
            ledger: RwLock::new(None),
            conduct: RwLock::new((Conduct::Honest, 0)),
        });
        let keepers = Self {
            net: Arc::new(Net(places.collect())),
            quorum,
            clock,
            turn: TestClock::default(),
            dir: tempfile::tempdir().unwrap(),
        };
        for index in 0..count {
            keepers.start(index, None);
        }
        keepers
    }

    fn options(&self) -> DhtOptions {
        let keepers = self.net.0.iter().map(|place| Keeper {
            key: place.key,
            addrs: Vec::new(),
        });
        let transport = Arc::clone(&self.net) as Arc<dyn Transport>;
        DhtOptions {
            network: NETWORK.to_owned(),
            clock: Arc::clone(&self.clock),
            quorum: self.quorum,
            fresh: Duration::ZERO,
            ..DhtOptions::new(keepers.collect(), transport, runtime().handle().clone())
        }
    }

    fn start(&self, index: usize, seen: Option<Head>) {
        let place = &self.net.0[index];
        let options = DhtOptions {
            own: Some(place.key),
            replica: Some(self.dir.path().join(index.to_string())),
            seen,
            ..self.options()
        };
        *place.ledger.write() = Some(Arc::new(DhtLedger::open(options).unwrap()));
    }

    /// Ends a keeper's process and starts it again.
    pub(crate) fn restart(&mut self, index: usize) {
        let ledger = self.net.0[index].ledger.write().take().unwrap();
        let head = ledger.replica().unwrap().head().unwrap();
        drop(ledger);
        self.start(index, Some(head));
    }

    /// Somebody who has a list of the keepers and nothing else.
    pub(crate) fn reader(&self) -> DhtLedger {
        DhtLedger::open(self.options()).unwrap()
    }

    /// The ledger as a keeper has it.
    pub(crate) fn ledger(&self, index: usize) -> Arc<DhtLedger> {
        Arc::clone(self.net.0[index].ledger.read().as_ref().unwrap())
    }

    pub(crate) fn key(&self, index: usize) -> PublicKey {
        self.net.0[index].key
    }

    pub(crate) fn conduct(&self, index: usize, conduct: Conduct) {
        let height = self.ledger(index).replica().unwrap().head().unwrap().height;
        *self.net.0[index].conduct.write() = (conduct, height);
    }

    pub(crate) fn set_time(&self, time: u64) {
        self.turn.set(time);
    }

    pub(crate) fn eventually(&self, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(60), "never came true");
        }
    }
}

impl Place {
    fn answer(&self, query: Query) -> Response {
        let ledger = Arc::clone(self.ledger.read().as_ref().unwrap());
        let replica = ledger.replica().unwrap();
        let (conduct, since) = *self.conduct.read();
        match query {
            Query::LedgerSubmit { .. } if conduct == Conduct::Withholds => {
                Response::Submitted { height: since + 1 }
            }
            Query::LedgerSubmit { entry } => {
                match replica.submit(&SignedEntry::from_bytes(&entry).unwrap()) {
                    Ok(receipt) => Response::Submitted {
                        height: receipt.height,
                    },
                    Err(LedgerError::Refused(refusal)) => {
                        Response::Refused(Refusal::Ledger(refusal))
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Query::LedgerRead { from, .. } => {
                // Small pages, so that there are several.
                let mut records = replica.read(from, 3).unwrap();
                let mut head = replica.head().unwrap();
                match conduct {
                    Conduct::Withholds => {
                        let before = replica.read(since, 1).unwrap().concat();
                        head = Head {
                            height: since,
                            hash: Record::from_bytes(&before).unwrap().hash(),
                            time: START,
                        };
                        records
                            .truncate(usize::try_from((since + 1).saturating_sub(from)).unwrap());
                    }
                    Conduct::Forgets => {
                        head = Head::genesis(NETWORK);
                        records.clear();
                    }
                    Conduct::ForgesEntry | Conduct::BreaksChain if head.height < from + 3 => {
                        let record = forged(conduct, &mut head);
                        records.push(record);
                    }
                    _ => {}
                }
                let records = records.into_iter().map(ByteBuf::from).collect();
                Response::Records(Records { head, records })
            }
            Query::Status => Response::Refused(Refusal::BadRequest),
        }
    }
}

fn forged(conduct: Conduct, head: &mut Head) -> Vec<u8> {
    let mut entry = Author::new().revoke(7).to_bytes();
    let mut prev = head.hash;
    match conduct {
        Conduct::ForgesEntry => *entry.last_mut().unwrap() ^= 1,
        _ => prev[0] ^= 1,
    }
    let record = Record {
        version: 1,
        network: NETWORK.to_owned(),
        height: head.height + 1,
        prev,
        time: head.time,
        entry: SignedEntry::from_bytes(&entry).unwrap(),
    };
    head.height += 1;
    head.hash = record.hash();
    codec::encode(&record)
}

impl Transport for Net {
    fn call<'a>(
        &'a self,
        node: &'a PublicKey,
        _: &'a [String],
        request: Vec<u8>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let place = self.0.iter().find(|it| it.key == *node).unwrap();
            match place.conduct.read().0 {
                Conduct::Away => return Err(TransportError::Unreachable),
                Conduct::Slow => {}
                _ => {
                    let query = codec::decode_envelope(codec::Kind::Query, &request).unwrap();
                    return Ok(place.answer(query).to_bytes());
                }
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            let query = codec::decode_envelope(codec::Kind::Query, &request).unwrap();
            Ok(place.answer(query).to_bytes())
        })
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

pub(crate) fn rng() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}
