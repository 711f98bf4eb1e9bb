//! Split-key ECIES: m of n, unidirectional, single hop, non-interactive, with proofs. SCHEMES §8.
//!
//! The re-encryption key `a·d⁻¹` is shared by Shamir's scheme, where `a` is the label's key and `d` a
//! hash that only owner and recipient can compute. Each node multiplies a capsule by its share and
//! proves it in zero knowledge; the recipient interpolates and multiplies by `d`.
//!
//! m fragments *and* the recipient's secret reveal `a`: true of every known scheme of this kind, and
//! the reason why `a` is the key of one label and of nothing else.

mod capsule;
mod cfrag;
mod kfrag;
mod open;
mod reader;

#[cfg(test)]
mod tests;

pub use capsule::Capsule;
pub use cfrag::{CapsuleFrag, VerifiedCapsuleFrag};
pub use kfrag::{KeyFrag, VerifiedKeyFrag};
pub(super) use reader::Reader;

use k256::Scalar;
use rand_core::CryptoRng;

use super::{LabelContext, Scheme, ThresholdRule, sealed};
use crate::curve::{encode_point, hash_to_scalar};
use crate::error::{FragError, OpenError, SplitError};
use crate::id::{CurveId, PolicyId, SchemeId};
use crate::key::{
    EcDelegatingKey, IdentitySecret, LabelPublicKey, LabelSecret, LedgerKey, PublicKey,
};
use crate::policy::{PolicyParams, Threshold};
use crate::splitkey::{Dialect, Memory, Statement, U_BYTES};

/// The scheme as a type.
#[derive(Clone, Copy, Debug)]
pub enum Split {}

impl sealed::Sealed for Split {}

impl Scheme for Split {
    const ID: SchemeId = SchemeId::SPLIT_ECIES;
    const CURVE: CurveId = CurveId::SECP256K1;

    const RULE: ThresholdRule = ThresholdRule::Any;

    type LabelKey = PublicKey;
    type DelegatingKey = EcDelegatingKey;
    type Capsule = Capsule;
    type KeyFrag = KeyFrag;
    type VerifiedKeyFrag = VerifiedKeyFrag;
    type CapsuleFrag = CapsuleFrag;
    type VerifiedCapsuleFrag = VerifiedCapsuleFrag;

    fn narrow(key: &LabelPublicKey) -> Option<PublicKey> {
        match key {
            LabelPublicKey::Split(key) => Some(*key),
            _ => None,
        }
    }

    fn encapsulate(
        rng: &mut (impl CryptoRng + ?Sized),
        label_key: &PublicKey,
        context: &LabelContext,
    ) -> (Capsule, LabelSecret) {
        capsule::encapsulate(rng, label_key, context)
    }

    fn decapsulate(
        key: &EcDelegatingKey,
        capsule: &Capsule,
        context: &LabelContext,
    ) -> LabelSecret {
        capsule::decapsulate(key, capsule, context)
    }

    fn split(
        rng: &mut (impl CryptoRng + ?Sized),
        key: &EcDelegatingKey,
        policy: &PolicyParams,
        signer: &LedgerKey,
        threshold: Threshold,
    ) -> Result<Vec<KeyFrag>, SplitError> {
        kfrag::split(rng, key, policy, signer, threshold)
    }

    fn verify_key_frag(frag: KeyFrag, policy: &PolicyParams) -> Result<VerifiedKeyFrag, FragError> {
        frag.verify(policy)
    }

    fn reencrypt(
        rng: &mut (impl CryptoRng + ?Sized),
        frag: &VerifiedKeyFrag,
        capsule: &Capsule,
    ) -> CapsuleFrag {
        cfrag::reencrypt(rng, frag, capsule)
    }

    fn verify_capsule_frag(
        frag: CapsuleFrag,
        capsule: &Capsule,
        policy: &PolicyParams,
    ) -> Result<VerifiedCapsuleFrag, FragError> {
        frag.verify(capsule, policy)
    }

    fn open<'a>(
        recipient: &IdentitySecret,
        capsule: &Capsule,
        frags: impl Iterator<Item = &'a VerifiedCapsuleFrag>,
        policy: &PolicyParams,
        context: &LabelContext,
    ) -> Result<LabelSecret, OpenError> {
        let frags: Vec<_> = frags.collect();
        open::open(
            recipient,
            capsule,
            &frags,
            policy,
            context,
            &mut Memory::default(),
        )
    }
}

/// How this scheme hashes: everything about a split is bound to the policy and its threshold.
struct Bound {
    policy: PolicyId,
    threshold: Threshold,
}

impl Dialect for Bound {
    const CAPSULE: &'static str = "kms/split/capsule/1";
    const SHARED: &'static str = "kms/split/shared/1";
    const INDEX: &'static str = "kms/split/index/1";

    fn binding(&self) -> &[u8] {
        &self.policy.0
    }

    /// Binds the policy, the share, the capsule and every point of the statement. SCHEMES §8.4.
    fn challenge(&self, statement: &Statement<'_>) -> Scalar {
        let parts: [&[u8]; 12] = [
            &self.policy.0,
            &statement.share.id,
            &[self.threshold.needed(), self.threshold.total()],
            statement.capsule.points(),
            &U_BYTES,
            &encode_point(&statement.share.precursor),
            &statement.u1,
            &statement.e1,
            &statement.v1,
            &statement.e2,
            &statement.v2,
            &statement.u2,
        ];
        hash_to_scalar("kms/split/proof/1", &parts)
    }
}
