//! Records: entries in their order, each bound to all before it (LEDGER §3).

mod index;

use std::{collections::HashMap, sync::OnceLock};

use kms_crypto::{id::PolicyId, key::PublicKey};

use super::{
    About, ChainFault, Entry, EntryRefusal, EntryStatement, Head, Heading, LedgerError, NodeRecord,
    Order, Place, PolicyState, Record, State, VerifiedEntry, genesis_hash, record::RECORD_VERSION,
    state::entry_hash,
};
use crate::{CLOCK_SKEW_SECONDS, codec};
pub use index::Places;

/// The name of an entry that was left out.
const LEFT_OUT: [u8; 32] = [0; 32];
/// How long after its expiry a grant's entry is still needed: nodes erase fragments and forget removals well before.
pub(super) const KEPT_SECONDS: u64 = 30 * 24 * 60 * 60;

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
    /// What names the entry at each height; zeros if it was left out.
    names: Vec<[u8; 32]>,
    /// The same the other way round: made when somebody asks, for who only reads never does.
    heights: OnceLock<HashMap<[u8; 32], u64>>,
    left_out: LeftOut,
}

/// What has to be true of a compacted ledger when all of it has been read.
#[derive(Clone, Debug, Default)]
struct LeftOut {
    /// The grant that lived longest of those left out: its expiry and its height.
    longest: Option<(u64, u64)>,
    /// Nodes of which a later registration has to follow: the number and the height of the last one left out.
    nodes: HashMap<PublicKey, (u64, u64)>,
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
            names: Vec::new(),
            heights: OnceLock::from(HashMap::new()),
            left_out: LeftOut::default(),
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
        self.named(&entry_hash(entry))
    }

    fn named(&self, name: &[u8; 32]) -> Option<u64> {
        let numbered = || (1..).zip(&self.names).map(|(height, name)| (*name, height));
        let heights = self
            .heights
            .get_or_init(|| numbered().filter(|(name, _)| *name != LEFT_OUT).collect());
        heights.get(name).copied()
    }

    /// Makes the record with which an entry would be appended at `now`.
    pub fn prepare(&self, entry: VerifiedEntry, now: u64) -> Result<Prepared, EntryRefusal> {
        if let Some(height) = self.height_of(&entry) {
            return Ok(Prepared::Known { height });
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
        let head = Head {
            height,
            hash: record.hash(),
            time,
        };
        let bytes = codec::encode(&record);
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
        if Heading::is_it(bytes) {
            return self.accept_heading(bytes, now);
        }
        let height = self.head.height + 1;
        let tampered = |fault| LedgerError::Tampered { height, fault };
        let record = Record::from_bytes(bytes).map_err(|err| tampered(err.into()))?;
        record
            .follows(&self.head, &self.network)
            .map_err(tampered)?;
        check_clock(height, record.time, now)?;
        let head = Head {
            height,
            hash: record.hash(),
            time: record.time,
        };
        let entry = match signatures {
            Signatures::Check => record.entry.admit(&self.network),
            Signatures::CheckedBefore => record
                .entry
                .admit_unsigned(&self.network)
                .map(|()| record.entry.known()),
        };
        let entry = entry.map_err(|err| tampered(err.into()))?;
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
        if let Entry::RegisterNode(it) = &entry.entry
            && self
                .left_out
                .nodes
                .get(&it.key)
                .is_some_and(|(seq, _)| *seq < it.seq)
        {
            self.left_out.nodes.remove(&it.key);
        }
        let name = entry_hash(entry);
        if let Some(heights) = self.heights.get_mut() {
            heights.insert(name, head.height);
        }
        self.push(head, name);
        Ok(())
    }

    fn push(&mut self, head: Head, name: [u8; 32]) {
        self.hashes.push(head.hash);
        self.names.push(name);
        self.head = head;
    }

    /// Takes in what is left of a record (LEDGER §5.2.1).
    fn accept_heading(&mut self, bytes: &[u8], now: u64) -> Result<Head, LedgerError> {
        let height = self.head.height + 1;
        let tampered = |fault| LedgerError::Tampered { height, fault };
        let heading = Heading::from_bytes(bytes).map_err(|err| tampered(err.into()))?;
        if heading.time < self.head.time {
            return Err(tampered(ChainFault::BackInTime));
        }
        check_clock(height, heading.time, now)?;
        if !self.leave_out(&heading.about, height) {
            return Err(tampered(ChainFault::LeftOut));
        }
        let head = Head {
            height,
            hash: heading.hash(&self.head.hash, height),
            time: heading.time,
        };
        self.push(head, LEFT_OUT);
        Ok(self.head)
    }

    /// Whether an entry at a height may be missing, as far as can be said before the rest is read.
    fn leave_out(&mut self, about: &About, height: u64) -> bool {
        if self.order() != Order::One {
            return false;
        }
        match *about {
            About::Revoke | About::Release => false,
            About::Handover { policy } => self.state.has_forgotten(&policy),
            About::Grant {
                policy,
                seq,
                expiry,
            } => {
                self.left_out.longest = self.left_out.longest.max(Some((expiry, height)));
                self.state.forget(policy, seq, expiry)
            }
            About::Node { key, seq } => {
                let known = self.state.node(&key).map(|known| known.seq);
                let before = self.left_out.nodes.insert(key, (seq, height));
                known.max(before.map(|(seq, _)| seq)) < Some(seq)
            }
        }
    }

    /// Whether all that was left out of the records so far may be missing, now that there are no more.
    pub fn settled(&self) -> Result<(), LedgerError> {
        let early = self
            .left_out
            .longest
            .filter(|(expiry, _)| expiry.saturating_add(KEPT_SECONDS) > self.head.time);
        let alone = self
            .left_out
            .nodes
            .values()
            .map(|(_, height)| *height)
            .min();
        match early.map(|(_, height)| height).or(alone) {
            Some(height) => Err(LedgerError::Tampered {
                height,
                fault: ChainFault::LeftOut,
            }),
            None => Ok(()),
        }
    }
}

fn check_clock(height: u64, time: u64, now: u64) -> Result<(), LedgerError> {
    let seconds = time.saturating_sub(now);
    if seconds > CLOCK_SKEW_SECONDS {
        return Err(LedgerError::AheadOfClock { height, seconds });
    }
    Ok(())
}
