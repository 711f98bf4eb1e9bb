//! Capsule fragments: a node's answer, with a proof that one share pairs A to K and the capsule to the
//! answer. SCHEMES §11.3.

use core::fmt;

use blstrs::{G2Affine, Gt, Scalar, pairing};
use group::Group;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::kfrag::{Commitment, VerifiedKeyFrag, committed, narrow, read_commitment};
use super::{Afgh, Capsule, DOMAINS};
use crate::bls::{
    self, G2_LEN, GT_LEN, decode_g2, decode_gt, decode_scalar, encode_gt, hash_to_scalar,
    wide_scalar,
};
use crate::curve::{self, SCALAR_LEN};
use crate::error::{DecodeError, FragError};
use crate::id::PolicyId;
use crate::kdf;
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::Scheme;
use crate::scheme::ephemeral::commitment_len;
use crate::scheme::wire::{Fields, Kind, PREFIX_LEN, prefix};

const BODY_LEN: usize = commitment_len(GT_LEN) + GT_LEN + SCALAR_LEN + G2_LEN;

/// One node's answer, as received.
#[derive(Clone, PartialEq, Eq)]
pub struct CapsuleFrag {
    pub(super) commitment: Commitment,
    /// S = e(C, rk).
    pub(super) answer: Gt,
    /// The challenge.
    h: Scalar,
    /// t·H + h·rk.
    rho: G2Affine,
}

impl fmt::Debug for CapsuleFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapsuleFrag(..)")
    }
}

impl CapsuleFrag {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut fields = fields.exactly(BODY_LEN)?;
        let id = Commitment::read_id(&mut fields)?;
        let commitment = read_commitment(id, &mut fields)?;
        let answer = decode_gt(&fields.bytes()?).ok_or(DecodeError::Point { field: "S" })?;
        let h = decode_scalar(&fields.bytes()?).ok_or(DecodeError::Scalar { field: "h" })?;
        let rho = decode_g2(&fields.bytes()?).ok_or(DecodeError::Point { field: "rho" })?;
        Ok(Self {
            commitment,
            answer,
            h,
            rho,
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREFIX_LEN + BODY_LEN);
        out.extend_from_slice(&prefix(Kind::CapsuleFrag, Afgh::ID, Afgh::CURVE));
        out.extend_from_slice(&self.commitment.id);
        self.commitment.write(&mut out);
        out.extend_from_slice(&encoded(&self.answer));
        out.extend_from_slice(&self.h.to_bytes_be());
        out.extend_from_slice(&self.rho.to_compressed());
        out
    }

    /// Recomputes what the prover committed to and with it the challenge. Variable time: everything
    /// here is public.
    pub(super) fn verify(
        self,
        capsule: &Capsule,
        policy: &PolicyParams,
    ) -> Result<VerifiedCapsuleFrag, FragError> {
        curve::count_operation();
        let id = policy.id();
        let label_key = narrow(policy)?;
        self.commitment.verify(&DOMAINS, policy, &id)?;
        let first = pairing(&label_key.point(), &self.rho) - committed(&self.commitment) * self.h;
        let second = pairing(&capsule.point, &self.rho) - self.answer * self.h;
        let expected = challenge(
            &id,
            capsule,
            &self.commitment,
            &self.answer,
            [first, second],
        );
        if expected != Some(self.h) {
            return Err(FragError::Proof);
        }
        Ok(VerifiedCapsuleFrag {
            frag: self,
            policy: id,
            capsule: capsule.clone(),
        })
    }
}

fn encoded(element: &Gt) -> [u8; GT_LEN] {
    encode_gt(element)
        .expect("neither reading nor pairing points that are not the identity gives one")
}

/// `h`: binds the policy (and so the label's key), the share, the capsule and the answer. Nothing when
/// a commitment is one, which an honest nonce never makes.
fn challenge(
    policy: &PolicyId,
    capsule: &Capsule,
    commitment: &Commitment,
    answer: &Gt,
    nonces: [Gt; 2],
) -> Option<Scalar> {
    let [first, second] = nonces;
    let elements = [encode_gt(answer)?, encode_gt(&first)?, encode_gt(&second)?];
    let capsule = capsule.bytes();
    let parts: [&[u8]; 6] = [
        &policy.0,
        &commitment.id,
        &commitment.threshold_bytes(),
        &commitment.public,
        &capsule,
        elements.as_flattened(),
    ];
    Some(hash_to_scalar(DOMAINS.proof, &parts))
}

/// Pairs the capsule with the share and proves it.
pub(super) fn reencrypt(
    rng: &mut (impl CryptoRng + ?Sized),
    frag: &VerifiedKeyFrag,
    capsule: &Capsule,
) -> CapsuleFrag {
    curve::count_operation();
    let rk = frag.frag.rk();
    let commitment = frag.frag.commitment.clone();
    let nonce = bls::g2() * proof_nonce(rng, frag, capsule);
    let hidden = G2Affine::from(nonce);
    let answer = pairing(&capsule.point, &rk);
    let nonces = [
        pairing(&frag.label_key.point(), &hidden),
        pairing(&capsule.point, &hidden),
    ];
    let h = challenge(&frag.policy, capsule, &commitment, &answer, nonces)
        .expect("neither the share, the nonce nor the capsule is the identity");
    // The identity has no encoding; the nonce that makes it occurs once in 2^254.
    let mut rho = nonce + rk * h;
    if bool::from(rho.is_identity()) {
        rho = bls::g2();
    }
    CapsuleFrag {
        commitment,
        answer,
        h,
        rho: G2Affine::from(rho),
    }
}

/// Repeats only with the share, the capsule *and* the randomness; a repeated nonce would give the share
/// away.
fn proof_nonce(
    rng: &mut (impl CryptoRng + ?Sized),
    frag: &VerifiedKeyFrag,
    capsule: &Capsule,
) -> Scalar {
    let mut fresh = Zeroizing::new([0u8; 32]);
    rng.fill_bytes(fresh.as_mut());
    let capsule = capsule.bytes();
    let context: [&[u8]; 4] = [
        &frag.policy.0,
        &frag.frag.commitment.id,
        &capsule,
        &fresh[..],
    ];
    let wide = kdf::derive::<64>(frag.frag.rk_bytes(), DOMAINS.nonce, &context);
    wide_scalar(&wide)
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

    pub(in crate::scheme) fn split_id(&self) -> Vec<u8> {
        self.frag.commitment.sealed.to_vec()
    }
}

impl fmt::Debug for VerifiedCapsuleFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedCapsuleFrag(..)")
    }
}
