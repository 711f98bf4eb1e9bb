//! Records: entries in their order, each bound to all before it (LEDGER §3).

use std::collections::HashMap;

use kms_crypto::id::PolicyId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    EntryRefusal, EntryStatement, Head, LedgerError, MAX_ENTRY_BYTES, NodeRecord, Order, Place,
    PolicyState, SignedEntry, State, VerifiedEntry, state::entry_hash,
};
use crate::{
    CLOCK_SKEW_SECONDS,
    codec::{self, DecodeError},
};

/// The longest record, encoded.
pub const MAX_RECORD_BYTES: usize = MAX_ENTRY_BYTES + 256;

const RECORD_VERSION: u16 = 1;

/// An entry in its place.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// The version of this encoding, 1.
    pub version: u16,
    /// The network.
    pub network: String,
    /// Its place; the first is 1.
    pub height: u64,
    /// The hash of the record before it; of the first, the network's genesis hash.
    #[serde(with = "serde_bytes")]
    pub prev: [u8; 32],
    /// When it was appended, Unix seconds; never earlier than the record before it.
    pub time: u64,
    /// What was appended.
    pub entry: SignedEntry,
}

impl Record {
    /// Reads a record. Its place, its time and its signature are not checked; [`Chain::accept`] does that.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_RECORD_BYTES)
    }

    /// Whether it may stand after `head`. What its entry says is not looked at.
    pub fn follows(&self, head: &Head, network: &str) -> Result<(), ChainFault> {
        if self.version != RECORD_VERSION {
            return Err(ChainFault::UnknownVersion(self.version));
        }
        if self.network != network {
            return Err(ChainFault::OtherNetwork);
        }
        if self.height != head.height + 1 {
            return Err(ChainFault::Misplaced(self.height));
        }
        if self.prev != head.hash {
            return Err(ChainFault::Unchained);
        }
        if self.time < head.time {
            return Err(ChainFault::BackInTime);
        }
        Ok(())
    }
}

/// What stands before the first record of a network.
pub fn genesis_hash(network: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"kms/ledger-genesis/1");
    hash.update(network.as_bytes());
    hash.finalize().into()
}

/// The hash of an encoded record: what the next one is chained to.
pub fn record_hash(record: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"kms/ledger-record/1");
    hash.update(record);
    hash.finalize().into()
}

/// What is wrong with a record.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFault {
    /// Its checksum does not fit its bytes.
    #[error("its checksum is wrong")]
    Checksum,
    /// Its length is impossible.
    #[error("its length is impossible")]
    Length,
    /// It does not parse.
    #[error("it does not parse: {0}")]
    Malformed(#[from] DecodeError),
    /// Of a version not known here.
    #[error("its version {0} is not known here")]
    UnknownVersion(u16),
    /// Of another network.
    #[error("it belongs to another network")]
    OtherNetwork,
    /// It says it stands elsewhere.
    #[error("it says it is record {0}")]
    Misplaced(u64),
    /// It does not follow from the record before it.
    #[error("it does not follow from the record before it")]
    Unchained,
    /// Its time is before that of the record before it.
    #[error("it is older than the record before it")]
    BackInTime,
    /// Its entry breaks a rule.
    #[error("{0}")]
    Rule(#[from] EntryRefusal),
}

/// Whether a record's signature has to be checked.
#[derive(Clone, Copy)]
enum Signatures {
    Check,
    CheckedBefore,
}

/// What may come next.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made one at a time and taken apart at once"
)]
pub enum Prepared {
    /// The entry is there already.
    Known {
        /// Where.
        height: u64,
    },
    /// These bytes, to be made durable and then taken in with [`Chain::commit`].
    New(NewRecord),
}

/// A record that fits at the end of one chain.
#[derive(Debug)]
pub struct NewRecord {
    bytes: Vec<u8>,
    head: Head,
    prev: [u8; 32],
    entry: VerifiedEntry,
}

impl NewRecord {
    /// The encoded record.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The head that the chain has with it.
    pub fn head(&self) -> Head {
        self.head
    }
}

/// All records' hashes and the state that follows from them.
#[derive(Clone, Debug)]
pub struct Chain {
    network: String,
    state: State,
    head: Head,
    hashes: Vec<[u8; 32]>,
    heights: HashMap<[u8; 32], u64>,
}

impl Chain {
    /// A network's chain before its first record.
    pub fn new(network: &str) -> Self {
        Self::with_order(network, Order::One)
    }

    /// The same for entries of which others have chains in another order.
    pub fn with_order(network: &str, order: Order) -> Self {
        Self {
            network: network.to_owned(),
            state: State::new(order),
            head: Head::genesis(network),
            hashes: Vec::new(),
            heights: HashMap::new(),
        }
    }

    /// The network.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Whether its heights mean something to others.
    pub fn order(&self) -> Order {
        self.state.order()
    }

    /// The last record.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The hash of the record at a height, or the genesis hash at 0.
    pub fn hash_at(&self, height: u64) -> Option<[u8; 32]> {
        match usize::try_from(height).ok()?.checked_sub(1) {
            None => Some(genesis_hash(&self.network)),
            Some(index) => self.hashes.get(index).copied(),
        }
    }

    /// Whether this chain is one in which `seen` was the head, or goes on from it.
    pub fn contains(&self, seen: &Head) -> Result<(), LedgerError> {
        match self.hash_at(seen.height) {
            None => Err(LedgerError::Shorter {
                height: self.head.height,
                seen: seen.height,
            }),
            Some(hash) if hash == seen.hash => Ok(()),
            Some(_) => Err(LedgerError::Forked {
                height: seen.height,
            }),
        }
    }

    /// What is known of a policy. The time is the later of `now` and the ledger's own.
    pub fn policy(&self, id: &PolicyId, now: u64) -> PolicyState {
        self.state.policy(id, now.max(self.head.time))
    }

    /// All nodes, in the order of their keys.
    pub fn nodes(&self) -> Vec<NodeRecord> {
        self.state.nodes()
    }

    /// What a handover that is signed now has to say as `after`.
    pub fn mark(&self, policy: &PolicyId, index: u8) -> u64 {
        self.state.mark(policy, index, self.head.height)
    }

    /// The height at which an entry stands.
    pub fn height_of(&self, entry: &EntryStatement) -> Option<u64> {
        self.heights.get(&entry_hash(entry)).copied()
    }

    /// Makes the record with which an entry would be appended at `now`.
    pub fn prepare(&self, entry: VerifiedEntry, now: u64) -> Result<Prepared, EntryRefusal> {
        if let Some(height) = self.heights.get(&entry_hash(&entry)) {
            return Ok(Prepared::Known { height: *height });
        }
        // A clock that went back does not take the ledger along.
        let time = now.max(self.head.time);
        let height = self.head.height + 1;
        self.state.check(&entry, Place { height, time })?;
        let record = Record {
            version: RECORD_VERSION,
            network: self.network.clone(),
            height,
            prev: self.head.hash,
            time,
            entry: entry.signed().clone(),
        };
        let bytes = codec::encode(&record);
        let head = Head {
            height,
            hash: record_hash(&bytes),
            time,
        };
        Ok(Prepared::New(NewRecord {
            bytes,
            head,
            prev: self.head.hash,
            entry,
        }))
    }

    /// Takes in a record made by [`Chain::prepare`] of this very chain.
    ///
    /// # Panics
    /// If the chain has grown since.
    pub fn commit(&mut self, record: NewRecord) -> Head {
        assert_eq!(
            record.prev, self.head.hash,
            "a record is committed to the chain that prepared it"
        );
        self.take(&record.entry, record.head)
            .expect("the same state was checked when the record was prepared");
        self.head
    }

    /// Takes in a record that somebody else appended, `now` being this machine's clock.
    pub fn accept(&mut self, bytes: &[u8], now: u64) -> Result<Head, LedgerError> {
        self.accept_with(bytes, now, Signatures::Check)
    }

    /// The same for a record below a head that was seen when all signatures up to it had been checked. The caller sees to
    /// it that this chain comes to that very head, and throws it away otherwise.
    pub fn accept_seen(&mut self, bytes: &[u8], now: u64) -> Result<Head, LedgerError> {
        self.accept_with(bytes, now, Signatures::CheckedBefore)
    }

    fn accept_with(
        &mut self,
        bytes: &[u8],
        now: u64,
        signatures: Signatures,
    ) -> Result<Head, LedgerError> {
        let height = self.head.height + 1;
        let tampered = |fault| LedgerError::Tampered { height, fault };
        let record = Record::from_bytes(bytes).map_err(|err| tampered(err.into()))?;
        record
            .follows(&self.head, &self.network)
            .map_err(tampered)?;
        let seconds = record.time.saturating_sub(now);
        if seconds > CLOCK_SKEW_SECONDS {
            return Err(LedgerError::AheadOfClock { height, seconds });
        }
        let entry = match signatures {
            Signatures::Check => record.entry.admit(&self.network),
            Signatures::CheckedBefore => record
                .entry
                .admit_unsigned(&self.network)
                .map(|()| record.entry.known()),
        };
        let entry = entry.map_err(|err| tampered(err.into()))?;
        let head = Head {
            height,
            hash: record_hash(bytes),
            time: record.time,
        };
        self.take(&entry, head)
            .map_err(|err| tampered(err.into()))?;
        Ok(head)
    }

    fn take(&mut self, entry: &VerifiedEntry, head: Head) -> Result<(), EntryRefusal> {
        let place = Place {
            height: head.height,
            time: head.time,
        };
        self.state.apply(entry, place)?;
        self.heights.insert(entry_hash(entry), head.height);
        self.hashes.push(head.hash);
        self.head = head;
        Ok(())
    }
}
