//! The public half of a split: what its dealer has signed. SCHEMES §14.1.

use frost_secp256k1::keys::{PublicKeyPackage, VerifiableSecretSharingCommitment};

use crate::curve::{self, POINT_LEN, encode_point};
use crate::error::{DecodeError, FragError};
use crate::id::PolicyId;
use crate::key::{LabelPublicKey, LedgerKey};
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::wire::Fields;
use crate::sign::Signature;

const DOMAIN: &str = "kms/frost/split/1";
/// m and n, and the signature.
const FIXED_LEN: usize = 2 + Signature::LEN;

/// The public half, as received. It is the same at all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    threshold: Threshold,
    /// φ₀, φ₁, …: the points of the polynomial's coefficients, m of them.
    points: Vec<[u8; POINT_LEN]>,
    signature: Signature,
}

impl Split {
    /// Signs the public half of a split.
    pub(super) fn sign(
        policy: &PolicyId,
        threshold: Threshold,
        points: Vec<[u8; POINT_LEN]>,
        signer: &LedgerKey,
        rng: &mut (impl rand_core::CryptoRng + ?Sized),
    ) -> Self {
        let signature = signer.sign(DOMAIN, &signed(policy, threshold, &points), rng);
        Self {
            threshold,
            points,
            signature,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// Anything but a threshold, as many points as it says, and a signature.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::read(Fields::new(bytes, "split of a signing key"))
    }

    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let threshold = fields.threshold()?;
        let (needed, total) = (threshold.needed(), threshold.total());
        super::check_threshold(threshold).map_err(|_| DecodeError::Threshold { needed, total })?;
        let rest = usize::from(needed) * POINT_LEN + Signature::LEN;
        let mut fields = fields.exactly(rest)?;
        let point = |_| Ok(encode_point(&fields.point("coefficient")?));
        let points = (0..needed).map(point).collect::<Result<_, DecodeError>>()?;
        Ok(Self {
            threshold,
            points,
            signature: fields.signature()?,
        })
    }

    /// Its encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(&[self.threshold.needed(), self.threshold.total()]);
        out.extend(self.points.iter().flatten());
        out.extend_from_slice(self.signature.as_bytes());
        out
    }

    pub(super) const fn encoded_len(&self) -> usize {
        FIXED_LEN + self.points.len() * POINT_LEN
    }

    /// Checks that the policy's owner dealt its group key so.
    ///
    /// # Errors
    /// Which check failed.
    pub fn verify(self, policy: &PolicyParams) -> Result<VerifiedSplit, FragError> {
        curve::count_operation();
        let LabelPublicKey::Signing(group) = policy.label_key else {
            return Err(FragError::Scheme {
                expected: policy.scheme(),
                found: super::ID,
            });
        };
        if self.points.first() != Some(group.as_bytes()) {
            return Err(FragError::Commitment);
        }
        policy
            .ledger_key
            .verify(
                DOMAIN,
                &signed(&policy.id(), self.threshold, &self.points),
                &self.signature,
            )
            .map_err(|_| FragError::Signature)?;
        Ok(VerifiedSplit(self))
    }

    /// How many of how many nodes sign.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The points, for checking shares.
    pub(super) fn commitment(&self) -> VerifiableSecretSharingCommitment {
        VerifiableSecretSharingCommitment::deserialize(&self.points)
            .expect("they were read as points")
    }

    /// What the shares of these nodes are checked against.
    pub(super) fn keys(&self, indices: impl Iterator<Item = u8>) -> PublicKeyPackage {
        let indices = indices.map(super::identifier).collect();
        PublicKeyPackage::from_commitment(&indices, &self.commitment())
            .expect("there is a first point")
    }
}

/// The public half of a split that a policy's owner has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSplit(Split);

impl VerifiedSplit {
    /// What it says.
    #[must_use]
    pub const fn split(&self) -> &Split {
        &self.0
    }
}

fn signed(policy: &PolicyId, threshold: Threshold, points: &[[u8; POINT_LEN]]) -> Vec<u8> {
    let mut message = policy.0.to_vec();
    message.extend_from_slice(&[threshold.needed(), threshold.total()]);
    message.extend(points.iter().flatten());
    message
}
