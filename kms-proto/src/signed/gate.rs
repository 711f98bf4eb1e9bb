//! What a node checks before it does anything about a message (WIRE §4.2).
//!
//! Cheap checks come first, so that strangers cannot make a node calculate.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kms_crypto::key::PublicKey;

use super::{MAX_DEADLINE_SECONDS, RequestStatement, SignedRequest};
use crate::{
    CLOCK_SKEW_SECONDS,
    codec::{self, Kind, MAX_REQUEST_BYTES},
    message::{Command, Query, Refusal},
};

/// How many signed requests are remembered, so that none is done twice.
const MAX_REMEMBERED: usize = 65_536;

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
        let (kind, body) = codec::open_envelope(message).map_err(|_| Refusal::BadRequest)?;
        match kind {
            Kind::Query => {
                let query =
                    codec::decode(body, MAX_REQUEST_BYTES).map_err(|_| Refusal::BadRequest)?;
                Ok(Incoming::Query(query))
            }
            Kind::Command => self.open_command(body, now),
            Kind::Response => Err(Refusal::BadRequest),
        }
    }

    fn open_command(&self, body: &[u8], now: u64) -> Result<Incoming, Refusal> {
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
        let verified = signed.verify().map_err(|_| Refusal::BadSignature)?;
        self.seen().remember(mark, now)?;
        Ok(Incoming::Command(verified.into_statement().command))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Every change below leaves the two sets consistent enough: at worst a request is refused.
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

/// What tells one request from another. The deadline first, so that the oldest sort first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Mark {
    deadline: u64,
    signer: PublicKey,
    nonce: [u8; 16],
}

impl Mark {
    fn of(claim: &RequestStatement) -> Self {
        Self {
            deadline: claim.deadline,
            signer: claim.command.signer(),
            nonce: claim.nonce,
        }
    }

    fn key(&self) -> (PublicKey, [u8; 16]) {
        (self.signer, self.nonce)
    }
}

/// The requests done whose deadline could still be met.
#[derive(Default)]
struct Seen {
    keys: HashSet<(PublicKey, [u8; 16])>,
    by_deadline: BTreeSet<Mark>,
}

impl Seen {
    fn check(&mut self, mark: &Mark, now: u64) -> Result<(), Refusal> {
        self.forget_before(now.saturating_sub(CLOCK_SKEW_SECONDS));
        if self.keys.contains(&mark.key()) {
            Err(Refusal::TooLate { node_time: now })
        } else {
            Ok(())
        }
    }

    fn remember(&mut self, mark: Mark, now: u64) -> Result<(), Refusal> {
        self.check(&mark, now)?;
        if self.keys.len() >= MAX_REMEMBERED {
            return Err(Refusal::Busy);
        }
        self.keys.insert(mark.key());
        self.by_deadline.insert(mark);
        Ok(())
    }

    fn forget_before(&mut self, time: u64) {
        while let Some(mark) = self
            .by_deadline
            .first()
            .copied()
            .filter(|mark| mark.deadline < time)
        {
            self.by_deadline.remove(&mark);
            self.keys.remove(&mark.key());
        }
    }
}
