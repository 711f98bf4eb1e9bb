//! The recipient puts m answers together. SCHEMES §8.5.
//!
//! Constant time: the Lagrange coefficients depend on the secret indices of the shares.

use k256::elliptic_curve::group::Group;
use k256::elliptic_curve::ops::LinearCombination;
use k256::{ProjectivePoint, Scalar};
use zeroize::{Zeroize, Zeroizing};

use super::capsule::label_secret;
use super::{Capsule, Shared, VerifiedCapsuleFrag};
use crate::curve::{self, encode_point};
use crate::error::OpenError;
use crate::key::{IdentitySecret, LabelSecret};
use crate::policy::PolicyParams;
use crate::scheme::LabelContext;

pub(super) fn open(
    recipient: &IdentitySecret,
    capsule: &Capsule,
    frags: &[&VerifiedCapsuleFrag],
    policy: &PolicyParams,
    context: &LabelContext,
) -> Result<LabelSecret, OpenError> {
    curve::count_operation();
    if recipient.public() != policy.recipient {
        return Err(OpenError::OtherRecipient);
    }
    let chosen = choose(capsule, frags, policy)?;
    let precursor = chosen.first().map(|frag| frag.frag.commitment.precursor);
    let precursor = precursor.ok_or(OpenError::TooFew {
        needed: 1,
        found: 0,
    })?;
    let dh = Zeroizing::new(ProjectivePoint::from(precursor) * recipient.scalar());
    let shared = Shared::new(
        &policy.id(),
        &encode_point(&precursor),
        &policy.recipient,
        &dh,
    );

    // d is folded into the coefficients, so that the sums are a·E and a·V themselves.
    let divisor = Zeroizing::new(shared.divisor());
    let mut weights = coefficients(&shared, &chosen).ok_or(OpenError::Duplicate)?;
    weights.iter_mut().for_each(|weight| *weight *= *divisor);
    let e = Zeroizing::new(weighted_sum(
        &weights,
        chosen.iter().map(|frag| frag.frag.e1),
    ));
    let v = Zeroizing::new(weighted_sum(
        &weights,
        chosen.iter().map(|frag| frag.frag.v1),
    ));

    // s·G = V + h·E, times a: holds when the shares add up to the label's key.
    let balance =
        ProjectivePoint::lincomb(&[(*e, capsule.h), (policy.label_key.point(), -capsule.s)]) + *v;
    if !bool::from(balance.is_identity()) {
        return Err(OpenError::Inconsistent);
    }
    let point = Zeroizing::new(*e + *v);
    Ok(label_secret(&point, capsule, &policy.label_key, context))
}

/// The first m of the given answers, provided all of them belong together and are distinct.
fn choose<'a>(
    capsule: &Capsule,
    frags: &[&'a VerifiedCapsuleFrag],
    policy: &PolicyParams,
) -> Result<Vec<&'a VerifiedCapsuleFrag>, OpenError> {
    let Some(first) = frags.first() else {
        return Err(OpenError::TooFew {
            needed: 1,
            found: 0,
        });
    };
    let id = policy.id();
    let model = &first.frag.commitment;
    let belongs = |frag: &&VerifiedCapsuleFrag| {
        let commitment = &frag.frag.commitment;
        frag.policy == id
            && frag.capsule == *capsule
            && commitment.precursor == model.precursor
            && commitment.threshold == model.threshold
    };
    if !frags.iter().all(belongs) {
        return Err(OpenError::Mixed);
    }
    let mut ids: Vec<_> = frags.iter().map(|frag| frag.frag.commitment.id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() != frags.len() {
        return Err(OpenError::Duplicate);
    }
    let needed = usize::from(model.threshold.needed());
    match frags.get(..needed) {
        Some(chosen) => Ok(chosen.to_vec()),
        None => Err(OpenError::TooFew {
            needed,
            found: frags.len(),
        }),
    }
}

/// `λᵢ = Π xⱼ / (xⱼ − xᵢ)` over all `j ≠ i`, with one inversion for all; nothing when two are equal.
fn coefficients(shared: &Shared, frags: &[&VerifiedCapsuleFrag]) -> Option<Zeroizing<Vec<Scalar>>> {
    let mut indices = Zeroizing::new(Vec::with_capacity(frags.len()));
    for frag in frags {
        indices.push(shared.index(&frag.frag.commitment.id));
    }
    let product = Zeroizing::new(indices.iter().product::<Scalar>());
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
    denominators
        .iter_mut()
        .for_each(|inverse| *inverse *= *product);
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

fn weighted_sum(
    weights: &[Scalar],
    points: impl Iterator<Item = k256::AffinePoint>,
) -> ProjectivePoint {
    let terms: Vec<_> = points
        .map(ProjectivePoint::from)
        .zip(weights.iter().copied())
        .collect();
    let terms = Zeroizing::new(terms);
    ProjectivePoint::lincomb(terms.as_slice())
}
