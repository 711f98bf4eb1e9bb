//! Capsule fragments: one node's answer, with a proof that it used the share it was given. SCHEMES §8.4.

use core::fmt;

use k256::elliptic_curve::BatchNormalize;
use k256::elliptic_curve::ops::LinearCombination;
use k256::{AffinePoint, ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::generator::{U_BYTES, mul_u, u};
use super::kfrag::{Commitment, VerifiedKeyFrag};
use super::{Capsule, Split};
use crate::curve::{self, POINT_LEN, SCALAR_LEN, encode_point, hash_to_scalar, wide_scalar};
use crate::error::{DecodeError, FragError};
use crate::id::PolicyId;
use crate::kdf;
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::Scheme;
use crate::scheme::wire::{Fields, Kind, PREFIX_LEN, prefix};
use crate::sign::Signature;

const BODY_LEN: usize = 32 + 7 * POINT_LEN + 2 + SCALAR_LEN + Signature::LEN;

/// One node's answer, as received.
#[derive(Clone, PartialEq, Eq)]
pub struct CapsuleFrag {
    pub(super) commitment: Commitment,
    /// E₁ = rk·E.
    pub(super) e1: AffinePoint,
    /// V₁ = rk·V.
    pub(super) v1: AffinePoint,
    pub(super) proof: Proof,
}

/// That E₁, V₁ and U₁ are E, V and U times one number which the prover knows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proof {
    /// t·E.
    pub(super) e2: AffinePoint,
    /// t·V.
    pub(super) v2: AffinePoint,
    /// t·U.
    pub(super) u2: AffinePoint,
    /// t + h·rk.
    pub(super) rho: Scalar,
}

impl fmt::Debug for CapsuleFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapsuleFrag(..)")
    }
}

impl CapsuleFrag {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut fields = fields.exactly(BODY_LEN)?;
        let id = fields.bytes()?;
        let precursor = fields.point("X")?;
        let u1 = fields.point("U1")?;
        let threshold = fields.threshold()?;
        let signature = fields.signature()?;
        Ok(Self {
            commitment: Commitment {
                id,
                precursor,
                u1,
                threshold,
                signature,
            },
            e1: fields.point("E1")?,
            v1: fields.point("V1")?,
            proof: Proof {
                e2: fields.point("E2")?,
                v2: fields.point("V2")?,
                u2: fields.point("U2")?,
                rho: fields.scalar("rho")?,
            },
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREFIX_LEN + BODY_LEN);
        out.extend_from_slice(&prefix(Kind::CapsuleFrag, Split::ID, Split::CURVE));
        out.extend_from_slice(&self.commitment.id);
        out.extend_from_slice(&encode_point(&self.commitment.precursor));
        out.extend_from_slice(&encode_point(&self.commitment.u1));
        out.extend_from_slice(&self.commitment.threshold_bytes());
        out.extend_from_slice(self.commitment.signature.as_bytes());
        for point in [
            &self.e1,
            &self.v1,
            &self.proof.e2,
            &self.proof.v2,
            &self.proof.u2,
        ] {
            out.extend_from_slice(&encode_point(point));
        }
        out.extend_from_slice(&self.proof.rho.to_bytes());
        out
    }

    /// All three equations, each by itself: none follows from the others, because the prover chooses
    /// the points freely.
    pub(super) fn verify(
        self,
        capsule: &Capsule,
        policy: &PolicyParams,
    ) -> Result<VerifiedCapsuleFrag, FragError> {
        curve::count_operation();
        let id = policy.id();
        self.commitment.verify(policy, &id)?;
        let h = challenge(&id, capsule, &self);
        let rho = self.proof.rho;
        let u1 = &self.commitment.u1;
        if !holds(capsule.e, &self.e1, &self.proof.e2, rho, h) {
            return Err(FragError::ProofE);
        }
        if !holds(capsule.v, &self.v1, &self.proof.v2, rho, h) {
            return Err(FragError::ProofV);
        }
        if !holds(u(), u1, &self.proof.u2, rho, h) {
            return Err(FragError::ProofCommitment);
        }
        Ok(VerifiedCapsuleFrag {
            frag: self,
            policy: id,
            capsule: capsule.clone(),
        })
    }
}

/// `rho·base − h·first = second`, in variable time: everything here is public.
fn holds(
    base: ProjectivePoint,
    first: &AffinePoint,
    second: &AffinePoint,
    rho: Scalar,
    h: Scalar,
) -> bool {
    let terms = [(base, rho), (ProjectivePoint::from(*first), -h)];
    ProjectivePoint::lincomb_vartime(&terms) == ProjectivePoint::from(*second)
}

/// `h`: binds the policy, the share, the capsule and every point of the statement.
pub(super) fn challenge(policy: &PolicyId, capsule: &Capsule, frag: &CapsuleFrag) -> Scalar {
    let commitment = &frag.commitment;
    let points = [
        &commitment.precursor,
        &commitment.u1,
        &frag.e1,
        &frag.v1,
        &frag.proof.e2,
        &frag.proof.v2,
        &frag.proof.u2,
    ]
    .map(encode_point);
    let parts: [&[u8]; 6] = [
        &policy.0,
        &commitment.id,
        &commitment.threshold_bytes(),
        capsule.points(),
        &U_BYTES,
        points.as_flattened(),
    ];
    hash_to_scalar("kms/split/proof/1", &parts)
}

/// Multiplies the capsule by the share and proves it. Constant time in share and nonce.
pub(super) fn reencrypt(
    rng: &mut (impl CryptoRng + ?Sized),
    frag: &VerifiedKeyFrag,
    capsule: &Capsule,
) -> CapsuleFrag {
    curve::count_operation();
    let rk = &frag.frag.rk;
    let nonce = Zeroizing::new(proof_nonce(rng, frag, capsule));
    let points = [
        capsule.e * rk,
        capsule.v * rk,
        capsule.e * *nonce,
        capsule.v * *nonce,
        mul_u(&nonce),
    ];
    let [e1, v1, e2, v2, u2] = ProjectivePoint::batch_normalize(&points);
    let commitment = frag.frag.commitment.clone();
    // The response takes the place of this zero once the challenge over everything else is known.
    let proof = Proof {
        e2,
        v2,
        u2,
        rho: Scalar::ZERO,
    };
    let mut answer = CapsuleFrag {
        commitment,
        e1,
        v1,
        proof,
    };
    let h = challenge(&frag.policy, capsule, &answer);
    answer.proof.rho = *nonce + h * rk;
    answer
}

/// Two challenges answered with one nonce would give the share away, so the nonce depends on the
/// share, the capsule *and* fresh randomness: it repeats only with all of them.
fn proof_nonce(
    rng: &mut (impl CryptoRng + ?Sized),
    frag: &VerifiedKeyFrag,
    capsule: &Capsule,
) -> Scalar {
    let mut fresh = Zeroizing::new([0u8; 32]);
    rng.fill_bytes(fresh.as_mut());
    let key = Zeroizing::new(<[u8; SCALAR_LEN]>::from(frag.frag.rk.to_bytes()));
    let context: [&[u8]; 4] = [
        &frag.policy.0,
        &frag.frag.commitment.id,
        capsule.as_bytes(),
        &fresh[..],
    ];
    wide_scalar(&kdf::derive64(&key, "kms/split/nonce/1", &context))
}

/// One node's answer, its proof checked against one capsule and policy.
#[derive(Clone)]
pub struct VerifiedCapsuleFrag {
    pub(super) frag: CapsuleFrag,
    pub(super) policy: PolicyId,
    pub(super) capsule: Capsule,
}

impl VerifiedCapsuleFrag {
    pub(in crate::scheme) const fn threshold(&self) -> Threshold {
        self.frag.commitment.threshold
    }

    pub(in crate::scheme) const fn share_id(&self) -> [u8; 32] {
        self.frag.commitment.id
    }
}

impl fmt::Debug for VerifiedCapsuleFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedCapsuleFrag(..)")
    }
}
