//! Bringing an entry to as many keepers as it takes (LEDGER §5.5.3).

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use kms_proto::{
    ledger::{EntryRefusal, LedgerError, Receipt, SignedEntry},
    message::{Query, Refusal, Response},
    transport::Transport,
};

use tokio::time::{Instant, sleep};

use super::{DhtLedger, Keeper, TooFew, unavailable};

/// How long a keeper may take to make an entry durable.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);
/// The pause before one is asked again who has accepted it.
const ASKED_AGAIN: Duration = Duration::from_millis(100);

/// What one keeper said to an entry.
enum Said {
    Taken,
    Refused(EntryRefusal),
    Fault(String),
}

impl DhtLedger {
    pub(super) fn write(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        let verified = entry.admit(&self.network)?;
        // What others have may be what this one needs, or what forbids it. Whether they are enough is seen when they
        // are to take it.
        drop(self.follow());
        let now = (self.clock)();
        if self.own.is_some() {
            self.replica.append(verified.clone(), now)?;
        } else {
            self.replica.check(&verified, now)?;
        }
        let others = self.located()?.into_iter().enumerate();
        let others = others.filter(|(index, _)| self.own != Some(*index));
        let others: Vec<Keeper> = others.map(|(_, keeper)| keeper).collect();
        self.spread(others, entry)?;
        // The time may have come nearer to the end of what is granted, but it is written.
        self.replica.append(verified, now)
    }

    /// Returns when enough have it. The others are told all the same.
    fn spread(&self, others: Vec<Keeper>, entry: &SignedEntry) -> Result<(), LedgerError> {
        let (need, of) = (self.quorum.write(), self.quorum.keepers());
        let (send, said) = mpsc::channel();
        let keys: Vec<_> = others.iter().map(|it| it.key).collect();
        self.runtime.spawn(tell_all(
            Arc::clone(&self.transport),
            others,
            entry.clone(),
            send,
        ));
        let mut taken = usize::from(self.own.is_some());
        let (mut refusals, mut faults) = (Vec::new(), Vec::new());
        while taken < need && refusals.len() <= of - need {
            let Ok((index, said)) = said.recv() else {
                break;
            };
            match said {
                Said::Taken => taken += 1,
                Said::Refused(refusal) => refusals.push(refusal),
                Said::Fault(fault) => faults.extend(keys.get(index).map(|key| (*key, fault))),
            }
        }
        if taken >= need {
            return Ok(());
        }
        match refusals.into_iter().next() {
            Some(refusal) => Err(refusal.into()),
            None => Err(unavailable(TooFew {
                what: "take an entry",
                needed: need,
                of,
                did: taken,
                faults: faults.into(),
            })),
        }
    }
}

async fn tell_all(
    transport: Arc<dyn Transport>,
    others: Vec<Keeper>,
    entry: SignedEntry,
    send: mpsc::Sender<(usize, Said)>,
) {
    let (transport, entry) = (&*transport, &entry);
    let others = others.iter().enumerate();
    let mut telling: FuturesUnordered<_> = others
        .map(|(index, keeper)| async move { (index, tell(transport, keeper, entry).await) })
        .collect();
    while let Some(said) = telling.next().await {
        // Whoever asked may know enough by now.
        drop(send.send(said));
    }
}

async fn tell(transport: &dyn Transport, keeper: &Keeper, entry: &SignedEntry) -> Said {
    let query = Query::LedgerSubmit {
        entry: entry.to_bytes(),
    };
    let deadline = Instant::now() + TAKEN_WITHIN;
    let answer = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = transport.call(&keeper.key, &keeper.addrs, query.to_bytes(), left);
        match answer.await.map(|it| Response::from_bytes(&it)) {
            // It is at it, and will say so when it has it.
            Ok(Ok(Response::Accepted)) if left > ASKED_AGAIN => sleep(ASKED_AGAIN).await,
            Ok(answer) => break answer,
            Err(fault) => return Said::Fault(fault.to_string()),
        }
    };
    let has_a_later_one = |refusal: &EntryRefusal| {
        matches!(refusal, EntryRefusal::Outnumbered { .. })
            && entry.claim().entry.revoked().is_some()
    };
    match answer {
        Ok(Response::Submitted { .. }) => Said::Taken,
        Ok(Response::Refused(Refusal::Ledger(refusal))) if has_a_later_one(&refusal) => Said::Taken,
        Ok(Response::Refused(Refusal::Ledger(refusal))) => Said::Refused(refusal),
        Ok(Response::Refused(refusal)) => Said::Fault(format!("refuses: {refusal}")),
        _ => Said::Fault("answers with something else than what it was asked".to_owned()),
    }
}
