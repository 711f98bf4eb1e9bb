//! The second generator U, to which shares are committed. SCHEMES §8.1.
//!
//! Nobody may know its discrete logarithm to the base G: it comes from hashing to the curve. It is a
//! constant of this program and is never read from a message, or whoever wrote the message could
//! make any share fit any commitment.

use std::sync::LazyLock;

use k256::{ProjectivePoint, Scalar};

use crate::curve::{FixedBase, POINT_LEN, decode_point};

/// `hash_to_curve(msg = "POINT_U", DST = "PARAMETERS")`, suite `secp256k1_XMD:SHA-256_SSWU_RO_`.
pub(crate) const U_BYTES: [u8; POINT_LEN] = [
    0x03, 0x07, 0x93, 0x90, 0xd0, 0xfb, 0xe2, 0x20, 0xfc, 0x34, 0xaa, 0xb8, 0xec, 0xbf, 0x49, 0x09,
    0x80, 0x98, 0x03, 0x68, 0x20, 0xfa, 0xdb, 0x98, 0xc0, 0x31, 0x43, 0xe5, 0x5d, 0xb8, 0xec, 0x73,
    0xcd,
];

static U: LazyLock<ProjectivePoint> = LazyLock::new(|| {
    decode_point(&U_BYTES)
        .expect("a constant point of the curve")
        .into()
});

static MULTIPLES: LazyLock<FixedBase> = LazyLock::new(|| FixedBase::new(&U));

/// U.
pub(crate) fn u() -> ProjectivePoint {
    *U
}

/// `scalar · U`, in constant time, from a table.
pub(crate) fn mul_u(scalar: &Scalar) -> ProjectivePoint {
    MULTIPLES.mul(scalar)
}

#[cfg(test)]
mod tests {
    use k256::Secp256k1;
    use k256::elliptic_curve::sec1::ToSec1Point;

    use super::*;

    #[test]
    fn u_is_what_hashing_to_the_curve_gives() {
        use k256::hash2curve::GroupDigest;
        let hashed = Secp256k1::hash_from_bytes(&[b"POINT_U"], &[b"PARAMETERS"]).unwrap();
        assert_eq!(hashed, u());
        assert_eq!(hashed.to_affine().to_sec1_point(true).as_bytes(), U_BYTES);
    }
}
