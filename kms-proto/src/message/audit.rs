//! What an owner can ask about the use that was made of a policy (WIRE §3.3).

use kms_crypto::{id::PolicyId, kdf, key::PublicKey, policy::policy_id};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    codec::{self, DecodeError, MAX_RESPONSE_BYTES},
    signed::{Signed, Statement},
};

/// The most entries in one report.
pub const MAX_AUDIT_ENTRIES: usize = 256;

const MAX_ENTRY_BYTES: usize = 512;

/// Asks for the entries about a policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Audit {
    /// The policy's ledger key, who signs.
    pub ledger_key: PublicKey,
    /// The hidden half of the policy id.
    #[serde(with = "serde_bytes")]
    pub inner: [u8; 32],
    /// The number of the first entry wanted; the first of all is 0.
    pub from: u64,
}

impl Audit {
    /// The policy it is about.
    pub fn policy(&self) -> PolicyId {
        policy_id(&self.ledger_key, &self.inner)
    }
}

/// One thing that was asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AuditEntry {
    /// When, Unix seconds.
    pub at: u64,
    /// By whom.
    pub recipient: PublicKey,
    /// `ok`, or the name of the refusal.
    pub outcome: String,
    /// For how many capsules.
    pub capsules: u32,
    /// How many were like the entry before, within its minute, and have none of their own.
    pub before: u64,
}

impl AuditEntry {
    /// Its encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_ENTRY_BYTES)
    }
}

/// The hash after an entry; the one before the first is zero.
pub fn audit_hash(before: &[u8; 32], entry: &[u8]) -> [u8; 32] {
    kdf::hash("kms/audit-entry/1", &[before, entry])
}

/// What a node says was asked of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Audited {
    /// The network.
    pub network: String,
    /// The node, who signs.
    pub node: PublicKey,
    /// The policy.
    pub policy: PolicyId,
    /// When it says so, Unix seconds.
    pub at: u64,
    /// The number of the first entry here.
    pub from: u64,
    /// How many there were in all.
    pub total: u64,
    /// The number of the oldest one that is kept: those before it had to make room.
    pub first: u64,
    /// How many requests, about whatever policy, could not be noted since the node has started.
    pub lost: u64,
    /// The hash before the first entry here.
    #[serde(with = "serde_bytes")]
    pub prev: [u8; 32],
    /// Consecutive entries from `from` or `first` on, whichever is later, encoded; at most [`MAX_AUDIT_ENTRIES`].
    pub entries: Vec<ByteBuf>,
}

/// What comes after what was known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Continued {
    /// How many entries before these, that were not known, are not kept any more.
    pub dropped: u64,
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// The number of the entry after them.
    pub next: u64,
    /// The hash after them.
    pub hash: [u8; 32],
}

/// A report does not go on from what was known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Entries seen before are not the ones it has now.
    #[error("what it reported before was altered")]
    Altered,
    /// An entry does not parse.
    #[error("an entry does not parse: {0}")]
    Malformed(#[from] DecodeError),
}

impl Audited {
    /// The entries, if they go on from the hash that was known before the first one asked for. Of entries that are not
    /// kept any more nothing can be checked.
    pub fn entries_after(&self, known: &[u8; 32]) -> Result<Continued, AuditError> {
        let dropped = self.first.saturating_sub(self.from);
        let read = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        let next = self.from.saturating_add(dropped).saturating_add(read);
        let goes_on = dropped > 0 || self.prev == *known;
        if !goes_on || next > self.total {
            return Err(AuditError::Altered);
        }
        let mut hash = self.prev;
        let mut entries = Vec::with_capacity(self.entries.len());
        for bytes in &self.entries {
            hash = audit_hash(&hash, bytes);
            entries.push(AuditEntry::from_bytes(bytes)?);
        }
        Ok(Continued {
            dropped,
            entries,
            next,
            hash,
        })
    }
}

impl Statement for Audited {
    const DOMAIN: &'static str = "kms/audit/1";
    const MAX_BYTES: usize = MAX_RESPONSE_BYTES;

    fn signer(&self) -> Option<PublicKey> {
        Some(self.node)
    }
}

/// A signed report.
pub type AuditReport = Signed<Audited>;
