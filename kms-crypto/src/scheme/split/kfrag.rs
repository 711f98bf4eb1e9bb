//! Key fragments: one node's share of a re-encryption key. SCHEMES §8.3.

use core::fmt;

use k256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Bound, Split};
use crate::curve::{self, POINT_LEN, SCALAR_LEN, encode_point};
use crate::error::{DecodeError, FragError, SplitError};
use crate::id::PolicyId;
use crate::key::{EcDelegatingKey, LedgerKey};
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::Scheme;
use crate::scheme::wire::{Fields, Kind, prefix};
use crate::sign::Signature;
use crate::splitkey::{self, ID_LEN, Share, mul_u};
use crate::wipe::Kept;

const BODY_LEN: usize = ID_LEN + SCALAR_LEN + 2 * POINT_LEN + 2 + Signature::LEN;
const SIGNED_LEN: usize = 32 + ID_LEN + 2 * POINT_LEN + 2;
/// The domain of the owner's signature on each share.
const DOMAIN: &str = "kms/split/fragment/1";

/// The public half of a share, which the owner signs and the node passes on with each answer.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Commitment {
    pub(super) share: Share,
    pub(super) threshold: Threshold,
    pub(super) signature: Signature,
}

impl Commitment {
    /// The owner signed this share for this policy. The id of the policy binds the label, the
    /// recipient and the signer.
    pub(super) fn verify(&self, policy: &PolicyParams, id: &PolicyId) -> Result<(), FragError> {
        policy
            .ledger_key
            .verify(
                DOMAIN,
                &signed(id, &self.share, self.threshold),
                &self.signature,
            )
            .map_err(|_| FragError::Signature)
    }

    pub(super) const fn threshold_bytes(&self) -> [u8; 2] {
        [self.threshold.needed(), self.threshold.total()]
    }

    pub(super) const fn bound(&self, policy: PolicyId) -> Bound {
        Bound {
            policy,
            threshold: self.threshold,
        }
    }
}

fn signed(policy: &PolicyId, share: &Share, threshold: Threshold) -> Vec<u8> {
    let mut message = Vec::with_capacity(SIGNED_LEN);
    message.extend_from_slice(&policy.0);
    message.extend_from_slice(&share.id);
    message.extend_from_slice(&encode_point(&share.precursor));
    message.extend_from_slice(&encode_point(&share.u1));
    message.extend_from_slice(&[threshold.needed(), threshold.total()]);
    message
}

/// One node's share, as received.
pub struct KeyFrag {
    /// The share: the polynomial at this fragment's index.
    pub(super) rk: Kept<Scalar>,
    pub(super) commitment: Commitment,
}

impl fmt::Debug for KeyFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFrag(..)")
    }
}

impl KeyFrag {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut fields = fields.exactly(BODY_LEN)?;
        let id = fields.bytes()?;
        let rk = Kept::new(fields.scalar("rk")?);
        let commitment = Commitment {
            share: Share {
                id,
                precursor: fields.point("X")?,
                u1: fields.point("U1")?,
            },
            threshold: fields.threshold()?,
            signature: fields.signature()?,
        };
        Ok(Self { rk, commitment })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.write(&prefix(Kind::KeyFrag, Split::ID, Split::CURVE))
    }

    fn write(&self, head: &[u8]) -> Zeroizing<Vec<u8>> {
        // Reserved in full, so that growing leaves no copy of the share behind.
        let mut out = Zeroizing::new(Vec::with_capacity(head.len() + BODY_LEN));
        out.extend_from_slice(head);
        out.extend_from_slice(&self.commitment.share.id);
        out.extend_from_slice(&Zeroizing::new(<[u8; SCALAR_LEN]>::from(self.rk.to_bytes()))[..]);
        out.extend_from_slice(&encode_point(&self.commitment.share.precursor));
        out.extend_from_slice(&encode_point(&self.commitment.share.u1));
        out.extend_from_slice(&self.commitment.threshold_bytes());
        out.extend_from_slice(self.commitment.signature.as_bytes());
        out
    }

    pub(super) fn verify(self, policy: &PolicyParams) -> Result<VerifiedKeyFrag, FragError> {
        curve::count_operation();
        let id = policy.id();
        self.commitment.verify(policy, &id)?;
        if mul_u(&self.rk) != ProjectivePoint::from(self.commitment.share.u1) {
            return Err(FragError::Commitment);
        }
        Ok(VerifiedKeyFrag {
            frag: self,
            policy: id,
        })
    }
}

/// One node's share, checked against its policy.
#[derive(Debug)]
pub struct VerifiedKeyFrag {
    pub(super) frag: KeyFrag,
    pub(super) policy: PolicyId,
}

impl VerifiedKeyFrag {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut fields = fields.exactly(32 + BODY_LEN)?;
        let policy = PolicyId(fields.bytes()?);
        Ok(Self {
            policy,
            frag: KeyFrag::read(fields)?,
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut head = prefix(Kind::StoredKeyFrag, Split::ID, Split::CURVE).to_vec();
        head.extend_from_slice(&self.policy.0);
        self.frag.write(&head)
    }

    pub(in crate::scheme) const fn policy(&self) -> PolicyId {
        self.policy
    }

    pub(in crate::scheme) const fn threshold(&self) -> Threshold {
        self.frag.commitment.threshold
    }
}

/// Shares the re-encryption key `a·d⁻¹` by a polynomial of degree m − 1.
pub(super) fn split(
    rng: &mut (impl CryptoRng + ?Sized),
    key: &EcDelegatingKey,
    policy: &PolicyParams,
    signer: &LedgerKey,
    threshold: Threshold,
) -> Result<Vec<KeyFrag>, SplitError> {
    curve::count_operation();
    if Split::narrow(&policy.label_key) != Some(key.public()) {
        return Err(SplitError::OtherKey("label key"));
    }
    if signer.public() != policy.ledger_key {
        return Err(SplitError::OtherKey("ledger key"));
    }
    let bound = Bound {
        policy: policy.id(),
        threshold,
    };
    let shares = splitkey::share(rng, &bound, key.scalar(), &policy.recipient, threshold)?;
    let mut frags = Vec::with_capacity(shares.public.len());
    for (share, rk) in shares.public.into_iter().zip(shares.secret.iter()) {
        let message = signed(&bound.policy, &share, threshold);
        let signature = signer.sign(DOMAIN, &message, rng);
        let commitment = Commitment {
            share,
            threshold,
            signature,
        };
        frags.push(KeyFrag {
            rk: Kept::new(*rk),
            commitment,
        });
    }
    Ok(frags)
}
