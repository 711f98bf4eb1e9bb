//! What can go wrong between a client, its nodes and its ledger, with each node's own answer.

use kms_crypto::error::{OpenError, SplitError};
use kms_crypto::key::PublicKey;
use kms_proto::ledger::LedgerError;

use crate::grammar::utc;

pub use kms_proto::answer::{Answer, Answers, NodeAnswer, Quorum, short};

/// Why something that needs the network did not happen. Each variant is one row of the error table that users see.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no ledger to read or no network to speak to: nothing is configured, or it cannot be used.
    #[error("no network: {0}")]
    NoNetwork(#[from] ConnectError),
    /// The ledger cannot be read, or is not what it was.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// No grant of this policy exists.
    #[error("this was never granted")]
    NotGranted,
    /// The owner withdrew the grant.
    #[error("the grant was withdrawn at {}", utc(*.at))]
    Revoked {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// The grant is over.
    #[error("the grant ended at {}", utc(*.at))]
    Expired {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// Fewer nodes than needed gave their part, and no more can be asked.
    #[error("{} nodes are needed, {} answered ({})", .0.needed, .0.good, .0)]
    NoQuorum(Quorum),
    /// The time was over before enough nodes had answered; enough of them might still have.
    #[error("{} nodes are needed, {} answered in time ({})", .0.needed, .0.good, .0)]
    Timeout(Quorum),
    /// Enough nodes answered, but fewer than needed proved that their answer is right.
    #[error("{} valid answers are needed, {} were valid ({})", .0.needed, .0.good, .0)]
    BadProofs(Quorum),
    /// The nodes did their part and still the key does not open: capsule and policy do not belong together.
    #[error("the key does not open: {0}")]
    Open(#[from] OpenError),
    /// The ledger knows too few nodes that serve for so long.
    #[error("{needed} nodes are needed until {}, {eligible} of {registered} registered ones serve so long", utc(*.until))]
    TooFewNodes {
        /// n.
        needed: u8,
        /// How many could.
        eligible: usize,
        /// How many there are.
        registered: usize,
        /// The expiry asked for, in seconds since 1970.
        until: u64,
    },
    /// Fewer than n nodes took a fragment. What had been stored was taken back.
    #[error("{} nodes have to take a fragment, {} did ({quorum})", quorum.needed, quorum.good)]
    NotStored {
        /// What each node said.
        quorum: Quorum,
        /// The nodes that may still keep a fragment, which without the ledger's word is good for nothing.
        left: Vec<PublicKey>,
    },
    /// No node put the entry into the ledger.
    #[error("no node could write into the ledger ({0})")]
    NotRecorded(Answers),
    /// The request contradicts itself.
    #[error("{0}")]
    BadRequest(#[from] RequestError),
}

impl ClientError {
    /// Whether a grant that failed so has left nothing at any node, and nothing in the ledger.
    #[must_use]
    pub fn leaves_nothing(&self) -> bool {
        match self {
            Self::NotStored { left, .. } => left.is_empty(),
            Self::TooFewNodes { .. } | Self::BadRequest(_) => true,
            _ => false,
        }
    }
}

/// A request that cannot be made at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The keys do not belong to the policy, or the threshold is impossible.
    #[error("the key cannot be split: {0}")]
    Split(#[from] SplitError),
    /// The grant would be over before it begins.
    #[error("{} is already over", utc(*.at))]
    AlreadyOver {
        /// The expiry asked for, in seconds since 1970.
        at: u64,
    },
    /// The key is not the author of that policy.
    #[error("this key is not the author of the policy")]
    NotTheAuthor,
    /// The message is longer than what is signed.
    #[error("a message of {bytes} bytes is too long to be signed: sign its hash")]
    TooLongToSign {
        /// Its length.
        bytes: usize,
    },
    /// The identity is not the one the policy was made for.
    #[error("the policy is for another identity")]
    NotTheRecipient,
}

/// Why no network can be reached from here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No ledger is named.
    #[error("no ledger is configured")]
    NoLedger,
    /// The ledger's address is not one this program can use.
    #[error("the ledger '{url}' cannot be used: {reason}")]
    LedgerUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The ledger is not there, or is not one.
    #[error("the ledger '{url}' cannot be opened: {source}")]
    LedgerOpen {
        /// The address.
        url: String,
        /// What is wrong with it.
        source: LedgerError,
    },
    /// What was seen of the ledger before cannot be read.
    #[error("what was seen of the ledger before cannot be read: {0}")]
    Memory(#[source] std::io::Error),
    /// The client of the node network does not start: a bootstrap address that is none, mostly.
    #[error("the node network cannot be joined: {reason}")]
    Transport {
        /// What is wrong.
        reason: String,
    },
    /// The operating system gives no threads.
    #[error("the network cannot be run: {0}")]
    Runtime(#[source] std::io::Error),
}

impl ConnectError {
    /// Whether the ledger is not the one that was seen before, or only its beginning.
    #[must_use]
    pub fn is_another_ledger(&self) -> bool {
        matches!(
            self,
            Self::LedgerOpen {
                source: LedgerError::Forked { .. } | LedgerError::Shorter { .. },
                ..
            }
        )
    }
}
