//! Several answers at once, and capsule after capsule under one policy. SCHEMES §7, UMBRAL §5.

use core::fmt;

use super::{Capsule, CapsuleFrag, LabelContext, Scheme, Split, VerifiedCapsuleFrag, split};
use crate::error::{FragError, OpenError};
use crate::key::{IdentitySecret, LabelSecret};
use crate::policy::PolicyParams;
use crate::wipe::without_trace_of;

/// A recipient's view of one policy: remembers what is the same in every answer, so that later capsules
/// take about half of the time. Every proof is checked all the same.
///
/// Only the split scheme has something to remember; the others are checked and opened as always.
pub struct Reader {
    policy: PolicyParams,
    split: split::Reader,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader(..)")
    }
}

impl Reader {
    /// One that remembers nothing yet.
    #[must_use]
    pub fn new(policy: &PolicyParams) -> Self {
        Self {
            policy: *policy,
            split: split::Reader::new(policy),
        }
    }

    /// Checks answers to one capsule, their proofs together, which takes about half of the time of
    /// [`CapsuleFrag::verify`]. A verdict on each, in the order given: when the proofs do not hold together,
    /// they are checked one by one.
    pub fn verify_all(
        &mut self,
        frags: Vec<CapsuleFrag>,
        capsule: &Capsule,
    ) -> Vec<Result<VerifiedCapsuleFrag, FragError>> {
        let split = frags.iter().map(split_frag).collect::<Option<Vec<_>>>();
        if let (Some(capsule), Some(split), true) = (split_capsule(capsule), split, self.is_split())
        {
            let split = split.into_iter().cloned().collect();
            let verdicts = self.split.verify_all(split, capsule).into_iter();
            return verdicts
                .map(|verdict| verdict.map(VerifiedCapsuleFrag::Split))
                .collect();
        }
        let verdicts = frags.into_iter();
        verdicts
            .map(|frag| frag.verify(capsule, &self.policy))
            .collect()
    }

    /// Like [`IdentitySecret::open_reencrypted`].
    ///
    /// # Errors
    /// The same.
    pub fn open(
        &mut self,
        recipient: &IdentitySecret,
        capsule: &Capsule,
        frags: &[VerifiedCapsuleFrag],
        context: &LabelContext,
    ) -> Result<LabelSecret, OpenError> {
        let split = frags.iter().map(split_verified).collect::<Option<Vec<_>>>();
        if let (Some(capsule), Some(split), true) = (split_capsule(capsule), split, self.is_split())
        {
            let memory = &mut self.split;
            return without_trace_of(Split::ID, || {
                memory.open(recipient, capsule, &split, context)
            });
        }
        recipient.open_reencrypted(capsule, frags, &self.policy, context)
    }

    /// The weights it remembers, to look for them in memory.
    #[cfg(test)]
    pub(crate) fn weights(&self) -> impl Iterator<Item = &k256::Scalar> {
        self.split.memory.known_weights()
    }

    fn is_split(&self) -> bool {
        self.policy.scheme() == Split::ID
    }
}

fn split_capsule(capsule: &Capsule) -> Option<&split::Capsule> {
    match capsule {
        Capsule::Split(it) => Some(it),
        _ => None,
    }
}

fn split_frag(frag: &CapsuleFrag) -> Option<&split::CapsuleFrag> {
    match frag {
        CapsuleFrag::Split(it) => Some(it),
        _ => None,
    }
}

fn split_verified(frag: &VerifiedCapsuleFrag) -> Option<&split::VerifiedCapsuleFrag> {
    match frag {
        VerifiedCapsuleFrag::Split(it) => Some(it),
        _ => None,
    }
}
