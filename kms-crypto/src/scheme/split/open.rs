//! The recipient puts m answers together. SCHEMES §8.5.
//!
//! Constant time: the Lagrange coefficients depend on the secret indices of the shares.

use k256::ProjectivePoint;
use zeroize::Zeroizing;

use super::capsule::label_secret;
use super::{Capsule, Split, VerifiedCapsuleFrag};
use crate::curve;
use crate::error::OpenError;
use crate::key::{IdentitySecret, LabelSecret};
use crate::policy::PolicyParams;
use crate::scheme::{LabelContext, Scheme};
use crate::splitkey::{Memory, Shared, combine, combine_unchecked, weights};

pub(super) fn open(
    recipient: &IdentitySecret,
    capsule: &Capsule,
    frags: &[&VerifiedCapsuleFrag],
    policy: &PolicyParams,
    context: &LabelContext,
    memory: &mut Memory,
) -> Result<LabelSecret, OpenError> {
    curve::count_operation();
    if recipient.public() != policy.recipient {
        return Err(OpenError::OtherRecipient);
    }
    let label_key = Split::narrow(&policy.label_key).ok_or(OpenError::Scheme(policy.scheme()))?;
    let chosen = choose(capsule, frags, policy)?;
    let commitment = chosen.first().map(|frag| &frag.frag.commitment);
    let commitment = commitment.ok_or(OpenError::TooFew {
        needed: 1,
        found: 0,
    })?;
    let shares = chosen.iter().map(|it| &it.frag.commitment.share);
    let answers = chosen.iter().map(|it| &it.frag.answer);
    if let Some(weights) = memory.weights(shares.clone()) {
        let point = combine_unchecked(weights, answers);
        return Ok(label_secret(&point, capsule, &label_key, context));
    }
    let precursor = &commitment.share.precursor;
    let dh = Zeroizing::new(ProjectivePoint::from(*precursor) * recipient.scalar());
    let bound = commitment.bound(policy.id());
    let shared = Shared::new(&bound, precursor, &policy.recipient, &dh);
    let ids: Vec<_> = shares.clone().map(|share| &share.id).collect();
    let weights = weights(&shared, &ids).ok_or(OpenError::Duplicate)?;
    let point = combine(&capsule.core, &label_key, &weights, answers);
    let point = point.ok_or(OpenError::Inconsistent)?;
    memory.add_up(shares, weights);
    Ok(label_secret(&point, capsule, &label_key, context))
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
            && commitment.share.precursor == model.share.precursor
            && commitment.threshold == model.threshold
    };
    if !frags.iter().all(belongs) {
        return Err(OpenError::Mixed);
    }
    let mut ids: Vec<_> = frags
        .iter()
        .map(|frag| frag.frag.commitment.share.id)
        .collect();
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
