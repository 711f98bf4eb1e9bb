//! Multiples of a point that never changes, from a table. SCHEMES §12.

use k256::elliptic_curve::BatchNormalize;
use k256::{AffinePoint, ProjectivePoint, Scalar};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// Digits of a scalar in base 16; the last one is a carry.
const ROWS: usize = 65;
/// Digits run from −8 to 8.
const ROW_LEN: usize = 8;

/// For each place `i` the multiples 1 … 8 of `16ⁱ·base`: about 45 KiB, and no doubling at all.
pub(crate) struct FixedBase {
    rows: Vec<[AffinePoint; ROW_LEN]>,
}

impl FixedBase {
    /// Makes the table; this costs about as much as three multiplications.
    pub(crate) fn new(base: &ProjectivePoint) -> Self {
        let mut unit = *base;
        let mut rows = Vec::with_capacity(ROWS);
        for _ in 0..ROWS {
            let mut row = [unit; ROW_LEN];
            for at in 1..ROW_LEN {
                row[at] = row[at - 1] + unit;
            }
            unit = row[ROW_LEN - 1].double();
            rows.push(ProjectivePoint::batch_normalize(&row));
        }
        Self { rows }
    }

    /// `scalar · base`. Constant time: every row is read in full, whatever its digit.
    pub(crate) fn mul(&self, scalar: &Scalar) -> ProjectivePoint {
        let digits = Zeroizing::new(digits(scalar));
        let mut sum = ProjectivePoint::IDENTITY;
        for (row, digit) in self.rows.iter().zip(digits.iter()) {
            sum += &select(row, *digit);
        }
        sum
    }
}

/// The multiple that stands for a digit; the identity for zero.
fn select(row: &[AffinePoint; ROW_LEN], digit: i8) -> AffinePoint {
    let size = digit.unsigned_abs();
    let mut point = AffinePoint::IDENTITY;
    for (value, multiple) in (1u8..).zip(row) {
        point.conditional_assign(multiple, value.ct_eq(&size));
    }
    let negative = (digit.cast_unsigned() >> 7).ct_eq(&1);
    AffinePoint::conditional_select(&point, &-point, negative)
}

/// The scalar in base 16 with digits from −8 to 7 and a last carry of 0 or 1, lowest place first.
fn digits(scalar: &Scalar) -> [i8; ROWS] {
    let bytes = Zeroizing::new(<[u8; 32]>::from(scalar.to_bytes()));
    let mut digits = [0i8; ROWS];
    let nibbles = bytes.iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
    let mut carry = 0u8;
    let (last, places) = digits.split_last_mut().expect("there are 65 places");
    for (digit, nibble) in places.iter_mut().zip(nibbles) {
        let value = nibble + carry;
        // 8 and more is written as 16 less, with a carry into the next place.
        carry = (value + 8) >> 4;
        *digit = value.wrapping_sub(carry << 4).cast_signed();
    }
    *last = carry.cast_signed();
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::random_scalar;

    #[test]
    fn the_table_multiplies_like_the_curve_does() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let base = ProjectivePoint::mul_by_generator(&random_scalar(&mut rng));
        let table = FixedBase::new(&base);
        let edges = [
            Scalar::ZERO,
            Scalar::ONE,
            -Scalar::ONE,
            Scalar::from(7u64),
            Scalar::from(8u64),
            Scalar::from(u64::MAX),
            Scalar::from(0x8888_8888_8888_8888u64),
        ];
        let random = (0..50).map(|_| random_scalar(&mut rng));
        for scalar in edges.into_iter().chain(random) {
            assert_eq!(table.mul(&scalar), base * scalar);
        }
    }
}
