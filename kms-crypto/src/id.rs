//! Identifiers: what names a store, a file, a directory, a label, a policy, and which algorithm was used (FORMAT §1.2).
//!
//! Random ids are 128 bits, drawn once and never reused. Algorithm ids are open: any value can be read, and code that
//! cannot use one names it in its error.

use core::fmt;
use core::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteArray;
use thiserror::Error;

/// A text that is not the hexadecimal form of an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Error)]
#[error("not an identifier of {bytes} bytes in hexadecimal")]
pub struct IdParseError {
    /// How many bytes the id has.
    pub bytes: usize,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// How many bytes it has.
            pub const LEN: usize = $len;

            /// Draws a new one.
            pub fn random(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
                let mut bytes = [0; $len];
                rng.fill_bytes(&mut bytes);
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let [a, b, c, d, ..] = self.0;
                write!(f, "{}({a:02x}{b:02x}{c:02x}{d:02x}..)", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                let refuse = IdParseError { bytes: $len };
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| refuse)?;
                bytes.try_into().map(Self).map_err(|_| refuse)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                ByteArray::<$len>::deserialize(deserializer).map(|bytes| Self(bytes.into_array()))
            }
        }
    };
}

byte_id!(
    /// Names one store.
    StoreId, 16
);
byte_id!(
    /// Names one file for as long as it exists, whatever its names are.
    FileId, 16
);
byte_id!(
    /// Names one directory for as long as it exists.
    DirId, 16
);
byte_id!(
    /// Names one thing that can be shared by itself.
    LabelId, 16
);
byte_id!(
    /// Names one of the machines a store's owner writes on; drawn for each store.
    MachineId, 8
);
byte_id!(
    /// Names one policy; it is a hash that binds the policy's author.
    PolicyId, 32
);

macro_rules! open_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u16);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

open_id!(
    /// A content cipher, as read. Any value can be read; few can be used.
    CipherId
);
open_id!(
    /// A re-encryption scheme, as read. Any value can be read; few can be used.
    SchemeId
);
open_id!(
    /// An elliptic curve, as read. Any value can be read; few can be used.
    CurveId
);

impl CipherId {
    /// AES-256-GCM.
    pub const AES_256_GCM: Self = Self(1);
    /// AES-256-GCM-SIV.
    pub const AES_256_GCM_SIV: Self = Self(2);
    /// XSalsa20-Poly1305.
    pub const XSALSA20_POLY1305: Self = Self(3);
}

impl SchemeId {
    /// Split-key ECIES, m of n.
    pub const SPLIT_ECIES: Self = Self(1);
    /// BBS98, 1 of n: for debugging.
    pub const BBS98: Self = Self(2);
    /// ECIES re-encryption, 1 of n: for debugging.
    pub const ECIES: Self = Self(3);
    /// AFGH, n of n: for debugging.
    pub const AFGH: Self = Self(4);
    /// Threshold signing, m of n: no re-encryption.
    pub const SIGNING: Self = Self(5);
}

impl CurveId {
    /// secp256k1.
    pub const SECP256K1: Self = Self(1);
    /// BLS12-381, of AFGH.
    pub const BLS12_381: Self = Self(2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_its_encoding() {
        let id = FileId([0xa7; 16]);
        assert_eq!(id.to_string().parse::<FileId>(), Ok(id));
        let bytes = cbor4ii::serde::to_vec(Vec::new(), &id).unwrap();
        assert_eq!(bytes.first(), Some(&0x50), "a byte string, not an array");
        assert_eq!(cbor4ii::serde::from_slice::<FileId>(&bytes).unwrap(), id);
    }

    #[test]
    fn a_text_of_another_length_is_no_id() {
        assert_eq!("a7".parse::<PolicyId>(), Err(IdParseError { bytes: 32 }));
        assert_eq!(
            "zz".repeat(16).parse::<FileId>(),
            Err(IdParseError { bytes: 16 })
        );
    }
}
