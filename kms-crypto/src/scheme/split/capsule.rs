//! Capsules: what is re-encrypted. SCHEMES §8.2.

use core::fmt;

use k256::ProjectivePoint;
use rand_core::CryptoRng;

use super::{Bound, Split};
use crate::curve::{self, POINT_LEN, SCALAR_LEN, derive_from_point};
use crate::error::DecodeError;
use crate::key::{EcDelegatingKey, LabelSecret, PublicKey};
use crate::scheme::wire::{Fields, Kind, PREFIX_LEN, prefix};
use crate::scheme::{LabelContext, Scheme};
use crate::splitkey;

const BODY_LEN: usize = 2 * POINT_LEN + SCALAR_LEN;

/// `(E, V, s)` with `s·G = V + h·E`, `h = Hs("kms/split/capsule/1", E, V)`.
#[derive(Clone)]
pub struct Capsule {
    pub(super) core: splitkey::Capsule,
    bytes: [u8; PREFIX_LEN + BODY_LEN],
}

impl Capsule {
    fn new(core: splitkey::Capsule) -> Self {
        let mut bytes = [0; PREFIX_LEN + BODY_LEN];
        let scalar = core.s.to_bytes();
        let parts: [&[u8]; 3] = [
            &prefix(Kind::Capsule, Split::ID, Split::CURVE),
            core.points(),
            &scalar,
        ];
        for (slot, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *slot = *byte;
        }
        Self { core, bytes }
    }

    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        curve::count_operation();
        let mut fields = fields.exactly(BODY_LEN)?;
        let e = fields.point("E")?;
        let v = fields.point("V")?;
        let s = fields.scalar("s")?;
        let core = splitkey::Capsule::checked::<Bound>(&e, &v, s);
        core.map(Self::new).ok_or(DecodeError::CapsuleCheck)
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    pub(super) const fn as_bytes(&self) -> &[u8; PREFIX_LEN + BODY_LEN] {
        &self.bytes
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

pub(super) fn encapsulate(
    rng: &mut (impl CryptoRng + ?Sized),
    label_key: &PublicKey,
    context: &LabelContext,
) -> (Capsule, LabelSecret) {
    curve::count_operation();
    let (core, point) = splitkey::Capsule::make::<Bound>(rng, &label_key.point());
    let capsule = Capsule::new(core);
    let secret = label_secret(&point, &capsule, label_key, context);
    (capsule, secret)
}

pub(super) fn decapsulate(
    key: &EcDelegatingKey,
    capsule: &Capsule,
    context: &LabelContext,
) -> LabelSecret {
    curve::count_operation();
    let point = capsule.core.point(key.scalar());
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
