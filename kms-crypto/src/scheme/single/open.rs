//! The recipient opens the ephemeral key and with it one answer. SCHEMES §10.4.

use k256::ProjectivePoint;
use zeroize::Zeroizing;

use super::capsule::label_secret;
use super::kfrag::ephemeral_point;
use super::{Capsule, Direction, VerifiedCapsuleFrag};
use crate::curve::{self, decode_scalar};
use crate::error::OpenError;
use crate::key::{IdentitySecret, LabelSecret};
use crate::policy::PolicyParams;
use crate::scheme::LabelContext;
use crate::scheme::ephemeral::{choose, unseal};

pub(super) fn open<D: Direction>(
    recipient: &IdentitySecret,
    capsule: &Capsule<D>,
    frags: &[&VerifiedCapsuleFrag<D>],
    policy: &PolicyParams,
    context: &LabelContext,
) -> Result<LabelSecret, OpenError> {
    curve::count_operation();
    if recipient.public() != policy.recipient {
        return Err(OpenError::OtherRecipient);
    }
    let label_key = D::own(&policy.label_key).ok_or(OpenError::Scheme(policy.scheme()))?;
    let id = policy.id();
    let chosen = choose(
        frags,
        |frag| &frag.frag.commitment,
        |first, frag| {
            frag.policy == id
                && frag.capsule == capsule.point
                && frag.frag.commitment.public == first.frag.commitment.public
        },
    )?;
    let first = chosen.first().ok_or(OpenError::TooFew {
        needed: 1,
        found: 0,
    })?;
    let commitment = &first.frag.commitment;
    let bytes = unseal(recipient, &D::DOMAINS, &id, &commitment.sealed)?;
    let ephemeral = Zeroizing::new(decode_scalar(&*bytes).ok_or(OpenError::SealedKey)?);
    // The nodes have checked the key against Ê; that this is Ê's secret only the recipient can check.
    if ProjectivePoint::mul_by_generator(&ephemeral) != ephemeral_point(commitment) {
        return Err(OpenError::SealedKey);
    }
    let hidden = Zeroizing::new(D::hidden(&first.frag.point.into(), &ephemeral));
    Ok(label_secret(&hidden, capsule, &label_key, context))
}
