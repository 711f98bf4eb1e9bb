//! Capsules and fragments of whatever scheme: the byte boundary. SCHEMES §7.1.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::wire::{self, Fields, Kind};
#[cfg(feature = "afgh")]
use super::{Afgh, afgh};
use super::{Bbs98, Ecies, LabelContext, Scheme, SchemeKind, Split, single, split};
use crate::error::{DecodeError, FragError, OpenError, SplitError};
use crate::id::{CurveId, PolicyId, SchemeId};
use crate::key::{DelegatingKey, IdentitySecret, LabelPublicKey, LabelSecret, LedgerKey};
use crate::policy::{PolicyParams, Threshold};
use crate::wipe::without_trace_of;

#[cfg(feature = "signing")]
use super::signing;

/// One enum per thing that crosses the boundary, with a variant per scheme; `+ Signing` for what signing has, too.
macro_rules! boundary {
    ($(#[$doc:meta])* $name:ident $(+ $signing:ident)?) => {
        $(#[$doc])*
        #[non_exhaustive]
        #[allow(
            clippy::large_enum_variant,
            reason = "the production scheme is small, and is not made to pay an allocation for a debugging one"
        )]
        pub enum $name {
            /// Scheme 1.
            Split(split::$name),
            /// Scheme 2.
            Bbs98(single::$name<Bbs98>),
            /// Scheme 3.
            Ecies(single::$name<Ecies>),
            /// Scheme 4.
            #[cfg(feature = "afgh")]
            Afgh(afgh::$name),
            $(
                /// Scheme 5.
                #[cfg(feature = "signing")]
                $signing(signing::$name),
            )?
        }

        impl $name {
            /// Its scheme.
            #[must_use]
            pub const fn scheme(&self) -> SchemeId {
                match self {
                    Self::Split(_) => Split::ID,
                    Self::Bbs98(_) => Bbs98::ID,
                    Self::Ecies(_) => Ecies::ID,
                    #[cfg(feature = "afgh")]
                    Self::Afgh(_) => Afgh::ID,
                    $(
                        #[cfg(feature = "signing")]
                        Self::$signing(_) => signing::ID,
                    )?
                }
            }
        }
    };
}

boundary!(
    /// A label secret encapsulated to a label's public key. Its own check has passed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    Capsule
);
boundary!(
    /// One node's share of a re-encryption key, as received.
    #[derive(Debug)]
    KeyFrag + Signing
);
boundary!(
    /// One node's share of a re-encryption key, checked against its policy.
    #[derive(Debug)]
    VerifiedKeyFrag + Signing
);
boundary!(
    /// One node's answer for one capsule, as received.
    #[derive(Clone, Debug, PartialEq, Eq)]
    CapsuleFrag
);
boundary!(
    /// One node's answer for one capsule, its proof checked.
    #[derive(Clone, Debug)]
    VerifiedCapsuleFrag
);

/// The same expression for whichever scheme `$self` is of.
macro_rules! each {
    ($self:expr, $it:ident => $body:expr) => {
        match $self {
            Self::Split($it) => $body,
            Self::Bbs98($it) => $body,
            Self::Ecies($it) => $body,
            #[cfg(feature = "afgh")]
            Self::Afgh($it) => $body,
        }
    };
}

/// The same of a share, which may be one for signing.
macro_rules! each_share {
    ($self:expr, $it:ident => $body:expr) => {
        match $self {
            Self::Split($it) => $body,
            Self::Bbs98($it) => $body,
            Self::Ecies($it) => $body,
            #[cfg(feature = "afgh")]
            Self::Afgh($it) => $body,
            #[cfg(feature = "signing")]
            Self::Signing($it) => $body,
        }
    };
}

/// Reads the fields after the prefix as the variant that the prefix names.
macro_rules! variant {
    ($known:expr, $fields:expr, $name:ident) => {
        Ok(match $known {
            SchemeKind::Split => Self::Split(split::$name::read($fields)?),
            SchemeKind::Bbs98 => Self::Bbs98(single::$name::read($fields)?),
            SchemeKind::Ecies => Self::Ecies(single::$name::read($fields)?),
            #[cfg(feature = "afgh")]
            SchemeKind::Afgh => Self::Afgh(afgh::$name::read($fields)?),
        })
    };
}

/// Reads a share as one for signing, if that is what it says; the others are read by `variant`.
#[cfg(feature = "signing")]
fn read_signing(kind: Kind, bytes: &[u8]) -> Result<Option<Fields<'_>>, DecodeError> {
    match wire::read_prefix(kind, bytes)? {
        (signing::ID, signing::CURVE, fields) => Ok(Some(fields)),
        (signing::ID, curve, _) => Err(DecodeError::Curve(curve)),
        _ => Ok(None),
    }
}

/// Names what it does not know, scheme before curve.
fn read(kind: Kind, bytes: &[u8]) -> Result<(SchemeKind, Fields<'_>), DecodeError> {
    let (scheme, curve, fields) = wire::read_prefix(kind, bytes)?;
    let known = SchemeKind::try_from(scheme)?;
    if curve == known.curve() {
        Ok((known, fields))
    } else {
        Err(DecodeError::Curve(curve))
    }
}

/// Makes a new label secret and encapsulates it to the label's public key.
///
/// # Errors
/// The key is for another scheme, or this version does not know the scheme.
pub fn encapsulate(
    rng: &mut (impl CryptoRng + ?Sized),
    scheme: SchemeId,
    label_key: &LabelPublicKey,
    context: &LabelContext,
) -> Result<(Capsule, LabelSecret), SplitError> {
    SchemeKind::try_from(scheme).map_err(|_| SplitError::Scheme(scheme))?;
    if scheme != label_key.scheme() {
        return Err(SplitError::OtherScheme {
            expected: scheme,
            found: label_key.scheme(),
        });
    }
    without_trace_of(scheme, || {
        Ok(match label_key {
            LabelPublicKey::Split(key) => {
                let (capsule, secret) = Split::encapsulate(rng, key, context);
                (Capsule::Split(capsule), secret)
            }
            LabelPublicKey::Bbs98(key) => {
                let (capsule, secret) = Bbs98::encapsulate(rng, key, context);
                (Capsule::Bbs98(capsule), secret)
            }
            LabelPublicKey::Ecies(key) => {
                let (capsule, secret) = Ecies::encapsulate(rng, key, context);
                (Capsule::Ecies(capsule), secret)
            }
            #[cfg(feature = "afgh")]
            LabelPublicKey::Afgh(key) => {
                let (capsule, secret) = Afgh::encapsulate(rng, key, context);
                (Capsule::Afgh(capsule), secret)
            }
            #[cfg(feature = "signing")]
            LabelPublicKey::Signing(_) => return Err(SplitError::Scheme(scheme)),
        })
    })
}

pub(super) fn decapsulate(
    key: &DelegatingKey,
    capsule: &Capsule,
    context: &LabelContext,
) -> Result<LabelSecret, OpenError> {
    use crate::key::Inner;
    match (key.inner(), capsule) {
        (Inner::Split(key), Capsule::Split(it)) => Ok(Split::decapsulate(key, it, context)),
        (Inner::Bbs98(key), Capsule::Bbs98(it)) => Ok(Bbs98::decapsulate(key, it, context)),
        (Inner::Ecies(key), Capsule::Ecies(it)) => Ok(Ecies::decapsulate(key, it, context)),
        #[cfg(feature = "afgh")]
        (Inner::Afgh(key), Capsule::Afgh(it)) => Ok(Afgh::decapsulate(key, it, context)),
        (_, capsule) => Err(OpenError::Scheme(capsule.scheme())),
    }
}

pub(super) fn split(
    key: &DelegatingKey,
    rng: &mut (impl CryptoRng + ?Sized),
    policy: &PolicyParams,
    signer: &LedgerKey,
    threshold: Threshold,
) -> Result<Vec<KeyFrag>, SplitError> {
    use crate::key::Inner;
    if key.scheme() != policy.scheme() {
        return Err(SplitError::OtherScheme {
            expected: policy.scheme(),
            found: key.scheme(),
        });
    }
    macro_rules! split {
        ($scheme:ident, $key:expr) => {{
            let frags = $scheme::split(rng, $key, policy, signer, threshold)?;
            Ok(frags.into_iter().map(KeyFrag::$scheme).collect())
        }};
    }
    match key.inner() {
        Inner::Split(key) => split!(Split, key),
        Inner::Bbs98(key) => split!(Bbs98, key),
        Inner::Ecies(key) => split!(Ecies, key),
        #[cfg(feature = "afgh")]
        Inner::Afgh(key) => split!(Afgh, key),
        #[cfg(feature = "signing")]
        Inner::Signing(key) => {
            let shares = signing::split(rng, key, policy, signer, threshold)?;
            Ok(shares.into_iter().map(KeyFrag::Signing).collect())
        }
    }
}

pub(super) fn open(
    recipient: &IdentitySecret,
    capsule: &Capsule,
    frags: &[VerifiedCapsuleFrag],
    policy: &PolicyParams,
    context: &LabelContext,
) -> Result<LabelSecret, OpenError> {
    if policy.scheme() != capsule.scheme() {
        return Err(OpenError::Scheme(policy.scheme()));
    }
    macro_rules! open {
        ($scheme:ident, $capsule:expr) => {{
            let mut own = Vec::with_capacity(frags.len());
            for frag in frags {
                match frag {
                    VerifiedCapsuleFrag::$scheme(frag) => own.push(frag),
                    _ => return Err(OpenError::Mixed),
                }
            }
            $scheme::open(recipient, $capsule, own.into_iter(), policy, context)
        }};
    }
    match capsule {
        Capsule::Split(capsule) => open!(Split, capsule),
        Capsule::Bbs98(capsule) => open!(Bbs98, capsule),
        Capsule::Ecies(capsule) => open!(Ecies, capsule),
        #[cfg(feature = "afgh")]
        Capsule::Afgh(capsule) => open!(Afgh, capsule),
    }
}

/// A fragment of one scheme under a policy or for a capsule of another is refused before anything is
/// computed.
fn same_scheme(expected: SchemeId, found: SchemeId) -> Result<(), FragError> {
    if expected == found {
        Ok(())
    } else {
        Err(FragError::Scheme { expected, found })
    }
}

impl Capsule {
    /// Reads a capsule and runs its own check, where its scheme has one.
    ///
    /// # Errors
    /// Anything but a capsule of a known scheme in its one permitted encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (known, fields) = read(Kind::Capsule, bytes)?;
        variant!(known, fields, Capsule)
    }

    /// The encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        each!(self, capsule => capsule.to_bytes())
    }

    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> CurveId {
        match self {
            Self::Split(_) => Split::CURVE,
            Self::Bbs98(_) => Bbs98::CURVE,
            Self::Ecies(_) => Ecies::CURVE,
            #[cfg(feature = "afgh")]
            Self::Afgh(_) => Afgh::CURVE,
        }
    }
}

impl KeyFrag {
    /// Reads a share; what it claims is not checked yet.
    ///
    /// # Errors
    /// Anything but a share of a known scheme in its one permitted encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[cfg(feature = "signing")]
        if let Some(fields) = read_signing(Kind::KeyFrag, bytes)? {
            return without_trace_of(signing::ID, || signing::KeyFrag::read(fields))
                .map(Self::Signing);
        }
        let (known, fields) = read(Kind::KeyFrag, bytes)?;
        without_trace_of(known.id(), || variant!(known, fields, KeyFrag))
    }

    /// The encoding; it is secret.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        without_trace_of(self.scheme(), || each_share!(self, frag => frag.to_bytes()))
    }

    /// Checks the share against the policy's parameters, which the caller must have from elsewhere
    /// than from whoever sent the share.
    ///
    /// # Errors
    /// Which check failed.
    pub fn verify(self, policy: &PolicyParams) -> Result<VerifiedKeyFrag, FragError> {
        same_scheme(policy.scheme(), self.scheme())?;
        without_trace_of(self.scheme(), || {
            Ok(match self {
                Self::Split(frag) => VerifiedKeyFrag::Split(Split::verify_key_frag(frag, policy)?),
                Self::Bbs98(frag) => VerifiedKeyFrag::Bbs98(Bbs98::verify_key_frag(frag, policy)?),
                Self::Ecies(frag) => VerifiedKeyFrag::Ecies(Ecies::verify_key_frag(frag, policy)?),
                #[cfg(feature = "afgh")]
                Self::Afgh(frag) => VerifiedKeyFrag::Afgh(Afgh::verify_key_frag(frag, policy)?),
                #[cfg(feature = "signing")]
                Self::Signing(frag) => VerifiedKeyFrag::Signing(frag.verify(policy)?),
            })
        })
    }
}

impl VerifiedKeyFrag {
    /// The policy it was checked against.
    #[must_use]
    pub const fn policy(&self) -> PolicyId {
        each_share!(self, frag => frag.policy())
    }

    /// How many shares of how many the owner made.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        each_share!(self, frag => frag.threshold())
    }

    /// Whether it may be kept as the fragment with this index. Where it matters the share itself says so.
    #[must_use]
    pub const fn is_at(&self, index: u8) -> bool {
        #[cfg(feature = "signing")]
        if let Self::Signing(share) = self {
            return share.index() == index;
        }
        index < self.threshold().total()
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
        without_trace_of(self.scheme(), || match (self, capsule) {
            (Self::Split(frag), Capsule::Split(capsule)) => {
                Ok(CapsuleFrag::Split(Split::reencrypt(rng, frag, capsule)))
            }
            (Self::Bbs98(frag), Capsule::Bbs98(capsule)) => {
                Ok(CapsuleFrag::Bbs98(Bbs98::reencrypt(rng, frag, capsule)))
            }
            (Self::Ecies(frag), Capsule::Ecies(capsule)) => {
                Ok(CapsuleFrag::Ecies(Ecies::reencrypt(rng, frag, capsule)))
            }
            #[cfg(feature = "afgh")]
            (Self::Afgh(frag), Capsule::Afgh(capsule)) => {
                Ok(CapsuleFrag::Afgh(Afgh::reencrypt(rng, frag, capsule)))
            }
            (frag, capsule) => Err(FragError::Scheme {
                expected: capsule.scheme(),
                found: frag.scheme(),
            }),
        })
    }

    /// What the node keeps: the share and the policy it was checked against. Secret.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        without_trace_of(self.scheme(), || each_share!(self, frag => frag.to_bytes()))
    }

    /// Reads what [`Self::to_bytes`] wrote. The check of the share is not repeated, so the bytes must
    /// come from the node's own authenticated store and from nowhere else.
    ///
    /// # Errors
    /// The bytes are not such an encoding.
    pub fn from_bytes_trusted(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[cfg(feature = "signing")]
        if let Some(fields) = read_signing(Kind::StoredKeyFrag, bytes)? {
            return without_trace_of(signing::ID, || signing::VerifiedKeyFrag::read(fields))
                .map(Self::Signing);
        }
        let (known, fields) = read(Kind::StoredKeyFrag, bytes)?;
        without_trace_of(known.id(), || variant!(known, fields, VerifiedKeyFrag))
    }
}

impl CapsuleFrag {
    /// Reads an answer; its proof is not checked yet.
    ///
    /// # Errors
    /// Anything but an answer of a known scheme in its one permitted encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (known, fields) = read(Kind::CapsuleFrag, bytes)?;
        variant!(known, fields, CapsuleFrag)
    }

    /// The encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        each!(self, frag => frag.to_bytes())
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
        same_scheme(policy.scheme(), self.scheme())?;
        macro_rules! verify {
            ($scheme:ident, $frag:expr, $capsule:expr) => {
                Ok(VerifiedCapsuleFrag::$scheme($scheme::verify_capsule_frag(
                    $frag, $capsule, policy,
                )?))
            };
        }
        match (self, capsule) {
            (Self::Split(frag), Capsule::Split(capsule)) => verify!(Split, frag, capsule),
            (Self::Bbs98(frag), Capsule::Bbs98(capsule)) => verify!(Bbs98, frag, capsule),
            (Self::Ecies(frag), Capsule::Ecies(capsule)) => verify!(Ecies, frag, capsule),
            #[cfg(feature = "afgh")]
            (Self::Afgh(frag), Capsule::Afgh(capsule)) => verify!(Afgh, frag, capsule),
            (frag, capsule) => Err(FragError::Scheme {
                expected: capsule.scheme(),
                found: frag.scheme(),
            }),
        }
    }
}

impl VerifiedCapsuleFrag {
    /// How many shares open the capsule.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        each!(self, frag => frag.threshold())
    }

    /// Which share made it; two answers with one id count once.
    #[must_use]
    pub const fn share_id(&self) -> [u8; 32] {
        each!(self, frag => frag.share_id())
    }

    /// Which split made that share, by what its owner signed: a key may have been split more than once for a policy, and
    /// only answers of one split open a capsule together.
    #[must_use]
    pub fn split_id(&self) -> Vec<u8> {
        each!(self, frag => frag.split_id())
    }
}
