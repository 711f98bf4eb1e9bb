//! Extended attributes, sealed: in the header while they are few, else in a side file whose digest stands in the
//! header (FORMAT §3.6.1).

use std::collections::BTreeMap;

use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::HEADER_LEN;
use super::cbor::{Reader, Unexpected, Writer};
use super::core::ObjectId;
use super::header::OpenHeader;
use super::keys::EpochKey;
use crate::aead::{open_record, seal_record};
use crate::kdf::{derive32, equal, hash};

/// The attributes of one object, by name. Names are whole, `user.` included.
pub type XattrMap = BTreeMap<Vec<u8>, Vec<u8>>;

/// The largest sealed attributes that stay in the header.
pub const INLINE_MAX: usize = 1280;
/// The largest encoded attributes of one object.
pub const TOTAL_MAX: usize = 128 * 1024;
/// The largest name of an attribute.
pub const NAME_MAX: usize = 255;

/// Where an object's attributes are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Xattrs {
    /// It has none.
    #[default]
    None,
    /// In the header.
    Inline {
        /// The key epoch they are sealed under.
        epoch: u32,
        /// The sealed attributes.
        sealed: Vec<u8>,
    },
    /// In a side file.
    Side {
        /// The key epoch they are sealed under.
        epoch: u32,
        /// Tells this side file from older ones.
        generation: u64,
        /// The digest of the side file.
        digest: [u8; 32],
    },
}

/// Why attributes were not read or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Error)]
#[non_exhaustive]
pub enum XattrError {
    /// They are in a side file, which was not given.
    #[error("the side file of the attributes is missing")]
    SideMissing,
    /// They were altered, or are older than the header.
    #[error("the attributes do not verify")]
    Refused,
    /// They verify, but are not encoded as they must be.
    #[error("the attributes cannot be read")]
    Malformed,
    /// A name is too long or empty.
    #[error("the name of an attribute has 1 to 255 bytes")]
    Name,
    /// All of them together are too large.
    #[error("the attributes of one object have at most {TOTAL_MAX} bytes")]
    TooLarge,
}

impl Xattrs {
    /// The key epoch they are sealed under, if there are any.
    #[must_use]
    pub const fn epoch(&self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Inline { epoch, .. } | Self::Side { epoch, .. } => Some(*epoch),
        }
    }

    /// The path of the side file below the store's directory, if there is one: `xattr/<2 hex>/<32 hex>.<generation>`.
    #[must_use]
    pub fn side_path(&self, id: &ObjectId) -> Option<String> {
        let Self::Side { generation, .. } = self else {
            return None;
        };
        let hex = data_encoding::HEXLOWER.encode(id.as_bytes());
        let shelf = hex.get(..2)?;
        Some(format!("xattr/{shelf}/{hex}.{generation}"))
    }
}

impl OpenHeader {
    /// The attributes; `side` is the content of the side file, if [`Xattrs::side_path`] names one.
    pub fn xattrs(&self, side: Option<&[u8]>) -> Result<XattrMap, XattrError> {
        let (epoch, sealed) = match &self.state.xattrs {
            Xattrs::None => return Ok(XattrMap::new()),
            Xattrs::Inline { epoch, sealed } => (*epoch, sealed.as_slice()),
            Xattrs::Side { epoch, digest, .. } => {
                let side = side.ok_or(XattrError::SideMissing)?;
                if !equal(&side_digest(side), digest) {
                    return Err(XattrError::Refused);
                }
                (*epoch, side)
            }
        };
        let key = self.ring().find(epoch).ok_or(XattrError::Refused)?;
        let plain =
            open_record(&self.xattr_key(key), XATTR, sealed).map_err(|_| XattrError::Refused)?;
        decode(&plain)
    }

    /// Replaces the attributes.
    ///
    /// When a side file is returned, it is to be stored under the new [`Xattrs::side_path`] before the header is; the
    /// old one is to be removed after.
    pub fn set_xattrs(
        &mut self,
        map: &XattrMap,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Option<Vec<u8>>, XattrError> {
        if map.is_empty() {
            self.state.xattrs = Xattrs::None;
            return Ok(None);
        }
        let plain = encode(map)?;
        let key = &self.ring().current;
        let (epoch, sealed) = (
            key.epoch,
            seal_record(&self.xattr_key(key), XATTR, &plain, rng),
        );
        if sealed.len() <= INLINE_MAX {
            self.state.xattrs = Xattrs::Inline { epoch, sealed };
            return Ok(None);
        }
        let generation = self.state.generation.saturating_add(1);
        self.state.xattrs = Xattrs::Side {
            epoch,
            generation,
            digest: side_digest(&sealed),
        };
        Ok(Some(sealed))
    }

    fn xattr_key(&self, key: &EpochKey) -> Zeroizing<[u8; 32]> {
        derive32(key.key(), "kms/xattr-key/1", &[self.core_hash()])
    }
}

fn side_digest(side: &[u8]) -> [u8; 32] {
    hash("kms/xattr-side/1", &[side])
}

fn encode(map: &XattrMap) -> Result<Zeroizing<Vec<u8>>, XattrError> {
    let total: usize = map
        .iter()
        .map(|(name, value)| name.len() + value.len() + 10)
        .sum();
    if total > TOTAL_MAX {
        return Err(XattrError::TooLarge);
    }
    if map
        .keys()
        .any(|name| name.is_empty() || name.len() > NAME_MAX)
    {
        return Err(XattrError::Name);
    }
    let mut out = Writer::after(Vec::with_capacity(total.max(HEADER_LEN)));
    out.map(map.len());
    for (name, value) in map {
        out.bytes(name);
        out.bytes(value);
    }
    Ok(Zeroizing::new(out.into_bytes()))
}

fn decode(plain: &[u8]) -> Result<XattrMap, XattrError> {
    let map = entries(plain).map_err(|_| XattrError::Malformed)?;
    if encode(&map)?.as_slice() == plain {
        Ok(map)
    } else {
        Err(XattrError::Malformed)
    }
}

fn entries(plain: &[u8]) -> Result<XattrMap, Unexpected> {
    let mut from = Reader::new(plain);
    let mut map = XattrMap::new();
    for _ in 0..from.map_len()? {
        map.insert(from.slice()?.to_vec(), from.slice()?.to_vec());
    }
    Ok(map)
}

const XATTR: &[u8] = b"kms/xattr/1";
