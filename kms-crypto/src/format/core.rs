//! The core of a header: what an object is, for ever (FORMAT §3.2).

use super::cbor::{Reader, Writer};
use super::error::{HeaderError, Part};
use super::layout::Layout;
use crate::aead::Cipher;
use crate::id::{CipherId, DirId, FileId, StoreId};
use crate::kdf::hash;

/// What an object is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
}

/// An object's id, and with it its kind.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ObjectId {
    /// A regular file.
    File(FileId),
    /// A directory.
    Dir(DirId),
}

impl ObjectId {
    /// What it names.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
            Self::Dir(_) => Kind::Dir,
        }
    }

    /// Its bytes, without the kind.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        match self {
            Self::File(FileId(bytes)) | Self::Dir(DirId(bytes)) => bytes,
        }
    }
}

/// What never changes about an object. Its hash is bound into everything sealed for the object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Core {
    /// The store it was made in.
    pub store: StoreId,
    /// Its id and kind.
    pub id: ObjectId,
    /// The cipher of its content.
    pub cipher: Cipher,
    /// Its chunk size as a power of two; zero for a directory.
    pub chunk_bits: u8,
}

impl Core {
    /// The core of a new file.
    #[must_use]
    pub const fn file(store: StoreId, id: FileId, cipher: Cipher, layout: Layout) -> Self {
        Self {
            store,
            id: ObjectId::File(id),
            cipher,
            chunk_bits: layout.chunk_bits(),
        }
    }

    /// The core of a new directory.
    #[must_use]
    pub const fn dir(store: StoreId, id: DirId, cipher: Cipher) -> Self {
        Self {
            store,
            id: ObjectId::Dir(id),
            cipher,
            chunk_bits: 0,
        }
    }

    /// `SHA256("kms/core/1" ‖ 0x00 ‖ u32be len ‖ its CBOR)`.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut out = Writer::default();
        self.encode(&mut out);
        hash("kms/core/1", &[&out.into_bytes()])
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.array(5);
        out.bytes(&self.store.0);
        out.uint(match self.id.kind() {
            Kind::File => 1,
            Kind::Dir => 2,
        });
        out.bytes(self.id.as_bytes());
        out.uint(u64::from(self.cipher.id().0));
        out.uint(u64::from(self.chunk_bits));
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<Self, HeaderError> {
        let malformed = |_| HeaderError::Malformed(Part::Core);
        from.array(5).map_err(malformed)?;
        let store = StoreId(from.bytes().map_err(malformed)?);
        let kind: u64 = from.uint().map_err(malformed)?;
        let id = from.bytes().map_err(malformed)?;
        let cipher = CipherId(from.uint().map_err(malformed)?);
        let chunk_bits = from.uint().map_err(malformed)?;
        let id = match kind {
            1 => ObjectId::File(FileId(id)),
            2 => ObjectId::Dir(DirId(id)),
            other => return Err(HeaderError::UnknownKind(other)),
        };
        let cipher = Cipher::try_from(cipher).map_err(HeaderError::UnknownCipher)?;
        let sized = match id.kind() {
            Kind::File => Layout::new(chunk_bits).is_some(),
            Kind::Dir => chunk_bits == 0,
        };
        if !sized {
            return Err(HeaderError::UnknownChunkBits(chunk_bits));
        }
        Ok(Self {
            store,
            id,
            cipher,
            chunk_bits,
        })
    }
}
