//! A recipient who opens many capsules under one policy. UMBRAL §5.

use super::cfrag::verify_all;
use super::{Capsule, CapsuleFrag, VerifiedCapsuleFrag, open};
use crate::error::{FragError, OpenError};
use crate::id::PolicyId;
use crate::key::{IdentitySecret, LabelSecret};
use crate::policy::PolicyParams;
use crate::scheme::LabelContext;
use crate::splitkey::Memory;

/// A policy and what was learnt under it.
pub(in crate::scheme) struct Reader {
    policy: PolicyParams,
    id: PolicyId,
    pub(in crate::scheme) memory: Memory,
}

impl Reader {
    pub(in crate::scheme) fn new(policy: &PolicyParams) -> Self {
        Self {
            policy: *policy,
            id: policy.id(),
            memory: Memory::default(),
        }
    }

    pub(in crate::scheme) fn verify_all(
        &mut self,
        frags: Vec<CapsuleFrag>,
        capsule: &Capsule,
    ) -> Vec<Result<VerifiedCapsuleFrag, FragError>> {
        let Self { policy, id, memory } = self;
        verify_all(frags, capsule, id, |it| {
            let rest = [&it.threshold_bytes()[..], it.signature.as_bytes()].concat();
            memory.check(&it.share, &rest, || it.verify(policy, id))
        })
    }

    pub(in crate::scheme) fn open(
        &mut self,
        recipient: &IdentitySecret,
        capsule: &Capsule,
        frags: &[&VerifiedCapsuleFrag],
        context: &LabelContext,
    ) -> Result<LabelSecret, OpenError> {
        let (policy, memory) = (&self.policy, &mut self.memory);
        open::open(recipient, capsule, frags, policy, context, memory)
    }
}
