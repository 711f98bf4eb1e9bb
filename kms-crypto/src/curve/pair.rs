//! Two secret multiples of one point, for less than the price of two. SCHEMES §12.
//!
//! secp256k1 has an endomorphism that multiplies by a number λ for the price of one field multiplication,
//! so that a scalar can be written as `k₁ + k₂·λ` with halves of 128 bits (Gallant, Lambert, Vanstone).
//! Cut once more at 64 bits, over a point and its 2⁶⁴-fold, they need 64 doublings; the table of small
//! multiples and the 2⁶⁴-fold serve both scalars.

use k256::elliptic_curve::scalar::IsHigh;
use k256::{ProjectivePoint, Scalar};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// Digits in base 16 of half a scalar, with the last carry.
const DIGITS: usize = 33;
/// Those that belong to the point itself; the rest belongs to its 2⁶⁴-fold.
const LOW: usize = 16;

type Table = [ProjectivePoint; 8];

/// `[first·base, second·base]`, in constant time.
pub(crate) fn mul_pair(
    base: &ProjectivePoint,
    first: &Scalar,
    second: &Scalar,
) -> [ProjectivePoint; 2] {
    let mut high = *base;
    (0..64).for_each(|_| high.double_in_place());
    let tables = [small_multiples(base), small_multiples(&high)];
    [first, second].map(|scalar| mul(&tables, scalar))
}

fn small_multiples(point: &ProjectivePoint) -> Table {
    let mut table = [*point; 8];
    for at in 1..table.len() {
        table[at] = table[at - 1] + point;
    }
    table
}

fn mul([low, high]: &[Table; 2], scalar: &Scalar) -> ProjectivePoint {
    let halves = Zeroizing::new(decompose(scalar));
    let first = Zeroizing::new(digits(&halves[0]));
    let second = Zeroizing::new(digits(&halves[1]));
    let mut sum = ProjectivePoint::IDENTITY;
    for at in (0..=LOW).rev() {
        (0..4).for_each(|_| sum.double_in_place());
        // Sixteen digits are low and seventeen are high.
        if at < LOW {
            sum += select(low, first[at]);
            sum += select(low, second[at]).endomorphism();
        }
        sum += select(high, first[LOW + at]);
        sum += select(high, second[LOW + at]).endomorphism();
    }
    sum
}

/// The multiple that stands for a digit; the identity for zero. Reads the whole table.
fn select(table: &Table, digit: i8) -> ProjectivePoint {
    let size = digit.unsigned_abs();
    let mut point = ProjectivePoint::IDENTITY;
    for (value, multiple) in (1u8..).zip(table) {
        point.conditional_assign(multiple, value.ct_eq(&size));
    }
    let negative = (digit.cast_unsigned() >> 7).ct_eq(&1);
    ProjectivePoint::conditional_select(&point, &-point, negative)
}

/// A scalar of at most 128 bits, or the negative of one, in digits from −8 to 8, lowest first.
fn digits(half: &Scalar) -> [i8; DIGITS] {
    let negative = half.is_high();
    let size = Zeroizing::new(Scalar::conditional_select(half, &-half, negative));
    let bytes = Zeroizing::new(<[u8; 32]>::from(size.to_bytes()));
    let sign = 1 - 2 * negative.unwrap_u8().cast_signed();
    let mut digits = [0i8; DIGITS];
    let nibbles = bytes.iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
    let mut carry = 0u8;
    for (digit, nibble) in digits.iter_mut().zip(nibbles) {
        let value = nibble + carry;
        carry = (value + 8) >> 4;
        *digit = sign * value.wrapping_sub(carry << 4).cast_signed();
    }
    digits
}

/// `[k₁, k₂]` with `k = k₁ + k₂·λ`, both of at most 128 bits up to their sign.
fn decompose(scalar: &Scalar) -> [Scalar; 2] {
    let mut first = Scalar::from(rounded_product(scalar, &G1)) * number(&MINUS_B1);
    let mut second = Scalar::from(rounded_product(scalar, &G2)) * number(&MINUS_B2);
    let high = first + second;
    first.zeroize();
    second.zeroize();
    [*scalar - high * number(&LAMBDA), high]
}

/// `round(scalar · factor / 2³⁸⁴)`, which is below 2¹²⁸ for the factors here.
fn rounded_product(scalar: &Scalar, factor: &[u64; 4]) -> u128 {
    let bytes = Zeroizing::new(<[u8; 32]>::from(scalar.to_bytes()));
    let mut product = Zeroizing::new([0u64; 8]);
    for (i, chunk) in bytes.rchunks_exact(8).enumerate() {
        let limb = u64::from_be_bytes(chunk.try_into().expect("a chunk is eight bytes"));
        let mut carry = 0u128;
        for (j, other) in factor.iter().enumerate() {
            let sum = u128::from(limb) * u128::from(*other) + u128::from(product[i + j]) + carry;
            product[i + j] = low_half(sum);
            carry = sum >> 64;
        }
        product[i + factor.len()] = low_half(carry);
    }
    let [.., below, low, high] = *product;
    (u128::from(high) << 64 | u128::from(low)) + u128::from(below >> 63)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half of a product is meant"
)]
const fn low_half(value: u128) -> u64 {
    value as u64
}

/// A constant, given as limbs, lowest first.
fn number(limbs: &[u64; 4]) -> Scalar {
    let shift = Scalar::from(1u128 << 64);
    let limbs = limbs.iter().rev();
    limbs.fold(Scalar::ZERO, |sum, limb| sum * shift + Scalar::from(*limb))
}

/// λ, a cube root of one modulo the group order.
const LAMBDA: [u64; 4] = [
    0xdf02_967c_1b23_bd72,
    0x122e_22ea_2081_6678,
    0xa526_1c02_8812_645a,
    0x5363_ad4c_c05c_30e0,
];
/// The short basis `(a₁, b₁), (a₂, b₂)` of all `(x, y)` with `x + y·λ = 0`; its second coordinates negated.
const MINUS_B1: [u64; 4] = [0x6f54_7fa9_0abf_e4c3, 0xe443_7ed6_010e_8828, 0, 0];
const MINUS_B2: [u64; 4] = [
    0xd765_cda8_3db1_562c,
    0x8a28_0ac5_0774_346d,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];
/// `round(2³⁸⁴·b₂ / n)` and `round(2³⁸⁴·(−b₁) / n)`.
const G1: [u64; 4] = [
    0xe893_209a_45db_b031,
    0x3daa_8a14_71e8_ca7f,
    0xe86c_90e4_9284_eb15,
    0x3086_d221_a7d4_6bcd,
];
const G2: [u64; 4] = [
    0x1571_b4ae_8ac4_7f71,
    0x2212_08ac_9df5_06c6,
    0x6f54_7fa9_0abf_e4c4,
    0xe443_7ed6_010e_8828,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::random_scalar;

    fn edges() -> Vec<Scalar> {
        let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
        let mut scalars = vec![
            Scalar::ZERO,
            Scalar::ONE,
            -Scalar::ONE,
            Scalar::from(8u64),
            Scalar::from(u64::MAX),
            Scalar::from(u128::MAX),
            number(&LAMBDA),
            -number(&LAMBDA),
            number(&LAMBDA) + Scalar::ONE,
            number(&LAMBDA) * Scalar::from(u128::MAX),
        ];
        scalars.extend((0..50).map(|_| random_scalar(rng)));
        scalars
    }

    #[test]
    fn both_multiples_are_what_the_curve_gives() {
        let scalars = edges();
        let base = ProjectivePoint::mul_by_generator(&scalars[20]);
        for (first, second) in scalars.iter().zip(scalars.iter().rev()) {
            let [one, two] = mul_pair(&base, first, second);
            assert_eq!(one, base * first);
            assert_eq!(two, base * second);
        }
    }

    #[test]
    fn halves_are_short() {
        for scalar in edges() {
            let [low, high] = decompose(&scalar);
            assert_eq!(low + high * number(&LAMBDA), scalar);
            for half in [low, high] {
                let size = if bool::from(half.is_high()) {
                    -half
                } else {
                    half
                };
                assert_eq!(size.to_bytes()[..16], [0; 16]);
            }
        }
    }
}
