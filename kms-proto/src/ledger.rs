//! The one agreed record of nodes, grants and revocations (LEDGER).
//!
//! The rules live here, in [`State`] and [`Chain`], so that every kind of ledger has the same ones;
//! where records are kept is the business of `kms-ledger`.

mod chain;
mod compact;
mod entry;
mod record;
mod state;

use std::{error::Error, time::Duration};

use kms_crypto::{id::PolicyId, key::PublicKey};
use serde::{Deserialize, Serialize};

pub use chain::{Chain, NewRecord, Places, Prepared};
pub use compact::Compaction;
pub use entry::{
    Entry, EntryRefusal, EntryStatement, Grant, Handover, MAX_ADDR_BYTES, MAX_ADDRS,
    MAX_ENTRY_BYTES, RegisterNode, Release, Revoke, SignedEntry, VerifiedEntry,
};
pub use record::{About, ChainFault, Heading, MAX_RECORD_BYTES, Record, genesis_hash, record_hash};
pub use state::{Order, Place, State, entry_hash};

/// The last record of a ledger. Before the first one: height 0, the network's genesis hash, time 0.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Head {
    /// How many records there are.
    pub height: u64,
    /// The hash of the last one.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
    /// Its time, Unix seconds.
    pub time: u64,
}

impl Head {
    /// What stands before the first record of a network.
    pub fn genesis(network: &str) -> Self {
        Self {
            height: 0,
            hash: genesis_hash(network),
            time: 0,
        }
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The record's height.
    pub height: u64,
}

/// What the ledger says of a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PolicyState {
    /// Never heard of.
    Unknown,
    /// Granted, not revoked, not over.
    Live(Grant),
    /// Its author withdrew it, for good.
    Revoked {
        /// The time of the first revocation, Unix seconds.
        at: u64,
        /// The label's new epoch.
        epoch: u32,
        /// What was revoked; nothing when it was revoked before it was granted.
        grant: Option<Grant>,
    },
    /// Its time is over.
    Expired {
        /// Since when, Unix seconds.
        at: u64,
        /// What was granted, if it is still known.
        grant: Option<Grant>,
    },
}

impl PolicyState {
    /// The last grant, whatever became of it, as far as it is known.
    pub fn into_grant(self) -> Option<Grant> {
        match self {
            Self::Live(grant) => Some(grant),
            Self::Revoked { grant, .. } | Self::Expired { grant, .. } => grant,
            Self::Unknown => None,
        }
    }
}

/// A node as it registered itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeRecord {
    /// Its key.
    pub key: PublicKey,
    /// Until when it serves, Unix seconds.
    pub available_until: u64,
    /// Multiaddresses.
    pub addrs: Vec<String>,
    /// How often it has registered, as it counts.
    pub seq: u64,
}

/// One of the places where a ledger is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LedgerSource {
    /// Its name, for people.
    pub name: String,
    /// What is seen there, or why nothing is.
    pub state: Result<String, String>,
}

/// What it costs to write an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cost {
    /// In the chain's unit of work.
    pub gas: u64,
    /// The price of all of it, in the chain's smallest coin.
    pub wei: u128,
}

/// Why a ledger does not answer or does not take an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The rules forbid the entry.
    #[error(transparent)]
    Refused(#[from] EntryRefusal),
    /// A record is not what was written.
    #[error("the ledger's record {height} is damaged or forged: {fault}")]
    Tampered {
        /// The first record that is wrong.
        height: u64,
        /// What is wrong with it.
        fault: ChainFault,
    },
    /// The ledger ends before a record that was seen in it.
    #[error("the ledger ends at record {height}, but record {seen} was seen in it")]
    Shorter {
        /// Its height.
        height: u64,
        /// The height known.
        seen: u64,
    },
    /// The ledger has another record where one was seen.
    #[error("the ledger's record {height} is not the one that was seen there")]
    Forked {
        /// The height at which it differs.
        height: u64,
    },
    /// A record's time lies ahead of this machine's clock.
    #[error("the ledger's record {height} is dated {seconds} s ahead of this machine's clock")]
    AheadOfClock {
        /// The record.
        height: u64,
        /// By how much, seconds.
        seconds: u64,
    },
    /// Not a ledger, or one of an unknown version.
    #[error("this is not a ledger of a version known here")]
    NotALedger,
    /// Entries are taken by nodes only.
    #[error("this view of the ledger is for reading only")]
    ReadOnly,
    /// Other writers did not make way in time.
    #[error("the ledger is busy")]
    Busy,
    /// Where the ledger is kept cannot be reached.
    #[error("the ledger cannot be reached: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

/// One agreed, append-only record. Calls may block on a disk; each looks for new records first.
pub trait Ledger: Send + Sync {
    /// The last record.
    fn head(&self) -> Result<Head, LedgerError>;

    /// Appends an entry and returns when it is durable. An entry that is already there is not
    /// appended again: its receipt is returned, so repeating after a failure is safe.
    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError>;

    /// What is known of a policy, now.
    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError>;

    /// All nodes that ever registered, in the order of their keys.
    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError>;

    /// At most `max` encoded [`Record`]s from height `from` (the first is 1) on.
    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError>;

    /// What a handover of a fragment has to say as `after` if it is signed now (LEDGER §2, §5.5).
    fn mark(&self, _policy: &PolicyId, _index: u8) -> Result<u64, LedgerError> {
        Ok(self.head()?.height)
    }

    /// What this process keeps of a ledger that stands at many places: it answers at once and asks nobody, and it is
    /// what others read here. None for a ledger that stands at one place, to which nodes write for people.
    fn replica(&self) -> Option<&dyn Ledger> {
        None
    }

    /// Where it is read, and how each of these places is now.
    fn sources(&self) -> Vec<LedgerSource> {
        Vec::new()
    }

    /// What it costs to write an entry, to be paid by the node that writes it; None where nothing is to be paid.
    fn cost(&self, _entry: &SignedEntry) -> Result<Option<Cost>, LedgerError> {
        Ok(None)
    }

    /// How long it usually takes until an entry counts that is submitted now; nothing where that is at once.
    fn settles_within(&self, _entry: &Entry) -> Duration {
        Duration::ZERO
    }
}

impl<L: Ledger + ?Sized> Ledger for std::sync::Arc<L> {
    fn head(&self) -> Result<Head, LedgerError> {
        (**self).head()
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        (**self).submit(entry)
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        (**self).policy(id)
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        (**self).nodes()
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        (**self).read(from, max)
    }

    fn mark(&self, policy: &PolicyId, index: u8) -> Result<u64, LedgerError> {
        (**self).mark(policy, index)
    }

    fn replica(&self) -> Option<&dyn Ledger> {
        (**self).replica()
    }

    fn sources(&self) -> Vec<LedgerSource> {
        (**self).sources()
    }

    fn cost(&self, entry: &SignedEntry) -> Result<Option<Cost>, LedgerError> {
        (**self).cost(entry)
    }

    fn settles_within(&self, entry: &Entry) -> Duration {
        (**self).settles_within(entry)
    }
}
