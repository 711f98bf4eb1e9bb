//! The public key of a person, node, label or policy.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

use k256::{AffinePoint, ProjectivePoint};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::curve::{self, POINT_LEN};
use crate::error::{KeyError, KeyTextError};
use crate::text;

/// A point of secp256k1, never the identity.
///
/// As text it is `kms1…`; in messages it is its 33 bytes. Reading either is strict.
#[derive(Clone, Copy)]
pub struct PublicKey {
    point: AffinePoint,
    bytes: [u8; POINT_LEN],
}

impl PublicKey {
    /// Length of the byte form.
    pub const LEN: usize = POINT_LEN;

    /// Reads the 33-byte compressed form.
    ///
    /// # Errors
    /// Another length, the identity, a point off the curve, or another encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let Ok(bytes) = <[u8; POINT_LEN]>::try_from(bytes) else {
            return Err(KeyError::Length {
                expected: POINT_LEN,
                found: bytes.len(),
            });
        };
        let point = curve::decode_point(&bytes).ok_or(KeyError::NotAPoint)?;
        Ok(Self { point, bytes })
    }

    /// The 33-byte compressed form.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; POINT_LEN] {
        self.bytes
    }

    /// The 33-byte compressed form, borrowed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; POINT_LEN] {
        &self.bytes
    }

    /// Wraps a point that is not the identity.
    pub(crate) fn from_point(point: &ProjectivePoint) -> Self {
        let point = point.to_affine();
        Self {
            point,
            bytes: curve::encode_point(&point),
        }
    }

    /// The point, for arithmetic.
    pub(crate) fn point(&self) -> ProjectivePoint {
        self.point.into()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&text::encode(text::PUBLIC, &self.bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let bytes = text::decode::<POINT_LEN>(text::PUBLIC, text)?;
        Ok(Self::from_bytes(bytes.as_ref())?)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(&self.bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: [u8; POINT_LEN] = serde_bytes::deserialize(deserializer)?;
        Self::from_bytes(&bytes).map_err(de::Error::custom)
    }
}
