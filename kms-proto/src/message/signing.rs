//! The two rounds of threshold signing (WIRE §3.2, SCHEMES §14.3). A node that does not sign reads them, and refuses.

use kms_crypto::{id::PolicyId, key::PublicKey};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The longest message that is signed, in bytes.
pub const MAX_SIGNED_BYTES: usize = 8192;
/// The most nodes that sign together; the fewest are two.
pub const MAX_SIGNERS: usize = 64;
/// Bytes of a signer: its index, and the points of its nonces.
pub const SIGNER_BYTES: usize = 1 + COMMITMENT_BYTES;
/// Bytes of a commitment to nonces.
pub const COMMITMENT_BYTES: usize = 66;

/// Asks for a commitment to nonces.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignCommit {
    /// The recipient of the policy, who signs this.
    pub recipient: PublicKey,
    /// The policy.
    pub policy: PolicyId,
}

/// Asks for a part of a signature, by the nonces of an earlier commitment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignShare {
    /// The recipient of the policy, who signs this.
    pub recipient: PublicKey,
    /// The policy.
    pub policy: PolicyId,
    /// What is to be signed; at most [`MAX_SIGNED_BYTES`].
    #[serde(with = "serde_bytes")]
    pub message: Vec<u8>,
    /// The m signers, each its index and its commitment, in the order of their indices.
    pub signers: Vec<ByteBuf>,
}

impl SignShare {
    /// Whether it is within the limits.
    pub(super) fn fits(&self) -> bool {
        let whole = self.signers.iter().all(|it| it.len() == SIGNER_BYTES);
        let ordered = self
            .signers
            .windows(2)
            .all(|two| two[0].first() < two[1].first());
        self.message.len() <= MAX_SIGNED_BYTES
            && (2..=MAX_SIGNERS).contains(&self.signers.len())
            && whole
            && ordered
    }
}

/// A commitment to nonces.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Committed {
    /// The points of the nonces.
    pub commitment: ByteBuf,
    /// The public half of the split (SCHEMES §14.1), against which the node's part can be checked.
    pub split: ByteBuf,
}
