//! Key fragments: one node's share of a re-encryption key. SCHEMES §8.3.

use core::fmt;

use k256::elliptic_curve::BatchNormalize;
use k256::{AffinePoint, ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::generator::mul_u;
use super::{Shared, Split};
use crate::curve::{self, POINT_LEN, SCALAR_LEN, encode_point, random_scalar};
use crate::error::{DecodeError, FragError, SplitError};
use crate::id::PolicyId;
use crate::key::{DelegatingKey, LedgerKey};
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::Scheme;
use crate::scheme::wire::{Fields, Kind, prefix};
use crate::sign::Signature;

const BODY_LEN: usize = ID_LEN + SCALAR_LEN + 2 * POINT_LEN + 2 + Signature::LEN;
const ID_LEN: usize = 32;
const SIGNED_LEN: usize = 32 + ID_LEN + 2 * POINT_LEN + 2;
/// The domain of the owner's signature on each share.
const DOMAIN: &str = "kms/split/fragment/1";

/// The public half of a share, which the owner signs and the node passes on with each answer.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Commitment {
    /// Names the share.
    pub(super) id: [u8; ID_LEN],
    /// X, the same for all shares of one split.
    pub(super) precursor: AffinePoint,
    /// U₁ = rk·U.
    pub(super) u1: AffinePoint,
    pub(super) threshold: Threshold,
    pub(super) signature: Signature,
}

impl Commitment {
    /// The owner signed this share for this policy. The id of the policy binds the label, the
    /// recipient and the signer.
    pub(super) fn verify(&self, policy: &PolicyParams, id: &PolicyId) -> Result<(), FragError> {
        let message = signed(id, &self.id, &self.precursor, &self.u1, self.threshold);
        policy
            .ledger_key
            .verify(DOMAIN, &message, &self.signature)
            .map_err(|_| FragError::Signature)
    }

    pub(super) fn threshold_bytes(&self) -> [u8; 2] {
        [self.threshold.needed(), self.threshold.total()]
    }
}

fn signed(
    policy: &PolicyId,
    id: &[u8; ID_LEN],
    precursor: &AffinePoint,
    u1: &AffinePoint,
    threshold: Threshold,
) -> Vec<u8> {
    let mut message = Vec::with_capacity(SIGNED_LEN);
    message.extend_from_slice(&policy.0);
    message.extend_from_slice(id);
    message.extend_from_slice(&encode_point(precursor));
    message.extend_from_slice(&encode_point(u1));
    message.extend_from_slice(&[threshold.needed(), threshold.total()]);
    message
}

/// One node's share, as received.
pub struct KeyFrag {
    /// The share: the polynomial at this fragment's index.
    pub(super) rk: Scalar,
    pub(super) commitment: Commitment,
}

impl Drop for KeyFrag {
    fn drop(&mut self) {
        self.rk.zeroize();
    }
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
        let rk = Zeroizing::new(fields.scalar("rk")?);
        let commitment = Commitment {
            id,
            precursor: fields.point("X")?,
            u1: fields.point("U1")?,
            threshold: fields.threshold()?,
            signature: fields.signature()?,
        };
        Ok(Self {
            rk: *rk,
            commitment,
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.write(&prefix(Kind::KeyFrag, Split::ID, Split::CURVE))
    }

    fn write(&self, head: &[u8]) -> Zeroizing<Vec<u8>> {
        // Reserved in full, so that growing leaves no copy of the share behind.
        let mut out = Zeroizing::new(Vec::with_capacity(head.len() + BODY_LEN));
        out.extend_from_slice(head);
        out.extend_from_slice(&self.commitment.id);
        out.extend_from_slice(&Zeroizing::new(<[u8; SCALAR_LEN]>::from(self.rk.to_bytes()))[..]);
        out.extend_from_slice(&encode_point(&self.commitment.precursor));
        out.extend_from_slice(&encode_point(&self.commitment.u1));
        out.extend_from_slice(&self.commitment.threshold_bytes());
        out.extend_from_slice(self.commitment.signature.as_bytes());
        out
    }

    pub(super) fn verify(self, policy: &PolicyParams) -> Result<VerifiedKeyFrag, FragError> {
        curve::count_operation();
        let id = policy.id();
        self.commitment.verify(policy, &id)?;
        if mul_u(&self.rk) != ProjectivePoint::from(self.commitment.u1) {
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
    key: &DelegatingKey,
    policy: &PolicyParams,
    signer: &LedgerKey,
    threshold: Threshold,
) -> Result<Vec<KeyFrag>, SplitError> {
    curve::count_operation();
    if key.public() != policy.label_key {
        return Err(SplitError::OtherKey("label key"));
    }
    if signer.public() != policy.ledger_key {
        return Err(SplitError::OtherKey("ledger key"));
    }
    let policy_id = policy.id();
    let x = Zeroizing::new(random_scalar(rng));
    let precursor = ProjectivePoint::mul_by_generator(&x).to_affine();
    let dh = Zeroizing::new(policy.recipient.point() * *x);
    let shared = Shared::new(
        &policy_id,
        &encode_point(&precursor),
        &policy.recipient,
        &dh,
    );
    let divisor = Zeroizing::new(shared.divisor());
    let inverse = Option::<Scalar>::from(divisor.invert()).expect("hashes to scalars are not zero");
    let inverse = Zeroizing::new(inverse);

    let mut coefficients = Zeroizing::new(Vec::with_capacity(usize::from(threshold.needed())));
    coefficients.push(*key.scalar() * *inverse);
    for _ in 1..threshold.needed() {
        coefficients.push(random_scalar(rng));
    }
    let total = usize::from(threshold.total());
    let ids = share_ids(rng, total)?;
    let mut shares = Zeroizing::new(Vec::with_capacity(total));
    for id in &ids {
        let index = Zeroizing::new(shared.index(id));
        let share = coefficients
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, c| sum * *index + c);
        // Zero has no encoding; only a broken random number source gets here.
        if bool::from(share.ct_eq(&Scalar::ZERO)) {
            return Err(SplitError::Randomness);
        }
        shares.push(share);
    }
    let points: Vec<ProjectivePoint> = shares.iter().map(mul_u).collect();
    let commitments: Vec<AffinePoint> = ProjectivePoint::batch_normalize(points.as_slice());

    let mut frags = Vec::with_capacity(total);
    for ((id, rk), u1) in ids.into_iter().zip(shares.iter()).zip(commitments) {
        let message = signed(&policy_id, &id, &precursor, &u1, threshold);
        let signature = signer.sign(DOMAIN, &message, rng);
        let commitment = Commitment {
            id,
            precursor,
            u1,
            threshold,
            signature,
        };
        frags.push(KeyFrag {
            rk: *rk,
            commitment,
        });
    }
    Ok(frags)
}

/// Random and distinct. A repetition means that the source of randomness is broken, and then nothing
/// made from it may leave this function.
fn share_ids(
    rng: &mut (impl CryptoRng + ?Sized),
    total: usize,
) -> Result<Vec<[u8; ID_LEN]>, SplitError> {
    let mut ids = vec![[0; ID_LEN]; total];
    ids.iter_mut().for_each(|id| rng.fill_bytes(id));
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() == total {
        Ok(ids)
    } else {
        Err(SplitError::Randomness)
    }
}
