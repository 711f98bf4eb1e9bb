//! What may stand in a ledger, and who may put it there (LEDGER §2).
//!
//! An entry names its author, and the policy it is about follows from the author's key: nobody can
//! write about somebody else's policy, for there is no encoding in which to say it.

use kms_crypto::{id::PolicyId, key::PublicKey, policy::policy_id};
use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    signed::{Signed, Statement, Verified},
};

/// The longest signed entry, encoded.
pub const MAX_ENTRY_BYTES: usize = 12 * 1024;
/// The most addresses a node registers.
pub const MAX_ADDRS: usize = 8;
/// The longest address.
pub const MAX_ADDR_BYTES: usize = 256;

/// An entry of the ledger.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A node is there, or still there.
    RegisterNode(RegisterNode),
    /// A policy lives, or lives longer, or elsewhere.
    Grant(Grant),
    /// A policy ends, for good.
    Revoke(Revoke),
    /// The same by whoever knows the secret its grant was sealed with.
    Release(Release),
    /// A fragment is at another node.
    Handover(Handover),
}

/// A node's registration, signed by the node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RegisterNode {
    /// The node, who signs.
    pub key: PublicKey,
    /// Until when it serves, Unix seconds. It may fall only as far as no grant that names the node outlives it.
    pub available_until: u64,
    /// Multiaddresses, at most [`MAX_ADDRS`] of at most [`MAX_ADDR_BYTES`].
    pub addrs: Vec<String>,
    /// Greater than in every registration of this node before.
    pub seq: u64,
}

/// A policy's terms, signed by its ledger key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Grant {
    /// The policy's ledger key, who signs.
    pub ledger_key: PublicKey,
    /// The half of the policy id that hides label and recipient.
    #[serde(with = "serde_bytes")]
    pub inner: [u8; 32],
    /// Until when, Unix seconds; later than the record that carries it.
    pub expiry: u64,
    /// How many fragments open; 1 ≤ m ≤ n.
    pub m: u8,
    /// Who keeps fragment 0, 1, …: distinct nodes, 1 to 255.
    pub nodes: Vec<PublicKey>,
    /// Greater than in every grant of this policy before.
    pub seq: u32,
    /// What the secret that ends it leads to ([`kms_crypto::policy::revocation`]), if there is one; the same in every grant
    /// of the policy.
    #[serde(with = "serde_bytes", default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<[u8; 16]>,
}

/// The end of a policy, signed by its ledger key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Revoke {
    /// The policy's ledger key, who signs.
    pub ledger_key: PublicKey,
    /// The half of the policy id that hides label and recipient.
    #[serde(with = "serde_bytes")]
    pub inner: [u8; 32],
    /// The label's new epoch: nothing is sealed under an older one any more.
    pub epoch: u32,
}

/// The end of a policy, by a secret: nobody signs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Release {
    /// The policy.
    pub policy: PolicyId,
    /// The label's new epoch, for which the secret is.
    pub epoch: u32,
    /// The secret.
    #[serde(with = "serde_bytes")]
    pub secret: [u8; 16],
}

/// A fragment's way from one node to another, signed by the one that leaves.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Handover {
    /// The node that kept it, who signs.
    pub from: PublicKey,
    /// The node that keeps it now.
    pub to: PublicKey,
    /// The policy.
    pub policy: PolicyId,
    /// Which of its fragments.
    pub index: u8,
    /// The height of the head when this was signed: not less than that of the entry that put the fragment where it was.
    pub after: u64,
}

/// What the author of an entry signs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EntryStatement {
    /// The network.
    pub network: String,
    /// The entry.
    pub entry: Entry,
}

/// An entry as it travels.
pub type SignedEntry = Signed<EntryStatement>;
/// An entry whose author is known to have made it.
pub type VerifiedEntry = Verified<EntryStatement>;

impl Statement for EntryStatement {
    const DOMAIN: &'static str = "kms/ledger-entry/1";
    const MAX_BYTES: usize = MAX_ENTRY_BYTES;

    fn signer(&self) -> Option<PublicKey> {
        match &self.entry {
            Entry::RegisterNode(it) => Some(it.key),
            Entry::Grant(it) => Some(it.ledger_key),
            Entry::Revoke(it) => Some(it.ledger_key),
            Entry::Release(_) => None,
            Entry::Handover(it) => Some(it.from),
        }
    }
}

impl Grant {
    /// The policy it is about.
    pub fn policy(&self) -> PolicyId {
        policy_id(&self.ledger_key, &self.inner)
    }

    /// How many fragments there are.
    pub fn n(&self) -> u8 {
        u8::try_from(self.nodes.len()).unwrap_or(u8::MAX)
    }
}

impl Revoke {
    /// The policy it is about.
    pub fn policy(&self) -> PolicyId {
        policy_id(&self.ledger_key, &self.inner)
    }
}

impl SignedEntry {
    /// The encoding that is submitted.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a submitted entry. The signature is not checked yet.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_ENTRY_BYTES)
    }

    /// Checks the author's signature, the network and what needs no other entry.
    pub fn admit(&self, network: &str) -> Result<VerifiedEntry, EntryRefusal> {
        self.admit_unsigned(network)?;
        self.clone()
            .verify()
            .map_err(|_| EntryRefusal::BadSignature)
    }

    /// The same without the signature.
    pub(super) fn admit_unsigned(&self, network: &str) -> Result<(), EntryRefusal> {
        if self.claim().network != network {
            return Err(EntryRefusal::OtherNetwork);
        }
        self.claim().entry.check()
    }
}

impl Entry {
    fn check(&self) -> Result<(), EntryRefusal> {
        match self {
            Self::RegisterNode(it) => {
                let fits = |addr: &String| (1..=MAX_ADDR_BYTES).contains(&addr.len());
                if it.addrs.len() <= MAX_ADDRS && it.addrs.iter().all(fits) {
                    Ok(())
                } else {
                    Err(EntryRefusal::BadAddresses)
                }
            }
            Self::Grant(it) => {
                let distinct: std::collections::BTreeSet<_> = it.nodes.iter().collect();
                let n = it.nodes.len();
                if (1..=255).contains(&n)
                    && distinct.len() == n
                    && 1 <= it.m
                    && usize::from(it.m) <= n
                {
                    Ok(())
                } else {
                    Err(EntryRefusal::BadThreshold)
                }
            }
            Self::Revoke(_) | Self::Release(_) | Self::Handover(_) => Ok(()),
        }
    }

    /// The policy that it ends, and as of which epoch of the label.
    pub fn revoked(&self) -> Option<(PolicyId, u32)> {
        match self {
            Self::Revoke(it) => Some((it.policy(), it.epoch)),
            Self::Release(it) => Some((it.policy, it.epoch)),
            Self::RegisterNode(_) | Self::Grant(_) | Self::Handover(_) => None,
        }
    }
}

/// Why an entry may not be appended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryRefusal {
    /// It does not parse.
    #[error("the entry is malformed")]
    Malformed,
    /// It is meant for another network.
    #[error("the entry belongs to another network")]
    OtherNetwork,
    /// The signature does not fit the author.
    #[error("the entry's signature does not fit its author")]
    BadSignature,
    /// Too many addresses, an empty or an overlong one.
    #[error("the addresses are too many, empty or too long")]
    BadAddresses,
    /// Not 1 ≤ m ≤ n ≤ 255 with n distinct nodes.
    #[error("the threshold and the nodes do not fit together")]
    BadThreshold,
    /// A later entry of the same author is there already.
    #[error("the ledger already has number {latest} of this")]
    Outnumbered {
        /// The latest number.
        latest: u64,
    },
    /// The node keeps a fragment of a policy that goes on for longer.
    #[error("the node keeps a fragment of a policy that goes on until {until}")]
    Shortened {
        /// That policy's end, Unix seconds.
        until: u64,
    },
    /// The policy was revoked, which is for good.
    #[error("the policy was revoked at {at}")]
    Revoked {
        /// When, Unix seconds.
        at: u64,
    },
    /// The grant would be over before it began, or is over.
    #[error("the expiry lies in the past")]
    AlreadyExpired,
    /// The secret is not that of the policy's grant, or a later grant is sealed with another one.
    #[error("this is not the secret that the policy's grant was sealed with")]
    NotTheSecret,
    /// The ledger does not know the author as the keeper of that fragment.
    #[error("the node is not the keeper of that fragment")]
    NotHolder,
    /// The node that is to keep the fragment does not serve until the policy ends.
    #[error("the new node does not serve until the policy ends")]
    Unserved,
}
