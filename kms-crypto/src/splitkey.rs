//! The mathematics of split-key re-encryption, once for every wire format that uses it. SCHEMES §8.
//!
//! [`crate::scheme::split`] (ours) and [`crate::umbral`] (Umbral's) differ in what they hash, sign and
//! write down; a [`Dialect`] says how they hash. Everything else stands here: capsules, sharing, proofs
//! one by one and in batches, interpolation. No encodings, no signatures, no errors that blame anybody.
//!
//! Secret: r, u, x, a, b, d, D, rk, t, λᵢ, xᵢ. They are only ever used in constant time. What is checked
//! in variable time (capsules, proofs) is public in whole; each such function says so.

mod capsule;
mod combine;
mod generator;
mod memory;
mod proof;
mod share;

#[cfg(test)]
mod tests;

pub(crate) use capsule::Capsule;
pub(crate) use combine::{combine, combine_unchecked, weights};
pub(crate) use generator::{U_BYTES, mul_u, u};
pub(crate) use memory::{KnownShare, Memory};
pub(crate) use proof::{Answer, Claim, Proof, Statement, check_all, equations, prove};
pub(crate) use share::{Share, share, share_ids};

use core::marker::PhantomData;

use k256::{AffinePoint, ProjectivePoint, Scalar};
use zeroize::Zeroizing;

use crate::curve::{POINT_LEN, encode_point, hash_to_scalar};
use crate::key::PublicKey;

/// Bytes of a share's name.
pub(crate) const ID_LEN: usize = 32;

/// How a wire format hashes. A value of the type is what its hashes are bound to beside the points.
pub(crate) trait Dialect {
    /// The domain of a capsule's challenge, over E and V.
    const CAPSULE: &'static str;
    /// The domain of `d`, over the binding, X, B, D.
    const SHARED: &'static str;
    /// The domain of `xᵢ`, over the same and the share's id.
    const INDEX: &'static str;

    /// What stands before the points in the hashes of a split.
    fn binding(&self) -> &[u8];

    /// The challenge of a proof. It must cover every point of the statement.
    fn challenge(&self, statement: &Statement<'_>) -> Scalar;
}

/// What owner and recipient share for one split, and nobody else: `D = x·B = b·X`.
pub(crate) struct Shared<D> {
    /// Binding, X, B, D, in that order: what both hashes below begin with.
    prefix: Zeroizing<Vec<u8>>,
    dialect: PhantomData<D>,
}

impl<D: Dialect> Shared<D> {
    pub(crate) fn new(
        dialect: &D,
        precursor: &AffinePoint,
        recipient: &PublicKey,
        dh: &ProjectivePoint,
    ) -> Self {
        let binding = dialect.binding();
        let dh = Zeroizing::new(encode_point(&dh.to_affine()));
        // Reserved in full, so that growing leaves no copy of D behind.
        let mut prefix = Zeroizing::new(Vec::with_capacity(binding.len() + 3 * POINT_LEN));
        prefix.extend_from_slice(binding);
        prefix.extend_from_slice(&encode_point(precursor));
        prefix.extend_from_slice(recipient.as_bytes());
        prefix.extend_from_slice(dh.as_ref());
        Self {
            prefix,
            dialect: PhantomData,
        }
    }

    /// `d`: what the re-encryption key is divided by.
    pub(crate) fn divisor(&self) -> Scalar {
        hash_to_scalar(D::SHARED, &[&self.prefix])
    }

    /// `xᵢ`: where the polynomial is evaluated for the share `id`. Secret, so that m nodes alone
    /// cannot interpolate.
    pub(crate) fn index(&self, id: &[u8; ID_LEN]) -> Scalar {
        hash_to_scalar(D::INDEX, &[&self.prefix, id])
    }
}
