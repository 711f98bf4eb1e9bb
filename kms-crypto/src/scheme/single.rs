//! BBS98 and ECIES re-encryption: one key, stored on n nodes, any one of which is enough. SCHEMES §10.
//! For comparison and debugging; `split` is for everything that matters.
//!
//! The two differ in direction only. With the label's key `a`, an ephemeral key `e` and `A = a·G`,
//! `Ê = e·G`, the re-encryption key is `e/a` in BBS98 and `a/e` in ECIES, so that it takes A to Ê or
//! Ê to A; and it takes a capsule of the label to one of the ephemeral key the same way. That the
//! same number did both is what a node proves.
//!
//! One node and the recipient together know `a`: nothing that matters should be shared by these.

mod capsule;
mod cfrag;
mod kfrag;
mod open;

pub use capsule::Capsule;
pub use cfrag::{CapsuleFrag, VerifiedCapsuleFrag};
pub use kfrag::{KeyFrag, VerifiedKeyFrag};

use k256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;

pub use super::ephemeral::Domains;
use super::{LabelContext, Scheme, ThresholdRule, sealed};
use crate::error::{FragError, OpenError, SplitError};
use crate::id::{CurveId, SchemeId};
use crate::key::{
    EcDelegatingKey, IdentitySecret, LabelPublicKey, LabelSecret, LedgerKey, PublicKey,
};
use crate::policy::{PolicyParams, Threshold};

/// BBS98 as a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bbs98 {}

/// ECIES re-encryption as a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecies {}

/// What the two schemes of this kind do differently. Sealed.
pub trait Direction: sealed::Sealed + Sized {
    /// The scheme's number.
    const SCHEME: SchemeId;
    /// Its domain strings.
    const DOMAINS: Domains;

    /// The label key, if it is one of this scheme.
    fn own(key: &LabelPublicKey) -> Option<PublicKey>;

    /// The re-encryption key from `a` to `e`, neither of which is zero.
    #[doc(hidden)]
    fn rekey(a: &Scalar, e: &Scalar) -> Scalar;

    /// `(P, Q)` of A and Ê, such that the re-encryption key takes P to Q.
    #[doc(hidden)]
    fn statement<T>(label: T, ephemeral: T) -> (T, T);

    /// What of `(r·A, r·G)` the capsule shows, and what it hides.
    #[doc(hidden)]
    fn shown<T>(by_label: T, by_generator: T) -> (T, T);

    /// What the capsule hides, from what it shows and the key that is needed for it.
    #[doc(hidden)]
    fn hidden(shown: &ProjectivePoint, key: &Scalar) -> ProjectivePoint;
}

/// No key here is ever zero: reading and making keys rule it out.
fn inverse(scalar: &Scalar) -> Scalar {
    Option::from(scalar.invert()).expect("keys are not zero")
}

impl sealed::Sealed for Bbs98 {}

impl Direction for Bbs98 {
    const SCHEME: SchemeId = SchemeId::BBS98;
    const DOMAINS: Domains = Domains {
        ephemeral: "kms/bbs98/ephemeral/1",
        fragment: "kms/bbs98/fragment/1",
        proof: "kms/bbs98/proof/1",
        nonce: "kms/bbs98/nonce/1",
        label_secret: "kms/bbs98/label-secret/1",
    };

    fn own(key: &LabelPublicKey) -> Option<PublicKey> {
        match key {
            LabelPublicKey::Bbs98(key) => Some(*key),
            _ => None,
        }
    }

    fn rekey(a: &Scalar, e: &Scalar) -> Scalar {
        inverse(a) * e
    }

    fn statement<T>(label: T, ephemeral: T) -> (T, T) {
        (label, ephemeral)
    }

    fn shown<T>(by_label: T, by_generator: T) -> (T, T) {
        (by_label, by_generator)
    }

    fn hidden(shown: &ProjectivePoint, key: &Scalar) -> ProjectivePoint {
        shown * &inverse(key)
    }
}

impl sealed::Sealed for Ecies {}

impl Direction for Ecies {
    const SCHEME: SchemeId = SchemeId::ECIES;
    const DOMAINS: Domains = Domains {
        ephemeral: "kms/ecies/ephemeral/1",
        fragment: "kms/ecies/fragment/1",
        proof: "kms/ecies/proof/1",
        nonce: "kms/ecies/nonce/1",
        label_secret: "kms/ecies/label-secret/1",
    };

    fn own(key: &LabelPublicKey) -> Option<PublicKey> {
        match key {
            LabelPublicKey::Ecies(key) => Some(*key),
            _ => None,
        }
    }

    fn rekey(a: &Scalar, e: &Scalar) -> Scalar {
        inverse(e) * a
    }

    fn statement<T>(label: T, ephemeral: T) -> (T, T) {
        (ephemeral, label)
    }

    fn shown<T>(by_label: T, by_generator: T) -> (T, T) {
        (by_generator, by_label)
    }

    fn hidden(shown: &ProjectivePoint, key: &Scalar) -> ProjectivePoint {
        shown * key
    }
}

impl<D: Direction> Scheme for D {
    const ID: SchemeId = D::SCHEME;
    const CURVE: CurveId = CurveId::SECP256K1;
    const RULE: ThresholdRule = ThresholdRule::OneOfN;

    type LabelKey = PublicKey;
    type DelegatingKey = EcDelegatingKey;
    type Capsule = Capsule<D>;
    type KeyFrag = KeyFrag<D>;
    type VerifiedKeyFrag = VerifiedKeyFrag<D>;
    type CapsuleFrag = CapsuleFrag<D>;
    type VerifiedCapsuleFrag = VerifiedCapsuleFrag<D>;

    fn narrow(key: &LabelPublicKey) -> Option<PublicKey> {
        D::own(key)
    }

    fn encapsulate(
        rng: &mut (impl CryptoRng + ?Sized),
        label_key: &PublicKey,
        context: &LabelContext,
    ) -> (Capsule<D>, LabelSecret) {
        capsule::encapsulate(rng, label_key, context)
    }

    fn decapsulate(
        key: &EcDelegatingKey,
        capsule: &Capsule<D>,
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
    ) -> Result<Vec<KeyFrag<D>>, SplitError> {
        kfrag::split(rng, key, policy, signer, threshold)
    }

    fn verify_key_frag(
        frag: KeyFrag<D>,
        policy: &PolicyParams,
    ) -> Result<VerifiedKeyFrag<D>, FragError> {
        frag.verify(policy)
    }

    fn reencrypt(
        rng: &mut (impl CryptoRng + ?Sized),
        frag: &VerifiedKeyFrag<D>,
        capsule: &Capsule<D>,
    ) -> CapsuleFrag<D> {
        cfrag::reencrypt(rng, frag, capsule)
    }

    fn verify_capsule_frag(
        frag: CapsuleFrag<D>,
        capsule: &Capsule<D>,
        policy: &PolicyParams,
    ) -> Result<VerifiedCapsuleFrag<D>, FragError> {
        frag.verify(capsule, policy)
    }

    fn open<'a>(
        recipient: &IdentitySecret,
        capsule: &Capsule<D>,
        frags: impl Iterator<Item = &'a VerifiedCapsuleFrag<D>>,
        policy: &PolicyParams,
        context: &LabelContext,
    ) -> Result<LabelSecret, OpenError>
    where
        D: 'a,
    {
        let frags: Vec<_> = frags.collect();
        open::open(recipient, capsule, &frags, policy, context)
    }
}
