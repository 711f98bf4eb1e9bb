//! Split-key ECIES: m of n, unidirectional, single hop, with proofs. SCHEMES §8.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::wire::Fields;
use super::{LabelContext, Scheme, sealed};
use crate::error::{DecodeError, FragError, OpenError, SplitError};
use crate::id::{CurveId, PolicyId, SchemeId};
use crate::key::{DelegatingKey, IdentitySecret, LabelSecret, LedgerKey, PublicKey};
use crate::policy::{PolicyParams, Threshold};

/// The scheme as a type.
#[derive(Clone, Copy, Debug)]
pub enum Split {}

impl sealed::Sealed for Split {}

/// Capsule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capsule {}

impl Capsule {
    pub(super) fn read(_fields: Fields<'_>) -> Result<Self, DecodeError> {
        todo!()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        todo!()
    }
}

/// KeyFrag.
#[derive(Debug)]
pub struct KeyFrag {}

impl KeyFrag {
    pub(super) fn read(_fields: Fields<'_>) -> Result<Self, DecodeError> {
        todo!()
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        todo!()
    }
}

/// VerifiedKeyFrag.
#[derive(Debug)]
pub struct VerifiedKeyFrag {}

impl VerifiedKeyFrag {
    pub(super) fn read(_fields: Fields<'_>) -> Result<Self, DecodeError> {
        todo!()
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        todo!()
    }
    pub(super) const fn policy(&self) -> PolicyId {
        todo!()
    }
    pub(super) const fn threshold(&self) -> Threshold {
        todo!()
    }
}

/// CapsuleFrag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapsuleFrag {}

impl CapsuleFrag {
    pub(super) fn read(_fields: Fields<'_>) -> Result<Self, DecodeError> {
        todo!()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        todo!()
    }
}

/// VerifiedCapsuleFrag.
#[derive(Clone, Debug)]
pub struct VerifiedCapsuleFrag {}

impl VerifiedCapsuleFrag {
    pub(super) const fn threshold(&self) -> Threshold {
        todo!()
    }
    pub(super) const fn share_id(&self) -> [u8; 32] {
        todo!()
    }
}

impl Scheme for Split {
    const ID: SchemeId = super::SPLIT;
    const CURVE: CurveId = super::SECP256K1;

    type Capsule = Capsule;
    type KeyFrag = KeyFrag;
    type VerifiedKeyFrag = VerifiedKeyFrag;
    type CapsuleFrag = CapsuleFrag;
    type VerifiedCapsuleFrag = VerifiedCapsuleFrag;

    fn encapsulate(
        _rng: &mut (impl CryptoRng + ?Sized),
        _label_key: &PublicKey,
        _context: &LabelContext,
    ) -> (Capsule, LabelSecret) {
        todo!()
    }

    fn decapsulate(
        _key: &DelegatingKey,
        _capsule: &Capsule,
        _context: &LabelContext,
    ) -> Result<LabelSecret, OpenError> {
        todo!()
    }

    fn split(
        _rng: &mut (impl CryptoRng + ?Sized),
        _key: &DelegatingKey,
        _policy: &PolicyParams,
        _signer: &LedgerKey,
        _threshold: Threshold,
    ) -> Result<Vec<KeyFrag>, SplitError> {
        todo!()
    }

    fn verify_key_frag(
        _frag: KeyFrag,
        _policy: &PolicyParams,
    ) -> Result<VerifiedKeyFrag, FragError> {
        todo!()
    }

    fn reencrypt(
        _rng: &mut (impl CryptoRng + ?Sized),
        _frag: &VerifiedKeyFrag,
        _capsule: &Capsule,
    ) -> CapsuleFrag {
        todo!()
    }

    fn verify_capsule_frag(
        _frag: CapsuleFrag,
        _capsule: &Capsule,
        _policy: &PolicyParams,
    ) -> Result<VerifiedCapsuleFrag, FragError> {
        todo!()
    }

    fn open<'a>(
        _recipient: &IdentitySecret,
        _capsule: &Capsule,
        _frags: impl Iterator<Item = &'a VerifiedCapsuleFrag>,
        _policy: &PolicyParams,
        _context: &LabelContext,
    ) -> Result<LabelSecret, OpenError> {
        todo!()
    }
}
