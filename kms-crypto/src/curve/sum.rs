//! Sums of many public multiples. SCHEMES §12.

use k256::{ProjectivePoint, Scalar};

/// Width of the window: digits are odd and below 2⁴ in size.
const WIDTH: u32 = 5;
const TABLE_LEN: usize = 1 << (WIDTH - 2);
/// Bits of a scalar and one for the last carry.
const PLACES: usize = 257;

/// `Σ scalar·point`, in a time that depends on both: **for public values only**.
///
/// All terms share the doublings, so that one more term costs the additions only: with a scalar of
/// 128 bits half as many as with one of 256.
pub(crate) fn sum_vartime(terms: &[(ProjectivePoint, Scalar)]) -> ProjectivePoint {
    let mut schedule: Vec<Vec<(usize, i8)>> = vec![Vec::new(); PLACES];
    let mut tables = Vec::with_capacity(terms.len());
    for (index, (point, scalar)) in terms.iter().enumerate() {
        tables.push(odd_multiples(point));
        for (place, digit) in sparse_digits(scalar) {
            if let Some(due) = schedule.get_mut(place) {
                due.push((index, digit));
            }
        }
    }
    let mut sum = ProjectivePoint::IDENTITY;
    let used = schedule.iter().rev().skip_while(|due| due.is_empty());
    for due in used {
        sum = sum.double();
        for (index, digit) in due {
            let multiple = &tables[*index][usize::from(digit.unsigned_abs() / 2)];
            if *digit < 0 {
                sum -= multiple;
            } else {
                sum += multiple;
            }
        }
    }
    sum
}

/// The point times 1, 3, 5, …
fn odd_multiples(point: &ProjectivePoint) -> [ProjectivePoint; TABLE_LEN] {
    let double = point.double();
    let mut table = [*point; TABLE_LEN];
    for at in 1..TABLE_LEN {
        table[at] = table[at - 1] + double;
    }
    table
}

/// The scalar in non-adjacent form: its digits that are not zero, with their places.
fn sparse_digits(scalar: &Scalar) -> Vec<(usize, i8)> {
    let bytes = scalar.to_bytes();
    let bit = |at: usize| -> u8 {
        let byte = bytes.iter().rev().nth(at / 8).copied().unwrap_or(0);
        (byte >> (at % 8)) & 1
    };
    let mut digits = Vec::with_capacity(PLACES / WIDTH as usize + 1);
    let (mut at, mut carry) = (0, 0u8);
    while at < PLACES {
        if bit(at) == carry {
            at += 1;
            continue;
        }
        let window = (0..WIDTH as usize).fold(0u8, |sum, i| sum | bit(at + i) << i) + carry;
        carry = window >> (WIDTH - 1);
        digits.push((at, window.wrapping_sub(carry << WIDTH).cast_signed()));
        at += WIDTH as usize;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::random_scalar;

    #[test]
    fn a_sum_is_the_sum_of_its_terms() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let mut terms = Vec::new();
        let edges = [
            Scalar::ZERO,
            Scalar::ONE,
            -Scalar::ONE,
            Scalar::from(31u64),
            Scalar::from(u128::MAX),
        ];
        for scalar in edges {
            let point = ProjectivePoint::mul_by_generator(&random_scalar(&mut rng));
            assert_eq!(sum_vartime(&[(point, scalar)]), point * scalar);
            terms.push((point, scalar));
        }
        for _ in 0..20 {
            let point = ProjectivePoint::mul_by_generator(&random_scalar(&mut rng));
            terms.push((point, random_scalar(&mut rng)));
        }
        terms.push((ProjectivePoint::IDENTITY, Scalar::ONE));
        let expected: ProjectivePoint = terms.iter().map(|(point, scalar)| *point * scalar).sum();
        assert_eq!(sum_vartime(&terms), expected);
        assert_eq!(sum_vartime(&[]), ProjectivePoint::IDENTITY);
    }
}
