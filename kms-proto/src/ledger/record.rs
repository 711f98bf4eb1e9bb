//! Records, and what is hashed of them (LEDGER §3).

use kms_crypto::{id::PolicyId, key::PublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Entry, EntryRefusal, Head, MAX_ENTRY_BYTES, SignedEntry};
use crate::codec::{self, DecodeError};

/// The longest record, encoded.
pub const MAX_RECORD_BYTES: usize = MAX_ENTRY_BYTES + 256;

pub(super) const RECORD_VERSION: u16 = 1;

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
    /// Reads a record. Its place, its time and its signature are not checked; [`super::Chain::accept`] does that.
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

    /// What is hashed of it.
    pub fn heading(&self) -> Heading {
        let about = match &self.entry.claim().entry {
            Entry::RegisterNode(it) => About::Node {
                key: it.key,
                seq: it.seq,
            },
            Entry::Grant(it) => About::Grant {
                policy: it.policy(),
                seq: it.seq,
                expiry: it.expiry,
            },
            Entry::Revoke(_) => About::Revoke,
            Entry::Release(_) => About::Release,
            Entry::Handover(it) => About::Handover { policy: it.policy },
        };
        let mut body = Sha256::new();
        body.update(b"kms/ledger-entry-body/1");
        body.update(self.entry.to_bytes());
        Heading {
            time: self.time,
            about,
            body: body.finalize().into(),
        }
    }

    /// Its hash: what the next one is chained to.
    pub fn hash(&self) -> [u8; 32] {
        self.heading().hash(&self.prev, self.height)
    }
}

/// What is hashed of a record, and all that is left of one whose entry says nothing any more (LEDGER §5.2.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heading {
    /// The record's time.
    pub time: u64,
    /// What must be known of the entry when it is gone.
    pub about: About,
    /// The hash of the signed entry.
    body: [u8; 32],
}

/// What a heading says of its entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "as in the entries")]
pub enum About {
    /// A registration.
    Node { key: PublicKey, seq: u64 },
    /// A grant.
    Grant {
        policy: PolicyId,
        seq: u32,
        expiry: u64,
    },
    /// A revocation.
    Revoke,
    /// A revocation by the secret.
    Release,
    /// A fragment's way to another node.
    Handover { policy: PolicyId },
}

impl About {
    const fn kind(&self) -> u8 {
        match self {
            Self::Node { .. } => 1,
            Self::Grant { .. } => 2,
            Self::Revoke => 3,
            Self::Release => 4,
            Self::Handover { .. } => 5,
        }
    }
}

impl Heading {
    /// Whether these are the bytes of a heading, if they are any; those of a record begin otherwise.
    pub fn is_it(bytes: &[u8]) -> bool {
        matches!(bytes.first(), Some(1..=5))
    }

    /// The encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.push(self.about.kind());
        out.extend_from_slice(&self.time.to_be_bytes());
        match &self.about {
            About::Node { key, seq } => {
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(&seq.to_be_bytes());
            }
            About::Grant {
                policy,
                seq,
                expiry,
            } => {
                out.extend_from_slice(policy.as_bytes());
                out.extend_from_slice(&seq.to_be_bytes());
                out.extend_from_slice(&expiry.to_be_bytes());
            }
            About::Revoke | About::Release => {}
            About::Handover { policy } => out.extend_from_slice(policy.as_bytes()),
        }
        out.extend_from_slice(&self.body);
        out
    }

    /// Reads one. What it says is not checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let heading = Self::parse(&mut rest).ok_or(DecodeError::Malformed)?;
        match rest {
            [] => Ok(heading),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn parse(rest: &mut &[u8]) -> Option<Self> {
        let [kind] = take(rest)?;
        let time = u64::from_be_bytes(take(rest)?);
        let about = match kind {
            1 => About::Node {
                key: PublicKey::from_bytes(&take::<33>(rest)?).ok()?,
                seq: u64::from_be_bytes(take(rest)?),
            },
            2 => About::Grant {
                policy: PolicyId(take(rest)?),
                seq: u32::from_be_bytes(take(rest)?),
                expiry: u64::from_be_bytes(take(rest)?),
            },
            3 => About::Revoke,
            4 => About::Release,
            5 => About::Handover {
                policy: PolicyId(take(rest)?),
            },
            _ => return None,
        };
        let body = take(rest)?;
        Some(Self { time, about, body })
    }

    /// The hash of the record at a height after another.
    pub fn hash(&self, prev: &[u8; 32], height: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"kms/ledger-record/1");
        hash.update(prev);
        hash.update(height.to_be_bytes());
        hash.update(self.to_bytes());
        hash.finalize().into()
    }
}

/// Takes so many bytes from the front.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

/// What stands before the first record of a network.
pub fn genesis_hash(network: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"kms/ledger-genesis/1");
    hash.update(network.as_bytes());
    hash.finalize().into()
}

/// The hash that a record, or the heading that is left of it, has at its place: at a height, after another.
pub fn record_hash(bytes: &[u8], prev: &[u8; 32], height: u64) -> Result<[u8; 32], DecodeError> {
    let heading = match Heading::is_it(bytes) {
        true => Heading::from_bytes(bytes)?,
        false => {
            let record = Record::from_bytes(bytes)?;
            if record.prev != *prev || record.height != height {
                return Err(DecodeError::Malformed);
            }
            record.heading()
        }
    };
    Ok(heading.hash(prev, height))
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
    /// Only its heading is there, though its entry still counts.
    #[error("its entry was left out, though it still counts")]
    LeftOut,
    /// Its entry breaks a rule.
    #[error("{0}")]
    Rule(#[from] EntryRefusal),
}
