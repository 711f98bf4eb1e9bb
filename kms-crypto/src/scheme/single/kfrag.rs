//! Key fragments: the same re-encryption key for every node. SCHEMES §10.2.

use core::fmt;
use core::marker::PhantomData;

use k256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Direction;
use crate::curve::{self, POINT_LEN, SCALAR_LEN, decode_point, encode_point, random_scalar};
use crate::error::{DecodeError, FragError, SplitError};
use crate::id::{CurveId, PolicyId};
use crate::key::{EcDelegatingKey, LedgerKey, PublicKey};
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::ephemeral::{self, commitment_len};
use crate::scheme::wire::{Fields, Kind, prefix};
use crate::scheme::{Scheme, ThresholdRule};
use crate::splitkey::share_ids;
use crate::wipe::Kept;

pub(super) type Commitment = ephemeral::Commitment<POINT_LEN>;

const BODY_LEN: usize = SCALAR_LEN + commitment_len(POINT_LEN);

/// The point to which the shares of one policy are committed, Ê.
pub(super) fn ephemeral_point(commitment: &Commitment) -> ProjectivePoint {
    decode_point(&commitment.public)
        .expect("checked when the commitment was read or made")
        .into()
}

/// Reads everything after the id, in the order it is written.
pub(super) fn read_commitment(
    id: [u8; 32],
    fields: &mut Fields<'_>,
) -> Result<Commitment, DecodeError> {
    let public = encode_point(&fields.point("ephemeral key")?);
    let commitment = Commitment::read(id, public, fields)?;
    let threshold = commitment.threshold;
    if ThresholdRule::OneOfN.permits(threshold) {
        return Ok(commitment);
    }
    Err(DecodeError::Threshold {
        needed: threshold.needed(),
        total: threshold.total(),
    })
}

/// One node's share, as received.
pub struct KeyFrag<D> {
    /// The re-encryption key.
    pub(super) rk: Kept<Scalar>,
    pub(super) commitment: Commitment,
    scheme: PhantomData<D>,
}

impl<D> fmt::Debug for KeyFrag<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFrag(..)")
    }
}

impl<D: Direction> KeyFrag<D> {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut fields = fields.exactly(BODY_LEN)?;
        let id = Commitment::read_id(&mut fields)?;
        let rk = Kept::new(fields.scalar("rk")?);
        let commitment = read_commitment(id, &mut fields)?;
        Ok(Self {
            rk,
            commitment,
            scheme: PhantomData,
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.write(&prefix(Kind::KeyFrag, D::SCHEME, CurveId::SECP256K1))
    }

    fn write(&self, head: &[u8]) -> Zeroizing<Vec<u8>> {
        // Reserved in full, so that growing leaves no copy of the key behind.
        let mut out = Zeroizing::new(Vec::with_capacity(head.len() + BODY_LEN));
        out.extend_from_slice(head);
        out.extend_from_slice(&self.commitment.id);
        out.extend_from_slice(&Zeroizing::new(<[u8; SCALAR_LEN]>::from(self.rk.to_bytes()))[..]);
        self.commitment.write(&mut out);
        out
    }

    /// The owner signed the share for this policy, and it takes P to Q.
    pub(super) fn verify(self, policy: &PolicyParams) -> Result<VerifiedKeyFrag<D>, FragError> {
        curve::count_operation();
        let id = policy.id();
        let label_key = narrow::<D>(policy)?;
        self.commitment.verify(&D::DOMAINS, policy, &id)?;
        let ephemeral = ephemeral_point(&self.commitment);
        let (p, q) = D::statement(label_key.point(), ephemeral);
        if p * *self.rk != q {
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
pub(super) fn narrow<D: Direction>(policy: &PolicyParams) -> Result<PublicKey, FragError> {
    D::own(&policy.label_key).ok_or(FragError::Scheme {
        expected: policy.scheme(),
        found: D::SCHEME,
    })
}

/// One node's share, checked against its policy.
pub struct VerifiedKeyFrag<D> {
    pub(super) frag: KeyFrag<D>,
    pub(super) policy: PolicyId,
    /// Half of what a proof is about.
    pub(super) label_key: PublicKey,
}

impl<D> fmt::Debug for VerifiedKeyFrag<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedKeyFrag(..)")
    }
}

impl<D: Direction> VerifiedKeyFrag<D> {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut fields = fields.exactly(32 + POINT_LEN + BODY_LEN)?;
        let policy = PolicyId(fields.bytes()?);
        let label_key = fields.point("label key")?;
        Ok(Self {
            policy,
            label_key: PublicKey::from_point(&label_key.into()),
            frag: KeyFrag::read(fields)?,
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut head = prefix(Kind::StoredKeyFrag, D::SCHEME, CurveId::SECP256K1).to_vec();
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

/// Makes the one re-encryption key and signs it once for each node, under ids of their own.
pub(super) fn split<D: Direction>(
    rng: &mut (impl CryptoRng + ?Sized),
    key: &EcDelegatingKey,
    policy: &PolicyParams,
    signer: &LedgerKey,
    threshold: Threshold,
) -> Result<Vec<KeyFrag<D>>, SplitError> {
    curve::count_operation();
    D::RULE.check(D::SCHEME, threshold)?;
    if D::own(&policy.label_key) != Some(key.public()) {
        return Err(SplitError::OtherKey("label key"));
    }
    if signer.public() != policy.ledger_key {
        return Err(SplitError::OtherKey("ledger key"));
    }
    let ephemeral = Zeroizing::new(random_scalar(rng));
    let bytes = Zeroizing::new(<[u8; SCALAR_LEN]>::from(ephemeral.to_bytes()));
    let sealed = ephemeral::seal(rng, &D::DOMAINS, policy, &bytes);
    let public = encode_point(&ProjectivePoint::mul_by_generator(&ephemeral).to_affine());
    let rk = Zeroizing::new(D::rekey(key.scalar(), &ephemeral));
    let id = policy.id();
    let ids = share_ids(rng, usize::from(threshold.total()))?;
    let frags = ids.into_iter().map(|share| KeyFrag {
        rk: Kept::new(*rk),
        commitment: Commitment::sign(
            rng,
            &D::DOMAINS,
            (signer, &id),
            share,
            public,
            sealed,
            threshold,
        ),
        scheme: PhantomData,
    });
    Ok(frags.collect())
}
