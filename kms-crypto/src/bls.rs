//! BLS12-381 as AFGH needs it: strict encodings with subgroup checks, scalars, the label's key pair.
//! SCHEMES §2.1.
//!
//! Only this file and `scheme/afgh` know `blstrs`. Its scalars cannot be wiped, so secrets are kept as
//! bytes that are, and become scalars for the length of one computation.

use core::fmt;

use blstrs::{Compress, G1Affine, G1Projective, G2Affine, G2Projective, Gt, Scalar};
use group::prime::PrimeCurveAffine;
use group::{Group, ff::Field};
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::curve::{self, SCALAR_LEN};
use crate::error::KeyError;
use crate::kdf;
use crate::wipe::Kept;

/// Bytes of a compressed point of G1.
pub(crate) const G1_LEN: usize = 48;
/// Bytes of a compressed point of G2.
pub(crate) const G2_LEN: usize = 96;
/// Bytes of a compressed element of GT.
pub(crate) const GT_LEN: usize = 288;

/// Reads a point of G1: on the curve, in the subgroup, not the identity, in its one encoding.
pub(crate) fn decode_g1(bytes: &[u8; G1_LEN]) -> Option<G1Affine> {
    let point = Option::<G1Affine>::from(G1Affine::from_compressed(bytes))?;
    let permitted = !bool::from(point.is_identity())
        && bool::from(point.is_on_curve() & point.is_torsion_free())
        && point.to_compressed() == *bytes;
    permitted.then_some(point)
}

/// Reads a point of G2, as strictly as [`decode_g1`].
pub(crate) fn decode_g2(bytes: &[u8; G2_LEN]) -> Option<G2Affine> {
    let point = Option::<G2Affine>::from(G2Affine::from_compressed(bytes))?;
    let permitted = !bool::from(point.is_identity())
        && bool::from(point.is_on_curve() & point.is_torsion_free())
        && point.to_compressed() == *bytes;
    permitted.then_some(point)
}

/// Reads an element of GT: in the subgroup of prime order, in its one encoding. The identity has none.
pub(crate) fn decode_gt(bytes: &[u8; GT_LEN]) -> Option<Gt> {
    let element = Gt::read_compressed(bytes.as_slice()).ok()?;
    let permitted = !bool::from(element.is_identity()) && encode_gt(&element)? == *bytes;
    permitted.then_some(element)
}

/// The torus-compressed form; nothing for the identity, which has none.
pub(crate) fn encode_gt(element: &Gt) -> Option<[u8; GT_LEN]> {
    if bool::from(element.is_identity()) {
        return None;
    }
    let mut bytes = Vec::with_capacity(GT_LEN);
    element.write_compressed(&mut bytes).ok()?;
    bytes.try_into().ok()
}

/// Reads a scalar; zero and everything from the group order upwards are refused.
pub(crate) fn decode_scalar(bytes: &[u8; SCALAR_LEN]) -> Option<Scalar> {
    let scalar = Option::<Scalar>::from(Scalar::from_bytes_be(bytes))?;
    (!bool::from(scalar.is_zero())).then_some(scalar)
}

/// Reduces 64 uniform bytes to a scalar; the one in 2²⁵⁵ that would be zero becomes one.
pub(crate) fn wide_scalar(wide: &[u8; 64]) -> Scalar {
    let shift = Scalar::from(u64::MAX) + Scalar::ONE;
    let mut sum = Scalar::ZERO;
    let (limbs, _) = wide.as_chunks::<8>();
    for limb in limbs {
        sum = sum * shift + Scalar::from(u64::from_be_bytes(*limb));
    }
    if bool::from(sum.is_zero()) {
        Scalar::ONE
    } else {
        sum
    }
}

/// Hashes `parts` to a scalar that is not zero.
pub(crate) fn hash_to_scalar(domain: &str, parts: &[&[u8]]) -> Scalar {
    let digest = curve::hash(domain, parts);
    wide_scalar(&kdf::derive64(&digest, "kms/bls-scalar/1", &[]))
}

/// `G`, the generator of G1.
pub(crate) fn g1() -> G1Projective {
    G1Projective::generator()
}

/// `H`, the generator of G2.
pub(crate) fn g2() -> G2Projective {
    G2Projective::generator()
}

/// A label's public key for AFGH: a point of G1, in the subgroup and not the identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlsPublicKey([u8; G1_LEN]);

impl BlsPublicKey {
    /// Reads the 48-byte compressed form.
    ///
    /// # Errors
    /// Another length, the identity, a point off the curve or out of the subgroup, another encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let Ok(bytes) = <[u8; G1_LEN]>::try_from(bytes) else {
            return Err(KeyError::Length {
                expected: G1_LEN,
                found: bytes.len(),
            });
        };
        decode_g1(&bytes).ok_or(KeyError::NotAPoint)?;
        Ok(Self(bytes))
    }

    /// The 48-byte compressed form.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; G1_LEN] {
        &self.0
    }

    /// The point, for arithmetic.
    pub(crate) fn point(&self) -> G1Affine {
        Option::from(G1Affine::from_compressed_unchecked(&self.0))
            .expect("the bytes were read as a point when the key was made")
    }
}

impl fmt::Debug for BlsPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bls12-381:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The key of one label and generation under AFGH.
pub struct BlsDelegatingKey {
    bytes: Kept<[u8; SCALAR_LEN]>,
    public: BlsPublicKey,
}

impl BlsDelegatingKey {
    /// Reduces 64 uniform bytes to a key.
    pub(crate) fn from_wide(wide: &[u8; 64]) -> Self {
        Self::from_scalar(&wide_scalar(wide))
    }

    /// Reads the 32-byte big-endian form.
    pub(crate) fn from_bytes(bytes: &[u8; SCALAR_LEN]) -> Result<Self, KeyError> {
        let scalar = decode_scalar(bytes).ok_or(KeyError::NotAScalar)?;
        Ok(Self::from_scalar(&scalar))
    }

    fn from_scalar(scalar: &Scalar) -> Self {
        curve::count_operation();
        let public = G1Affine::from(g1() * scalar).to_compressed();
        Self {
            bytes: Kept::new(scalar.to_bytes_be()),
            public: BlsPublicKey(public),
        }
    }

    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; SCALAR_LEN]> {
        Zeroizing::new(*self.bytes)
    }

    pub(crate) const fn public(&self) -> BlsPublicKey {
        self.public
    }

    /// The scalar, for arithmetic.
    pub(crate) fn scalar(&self) -> Scalar {
        decode_scalar(&self.bytes).expect("the bytes were made from a scalar")
    }
}

impl ZeroizeOnDrop for BlsDelegatingKey {}

impl PartialEq for BlsDelegatingKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&*other.bytes).into()
    }
}

impl Eq for BlsDelegatingKey {}

/// `scalar · element`, by the same steps whatever the bits of the scalar are. The memory that is read
/// depends on them: blst offers no multiplication in GT that hides that.
pub(crate) fn mul_gt(element: &Gt, scalar: &Scalar) -> Gt {
    let bytes = Zeroizing::new(scalar.to_bytes_be());
    let mut sum = Gt::identity();
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
    {
        let doubled = sum.double();
        let choices = [doubled, doubled + element];
        let [without, with] = choices;
        sum = if bit == 1 { with } else { without };
    }
    sum
}

/// `1 / scalar`; keys are not zero.
pub(crate) fn invert(scalar: &Scalar) -> Scalar {
    Option::from(scalar.invert()).expect("keys are not zero")
}

/// The encoding of a label's point is read again where it arrives as part of something else.
pub(crate) fn public_key(bytes: &[u8; G1_LEN]) -> Option<BlsPublicKey> {
    decode_g1(bytes).map(|_| BlsPublicKey(*bytes))
}
