//! AFGH: n of n, on the pairing-friendly curve BLS12-381. SCHEMES §11. For comparison and debugging;
//! `split` is for everything that matters.
//!
//! The re-encryption key `(e/a)·H` is the sum of the nodes' shares, where `a` is the label's key and
//! `e` an ephemeral one; each node pairs the capsule with its share, and the recipient multiplies all
//! answers together. Nodes and recipient together learn `H/a`, which opens capsules, but not `a`.
//!
//! Timing: blst multiplies points, pairs and inverts in constant time. The recipient's one exponentiation in
//! GT by the inverse of the ephemeral key does the same steps for all keys but reads memory by their bits.
//! blst's scalars and points wipe nothing; the stack they were on is overwritten instead.

mod capsule;
mod cfrag;
mod kfrag;
mod open;

pub use capsule::Capsule;
pub use cfrag::{CapsuleFrag, VerifiedCapsuleFrag};
pub use kfrag::{KeyFrag, VerifiedKeyFrag};

use rand_core::CryptoRng;

use super::ephemeral::Domains;
use super::{LabelContext, Scheme, ThresholdRule, sealed};
use crate::bls::{BlsDelegatingKey, BlsPublicKey};
use crate::error::{FragError, OpenError, SplitError};
use crate::id::{CurveId, SchemeId};
use crate::key::{IdentitySecret, LabelPublicKey, LabelSecret, LedgerKey};
use crate::policy::{PolicyParams, Threshold};

const DOMAINS: Domains = Domains {
    ephemeral: "kms/afgh/ephemeral/1",
    fragment: "kms/afgh/fragment/1",
    proof: "kms/afgh/proof/1",
    nonce: "kms/afgh/nonce/1",
    label_secret: "kms/afgh/label-secret/1",
};

/// The scheme as a type.
#[derive(Clone, Copy, Debug)]
pub enum Afgh {}

impl sealed::Sealed for Afgh {}

impl Scheme for Afgh {
    const ID: SchemeId = SchemeId::AFGH;
    const CURVE: CurveId = CurveId::BLS12_381;
    const RULE: ThresholdRule = ThresholdRule::AllOfN;

    type LabelKey = BlsPublicKey;
    type DelegatingKey = BlsDelegatingKey;
    type Capsule = Capsule;
    type KeyFrag = KeyFrag;
    type VerifiedKeyFrag = VerifiedKeyFrag;
    type CapsuleFrag = CapsuleFrag;
    type VerifiedCapsuleFrag = VerifiedCapsuleFrag;

    fn narrow(key: &LabelPublicKey) -> Option<BlsPublicKey> {
        match key {
            LabelPublicKey::Afgh(key) => Some(*key),
            _ => None,
        }
    }

    fn encapsulate(
        rng: &mut (impl CryptoRng + ?Sized),
        label_key: &BlsPublicKey,
        context: &LabelContext,
    ) -> (Capsule, LabelSecret) {
        capsule::encapsulate(rng, label_key, context)
    }

    fn decapsulate(
        key: &BlsDelegatingKey,
        capsule: &Capsule,
        context: &LabelContext,
    ) -> LabelSecret {
        capsule::decapsulate(key, capsule, context)
    }

    fn split(
        rng: &mut (impl CryptoRng + ?Sized),
        key: &BlsDelegatingKey,
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
        open::open(recipient, capsule, &frags, policy, context)
    }
}
