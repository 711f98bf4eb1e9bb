//! Capsules: `r·A` in G1, hiding `Z^r` in GT, where `Z = e(G, H)`. SCHEMES §11.1.

use core::fmt;

use blstrs::{G1Affine, G2Affine, Gt, pairing};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Afgh, DOMAINS};
use crate::bls::{self, BlsDelegatingKey, BlsPublicKey, G1_LEN, decode_g1, encode_gt, wide_scalar};
use crate::curve;
use crate::error::DecodeError;
use crate::kdf;
use crate::key::LabelSecret;
use crate::scheme::wire::{Fields, Kind, PREFIX_LEN, prefix};
use crate::scheme::{LabelContext, Scheme};

/// `C = r·A`.
#[derive(Clone, PartialEq, Eq)]
pub struct Capsule {
    pub(super) point: G1Affine,
}

impl Capsule {
    pub(in crate::scheme) fn read(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let bytes = fields.exactly(G1_LEN)?.bytes()?;
        let point = decode_g1(&bytes).ok_or(DecodeError::Point { field: "C" })?;
        Ok(Self { point })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    pub(super) fn bytes(&self) -> [u8; PREFIX_LEN + G1_LEN] {
        let mut bytes = [0; PREFIX_LEN + G1_LEN];
        let (head, body) = bytes.split_at_mut(PREFIX_LEN);
        head.copy_from_slice(&prefix(Kind::Capsule, Afgh::ID, Afgh::CURVE));
        body.copy_from_slice(&self.point.to_compressed());
        bytes
    }
}

impl fmt::Debug for Capsule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capsule(..)")
    }
}

pub(super) fn encapsulate(
    rng: &mut (impl CryptoRng + ?Sized),
    label_key: &BlsPublicKey,
    context: &LabelContext,
) -> (Capsule, LabelSecret) {
    curve::count_operation();
    let mut wide = Zeroizing::new([0; 64]);
    rng.fill_bytes(wide.as_mut());
    let r = wide_scalar(&wide);
    let point = G1Affine::from(label_key.point() * r);
    // Z^r as a pairing: multiplying in G1 is constant time, in GT it would not be.
    let hidden = pairing(&G1Affine::from(bls::g1() * r), &G2Affine::from(bls::g2()));
    let capsule = Capsule { point };
    let secret = label_secret(&hidden, &capsule, label_key, context);
    (capsule, secret.expect("r is not zero, so Z^r is not one"))
}

pub(super) fn decapsulate(
    key: &BlsDelegatingKey,
    capsule: &Capsule,
    context: &LabelContext,
) -> LabelSecret {
    curve::count_operation();
    let divided = G2Affine::from(bls::g2() * bls::invert(&key.scalar()));
    let hidden = pairing(&capsule.point, &divided);
    label_secret(&hidden, capsule, &key.public(), context)
        .expect("neither the capsule nor H/a is the identity")
}

/// The secret from what the capsule hides; nothing for one, which no capsule hides.
pub(super) fn label_secret(
    hidden: &Gt,
    capsule: &Capsule,
    label_key: &BlsPublicKey,
    context: &LabelContext,
) -> Option<LabelSecret> {
    let hidden = Zeroizing::new(encode_gt(hidden)?);
    let epoch = context.epoch.to_be_bytes();
    let bytes = capsule.bytes();
    let parts: [&[u8]; 5] = [
        &bytes,
        label_key.as_bytes(),
        &context.store.0,
        &context.label.0,
        &epoch,
    ];
    let secret = kdf::derive(hidden.as_ref(), DOMAINS.label_secret, &parts);
    Some(LabelSecret::from_bytes(&secret))
}
