//! The recipient puts m answers together. SCHEMES §8.5.
//!
//! Constant time where the Lagrange coefficients go in: they depend on the secret indices of the shares.

use k256::elliptic_curve::Group;
use k256::elliptic_curve::ops::LinearCombination;
use k256::{ProjectivePoint, Scalar};
use zeroize::{Zeroize, Zeroizing};

use super::{Answer, Capsule, Dialect, ID_LEN, Shared};
use crate::key::PublicKey;

/// `d·λᵢ` with `λᵢ = Π xⱼ / (xⱼ − xᵢ)` over all `j ≠ i`, with one inversion for all; nothing when two
/// shares are the same. With d folded in, the weighted sums of E₁ and V₁ are a·E and a·V themselves.
pub(crate) fn weights<D: Dialect>(
    shared: &Shared<D>,
    ids: &[&[u8; ID_LEN]],
) -> Option<Zeroizing<Vec<Scalar>>> {
    let mut indices = Zeroizing::new(Vec::with_capacity(ids.len()));
    indices.extend(ids.iter().map(|id| shared.index(id)));
    let mut product = indices.iter().product::<Scalar>() * shared.divisor();
    // xᵢ · Π (xⱼ − xᵢ): dividing the product of all indices by it gives λᵢ.
    let mut denominators = Zeroizing::new(Vec::with_capacity(indices.len()));
    for (i, index) in indices.iter().enumerate() {
        let mut denominator = *index;
        for (j, other) in indices.iter().enumerate() {
            if j != i {
                denominator *= other - index;
            }
        }
        denominators.push(denominator);
    }
    invert_all(&mut denominators)?;
    for inverse in denominators.iter_mut() {
        *inverse *= product;
    }
    product.zeroize();
    Some(denominators)
}

/// Replaces every scalar by its inverse: one inversion and three multiplications for each.
fn invert_all(scalars: &mut [Scalar]) -> Option<()> {
    let mut before = Zeroizing::new(Vec::with_capacity(scalars.len()));
    let mut product = Scalar::ONE;
    for scalar in scalars.iter() {
        before.push(product);
        product *= scalar;
    }
    let mut inverse = Option::<Scalar>::from(product.invert())?;
    for (scalar, before) in scalars.iter_mut().zip(before.iter()).rev() {
        let this = inverse * before;
        inverse *= *scalar;
        *scalar = this;
    }
    product.zeroize();
    inverse.zeroize();
    Some(())
}

/// `a·(E + V)` from the answers and their weights; nothing when they do not add up to the label's key.
pub(crate) fn combine<'a>(
    capsule: &Capsule,
    label_key: &PublicKey,
    weights: &[Scalar],
    answers: impl Iterator<Item = &'a Answer> + Clone,
) -> Option<Zeroizing<ProjectivePoint>> {
    let e = weighted(weights, answers.clone().map(|answer| answer.e1.into()));
    let v = weighted(weights, answers.map(|answer| answer.v1.into()));
    // s·G = V + h·E, times a. The scalars are public, and only scalars show in a variable time; the
    // points do not.
    let terms = [(*e, capsule.h), (label_key.point(), -capsule.s)];
    let balance = ProjectivePoint::lincomb_vartime(&terms) + *v;
    bool::from(balance.is_identity()).then(|| Zeroizing::new(*e + *v))
}

/// The same without the check, in about a third of the time. Only sound when every answer's proof was
/// checked *and* the same shares with the same weights have passed [`combine`] for another capsule: what
/// they add up to is then known, and the proofs say that no answer was made with anything else.
pub(crate) fn combine_unchecked<'a>(
    weights: &[Scalar],
    answers: impl Iterator<Item = &'a Answer>,
) -> Zeroizing<ProjectivePoint> {
    let sum = |answer: &Answer| ProjectivePoint::from(answer.e1) + answer.v1;
    weighted(weights, answers.map(sum))
}

fn weighted(
    weights: &[Scalar],
    points: impl Iterator<Item = ProjectivePoint>,
) -> Zeroizing<ProjectivePoint> {
    let terms: Vec<_> = points.zip(weights.iter().copied()).collect();
    let terms = Zeroizing::new(terms);
    Zeroizing::new(ProjectivePoint::lincomb(terms.as_slice()))
}
