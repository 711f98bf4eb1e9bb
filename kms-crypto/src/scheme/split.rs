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
mod generator;
mod kfrag;
mod open;

#[cfg(test)]
mod tests;

pub use capsule::Capsule;
pub use cfrag::{CapsuleFrag, VerifiedCapsuleFrag};
pub use kfrag::{KeyFrag, VerifiedKeyFrag};

use k256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;

use super::{LabelContext, Scheme, sealed};
use crate::curve::{POINT_LEN, encode_point, hash_to_scalar};
use crate::error::{FragError, OpenError, SplitError};
use crate::id::{CurveId, PolicyId, SchemeId};
use crate::key::{DelegatingKey, IdentitySecret, LabelSecret, LedgerKey, PublicKey};
use crate::policy::{PolicyParams, Threshold};

/// The scheme as a type.
#[derive(Clone, Copy, Debug)]
pub enum Split {}

impl sealed::Sealed for Split {}

impl Scheme for Split {
    const ID: SchemeId = SchemeId::SPLIT_ECIES;
    const CURVE: CurveId = CurveId::SECP256K1;

    type Capsule = Capsule;
    type KeyFrag = KeyFrag;
    type VerifiedKeyFrag = VerifiedKeyFrag;
    type CapsuleFrag = CapsuleFrag;
    type VerifiedCapsuleFrag = VerifiedCapsuleFrag;

    fn encapsulate(
        rng: &mut (impl CryptoRng + ?Sized),
        label_key: &PublicKey,
        context: &LabelContext,
    ) -> (Capsule, LabelSecret) {
        capsule::encapsulate(rng, label_key, context)
    }

    fn decapsulate(key: &DelegatingKey, capsule: &Capsule, context: &LabelContext) -> LabelSecret {
        capsule::decapsulate(key, capsule, context)
    }

    fn split(
        rng: &mut (impl CryptoRng + ?Sized),
        key: &DelegatingKey,
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

/// What owner and recipient share for one split, and nobody else: `D = x·B = b·X`. SCHEMES §8.3.
struct Shared {
    /// Policy id, X, B, D, in that order: what both hashes below begin with.
    prefix: zeroize::Zeroizing<[u8; 32 + 3 * POINT_LEN]>,
}

impl Shared {
    fn new(
        policy: &PolicyId,
        precursor: &[u8; POINT_LEN],
        recipient: &PublicKey,
        dh: &ProjectivePoint,
    ) -> Self {
        let mut prefix = zeroize::Zeroizing::new([0; 32 + 3 * POINT_LEN]);
        let (id, points) = prefix.split_at_mut(32);
        id.copy_from_slice(&policy.0);
        let dh = zeroize::Zeroizing::new(encode_point(&dh.to_affine()));
        let parts = [precursor, recipient.as_bytes(), &*dh];
        for (slot, part) in points.chunks_exact_mut(POINT_LEN).zip(parts) {
            slot.copy_from_slice(part);
        }
        Self { prefix }
    }

    /// `d`: what the re-encryption key is divided by.
    fn divisor(&self) -> Scalar {
        hash_to_scalar("kms/split/shared/1", &[&*self.prefix])
    }

    /// `xᵢ`: where the polynomial is evaluated for the share `id`. Secret, so that m nodes alone
    /// cannot interpolate.
    fn index(&self, id: &[u8; 32]) -> Scalar {
        hash_to_scalar("kms/split/index/1", &[&*self.prefix, id])
    }
}
