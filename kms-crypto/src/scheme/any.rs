//! Capsules and fragments of whatever scheme: the byte boundary. SCHEMES §7.1.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::wire::{self, Fields, Kind};
use super::{LabelContext, Scheme, Split, split};
use crate::error::{DecodeError, FragError, OpenError, SplitError};
use crate::id::{CurveId, PolicyId, SchemeId};
use crate::key::{DelegatingKey, IdentitySecret, LabelSecret, LedgerKey, PublicKey};
use crate::policy::{PolicyParams, Threshold};

/// A label secret encapsulated to a label's public key. Its own check has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capsule {
    /// Scheme 1.
    Split(split::Capsule),
}

/// One node's share of a re-encryption key, as received.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyFrag {
    /// Scheme 1.
    Split(split::KeyFrag),
}

/// One node's share of a re-encryption key, checked against its policy.
#[derive(Debug)]
#[non_exhaustive]
pub enum VerifiedKeyFrag {
    /// Scheme 1.
    Split(split::VerifiedKeyFrag),
}

/// One node's answer for one capsule, as received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CapsuleFrag {
    /// Scheme 1.
    Split(split::CapsuleFrag),
}

/// One node's answer for one capsule, its proof checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum VerifiedCapsuleFrag {
    /// Scheme 1.
    Split(split::VerifiedCapsuleFrag),
}

/// The schemes this version knows.
enum Known {
    Split,
}

/// Names what it does not know, scheme before curve.
fn known(scheme: SchemeId, curve: CurveId) -> Result<Known, DecodeError> {
    match scheme {
        Split::ID if curve == Split::CURVE => Ok(Known::Split),
        Split::ID => Err(DecodeError::Curve(curve)),
        _ => Err(DecodeError::Scheme(scheme)),
    }
}

fn read(kind: Kind, bytes: &[u8]) -> Result<(Known, Fields<'_>), DecodeError> {
    let (scheme, curve, fields) = wire::read_prefix(kind, bytes)?;
    Ok((known(scheme, curve)?, fields))
}

/// Makes a new label secret and encapsulates it to the label's public key.
///
/// # Errors
/// This version does not know the scheme.
pub fn encapsulate(
    rng: &mut (impl CryptoRng + ?Sized),
    scheme: SchemeId,
    label_key: &PublicKey,
    context: &LabelContext,
) -> Result<(Capsule, LabelSecret), SplitError> {
    match scheme {
        Split::ID => {
            let (capsule, secret) = Split::encapsulate(rng, label_key, context);
            Ok((Capsule::Split(capsule), secret))
        }
        other => Err(SplitError::Scheme(other)),
    }
}

pub(super) fn decapsulate(
    key: &DelegatingKey,
    capsule: &Capsule,
    context: &LabelContext,
) -> Result<LabelSecret, OpenError> {
    match capsule {
        Capsule::Split(capsule) => Ok(Split::decapsulate(key, capsule, context)),
    }
}

pub(super) fn split(
    key: &DelegatingKey,
    rng: &mut (impl CryptoRng + ?Sized),
    policy: &PolicyParams,
    signer: &LedgerKey,
    threshold: Threshold,
) -> Result<Vec<KeyFrag>, SplitError> {
    match policy.scheme {
        Split::ID => {
            let frags = Split::split(rng, key, policy, signer, threshold)?;
            Ok(frags.into_iter().map(KeyFrag::Split).collect())
        }
        other => Err(SplitError::Scheme(other)),
    }
}

pub(super) fn open(
    recipient: &IdentitySecret,
    capsule: &Capsule,
    frags: &[VerifiedCapsuleFrag],
    policy: &PolicyParams,
    context: &LabelContext,
) -> Result<LabelSecret, OpenError> {
    if policy.scheme != capsule.scheme() {
        return Err(OpenError::Scheme(policy.scheme));
    }
    match capsule {
        Capsule::Split(capsule) => {
            let frags = frags.iter().map(|frag| match frag {
                VerifiedCapsuleFrag::Split(frag) => frag,
            });
            Split::open(recipient, capsule, frags, policy, context)
        }
    }
}

/// A fragment of one scheme under a policy of another is refused before anything is computed.
fn same_scheme(expected: SchemeId, found: SchemeId) -> Result<(), FragError> {
    if expected == found {
        Ok(())
    } else {
        Err(FragError::Scheme { expected, found })
    }
}

impl Capsule {
    /// Reads a capsule and runs its own check.
    ///
    /// # Errors
    /// Anything but a capsule of a known scheme in its one permitted encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        match read(Kind::Capsule, bytes)? {
            (Known::Split, fields) => Ok(Self::Split(split::Capsule::read(fields)?)),
        }
    }

    /// The encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Split(capsule) => capsule.to_bytes(),
        }
    }

    /// Its scheme.
    #[must_use]
    pub const fn scheme(&self) -> SchemeId {
        match self {
            Self::Split(_) => Split::ID,
        }
    }

    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> CurveId {
        match self {
            Self::Split(_) => Split::CURVE,
        }
    }
}

impl KeyFrag {
    /// Reads a share; what it claims is not checked yet.
    ///
    /// # Errors
    /// Anything but a share of a known scheme in its one permitted encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        match read(Kind::KeyFrag, bytes)? {
            (Known::Split, fields) => Ok(Self::Split(split::KeyFrag::read(fields)?)),
        }
    }

    /// The encoding; it is secret.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Split(frag) => frag.to_bytes(),
        }
    }

    /// Checks the share against the policy's parameters, which the caller must have from elsewhere
    /// than from whoever sent the share.
    ///
    /// # Errors
    /// Which check failed.
    pub fn verify(self, policy: &PolicyParams) -> Result<VerifiedKeyFrag, FragError> {
        match self {
            Self::Split(frag) => {
                same_scheme(policy.scheme, Split::ID)?;
                Ok(VerifiedKeyFrag::Split(Split::verify_key_frag(
                    frag, policy,
                )?))
            }
        }
    }
}

impl VerifiedKeyFrag {
    /// The policy it was checked against.
    #[must_use]
    pub const fn policy(&self) -> PolicyId {
        match self {
            Self::Split(frag) => frag.policy(),
        }
    }

    /// How many shares of how many the owner made.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        match self {
            Self::Split(frag) => frag.threshold(),
        }
    }

    /// Re-encrypts a capsule and proves that it was done with this share.
    ///
    /// # Errors
    /// The capsule is of another scheme.
    pub fn reencrypt(
        &self,
        rng: &mut (impl CryptoRng + ?Sized),
        capsule: &Capsule,
    ) -> Result<CapsuleFrag, FragError> {
        match (self, capsule) {
            (Self::Split(frag), Capsule::Split(capsule)) => {
                Ok(CapsuleFrag::Split(Split::reencrypt(rng, frag, capsule)))
            }
        }
    }

    /// What the node keeps: the share and the policy it was checked against. Secret.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Split(frag) => frag.to_bytes(),
        }
    }

    /// Reads what [`Self::to_bytes`] wrote. The check of the share is not repeated, so the bytes must
    /// come from the node's own authenticated store and from nowhere else.
    ///
    /// # Errors
    /// The bytes are not such an encoding.
    pub fn from_bytes_trusted(bytes: &[u8]) -> Result<Self, DecodeError> {
        match read(Kind::StoredKeyFrag, bytes)? {
            (Known::Split, fields) => Ok(Self::Split(split::VerifiedKeyFrag::read(fields)?)),
        }
    }
}

impl CapsuleFrag {
    /// Reads an answer; its proof is not checked yet.
    ///
    /// # Errors
    /// Anything but an answer of a known scheme in its one permitted encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        match read(Kind::CapsuleFrag, bytes)? {
            (Known::Split, fields) => Ok(Self::Split(split::CapsuleFrag::read(fields)?)),
        }
    }

    /// The encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Split(frag) => frag.to_bytes(),
        }
    }

    /// Checks that a holder of a share the policy's owner signed made this from this capsule.
    ///
    /// # Errors
    /// Which check failed: that is the node's fault, not the network's.
    pub fn verify(
        self,
        capsule: &Capsule,
        policy: &PolicyParams,
    ) -> Result<VerifiedCapsuleFrag, FragError> {
        match (self, capsule) {
            (Self::Split(frag), Capsule::Split(capsule)) => {
                same_scheme(policy.scheme, Split::ID)?;
                let frag = Split::verify_capsule_frag(frag, capsule, policy)?;
                Ok(VerifiedCapsuleFrag::Split(frag))
            }
        }
    }
}

impl VerifiedCapsuleFrag {
    /// How many shares open the capsule.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        match self {
            Self::Split(frag) => frag.threshold(),
        }
    }

    /// Which share made it; two answers with one id count once.
    #[must_use]
    pub const fn share_id(&self) -> [u8; 32] {
        match self {
            Self::Split(frag) => frag.share_id(),
        }
    }
}
