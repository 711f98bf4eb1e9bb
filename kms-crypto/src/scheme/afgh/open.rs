//! The recipient multiplies all answers and takes the root that only he knows. SCHEMES §11.4.

use blstrs::{G1Affine, G2Affine, Gt, pairing};
use zeroize::Zeroizing;

use super::capsule::label_secret;
use super::kfrag::committed;
use super::{Afgh, Capsule, DOMAINS, VerifiedCapsuleFrag};
use crate::bls::{self, decode_scalar};
use crate::curve;
use crate::error::OpenError;
use crate::key::{IdentitySecret, LabelSecret};
use crate::policy::PolicyParams;
use crate::scheme::ephemeral::{choose, unseal};
use crate::scheme::{LabelContext, Scheme};

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
    let label_key = Afgh::narrow(&policy.label_key).ok_or(OpenError::Scheme(policy.scheme()))?;
    let id = policy.id();
    let chosen = choose(
        frags,
        |frag| &frag.frag.commitment,
        |_, frag| frag.policy == id && frag.capsule == *capsule,
    )?;
    let first = chosen.first().ok_or(OpenError::TooFew {
        needed: 1,
        found: 0,
    })?;
    let bytes = unseal(recipient, &DOMAINS, &id, &first.frag.commitment.sealed)?;
    let bytes: Zeroizing<[u8; 32]> = bytes;
    let ephemeral = decode_scalar(&bytes).ok_or(OpenError::SealedKey)?;

    // The commitments multiply to Z^e when the shares add up to (e/a)·H.
    let whole: Gt = chosen
        .iter()
        .map(|frag| committed(&frag.frag.commitment))
        .sum();
    let hidden = G2Affine::from(bls::g2() * ephemeral);
    if whole != pairing(&G1Affine::from(bls::g1()), &hidden) {
        return Err(OpenError::Inconsistent);
    }
    let product: Gt = chosen.iter().map(|frag| frag.frag.answer).sum();
    let hidden = bls::mul_gt(&product, &bls::invert(&ephemeral));
    label_secret(&hidden, capsule, &label_key, context).ok_or(OpenError::Inconsistent)
}
