//! Capsule fragments: one node's answer, with a proof that it used the share it was given. SCHEMES §8.4.

use core::fmt;

use rand_core::CryptoRng;

use super::kfrag::{Commitment, VerifiedKeyFrag};
use super::{Capsule, Split};
use crate::curve::{self, POINT_LEN, SCALAR_LEN, encode_point};
use crate::error::{DecodeError, FragError};
use crate::id::PolicyId;
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::Scheme;
use crate::scheme::wire::{Fields, Kind, PREFIX_LEN, prefix};
use crate::sign::Signature;
use crate::splitkey::{self, Answer, Claim, Proof, Share, check_all, equations};

const BODY_LEN: usize = 32 + 7 * POINT_LEN + 2 + SCALAR_LEN + Signature::LEN;

/// One node's answer, as received.
#[derive(Clone, PartialEq, Eq)]
pub struct CapsuleFrag {
    pub(super) commitment: Commitment,
    pub(super) answer: Answer,
}

impl fmt::Debug for CapsuleFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapsuleFrag(..)")
    }
}

impl CapsuleFrag {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut fields = fields.exactly(BODY_LEN)?;
        let share = Share {
            id: fields.bytes()?,
            precursor: fields.point("X")?,
            u1: fields.point("U1")?,
        };
        let threshold = fields.threshold()?;
        let signature = fields.signature()?;
        let commitment = Commitment {
            share,
            threshold,
            signature,
        };
        let (e1, v1) = (fields.point("E1")?, fields.point("V1")?);
        let proof = Proof {
            e2: fields.point("E2")?,
            v2: fields.point("V2")?,
            u2: fields.point("U2")?,
            rho: fields.scalar("rho")?,
        };
        let answer = Answer { e1, v1, proof };
        Ok(Self { commitment, answer })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Vec<u8> {
        let (share, answer) = (&self.commitment.share, &self.answer);
        let mut out = Vec::with_capacity(PREFIX_LEN + BODY_LEN);
        out.extend_from_slice(&prefix(Kind::CapsuleFrag, Split::ID, Split::CURVE));
        out.extend_from_slice(&share.id);
        out.extend_from_slice(&encode_point(&share.precursor));
        out.extend_from_slice(&encode_point(&share.u1));
        out.extend_from_slice(&self.commitment.threshold_bytes());
        out.extend_from_slice(self.commitment.signature.as_bytes());
        let proof = &answer.proof;
        for point in [&answer.e1, &answer.v1, &proof.e2, &proof.v2, &proof.u2] {
            out.extend_from_slice(&encode_point(point));
        }
        out.extend_from_slice(&proof.rho.to_bytes());
        out
    }

    pub(super) fn verify(
        self,
        capsule: &Capsule,
        policy: &PolicyParams,
    ) -> Result<VerifiedCapsuleFrag, FragError> {
        curve::count_operation();
        let id = policy.id();
        self.commitment.verify(policy, &id)?;
        let bound = self.commitment.bound(id);
        equations(&bound, &capsule.core, &self.commitment.share, &self.answer)?;
        Ok(VerifiedCapsuleFrag {
            frag: self,
            policy: id,
            capsule: capsule.clone(),
        })
    }
}

/// Checks answers to one capsule, their proofs together; `signed` says whether the owner signed the
/// share of one.
pub(super) fn verify_all(
    frags: Vec<CapsuleFrag>,
    capsule: &Capsule,
    policy: &PolicyId,
    mut signed: impl FnMut(&Commitment) -> Result<(), FragError>,
) -> Vec<Result<VerifiedCapsuleFrag, FragError>> {
    curve::count_operation();
    let claims = frags.iter().map(|frag| Claim {
        signed: signed(&frag.commitment),
        dialect: frag.commitment.bound(*policy),
        share: &frag.commitment.share,
        answer: &frag.answer,
    });
    let verdicts = check_all(&capsule.core, &claims.collect::<Vec<_>>());
    let both = frags.into_iter().zip(verdicts);
    both.map(|(frag, verdict)| {
        verdict.map(|()| VerifiedCapsuleFrag {
            frag,
            policy: *policy,
            capsule: capsule.clone(),
        })
    })
    .collect()
}

/// Multiplies the capsule by the share and proves it. Constant time in share and nonce.
pub(super) fn reencrypt(
    rng: &mut (impl CryptoRng + ?Sized),
    frag: &VerifiedKeyFrag,
    capsule: &Capsule,
) -> CapsuleFrag {
    curve::count_operation();
    let commitment = frag.frag.commitment.clone();
    let share = &commitment.share;
    let bound = commitment.bound(frag.policy);
    let context: [&[u8]; 3] = [&frag.policy.0, &share.id, capsule.as_bytes()];
    let rk = &frag.frag.rk;
    let answer = splitkey::prove(rng, &bound, &capsule.core, share, rk, &context);
    CapsuleFrag { commitment, answer }
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
        self.frag.commitment.share.id
    }

    pub(in crate::scheme) fn split_id(&self) -> Vec<u8> {
        encode_point(&self.frag.commitment.share.precursor).to_vec()
    }
}

impl fmt::Debug for VerifiedCapsuleFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedCapsuleFrag(..)")
    }
}
