//! Capsule fragments: a node's answer, with a proof that one number takes P to Q and the capsule to the
//! answer. SCHEMES §10.3.

use core::fmt;
use core::marker::PhantomData;

use k256::elliptic_curve::BatchNormalize;
use k256::elliptic_curve::group::Group;
use k256::elliptic_curve::ops::LinearCombination;
use k256::{AffinePoint, ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::kfrag::{Commitment, VerifiedKeyFrag, ephemeral_point, narrow, read_commitment};
use super::{Capsule, Direction};
use crate::curve::{self, POINT_LEN, SCALAR_LEN, encode_point, hash_to_scalar, wide_scalar};
use crate::error::{DecodeError, FragError};
use crate::id::{CurveId, PolicyId};
use crate::kdf;
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::ephemeral::commitment_len;
use crate::scheme::wire::{Fields, Kind, PREFIX_LEN, prefix};

const BODY_LEN: usize = commitment_len(POINT_LEN) + POINT_LEN + 2 * SCALAR_LEN;

/// One node's answer, as received.
#[derive(Clone, PartialEq, Eq)]
pub struct CapsuleFrag<D> {
    pub(super) commitment: Commitment,
    /// C₁ = rk·C.
    pub(super) point: AffinePoint,
    /// The challenge.
    h: Scalar,
    /// t + h·rk.
    rho: Scalar,
    scheme: PhantomData<D>,
}

impl<D> fmt::Debug for CapsuleFrag<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapsuleFrag(..)")
    }
}

impl<D: Direction> CapsuleFrag<D> {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut fields = fields.exactly(BODY_LEN)?;
        let id = Commitment::read_id(&mut fields)?;
        let commitment = read_commitment(id, &mut fields)?;
        Ok(Self {
            commitment,
            point: fields.point("C1")?,
            h: fields.scalar("h")?,
            rho: fields.scalar("rho")?,
            scheme: PhantomData,
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREFIX_LEN + BODY_LEN);
        out.extend_from_slice(&prefix(Kind::CapsuleFrag, D::SCHEME, CurveId::SECP256K1));
        out.extend_from_slice(&self.commitment.id);
        self.commitment.write(&mut out);
        out.extend_from_slice(&encode_point(&self.point));
        out.extend_from_slice(&self.h.to_bytes());
        out.extend_from_slice(&self.rho.to_bytes());
        out
    }

    /// Recomputes what the prover committed to and with it the challenge. Variable time: everything
    /// here is public.
    pub(super) fn verify(
        self,
        capsule: &Capsule<D>,
        policy: &PolicyParams,
    ) -> Result<VerifiedCapsuleFrag<D>, FragError> {
        curve::count_operation();
        let id = policy.id();
        let label_key = narrow::<D>(policy)?;
        self.commitment.verify(&D::DOMAINS, policy, &id)?;
        let (p, q) = D::statement(label_key.point(), ephemeral_point(&self.commitment));
        let first = [(p, self.rho), (q, -self.h)];
        let second = [
            (ProjectivePoint::from(capsule.point), self.rho),
            (ProjectivePoint::from(self.point), -self.h),
        ];
        let commitments = [
            ProjectivePoint::lincomb_vartime(&first),
            ProjectivePoint::lincomb_vartime(&second),
        ];
        // An honest nonce is not zero, and the identity has no encoding to be hashed.
        if commitments.iter().any(|point| point.is_identity().into()) {
            return Err(FragError::Proof);
        }
        let commitments = commitments.map(|point| point.to_affine());
        if challenge(&id, capsule, &self.commitment, &self.point, commitments) != self.h {
            return Err(FragError::Proof);
        }
        Ok(VerifiedCapsuleFrag {
            frag: self,
            policy: id,
            capsule: capsule.point,
        })
    }
}

/// `h`: binds the policy (and so the label's key), the share, the capsule and the answer.
fn challenge<D: Direction>(
    policy: &PolicyId,
    capsule: &Capsule<D>,
    commitment: &Commitment,
    answer: &AffinePoint,
    nonces: [AffinePoint; 2],
) -> Scalar {
    let [first, second] = nonces;
    let points = [answer, &first, &second].map(encode_point);
    let capsule = capsule.bytes();
    let parts: [&[u8]; 6] = [
        &policy.0,
        &commitment.id,
        &commitment.threshold_bytes(),
        &commitment.public,
        &capsule,
        points.as_flattened(),
    ];
    hash_to_scalar(D::DOMAINS.proof, &parts)
}

/// Multiplies the capsule by the re-encryption key and proves it. Constant time in key and nonce.
pub(super) fn reencrypt<D: Direction>(
    rng: &mut (impl CryptoRng + ?Sized),
    frag: &VerifiedKeyFrag<D>,
    capsule: &Capsule<D>,
) -> CapsuleFrag<D> {
    curve::count_operation();
    let rk = &*frag.frag.rk;
    let commitment = frag.frag.commitment.clone();
    let nonce = Zeroizing::new(proof_nonce(rng, frag, capsule));
    let (p, _) = D::statement(frag.label_key.point(), ephemeral_point(&commitment));
    let point = ProjectivePoint::from(capsule.point);
    let [answer, first, second] =
        ProjectivePoint::batch_normalize(&[point * rk, p * *nonce, point * *nonce]);
    let h = challenge(&frag.policy, capsule, &commitment, &answer, [first, second]);
    CapsuleFrag {
        commitment,
        point: answer,
        h,
        rho: *nonce + h * rk,
        scheme: PhantomData,
    }
}

/// Repeats only with the key, the capsule *and* the randomness; a repeated nonce would give the key
/// away.
fn proof_nonce<D: Direction>(
    rng: &mut (impl CryptoRng + ?Sized),
    frag: &VerifiedKeyFrag<D>,
    capsule: &Capsule<D>,
) -> Scalar {
    let mut fresh = Zeroizing::new([0u8; 32]);
    rng.fill_bytes(fresh.as_mut());
    let key = Zeroizing::new(<[u8; SCALAR_LEN]>::from(frag.frag.rk.to_bytes()));
    let capsule = capsule.bytes();
    let context: [&[u8]; 4] = [
        &frag.policy.0,
        &frag.frag.commitment.id,
        &capsule,
        &fresh[..],
    ];
    wide_scalar(&kdf::derive64(&key, D::DOMAINS.nonce, &context))
}

/// One node's answer, its proof checked against one capsule and policy.
#[derive(Clone)]
pub struct VerifiedCapsuleFrag<D> {
    pub(super) frag: CapsuleFrag<D>,
    pub(super) policy: PolicyId,
    pub(super) capsule: AffinePoint,
}

impl<D> VerifiedCapsuleFrag<D> {
    pub(in crate::scheme) const fn threshold(&self) -> Threshold {
        self.frag.commitment.threshold
    }

    pub(in crate::scheme) const fn share_id(&self) -> [u8; 32] {
        self.frag.commitment.id
    }

    pub(in crate::scheme) fn split_id(&self) -> Vec<u8> {
        self.frag.commitment.sealed.to_vec()
    }
}

impl<D> fmt::Debug for VerifiedCapsuleFrag<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedCapsuleFrag(..)")
    }
}
