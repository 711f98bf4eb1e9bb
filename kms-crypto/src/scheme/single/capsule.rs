//! Capsules: one point. SCHEMES §10.1.

use core::fmt;
use core::marker::PhantomData;

use k256::{AffinePoint, ProjectivePoint};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Direction;
use crate::curve::{self, POINT_LEN, derive_from_point, encode_point, random_scalar};
use crate::error::DecodeError;
use crate::id::CurveId;
use crate::key::{EcDelegatingKey, LabelSecret, PublicKey};
use crate::scheme::LabelContext;
use crate::scheme::wire::{Fields, Kind, PREFIX_LEN, prefix};

const LEN: usize = PREFIX_LEN + POINT_LEN;

/// `r·A` in BBS98, `r·G` in ECIES.
#[derive(Clone, PartialEq, Eq)]
pub struct Capsule<D> {
    pub(super) point: AffinePoint,
    scheme: PhantomData<D>,
}

impl<D: Direction> Capsule<D> {
    const fn new(point: AffinePoint) -> Self {
        Self {
            point,
            scheme: PhantomData,
        }
    }

    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self::new(fields.exactly(POINT_LEN)?.point("C")?))
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    pub(super) fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let (head, body) = bytes.split_at_mut(PREFIX_LEN);
        head.copy_from_slice(&prefix(Kind::Capsule, D::SCHEME, CurveId::SECP256K1));
        body.copy_from_slice(&encode_point(&self.point));
        bytes
    }
}

impl<D> fmt::Debug for Capsule<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capsule(..)")
    }
}

pub(super) fn encapsulate<D: Direction>(
    rng: &mut (impl CryptoRng + ?Sized),
    label_key: &PublicKey,
    context: &LabelContext,
) -> (Capsule<D>, LabelSecret) {
    curve::count_operation();
    let r = Zeroizing::new(random_scalar(rng));
    let (shown, hidden) = D::shown(
        label_key.point() * *r,
        ProjectivePoint::mul_by_generator(&r),
    );
    let hidden = Zeroizing::new(hidden);
    let capsule = Capsule::new(shown.to_affine());
    let secret = label_secret(&hidden, &capsule, label_key, context);
    (capsule, secret)
}

pub(super) fn decapsulate<D: Direction>(
    key: &EcDelegatingKey,
    capsule: &Capsule<D>,
    context: &LabelContext,
) -> LabelSecret {
    curve::count_operation();
    let hidden = Zeroizing::new(D::hidden(&capsule.point.into(), key.scalar()));
    label_secret(&hidden, capsule, &key.public(), context)
}

/// The secret from what the capsule hides.
pub(super) fn label_secret<D: Direction>(
    hidden: &ProjectivePoint,
    capsule: &Capsule<D>,
    label_key: &PublicKey,
    context: &LabelContext,
) -> LabelSecret {
    let epoch = context.epoch.to_be_bytes();
    let bytes = capsule.bytes();
    let parts: [&[u8]; 5] = [
        &bytes,
        label_key.as_bytes(),
        &context.store.0,
        &context.label.0,
        &epoch,
    ];
    LabelSecret::from_bytes(&derive_from_point(hidden, D::DOMAINS.label_secret, &parts))
}
