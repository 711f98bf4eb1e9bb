//! secp256k1 as the rest of the crate needs it: strict encodings, hashing to scalars, sampling, and
//! the count of public-key operations. SCHEMES §2.
//!
//! Only this module, the schemes and the keys know `k256`.

mod fixed;
mod pair;
mod sum;

pub(crate) use fixed::FixedBase;
pub(crate) use pair::mul_pair;
pub(crate) use sum::sum_vartime;

use core::sync::atomic::{AtomicU64, Ordering};

use k256::elliptic_curve::ff::PrimeField;
use k256::elliptic_curve::group::GroupEncoding;
use k256::elliptic_curve::ops::ReduceNonZero;
use k256::{AffinePoint, FieldBytes, ProjectivePoint, Scalar, WideBytes};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::kdf;

/// Bytes of a compressed point.
pub(crate) const POINT_LEN: usize = 33;
/// Bytes of a scalar.
pub(crate) const SCALAR_LEN: usize = 32;

static OPERATIONS: AtomicU64 = AtomicU64::new(0);

/// How many public-key operations this process has done: signing, verifying, key agreement, making
/// public keys, encapsulating, splitting, re-encrypting and their checks.
///
/// It exists so that a test can show that private files cost none.
#[must_use]
pub fn public_key_operations() -> u64 {
    OPERATIONS.load(Ordering::Relaxed)
}

/// Counts one public-key operation.
pub(crate) fn count_operation() {
    OPERATIONS.fetch_add(1, Ordering::Relaxed);
}

/// Reads a compressed point; the identity, points off the curve, `x ≥ p` and every other encoding
/// are refused. Variable time: points are public.
pub(crate) fn decode_point(bytes: &[u8]) -> Option<AffinePoint> {
    let bytes: &[u8; POINT_LEN] = bytes.try_into().ok()?;
    if !matches!(bytes[0], 2 | 3) {
        return None;
    }
    Option::from(AffinePoint::from_bytes(&(*bytes).into()))
}

/// The compressed form. The point must not be the identity.
pub(crate) fn encode_point(point: &AffinePoint) -> [u8; POINT_LEN] {
    point.to_bytes().into()
}

/// Reads a scalar; zero and everything from the group order upwards are refused.
pub(crate) fn decode_scalar(bytes: &[u8]) -> Option<Scalar> {
    let bytes: &[u8; SCALAR_LEN] = bytes.try_into().ok()?;
    let scalar: Option<Scalar> = Scalar::from_repr((*bytes).into()).into();
    scalar.filter(|s| !bool::from(s.is_zero()))
}

/// Hashes `parts` to a scalar in `1..n`: `1 + (SHA256(u32be(len domain) ‖ domain ‖ parts) mod (n − 1))`.
///
/// Every part has a fixed length, so their concatenation is unambiguous.
pub(crate) fn hash_to_scalar(domain: impl AsRef<[u8]>, parts: &[&[u8]]) -> Scalar {
    let digest = hash(domain, parts);
    Scalar::reduce_nonzero(&FieldBytes::from(digest))
}

/// `SHA256(u32be(len domain) ‖ domain ‖ parts)`.
pub(crate) fn hash(domain: impl AsRef<[u8]>, parts: &[&[u8]]) -> [u8; 32] {
    let domain = domain.as_ref();
    let mut hasher = Sha256::new();
    let len = u32::try_from(domain.len()).expect("a domain string is short");
    hasher.update(len.to_be_bytes());
    hasher.update(domain);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A uniform scalar in `1..n`. One draw of 64 bytes: the bias is below 2⁻²⁵⁵ and a broken source
/// cannot make it loop.
pub(crate) fn random_scalar(rng: &mut (impl CryptoRng + ?Sized)) -> Scalar {
    let mut wide = Zeroizing::new([0u8; 64]);
    rng.fill_bytes(wide.as_mut());
    wide_scalar(&wide)
}

/// Reduces 64 uniform bytes to a scalar in `1..n`.
pub(crate) fn wide_scalar(wide: &[u8; 64]) -> Scalar {
    let mut bytes = WideBytes::from(*wide);
    let scalar = Scalar::reduce_nonzero(&bytes);
    bytes.as_mut_slice().zeroize();
    scalar
}

/// A 32-byte secret from a secret point: [`kdf::derive`] with the compressed point as `ikm`.
pub(crate) fn derive_from_point(
    point: &ProjectivePoint,
    domain: &'static str,
    parts: &[&[u8]],
) -> Zeroizing<[u8; 32]> {
    let ikm = Zeroizing::new(encode_point(&point.to_affine()));
    kdf::derive(ikm.as_ref(), domain, parts)
}
