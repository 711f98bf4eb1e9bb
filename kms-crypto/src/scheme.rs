//! Re-encryption: how a label's key is shared without being given away. SCHEMES §7.
//!
//! ```text
//! owner      encapsulate ─▶ (Capsule, LabelSecret)          split ─▶ n × KeyFrag
//! node       KeyFrag::verify ─▶ VerifiedKeyFrag::reencrypt(Capsule) ─▶ CapsuleFrag
//! recipient  m × CapsuleFrag::verify ─▶ IdentitySecret::open_reencrypted ─▶ LabelSecret
//! ```
//!
//! Inside the crate a scheme is a type that implements the sealed [`Scheme`]; its capsules and
//! fragments are types of their own, so that mixing schemes does not compile. At the byte boundary
//! stand the enums of this module, which read and write the scheme's id. Nothing here says *who* may
//! have a fragment, or until when: nodes and ledger do.
//!
//! ```
//! use kms_crypto::id::{LabelId, SchemeId, StoreId};
//! use kms_crypto::key::{IdentitySecret, StoreKey};
//! use kms_crypto::policy::{PolicyParams, Threshold};
//! use kms_crypto::scheme::{LabelContext, encapsulate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
//! let bob = IdentitySecret::generate(&mut rng);
//!
//! // The owner: a label, its secret in a capsule, and three fragments for Bob of which two will do.
//! let store = StoreKey::generate(&mut rng);
//! let context = LabelContext {
//!     store: StoreId::random(&mut rng),
//!     label: LabelId::random(&mut rng),
//!     epoch: 1,
//! };
//! let label = store.delegating_key(&context.label, 0);
//! let (capsule, secret) =
//!     encapsulate(&mut rng, SchemeId::SPLIT_ECIES, &label.public(), &context)?;
//! let salt = [7; 32]; // random in earnest
//! let signer = store.ledger_key(&salt);
//! let policy = PolicyParams::new(signer.public(), label.public(), bob.public(), salt);
//! let frags = label.split(&mut rng, &policy, &signer, Threshold::new(2, 3)?)?;
//!
//! // Each node checks what it is given, and answers for the capsule.
//! let mut answers = Vec::new();
//! for frag in frags.into_iter().take(2) {
//!     let frag = frag.verify(&policy)?;
//!     answers.push(frag.reencrypt(&mut rng, &capsule)?);
//! }
//!
//! // Bob checks the answers and opens.
//! let mut checked = Vec::new();
//! for answer in answers {
//!     checked.push(answer.verify(&capsule, &policy)?);
//! }
//! assert_eq!(bob.open_reencrypted(&capsule, &checked, &policy, &context)?, secret);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "afgh")]
pub mod afgh;
mod any;
mod ephemeral;
mod kind;
mod reader;
mod sealed;
#[cfg(feature = "signing")]
pub mod signing;
pub mod single;
pub mod split;
mod threshold;
pub(crate) mod wire;

#[cfg(test)]
mod conformance;

use rand_core::CryptoRng;

use crate::error::{FragError, OpenError, SplitError};
use crate::id::{CurveId, LabelId, SchemeId, StoreId};
use crate::key::{DelegatingKey, IdentitySecret, LabelPublicKey, LabelSecret, LedgerKey};
use crate::policy::{PolicyParams, Threshold};
use crate::wipe::without_trace_of;

#[cfg(feature = "afgh")]
pub use afgh::Afgh;
pub use any::{Capsule, CapsuleFrag, KeyFrag, VerifiedCapsuleFrag, VerifiedKeyFrag, encapsulate};
pub use kind::SchemeKind;
pub use reader::Reader;
pub use single::{Bbs98, Ecies};
pub use split::Split;
pub use threshold::{ThresholdRule, check_threshold};

/// What a capsule's key derivation binds beside the scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelContext {
    /// The store the label is in.
    pub store: StoreId,
    /// The label.
    pub label: LabelId,
    /// Which of the label's secrets this is; a revocation begins a new one.
    pub epoch: u32,
}

/// A re-encryption scheme. Sealed: schemes are specified, reviewed and numbered here.
///
/// What is of one scheme goes together,
///
/// ```
/// use kms_crypto::scheme::{LabelContext, Scheme, Split};
///
/// fn open(key: &<Split as Scheme>::DelegatingKey, capsule: &<Split as Scheme>::Capsule, of: &LabelContext) {
///     Split::decapsulate(key, capsule, of);
/// }
/// ```
///
/// and what is of two does not compile:
///
/// ```compile_fail,E0308
/// use kms_crypto::scheme::{Afgh, LabelContext, Scheme, Split};
///
/// fn open(key: &<Split as Scheme>::DelegatingKey, capsule: &<Afgh as Scheme>::Capsule, of: &LabelContext) {
///     Split::decapsulate(key, capsule, of);
/// }
/// ```
///
/// ```compile_fail,E0308
/// use kms_crypto::scheme::{Bbs98, Ecies, LabelContext, Scheme};
///
/// fn open(key: &<Bbs98 as Scheme>::DelegatingKey, capsule: &<Ecies as Scheme>::Capsule, of: &LabelContext) {
///     Bbs98::decapsulate(key, capsule, of);
/// }
/// ```
pub trait Scheme: sealed::Sealed + Sized {
    /// Its number in every encoding.
    const ID: SchemeId;
    /// Its curve's number in every encoding.
    const CURVE: CurveId;
    /// The thresholds it can have.
    const RULE: ThresholdRule;

    /// A label's public key.
    type LabelKey: Copy;
    /// A label's secret key.
    type DelegatingKey;
    /// A label secret encapsulated to the label's public key.
    type Capsule;
    /// One node's share as received.
    type KeyFrag;
    /// One node's share, checked against a policy.
    type VerifiedKeyFrag;
    /// One node's answer as received.
    type CapsuleFrag;
    /// One node's answer, its proof checked.
    type VerifiedCapsuleFrag;

    /// The label key, if it is one of this scheme.
    fn narrow(key: &LabelPublicKey) -> Option<Self::LabelKey>;

    /// Makes a capsule and the secret in it.
    fn encapsulate(
        rng: &mut (impl CryptoRng + ?Sized),
        label_key: &Self::LabelKey,
        context: &LabelContext,
    ) -> (Self::Capsule, LabelSecret);

    /// Opens a capsule with the label's own key. A capsule of another label, or another context, gives
    /// a secret that opens nothing.
    fn decapsulate(
        key: &Self::DelegatingKey,
        capsule: &Self::Capsule,
        context: &LabelContext,
    ) -> LabelSecret;

    /// Splits a re-encryption key from the label to the policy's recipient.
    ///
    /// # Errors
    /// The keys are not the policy's, the scheme's rule does not permit the threshold, or the random
    /// number source repeats itself.
    fn split(
        rng: &mut (impl CryptoRng + ?Sized),
        key: &Self::DelegatingKey,
        policy: &PolicyParams,
        signer: &LedgerKey,
        threshold: Threshold,
    ) -> Result<Vec<Self::KeyFrag>, SplitError>;

    /// Checks a share against the policy it claims to be for.
    ///
    /// # Errors
    /// It is not that policy's, or was altered.
    fn verify_key_frag(
        frag: Self::KeyFrag,
        policy: &PolicyParams,
    ) -> Result<Self::VerifiedKeyFrag, FragError>;

    /// Re-encrypts a capsule with one share and proves it.
    fn reencrypt(
        rng: &mut (impl CryptoRng + ?Sized),
        frag: &Self::VerifiedKeyFrag,
        capsule: &Self::Capsule,
    ) -> Self::CapsuleFrag;

    /// Checks a node's answer and its proof.
    ///
    /// # Errors
    /// Which check failed.
    fn verify_capsule_frag(
        frag: Self::CapsuleFrag,
        capsule: &Self::Capsule,
        policy: &PolicyParams,
    ) -> Result<Self::VerifiedCapsuleFrag, FragError>;

    /// Opens a re-encrypted capsule.
    ///
    /// # Errors
    /// Too few answers, answers that do not belong together, or somebody else's.
    fn open<'a>(
        recipient: &IdentitySecret,
        capsule: &Self::Capsule,
        frags: impl Iterator<Item = &'a Self::VerifiedCapsuleFrag>,
        policy: &PolicyParams,
        context: &LabelContext,
    ) -> Result<LabelSecret, OpenError>
    where
        Self: 'a;
}

impl DelegatingKey {
    /// Splits a re-encryption key from this label to the policy's recipient, by the policy's scheme;
    /// `signer` is the policy's ledger key.
    ///
    /// # Errors
    /// Keys other than the policy's, a threshold the scheme does not work with, or a random number
    /// source that repeats itself.
    pub fn split(
        &self,
        rng: &mut (impl CryptoRng + ?Sized),
        policy: &PolicyParams,
        signer: &LedgerKey,
        threshold: Threshold,
    ) -> Result<Vec<KeyFrag>, SplitError> {
        without_trace_of(self.scheme(), || {
            any::split(self, rng, policy, signer, threshold)
        })
    }

    /// Opens a capsule of this label. A capsule of another label, or another context, gives a secret
    /// that opens nothing; the seal it should open says so.
    ///
    /// # Errors
    /// The capsule is of a scheme this key is not for.
    pub fn decapsulate(
        &self,
        capsule: &Capsule,
        context: &LabelContext,
    ) -> Result<LabelSecret, OpenError> {
        without_trace_of(self.scheme(), || any::decapsulate(self, capsule, context))
    }
}

impl IdentitySecret {
    /// Opens a re-encrypted capsule. More than the needed fragments may be given; the first m count.
    /// A capsule of another label, or another context, gives a secret that opens nothing.
    ///
    /// # Errors
    /// Fewer than m fragments, two of one share, fragments of other policies, capsules or splits, or
    /// a policy for somebody else.
    pub fn open_reencrypted(
        &self,
        capsule: &Capsule,
        frags: &[VerifiedCapsuleFrag],
        policy: &PolicyParams,
        context: &LabelContext,
    ) -> Result<LabelSecret, OpenError> {
        without_trace_of(capsule.scheme(), || {
            any::open(self, capsule, frags, policy, context)
        })
    }
}
