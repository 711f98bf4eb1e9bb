//! What a node checks before it does anything about a message (WIRE §4.2).
//!
//! Cheap checks come first, so that strangers cannot make a node calculate.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kms_crypto::{kdf, key::PublicKey};

use super::{MAX_DEADLINE_SECONDS, RequestStatement, SignedRequest};
use crate::{
    CLOCK_SKEW_SECONDS,
    codec::{self, Kind, MAX_REQUEST_BYTES},
    message::{Command, Query, Refusal},
};

/// How many signed requests are remembered, so that none is done twice. Strangers can sign, too: filling this takes as
/// many signature checks as keep a node busy anyway, and some tens of MiB.
const MAX_REMEMBERED: usize = 1 << 19;

/// A message that may be acted upon.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made one at a time and taken apart at once"
)]
pub enum Incoming {
    /// From anybody.
    Query(Query),
    /// From [`Command::signer`], for this node, for the first time and in time.
    Command(Command),
}

/// A message that has been read, before anything is calculated about it.
#[derive(Clone, Copy, Debug)]
pub enum Arrival<'a> {
    /// From anybody.
    Query(&'a Query),
    /// From whoever says so.
    Command(&'a Command),
}

/// A message that may be acted upon, and what has to be remembered of it.
#[derive(Debug)]
pub struct Opened {
    /// The message.
    pub incoming: Incoming,
    /// Of a command: what tells it from all others.
    pub mark: Option<Mark>,
}

/// Lets in what is addressed to one node of one network.
pub struct Gate {
    network: String,
    node: PublicKey,
    seen: Mutex<Seen>,
}

impl Gate {
    /// A gate for one node.
    pub fn new(network: &str, node: PublicKey) -> Self {
        Self {
            network: network.to_owned(),
            node,
            seen: Mutex::default(),
        }
    }

    /// Checks a message received at `now` (Unix seconds).
    pub fn open(&self, message: &[u8], now: u64) -> Result<Incoming, Refusal> {
        let opened = self.open_admitted(message, now, |_| Ok(()))?;
        Ok(opened.incoming)
    }

    /// The same; what `admit` refuses costs no calculation. It sees commands whose author has not been checked yet.
    pub fn open_admitted(
        &self,
        message: &[u8],
        now: u64,
        admit: impl FnOnce(Arrival<'_>) -> Result<(), Refusal>,
    ) -> Result<Opened, Refusal> {
        let (kind, body) = codec::open_envelope(message).map_err(|_| Refusal::BadRequest)?;
        match kind {
            Kind::Query => {
                let query =
                    codec::decode(body, MAX_REQUEST_BYTES).map_err(|_| Refusal::BadRequest)?;
                admit(Arrival::Query(&query))?;
                Ok(Opened {
                    incoming: Incoming::Query(query),
                    mark: None,
                })
            }
            Kind::Command => self.open_command(body, now, admit),
            Kind::Response => Err(Refusal::BadRequest),
        }
    }

    fn open_command(
        &self,
        body: &[u8],
        now: u64,
        admit: impl FnOnce(Arrival<'_>) -> Result<(), Refusal>,
    ) -> Result<Opened, Refusal> {
        let signed: SignedRequest =
            codec::decode(body, MAX_REQUEST_BYTES).map_err(|_| Refusal::BadRequest)?;
        let claim = signed.claim();
        if claim.network != self.network || claim.node != self.node {
            return Err(Refusal::NotForMe);
        }
        claim.command.check()?;
        check_deadline(claim.deadline, now)?;
        let mark = Mark::of(claim);
        self.seen().check(&mark, now)?;
        admit(Arrival::Command(&claim.command))?;
        let verified = signed.verify().map_err(|_| Refusal::BadSignature)?;
        self.seen().remember(mark, now)?;
        Ok(Opened {
            incoming: Incoming::Command(verified.into_statement().command),
            mark: Some(mark),
        })
    }

    /// Remembers requests that an earlier process has done.
    pub fn recall(&self, marks: impl IntoIterator<Item = Mark>, now: u64) {
        let mut seen = self.seen();
        for mark in marks {
            // What is over, or more than can be remembered, is refused or past all harm.
            drop(seen.remember(mark, now));
        }
    }

    /// The requests done whose deadline may still be met.
    pub fn marks(&self) -> Vec<Mark> {
        let seen = self.seen();
        let all = seen.by_deadline.iter();
        all.flat_map(|(deadline, ids)| {
            ids.iter().map(|id| Mark {
                deadline: *deadline,
                id: *id,
            })
        })
        .collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Every change below leaves it consistent enough: at worst a request is refused.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_deadline(deadline: u64, now: u64) -> Result<(), Refusal> {
    let earliest = now.saturating_sub(CLOCK_SKEW_SECONDS);
    let latest = now.saturating_add(MAX_DEADLINE_SECONDS + CLOCK_SKEW_SECONDS);
    if (earliest..=latest).contains(&deadline) {
        Ok(())
    } else {
        Err(Refusal::TooLate { node_time: now })
    }
}

/// What tells one request from another: its deadline, and a hash of its author and nonce.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// When the request is void, Unix seconds.
    pub deadline: u64,
    /// The hash.
    pub id: [u8; 16],
}

impl Mark {
    fn of(claim: &RequestStatement) -> Self {
        let signer = claim.command.signer();
        let hash = kdf::hash("kms/request-mark/1", &[signer.as_bytes(), &claim.nonce]);
        let (id, _) = hash.split_first_chunk().expect("16 is less than 32");
        Self {
            deadline: claim.deadline,
            id: *id,
        }
    }
}

/// The requests done whose deadline could still be met. A repetition has the deadline of the first, which is signed.
#[derive(Default)]
struct Seen {
    by_deadline: BTreeMap<u64, HashSet<[u8; 16]>>,
    count: usize,
    /// Requests with an earlier deadline are forgotten and stay refused, even if the clock is set back a little.
    forgotten_before: u64,
}

impl Seen {
    fn check(&mut self, mark: &Mark, now: u64) -> Result<(), Refusal> {
        if self.forgotten_before > now.saturating_add(MAX_DEADLINE_SECONDS) {
            // The clock was far ahead, and nobody's request would pass until it is there again.
            self.forgotten_before = 0;
        }
        self.forget_before(now.saturating_sub(CLOCK_SKEW_SECONDS));
        let known = self.by_deadline.get(&mark.deadline);
        if mark.deadline < self.forgotten_before || known.is_some_and(|ids| ids.contains(&mark.id))
        {
            Err(Refusal::TooLate { node_time: now })
        } else {
            Ok(())
        }
    }

    fn remember(&mut self, mark: Mark, now: u64) -> Result<(), Refusal> {
        self.check(&mark, now)?;
        if self.count >= MAX_REMEMBERED {
            return Err(Refusal::Busy);
        }
        self.count += 1;
        self.by_deadline
            .entry(mark.deadline)
            .or_default()
            .insert(mark.id);
        Ok(())
    }

    fn forget_before(&mut self, time: u64) {
        self.forgotten_before = self.forgotten_before.max(time);
        let kept = self.by_deadline.split_off(&self.forgotten_before);
        let forgotten = std::mem::replace(&mut self.by_deadline, kept);
        let forgotten: usize = forgotten.values().map(HashSet::len).sum();
        self.count = self.count.saturating_sub(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembering_is_bounded_and_room_comes_back_with_time() {
        let mark = |number: usize, deadline| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            Mark { deadline, id }
        };
        let mut seen = Seen::default();
        for number in 0..MAX_REMEMBERED {
            let deadline = 1000 + number as u64 % 60;
            assert_eq!(seen.remember(mark(number, deadline), 1000), Ok(()));
        }
        assert_eq!(
            seen.remember(mark(MAX_REMEMBERED, 1060), 1000),
            Err(Refusal::Busy)
        );
        let later = 1000 + CLOCK_SKEW_SECONDS + 1;
        assert_eq!(seen.remember(mark(MAX_REMEMBERED, 1060), later), Ok(()));
        let again = Err(Refusal::TooLate { node_time: later });
        assert_eq!(seen.remember(mark(MAX_REMEMBERED, 1060), later), again);
    }
}
