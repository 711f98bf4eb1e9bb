//! Key fragments: terms of the re-encryption key `(e/a)·H`. SCHEMES §11.2.

use core::fmt;

use blstrs::{G2Affine, Gt, Scalar, pairing};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Afgh, DOMAINS};
use crate::bls::{
    self, BlsDelegatingKey, BlsPublicKey, G1_LEN, G2_LEN, GT_LEN, decode_g2, decode_gt, encode_gt,
    wide_scalar,
};
use crate::curve;
use crate::error::{DecodeError, FragError, SplitError};
use crate::id::PolicyId;
use crate::key::LedgerKey;
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::ephemeral::{self, commitment_len};
use crate::scheme::wire::{Fields, Kind, prefix};
use crate::scheme::{Scheme, ThresholdRule};
use crate::splitkey::share_ids;
use crate::wipe::Kept;

pub(super) type Commitment = ephemeral::Commitment<GT_LEN>;

const BODY_LEN: usize = G2_LEN + commitment_len(GT_LEN);

/// What a share is committed to, `K = e(A, rk)`.
pub(super) fn committed(commitment: &Commitment) -> Gt {
    decode_gt(&commitment.public).expect("checked when the commitment was read or made")
}

/// Reads everything after the id, in the order it is written.
pub(super) fn read_commitment(
    id: [u8; 32],
    fields: &mut Fields<'_>,
) -> Result<Commitment, DecodeError> {
    let public = fields.bytes()?;
    decode_gt(&public).ok_or(DecodeError::Point { field: "K" })?;
    let commitment = Commitment::read(id, public, fields)?;
    let threshold = commitment.threshold;
    if ThresholdRule::AllOfN.permits(threshold) {
        return Ok(commitment);
    }
    Err(DecodeError::Threshold {
        needed: threshold.needed(),
        total: threshold.total(),
    })
}

/// One node's share, as received.
pub struct KeyFrag {
    /// The share, encoded: points of G2 cannot be wiped, bytes can.
    rk: Kept<[u8; G2_LEN]>,
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
        let id = Commitment::read_id(&mut fields)?;
        let rk = Kept::new(fields.bytes()?);
        decode_g2(&rk).ok_or(DecodeError::Point { field: "rk" })?;
        let commitment = read_commitment(id, &mut fields)?;
        Ok(Self { rk, commitment })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.write(&prefix(Kind::KeyFrag, Afgh::ID, Afgh::CURVE))
    }

    fn write(&self, head: &[u8]) -> Zeroizing<Vec<u8>> {
        // Reserved in full, so that growing leaves no copy of the share behind.
        let mut out = Zeroizing::new(Vec::with_capacity(head.len() + BODY_LEN));
        out.extend_from_slice(head);
        out.extend_from_slice(&self.commitment.id);
        out.extend_from_slice(self.rk.as_ref());
        self.commitment.write(&mut out);
        out
    }

    /// The share, for arithmetic.
    pub(super) fn rk(&self) -> G2Affine {
        Option::from(G2Affine::from_compressed_unchecked(&self.rk))
            .expect("the bytes were read or made as a point")
    }

    /// The share's encoding.
    pub(super) fn rk_bytes(&self) -> &[u8; G2_LEN] {
        &self.rk
    }

    pub(super) fn verify(self, policy: &PolicyParams) -> Result<VerifiedKeyFrag, FragError> {
        curve::count_operation();
        let id = policy.id();
        let label_key = narrow(policy)?;
        self.commitment.verify(&DOMAINS, policy, &id)?;
        if pairing(&label_key.point(), &self.rk()) != committed(&self.commitment) {
            return Err(FragError::Commitment);
        }
        Ok(VerifiedKeyFrag {
            frag: self,
            policy: id,
            label_key,
        })
    }
}

/// The label's key, or that the policy is of another scheme.
pub(super) fn narrow(policy: &PolicyParams) -> Result<BlsPublicKey, FragError> {
    Afgh::narrow(&policy.label_key).ok_or(FragError::Scheme {
        expected: policy.scheme(),
        found: Afgh::ID,
    })
}

/// One node's share, checked against its policy.
#[derive(Debug)]
pub struct VerifiedKeyFrag {
    pub(super) frag: KeyFrag,
    pub(super) policy: PolicyId,
    /// Half of what a proof is about.
    pub(super) label_key: BlsPublicKey,
}

impl VerifiedKeyFrag {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut fields = fields.exactly(32 + G1_LEN + BODY_LEN)?;
        let policy = PolicyId(fields.bytes()?);
        let label_key = bls::public_key(&fields.bytes()?);
        Ok(Self {
            policy,
            label_key: label_key.ok_or(DecodeError::Point { field: "label key" })?,
            frag: KeyFrag::read(fields)?,
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut head = prefix(Kind::StoredKeyFrag, Afgh::ID, Afgh::CURVE).to_vec();
        head.extend_from_slice(&self.policy.0);
        head.extend_from_slice(self.label_key.as_bytes());
        self.frag.write(&head)
    }

    pub(in crate::scheme) const fn policy(&self) -> PolicyId {
        self.policy
    }

    pub(in crate::scheme) const fn threshold(&self) -> Threshold {
        self.frag.commitment.threshold
    }
}

/// All but one term at random, the last one such that the sum is right.
pub(super) fn split(
    rng: &mut (impl CryptoRng + ?Sized),
    key: &BlsDelegatingKey,
    policy: &PolicyParams,
    signer: &LedgerKey,
    threshold: Threshold,
) -> Result<Vec<KeyFrag>, SplitError> {
    curve::count_operation();
    Afgh::RULE.check(Afgh::ID, threshold)?;
    if Afgh::narrow(&policy.label_key) != Some(key.public()) {
        return Err(SplitError::OtherKey("label key"));
    }
    if signer.public() != policy.ledger_key {
        return Err(SplitError::OtherKey("ledger key"));
    }
    let ephemeral = random_scalar(rng);
    let bytes = Zeroizing::new(ephemeral.to_bytes_be());
    let sealed = ephemeral::seal(rng, &DOMAINS, policy, &bytes);
    let mut rest = ephemeral * bls::invert(&key.scalar());
    let ids = share_ids(rng, usize::from(threshold.total()))?;
    let id = policy.id();
    let (label, last) = (key.public().point(), ids.len().saturating_sub(1));
    let mut frags = Vec::with_capacity(ids.len());
    for (at, share) in ids.into_iter().enumerate() {
        let term = if at == last { rest } else { random_scalar(rng) };
        rest -= term;
        let rk = G2Affine::from(bls::g2() * term);
        // One in GT has no encoding: a last term of zero, from a broken random number source.
        let public = encode_gt(&pairing(&label, &rk)).ok_or(SplitError::Randomness)?;
        let commitment = Commitment::sign(
            rng,
            &DOMAINS,
            (signer, &id),
            share,
            public,
            sealed,
            threshold,
        );
        frags.push(KeyFrag {
            rk: Kept::new(rk.to_compressed()),
            commitment,
        });
    }
    Ok(frags)
}

fn random_scalar(rng: &mut (impl CryptoRng + ?Sized)) -> Scalar {
    let mut wide = Zeroizing::new([0; 64]);
    rng.fill_bytes(wide.as_mut());
    wide_scalar(&wide)
}
