//! Capsules: what is re-encrypted. SCHEMES §8.2.

use core::fmt;

use k256::elliptic_curve::ops::MulByGeneratorVartime;
use k256::elliptic_curve::{BatchNormalize, Group};
use k256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Split;
use crate::curve::{
    self, POINT_LEN, SCALAR_LEN, derive_from_point, encode_point, hash_to_scalar, random_scalar,
};
use crate::error::DecodeError;
use crate::key::{DelegatingKey, LabelSecret, PublicKey};
use crate::scheme::wire::{Fields, Kind, PREFIX_LEN, prefix};
use crate::scheme::{LabelContext, Scheme};

const BODY_LEN: usize = 2 * POINT_LEN + SCALAR_LEN;

/// `(E, V, s)` with `s·G = V + h·E`, `h = Hs("kms/split/capsule/1", E, V)`.
///
/// The equation shows that whoever made the capsule knew a combination of the discrete logarithms,
/// so that nodes do not multiply just any point by their shares.
#[derive(Clone)]
pub struct Capsule {
    pub(super) e: ProjectivePoint,
    pub(super) v: ProjectivePoint,
    pub(super) s: Scalar,
    /// `h`, known since the check.
    pub(super) h: Scalar,
    bytes: [u8; PREFIX_LEN + BODY_LEN],
}

impl Capsule {
    fn new(e: ProjectivePoint, v: ProjectivePoint, points: &[u8], s: Scalar, h: Scalar) -> Self {
        let mut bytes = [0; PREFIX_LEN + BODY_LEN];
        let scalar = s.to_bytes();
        let parts: [&[u8]; 3] = [
            &prefix(Kind::Capsule, Split::ID, Split::CURVE),
            points,
            &scalar,
        ];
        for (slot, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *slot = *byte;
        }
        Self { e, v, s, h, bytes }
    }

    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        curve::count_operation();
        let mut fields = fields.exactly(BODY_LEN)?;
        let e = fields.point("E")?;
        let v = fields.point("V")?;
        let s = fields.scalar("s")?;
        let points = [encode_point(&e), encode_point(&v)].concat();
        let h = challenge(&points);
        let (e, v) = (ProjectivePoint::from(e), ProjectivePoint::from(v));
        let left = ProjectivePoint::mul_by_generator_and_mul_add_vartime(&s, &-h, &e);
        // E + V = identity would make the secret a constant that everybody knows.
        if left != v || bool::from((e + v).is_identity()) {
            return Err(DecodeError::CapsuleCheck);
        }
        Ok(Self::new(e, v, &points, s, h))
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    pub(super) const fn as_bytes(&self) -> &[u8; PREFIX_LEN + BODY_LEN] {
        &self.bytes
    }

    /// E and V, encoded.
    pub(super) fn points(&self) -> &[u8] {
        &self.bytes[PREFIX_LEN..PREFIX_LEN + 2 * POINT_LEN]
    }
}

impl PartialEq for Capsule {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Capsule {}

impl fmt::Debug for Capsule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capsule(..)")
    }
}

fn challenge(points: &[u8]) -> Scalar {
    hash_to_scalar("kms/split/capsule/1", &[points])
}

pub(super) fn encapsulate(
    rng: &mut (impl CryptoRng + ?Sized),
    label_key: &PublicKey,
    context: &LabelContext,
) -> (Capsule, LabelSecret) {
    curve::count_operation();
    let r = Zeroizing::new(random_scalar(rng));
    let u = Zeroizing::new(random_scalar(rng));
    let e = ProjectivePoint::mul_by_generator(&r);
    let v = ProjectivePoint::mul_by_generator(&u);
    let [e_affine, v_affine] = ProjectivePoint::batch_normalize(&[e, v]);
    let points = [encode_point(&e_affine), encode_point(&v_affine)].concat();
    let h = challenge(&points);
    let s = *u + *r * h;
    let capsule = Capsule::new(e, v, &points, s, h);
    let key = Zeroizing::new(*r + *u);
    let point = Zeroizing::new(label_key.point() * *key);
    let secret = label_secret(&point, &capsule, label_key, context);
    (capsule, secret)
}

pub(super) fn decapsulate(
    key: &DelegatingKey,
    capsule: &Capsule,
    context: &LabelContext,
) -> LabelSecret {
    curve::count_operation();
    let point = Zeroizing::new((capsule.e + capsule.v) * key.scalar());
    label_secret(&point, capsule, &key.public(), context)
}

/// The secret from the point `a·(E + V)`. SCHEMES §8.2.
pub(super) fn label_secret(
    point: &ProjectivePoint,
    capsule: &Capsule,
    label_key: &PublicKey,
    context: &LabelContext,
) -> LabelSecret {
    let epoch = context.epoch.to_be_bytes();
    let parts: [&[u8]; 5] = [
        capsule.as_bytes(),
        label_key.as_bytes(),
        &context.store.0,
        &context.label.0,
        &epoch,
    ];
    let bytes = derive_from_point(point, "kms/split/label-secret/1", &parts);
    LabelSecret::from_bytes(&bytes)
}
