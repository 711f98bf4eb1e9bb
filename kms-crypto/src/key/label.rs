//! The key pair of a label, whichever its scheme. SCHEMES §4, §6.
//!
//! Scheme and curve are part of the key: a key cannot be used under another scheme, and the private
//! halves of two schemes are derived apart, so that what one gives away says nothing of the other.

use core::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use super::secret::EcDelegatingKey;
use super::{PublicKey, StoreKey};
#[cfg(feature = "afgh")]
use crate::bls::{BlsDelegatingKey, BlsPublicKey};
use crate::curve::{self, SCALAR_LEN};
use crate::error::{DecodeError, KeyError, SplitError};
use crate::id::{CurveId, LabelId, SchemeId};
use crate::kdf;
use crate::wipe::without_trace_of;

/// Scheme u16be, then curve u16be.
const IDS_LEN: usize = 4;

/// A label's public key. In messages it is its scheme, its curve and its point.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LabelPublicKey {
    /// Scheme 1, split-key ECIES.
    Split(PublicKey),
    /// Scheme 2, BBS98.
    Bbs98(PublicKey),
    /// Scheme 3, ECIES re-encryption.
    Ecies(PublicKey),
    /// Scheme 4, AFGH.
    #[cfg(feature = "afgh")]
    Afgh(BlsPublicKey),
    /// Scheme 5, threshold signing: the group key.
    #[cfg(feature = "signing")]
    Signing(PublicKey),
}

impl LabelPublicKey {
    /// The scheme the key is for.
    #[must_use]
    pub const fn scheme(&self) -> SchemeId {
        match self {
            Self::Split(_) => SchemeId::SPLIT_ECIES,
            Self::Bbs98(_) => SchemeId::BBS98,
            Self::Ecies(_) => SchemeId::ECIES,
            #[cfg(feature = "afgh")]
            Self::Afgh(_) => SchemeId::AFGH,
            #[cfg(feature = "signing")]
            Self::Signing(_) => SchemeId::SIGNING,
        }
    }

    /// The curve its point is on.
    #[must_use]
    pub const fn curve(&self) -> CurveId {
        match self {
            Self::Split(_) | Self::Bbs98(_) | Self::Ecies(_) => CurveId::SECP256K1,
            #[cfg(feature = "afgh")]
            Self::Afgh(_) => CurveId::BLS12_381,
            #[cfg(feature = "signing")]
            Self::Signing(_) => CurveId::SECP256K1,
        }
    }

    /// `scheme u16be ‖ curve u16be ‖ point`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (scheme, curve) = (self.scheme().0.to_be_bytes(), self.curve().0.to_be_bytes());
        let point: &[u8] = match self {
            Self::Split(key) | Self::Bbs98(key) | Self::Ecies(key) => key.as_bytes(),
            #[cfg(feature = "afgh")]
            Self::Afgh(key) => key.as_bytes(),
            #[cfg(feature = "signing")]
            Self::Signing(key) => key.as_bytes(),
        };
        [&scheme, &curve, point].concat()
    }

    /// Reads what [`Self::to_bytes`] writes.
    ///
    /// # Errors
    /// An unknown scheme, a curve that is not the scheme's, another length, or no point.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed { what: "label key" };
        let (&[s0, s1, c0, c1], point) = bytes.split_first_chunk::<IDS_LEN>().ok_or(malformed)?;
        let scheme = SchemeId(u16::from_be_bytes([s0, s1]));
        let curve = CurveId(u16::from_be_bytes([c0, c1]));
        let expected = match scheme {
            SchemeId::SPLIT_ECIES | SchemeId::BBS98 | SchemeId::ECIES => CurveId::SECP256K1,
            #[cfg(feature = "afgh")]
            SchemeId::AFGH => CurveId::BLS12_381,
            #[cfg(feature = "signing")]
            SchemeId::SIGNING => CurveId::SECP256K1,
            _ => return Err(DecodeError::Scheme(scheme)),
        };
        if curve != expected {
            return Err(DecodeError::Curve(curve));
        }
        let refuse = |error| match error {
            KeyError::NotAPoint => DecodeError::Point { field: "label key" },
            _ => malformed,
        };
        Ok(match scheme {
            SchemeId::SPLIT_ECIES => Self::Split(PublicKey::from_bytes(point).map_err(refuse)?),
            SchemeId::BBS98 => Self::Bbs98(PublicKey::from_bytes(point).map_err(refuse)?),
            SchemeId::ECIES => Self::Ecies(PublicKey::from_bytes(point).map_err(refuse)?),
            #[cfg(feature = "afgh")]
            SchemeId::AFGH => Self::Afgh(BlsPublicKey::from_bytes(point).map_err(refuse)?),
            #[cfg(feature = "signing")]
            SchemeId::SIGNING => Self::Signing(PublicKey::from_bytes(point).map_err(refuse)?),
            _ => return Err(DecodeError::Scheme(scheme)),
        })
    }
}

impl fmt::Debug for LabelPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelPublicKey(scheme {}, ", self.scheme())?;
        match self {
            Self::Split(key) | Self::Bbs98(key) | Self::Ecies(key) => write!(f, "{key})"),
            #[cfg(feature = "afgh")]
            Self::Afgh(key) => write!(f, "{key:?})"),
            #[cfg(feature = "signing")]
            Self::Signing(key) => write!(f, "{key})"),
        }
    }
}

impl Serialize for LabelPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for LabelPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Vec<u8> = serde_bytes::deserialize(deserializer)?;
        Self::from_bytes(&bytes).map_err(de::Error::custom)
    }
}

/// The key of one label and generation under one scheme. Whoever holds enough fragments of it and the
/// recipient's secret knows it (AFGH: as much of it as opens capsules), which is why every label has
/// its own and no other role shares it.
#[derive(PartialEq, Eq)]
pub struct DelegatingKey(Inner);

/// The halves per scheme.
#[derive(PartialEq, Eq)]
pub(crate) enum Inner {
    Split(EcDelegatingKey),
    Bbs98(EcDelegatingKey),
    Ecies(EcDelegatingKey),
    #[cfg(feature = "afgh")]
    Afgh(BlsDelegatingKey),
    #[cfg(feature = "signing")]
    Signing(EcDelegatingKey),
}

impl DelegatingKey {
    /// A new key for the production scheme.
    #[must_use]
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(Inner::Split(EcDelegatingKey::generate(rng)))
    }

    /// A new key for a scheme.
    ///
    /// # Errors
    /// This version does not know the scheme.
    pub fn generate_for(
        scheme: SchemeId,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, SplitError> {
        without_trace_of(scheme, || {
            let mut wide = Zeroizing::new([0; 64]);
            rng.fill_bytes(wide.as_mut());
            Self::from_wide(scheme, &wide)
        })
    }

    /// Reads the 32-byte big-endian form of a key for the production scheme.
    ///
    /// # Errors
    /// Zero, or not below the group order.
    pub fn from_bytes(bytes: &[u8; SCALAR_LEN]) -> Result<Self, KeyError> {
        Ok(Self(Inner::Split(EcDelegatingKey::from_bytes(bytes)?)))
    }

    /// Reads the 32-byte big-endian form of a key for a scheme.
    ///
    /// # Errors
    /// Zero, or not below the group order; or an unknown scheme.
    pub fn from_bytes_for(scheme: SchemeId, bytes: &[u8; SCALAR_LEN]) -> Result<Self, DecodeError> {
        let ec = || EcDelegatingKey::from_bytes(bytes);
        let inner = match scheme {
            SchemeId::SPLIT_ECIES => ec().map(Inner::Split),
            SchemeId::BBS98 => ec().map(Inner::Bbs98),
            SchemeId::ECIES => ec().map(Inner::Ecies),
            #[cfg(feature = "afgh")]
            SchemeId::AFGH => BlsDelegatingKey::from_bytes(bytes).map(Inner::Afgh),
            #[cfg(feature = "signing")]
            SchemeId::SIGNING => ec().map(Inner::Signing),
            other => return Err(DecodeError::Scheme(other)),
        };
        let field = "delegating key";
        inner.map(Self).map_err(|_| DecodeError::Scalar { field })
    }

    /// Reduces 64 uniform bytes to a key.
    fn from_wide(scheme: SchemeId, wide: &[u8; 64]) -> Result<Self, SplitError> {
        let ec = || EcDelegatingKey::from_scalar(curve::wide_scalar(wide));
        Ok(Self(match scheme {
            SchemeId::SPLIT_ECIES => Inner::Split(ec()),
            SchemeId::BBS98 => Inner::Bbs98(ec()),
            SchemeId::ECIES => Inner::Ecies(ec()),
            #[cfg(feature = "afgh")]
            SchemeId::AFGH => Inner::Afgh(BlsDelegatingKey::from_wide(wide)),
            #[cfg(feature = "signing")]
            SchemeId::SIGNING => Inner::Signing(ec()),
            other => return Err(SplitError::Scheme(other)),
        }))
    }

    /// The 32-byte big-endian form.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; SCALAR_LEN]> {
        match &self.0 {
            Inner::Split(key) | Inner::Bbs98(key) | Inner::Ecies(key) => key.to_bytes(),
            #[cfg(feature = "afgh")]
            Inner::Afgh(key) => key.to_bytes(),
            #[cfg(feature = "signing")]
            Inner::Signing(key) => key.to_bytes(),
        }
    }

    /// The public key, computed once when the secret was read or made.
    #[must_use]
    pub const fn public(&self) -> LabelPublicKey {
        match &self.0 {
            Inner::Split(key) => LabelPublicKey::Split(key.public()),
            Inner::Bbs98(key) => LabelPublicKey::Bbs98(key.public()),
            Inner::Ecies(key) => LabelPublicKey::Ecies(key.public()),
            #[cfg(feature = "afgh")]
            Inner::Afgh(key) => LabelPublicKey::Afgh(key.public()),
            #[cfg(feature = "signing")]
            Inner::Signing(key) => LabelPublicKey::Signing(key.public()),
        }
    }

    /// The scheme it is for.
    #[must_use]
    pub const fn scheme(&self) -> SchemeId {
        self.public().scheme()
    }

    /// The key as its scheme knows it.
    pub(crate) const fn inner(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Debug for DelegatingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DelegatingKey(..)")
    }
}

impl StoreKey {
    /// The delegating key of a label for the production scheme. A new generation replaces one that may
    /// have leaked.
    #[must_use]
    pub fn delegating_key(&self, label: &LabelId, generation: u32) -> DelegatingKey {
        self.delegating_key_for(SchemeId::SPLIT_ECIES, label, generation)
            .expect("the production scheme is known")
    }

    /// The delegating key of a label for a scheme.
    ///
    /// # Errors
    /// This version does not know the scheme.
    pub fn delegating_key_for(
        &self,
        scheme: SchemeId,
        label: &LabelId,
        generation: u32,
    ) -> Result<DelegatingKey, SplitError> {
        let (id, generation) = (scheme.0.to_be_bytes(), generation.to_be_bytes());
        let context: [&[u8]; 3] = [&label.0, &generation, &id];
        // The production scheme's derivation does not name it: it came first.
        let context = match scheme {
            SchemeId::SPLIT_ECIES => &context[..2],
            _ => &context[..],
        };
        without_trace_of(scheme, || {
            let wide = kdf::derive64(self.as_bytes(), "kms/delegating/1", context);
            DelegatingKey::from_wide(scheme, &wide)
        })
    }
}
