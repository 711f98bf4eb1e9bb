//! What a policy is about, and its id. SCHEMES §6.
//!
//! The id commits to its author: whoever knows the ledger key and [`PolicyParams::inner`] can check
//! that an entry's author may make it, without learning which label is shared with whom.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::SplitError;
use crate::id::{PolicyId, SchemeId};
use crate::key::{LabelPublicKey, PublicKey};

/// Everything a policy id commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyParams {
    /// The policy's author: the key that signs its ledger entries and fragments.
    pub ledger_key: PublicKey,
    /// The label that is shared; its key says by which scheme and on which curve.
    pub label_key: LabelPublicKey,
    /// The person it is shared with.
    pub recipient: PublicKey,
    /// Makes the ledger key and the id unique.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; 32],
}

impl PolicyParams {
    /// Parameters of a policy.
    #[must_use]
    pub const fn new(
        ledger_key: PublicKey,
        label_key: LabelPublicKey,
        recipient: PublicKey,
        salt: [u8; 32],
    ) -> Self {
        Self {
            ledger_key,
            label_key,
            recipient,
            salt,
        }
    }

    /// How the label's key is split.
    #[must_use]
    pub const fn scheme(&self) -> SchemeId {
        self.label_key.scheme()
    }

    /// What the ledger sees of label and recipient:
    /// `SHA256("kms/policy-inner/1" ‖ label key ‖ recipient ‖ salt)`, where the label key begins with
    /// its scheme and curve.
    #[must_use]
    pub fn inner(&self) -> [u8; 32] {
        let mut hasher = Sha256::new_with_prefix(b"kms/policy-inner/1");
        hasher.update(self.label_key.to_bytes());
        hasher.update(self.recipient.as_bytes());
        hasher.update(self.salt);
        hasher.finalize().into()
    }

    /// The policy's id; see [`policy_id`].
    #[must_use]
    pub fn id(&self) -> PolicyId {
        policy_id(&self.ledger_key, &self.inner())
    }
}

/// `SHA256("kms/policy/1" ‖ ledger key ‖ inner)`: what a ledger recomputes to check an author.
#[must_use]
pub fn policy_id(ledger_key: &PublicKey, inner: &[u8; 32]) -> PolicyId {
    let mut hasher = Sha256::new_with_prefix(b"kms/policy/1");
    hasher.update(ledger_key.as_bytes());
    hasher.update(inner);
    PolicyId(hasher.finalize().into())
}

/// What a grant says of the secret that ends it: the first 16 bytes of `SHA256("kms/revocation/1" ‖ secret ‖ epoch)`.
/// Whoever shows the secret revokes as of that epoch of the label, and of no other.
#[must_use]
pub fn revocation(secret: &[u8; 16], epoch: u32) -> [u8; 16] {
    let mut hasher = Sha256::new_with_prefix(b"kms/revocation/1");
    hasher.update(secret);
    hasher.update(epoch.to_be_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

/// How many of how many nodes must help: 1 ≤ m ≤ n ≤ 255. As text `3/5`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Threshold {
    needed: u8,
    total: u8,
}

impl Threshold {
    /// `needed` of `total`.
    ///
    /// # Errors
    /// Not 1 ≤ `needed` ≤ `total`.
    pub const fn new(needed: u8, total: u8) -> Result<Self, SplitError> {
        if needed == 0 || needed > total {
            return Err(SplitError::Threshold { needed, total });
        }
        Ok(Self { needed, total })
    }

    /// m: how many must help.
    #[must_use]
    pub const fn needed(self) -> u8 {
        self.needed
    }

    /// n: how many hold a fragment.
    #[must_use]
    pub const fn total(self) -> u8 {
        self.total
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.needed, self.total)
    }
}

impl fmt::Debug for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a threshold is written m/n with 1 ≤ m ≤ n ≤ 255, for example 3/5")]
pub struct ThresholdTextError;

impl FromStr for Threshold {
    type Err = ThresholdTextError;

    fn from_str(text: &str) -> Result<Self, ThresholdTextError> {
        let (needed, total) = text.split_once('/').ok_or(ThresholdTextError)?;
        let number = |text: &str| match text.as_bytes() {
            [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
                text.parse::<u8>().ok()
            }
            _ => None,
        };
        let (Some(needed), Some(total)) = (number(needed), number(total)) else {
            return Err(ThresholdTextError);
        };
        Self::new(needed, total).map_err(|_| ThresholdTextError)
    }
}
