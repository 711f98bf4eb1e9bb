//! Having one entry written: who is asked, who is believed to be at it, and for how long (WIRE §3.5).

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kms_crypto::id::PolicyId;
use kms_proto::ledger::SignedEntry;
use kms_proto::message::{Query, Response};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::Client;
use crate::error::{Answer, Answers, NodeAnswer};
use crate::place::NodeAddress;

/// How long a node may be silent before another is asked beside it.
const HEDGE: Duration = Duration::from_millis(1500);
/// The same where nodes pay for what they write.
const HEDGE_WHERE_PAID: Duration = Duration::from_secs(4);
/// How long the ledger may take to show what a node says it has written, or is writing, beside what it usually takes.
const GRACE: Duration = Duration::from_secs(1);
const GRACE_WHERE_PAID: Duration = Duration::from_secs(5);
/// How often the own view of the ledger is looked at, and how often a node is asked how far it is.
const FIRST_LOOK_AGAIN: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_secs(1);
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// One entry that is to be written.
pub(super) struct Errand<'a> {
    pub(super) policy: &'a PolicyId,
    pub(super) entry: &'a SignedEntry,
    /// How long the ledger usually takes.
    pub(super) expected: Duration,
    pub(super) deadline: Instant,
}

impl Errand<'_> {
    fn is_paid_for(&self) -> bool {
        !self.expected.is_zero()
    }

    fn hedge(&self) -> Duration {
        match self.is_paid_for() {
            true => HEDGE_WHERE_PAID,
            false => HEDGE,
        }
    }

    fn grace(&self) -> Duration {
        match self.is_paid_for() {
            true => GRACE_WHERE_PAID,
            false => GRACE,
        }
    }
}

/// Until when nodes are believed that say the entry is on its way.
#[derive(Default)]
struct Believed(Mutex<Vec<(usize, Instant)>>);

impl Believed {
    fn until(&self) -> Option<Instant> {
        self.0.lock().iter().map(|(_, until)| *until).max()
    }

    fn begin(&self, index: usize, until: Instant) {
        self.0.lock().push((index, until));
    }

    fn end(&self, index: usize) {
        self.0.lock().retain(|(it, _)| *it != index);
    }
}

impl Client {
    /// Asks one node to write, and another only when those asked have failed, are silent, or have said too long ago that
    /// they were at it. Returns the entry's height, as far as it is known, or what each node did.
    pub(super) async fn have_written(
        &self,
        errand: &Errand<'_>,
        scribes: &[NodeAddress],
    ) -> Result<u64, Answers> {
        let mut words: Vec<_> = scribes
            .iter()
            .map(|it| (it.key, Answer::NotAsked))
            .collect();
        let believed = Believed::default();
        let mut running = FuturesUnordered::new();
        let mut next = scribes.iter().zip(&mut words).enumerate();
        let mut failed = Vec::new();
        let mut ask_at = Instant::now();
        let mut left = scribes.len();
        while Instant::now() < errand.deadline && !(running.is_empty() && left == 0) {
            let due = believed.until().map_or(ask_at, |until| ask_at.max(until));
            if left > 0 && Instant::now() >= due {
                if let Some((index, (node, (_, word)))) = next.next() {
                    *word = Answer::Pending;
                    let written = self.write_through(errand, index, node, &believed);
                    running.push(async move { (index, written.await) });
                }
                left -= 1;
                ask_at = Instant::now() + errand.hedge();
                continue;
            }
            // Somebody may begin to be believed meanwhile: to be looked at again then.
            let wake = if left > 0 { due } else { errand.deadline };
            tokio::select! {
                Some((index, outcome)) = running.next() => match outcome {
                    Ok(height) => return Ok(height),
                    Err(answer) => {
                        believed.end(index);
                        failed.push((index, answer));
                        ask_at = Instant::now();
                    }
                },
                () = sleep_until(wake.min(errand.deadline)) => {}
            }
        }
        drop(next);
        for (index, answer) in failed {
            if let Some((_, word)) = words.get_mut(index) {
                *word = answer;
            }
        }
        let answers = words.into_iter();
        Err(Answers(
            answers
                .map(|(node, answer)| NodeAnswer { node, answer })
                .collect(),
        ))
    }

    async fn write_through(
        &self,
        errand: &Errand<'_>,
        index: usize,
        node: &NodeAddress,
        believed: &Believed,
    ) -> Result<u64, Answer> {
        let entry = errand.entry.to_bytes();
        let (soonest, latest) = ASK_AGAIN;
        let ask_again = (errand.expected / 12).clamp(soonest, latest);
        let mut at_it_until = None;
        loop {
            let query = Query::LedgerSubmit {
                entry: entry.clone(),
            };
            match self.ask(node, query.to_bytes(), errand.deadline).await {
                Ok(Response::Submitted { height }) => {
                    let until = Instant::now() + errand.expected + errand.grace();
                    return match self.sees(errand, until).await {
                        true => Ok(height),
                        false => Err(Answer::NotWritten),
                    };
                }
                Ok(Response::Accepted) => {
                    at_it_until.get_or_insert_with(|| {
                        // Twice as long as usual: a block may be full, and another one missed.
                        let until = Instant::now() + errand.expected * 2 + errand.grace();
                        believed.begin(index, until);
                        until
                    });
                }
                Ok(Response::Refused(refusal)) => return Err(Answer::Refused(refusal)),
                Ok(_) => return Err(Answer::Malformed),
                // What it has accepted may be on its way all the same.
                Err(answer) => match at_it_until {
                    Some(until) if Instant::now() < until => {}
                    _ => return Err(answer),
                },
            }
            if self.sees(errand, Instant::now() + ask_again).await {
                let height = self.height(errand.deadline).await;
                return height.map_err(|_| Answer::NotWritten);
            }
        }
    }

    /// Whether the own view of the ledger shows the entry, now or until then.
    async fn sees(&self, errand: &Errand<'_>, until: Instant) -> bool {
        let until = until.min(errand.deadline);
        let mut pause = FIRST_LOOK_AGAIN;
        loop {
            if self
                .shows(errand.policy, &errand.entry.claim().entry, errand.deadline)
                .await
            {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            sleep(pause.min(left)).await;
            pause = pause.saturating_mul(2).min(LONGEST_LOOK);
        }
    }
}
