//! Strict CBOR and the envelope of every message (WIRE §2).
//!
//! The CBOR library underneath is lenient: it takes trailing bytes, long forms of integers, indefinite
//! lengths and unknown fields. [`decode`] therefore encodes again what it has decoded and compares:
//! a value has one encoding, so signatures and hashes over received bytes mean what they seem to.

use serde::{Serialize, de::DeserializeOwned};

/// The largest request a node reads, envelope included (WIRE §2).
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// The largest response a client reads, envelope included (WIRE §2).
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;

const MAGIC: [u8; 4] = *b"KMSW";
const VERSION_MAJOR: u8 = 1;
const VERSION_MINOR: u8 = 0;
const PREFIX_BYTES: usize = 7;
/// Room for every message that carries a key fragment: a buffer that grows leaves copies behind which nobody wipes.
const USUAL_BYTES: usize = 4096;

/// Why bytes were not what they should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than the limit of its kind.
    #[error("{len} bytes where at most {limit} are allowed")]
    TooLarge {
        /// What came.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Shorter than the envelope's prefix.
    #[error("shorter than an envelope")]
    Truncated,
    /// Does not begin with the magic bytes.
    #[error("not a message of this protocol")]
    BadMagic,
    /// Another major version.
    #[error("protocol version {major}.{minor} is not known here")]
    UnknownVersion {
        /// Its major version.
        major: u8,
        /// Its minor version.
        minor: u8,
    },
    /// An envelope of a kind not known, or not expected here.
    #[error("message kind {0} is not known here")]
    UnknownKind(u8),
    /// The CBOR does not parse as the expected type.
    #[error("malformed body")]
    Malformed,
    /// It parses, but it is not the one encoding of that value.
    #[error("not the canonical encoding")]
    NotCanonical,
}

/// What an envelope carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A [`Query`](crate::message::Query): anybody may ask.
    Query,
    /// A signed [`Command`](crate::message::Command).
    Command,
    /// A [`Response`](crate::message::Response).
    Response,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Query, Self::Command, Self::Response];

    const fn id(self) -> u8 {
        match self {
            Self::Query => 1,
            Self::Command => 2,
            Self::Response => 3,
        }
    }

    const fn limit(self) -> usize {
        match self {
            Self::Query | Self::Command => MAX_REQUEST_BYTES,
            Self::Response => MAX_RESPONSE_BYTES,
        }
    }
}

/// The one encoding of a value.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    // The writer is a Vec and every type of this crate has a plain derived encoding.
    cbor4ii::serde::to_writer(&mut out, &value).expect("writing CBOR to memory cannot fail");
    out
}

/// Decodes a value and refuses everything but its one encoding, or more than `limit` bytes.
pub fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge {
            len: bytes.len(),
            limit,
        });
    }
    let value: T = cbor4ii::serde::from_slice(bytes).map_err(|_| DecodeError::Malformed)?;
    // It may hold a key fragment, as the value itself does.
    let again = zeroize::Zeroizing::new(encode(&value));
    if *again == bytes {
        Ok(value)
    } else {
        Err(DecodeError::NotCanonical)
    }
}

/// Puts a value into the envelope of its kind.
pub fn encode_envelope<T: Serialize + ?Sized>(kind: Kind, value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION_MAJOR, VERSION_MINOR, kind.id()]);
    cbor4ii::serde::to_writer(&mut out, &value).expect("writing CBOR to memory cannot fail");
    out
}

/// Reads the kind of a message and its body, still encoded.
pub fn open_envelope(bytes: &[u8]) -> Result<(Kind, &[u8]), DecodeError> {
    let Some((prefix, body)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(DecodeError::Truncated);
    };
    let [m0, m1, m2, m3, major, minor, kind] = *prefix;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(DecodeError::BadMagic);
    }
    if major != VERSION_MAJOR {
        return Err(DecodeError::UnknownVersion { major, minor });
    }
    let kind = Kind::ALL
        .into_iter()
        .find(|k| k.id() == kind)
        .ok_or(DecodeError::UnknownKind(kind))?;
    if bytes.len() > kind.limit() {
        return Err(DecodeError::TooLarge {
            len: bytes.len(),
            limit: kind.limit(),
        });
    }
    Ok((kind, body))
}

/// Reads a message that must be of one kind.
pub fn decode_envelope<T: Serialize + DeserializeOwned>(
    kind: Kind,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    let (found, body) = open_envelope(bytes)?;
    if found != kind {
        return Err(DecodeError::UnknownKind(found.id()));
    }
    decode(body, kind.limit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Sample {
        number: u32,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    }

    fn sample() -> Sample {
        Sample {
            number: 7,
            bytes: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_value_survives_the_trip() {
        let bytes = encode(&sample());
        assert_eq!(decode::<Sample>(&bytes, 100), Ok(sample()));
    }

    #[test]
    fn other_encodings_of_the_same_value_are_refused() {
        let good = encode(&sample());
        let mut trailing = good.clone();
        trailing.push(0);
        // {"number": 7 in two bytes, …}
        let at = good.iter().position(|b| *b == 7).unwrap();
        let mut long_integer = good[..at].to_vec();
        long_integer.extend_from_slice(&[0x18, 7]);
        long_integer.extend_from_slice(&good[at + 1..]);
        let mut unknown_field = good.clone();
        unknown_field[0] = 0xa3;
        unknown_field.extend_from_slice(&[0x61, b'x', 0]);
        for bad in [trailing, long_integer, unknown_field] {
            assert_eq!(decode::<Sample>(&bad, 100), Err(DecodeError::NotCanonical));
        }
    }

    #[test]
    fn hostile_lengths_and_depths_are_refused_without_harm() {
        let huge = [0x9b, 0x40, 0, 0, 0, 0, 0, 0, 0];
        let deep = vec![0x81; 100_000];
        assert_eq!(decode::<Vec<u64>>(&huge, 100), Err(DecodeError::Malformed));
        assert_eq!(
            decode::<Sample>(&deep, 200_000),
            Err(DecodeError::Malformed)
        );
        assert!(matches!(
            decode::<Sample>(&deep, 100),
            Err(DecodeError::TooLarge { .. })
        ));
    }

    #[test]
    fn an_envelope_names_what_it_does_not_know() {
        let good = encode_envelope(Kind::Query, &sample());
        assert_eq!(decode_envelope::<Sample>(Kind::Query, &good), Ok(sample()));
        assert_eq!(
            decode_envelope::<Sample>(Kind::Response, &good),
            Err(DecodeError::UnknownKind(1))
        );
        let mut version = good.clone();
        version[4] = 9;
        assert_eq!(
            open_envelope(&version),
            Err(DecodeError::UnknownVersion { major: 9, minor: 0 })
        );
        let mut kind = good.clone();
        kind[6] = 77;
        assert_eq!(open_envelope(&kind), Err(DecodeError::UnknownKind(77)));
        assert_eq!(open_envelope(&good[..6]), Err(DecodeError::Truncated));
        assert_eq!(open_envelope(b"GET / HTTP/1.1"), Err(DecodeError::BadMagic));
    }
}
