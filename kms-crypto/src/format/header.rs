//! The header: the first 4096 bytes of every file, and all of a directory's `kmsfs.dir` (FORMAT §3).
//!
//! [`Header`] is what was read and may be anybody's; [`OpenHeader`] has been verified and holds the keys.

mod bind;
mod encode;
mod label;
mod names;
mod open;
mod parse;
mod rebuild;
mod rekey;
mod seal;
mod special;
mod writers;

use super::core::{Core, Kind};
use super::error::{HeaderError, Part};
use super::keys::{DirKeys, FileKeys, KeyRing};
use super::layout::Layout;
use super::leaf::LeafTable;
use super::xattr::Xattrs;
use crate::aead::{unwrap_key, wrap_key};
use crate::id::{CurveId, DirId, LabelId, SchemeId};
use crate::key::{DirKey, NameKey};
use crate::name::{NameCipher, NameTag};

pub use label::LabelKey;
pub use open::{Check, Via};
pub use rebuild::Remains;
pub use rekey::Keepers;
pub use seal::Sealer;
pub use special::Special;
pub use writers::Writers;

/// One name of an object: its key, wrapped for the directory the name is in (FORMAT §3.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// The directory.
    pub dir: DirId,
    /// The epoch of the directory key that wraps.
    pub dir_epoch: u32,
    /// The tag of the name.
    pub name_tag: NameTag,
    pub(super) wrapped: [u8; 48],
}

/// One label of an object: its key, wrapped for whoever the label is shared with (FORMAT §3.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LabelSlot {
    /// The label.
    pub id: LabelId,
    /// The scheme of its capsule.
    pub scheme: SchemeId,
    /// The curve of its capsule.
    pub curve: CurveId,
    /// Which of the label's delegating keys the capsule is for.
    pub generation: u32,
    /// Which of the label's secrets the capsule holds.
    pub epoch: u32,
    /// The capsule.
    pub capsule: Vec<u8>,
    pub(super) wrapped: [u8; 48],
}

/// What changes with every write (FORMAT §3.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct State {
    /// Counts the headers sealed for this object.
    pub generation: u64,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// What a file is that holds no bytes; its content is then [`FileContent::EMPTY`].
    pub special: Option<Special>,
    /// Where the extended attributes are.
    pub xattrs: Xattrs,
    /// What only files, or only directories, have.
    pub content: Content,
    /// Which machines have sealed it.
    pub writers: Writers,
}

/// What only files, or only directories, have.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all objects are files, and boxing would cost each of them an allocation"
)]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// Of a file.
    File(FileContent),
    /// Of a directory.
    Dir(DirContent),
}

/// The size of a file and the top of its tag tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileContent {
    /// Bytes of plaintext.
    pub size: u64,
    /// The leaves of the first 16 chunks.
    pub leaves: LeafTable,
    /// The seal of the top page; zeros when there is none, or nothing but holes.
    pub root: [u8; 32],
}

impl FileContent {
    /// An empty file.
    pub const EMPTY: Self = Self {
        size: 0,
        leaves: LeafTable::EMPTY,
        root: [0; 32],
    };
}

/// The wrapped name keys of a directory, the current one and the one before while names are being changed; and
/// whether what lies in it is signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirContent {
    pub(super) current: [u8; 48],
    pub(super) prev: Option<[u8; 48]>,
    pub(super) signs: Signs,
}

/// Which of the objects in a directory its owner has signed (FORMAT §3.6.2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Signs {
    /// None needs to be.
    Nothing,
    /// Whatever is sealed from now on; the others follow.
    WhatIsNew,
    /// All of them: a reader refuses one that is not.
    Everything,
}

impl Signs {
    const ALL: [Self; 3] = [Self::Nothing, Self::WhatIsNew, Self::Everything];

    const fn number(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::WhatIsNew => 1,
            Self::Everything => 2,
        }
    }

    fn of_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.number() == number)
    }
}

/// A header as it was read: well-formed, but anybody's word until [`Header::open`] has verified it.
#[derive(Clone, Debug)]
pub struct Header {
    core: Core,
    keys: KeyTable,
    bindings: Vec<Binding>,
    more: Option<names::MoreNames>,
    /// The content of the side file with further names, not verified yet.
    side: Option<Vec<u8>>,
    labels: Vec<LabelSlot>,
    state: State,
    /// Of all that is sealed, so that checking each seal is cheap.
    digest: [u8; 32],
    seals: Seals,
}

/// What a header says about its keys.
#[derive(Clone, Debug, Eq, PartialEq)]
struct KeyTable {
    epoch: u32,
    commitment: [u8; 32],
    prev: Option<PrevKey>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct PrevKey {
    epoch: u32,
    commitment: [u8; 32],
    wrapped: [u8; 48],
}

/// The last 128 bytes of a header.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Seals {
    signature: Option<[u8; 64]>,
    owner: [u8; 32],
    key: [u8; 32],
}

/// A verified header together with its keys: what is changed and sealed again.
pub struct OpenHeader {
    core: Core,
    core_hash: [u8; 32],
    ring: KeyRing,
    bindings: Vec<Binding>,
    more: Option<names::MoreNames>,
    /// Whether all its names are in `bindings`.
    has_all_names: bool,
    labels: Vec<LabelSlot>,
    /// Whether it bears a signature, and so does every later state of it.
    signed: bool,
    /// What may be changed freely.
    pub state: State,
}

impl Header {
    /// What the object is; not verified yet.
    #[must_use]
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// The names; not verified yet.
    #[must_use]
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// The labels, whose capsules tell what key to ask for; not verified yet.
    #[must_use]
    pub fn labels(&self) -> &[LabelSlot] {
        &self.labels
    }

    /// The state; not verified yet.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Whether it bears a signature; not verified yet.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.seals.signature.is_some()
    }

    /// The epoch of its key; not verified yet.
    #[must_use]
    pub const fn key_epoch(&self) -> u32 {
        self.keys.epoch
    }
}

impl OpenHeader {
    /// What the object is.
    #[must_use]
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// The hash of the core, which is bound into everything sealed for the object.
    #[must_use]
    pub const fn core_hash(&self) -> &[u8; 32] {
        &self.core_hash
    }

    /// The names.
    #[must_use]
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// The labels.
    #[must_use]
    pub fn labels(&self) -> &[LabelSlot] {
        &self.labels
    }

    /// The epoch of the key under which everything new is sealed.
    #[must_use]
    pub const fn key_epoch(&self) -> u32 {
        self.ring.current.epoch
    }

    /// Whether the owner's signature must stand on it when it is sealed: of what is shared, and of what has been
    /// signed before.
    #[must_use]
    pub fn needs_signature(&self) -> bool {
        self.signed || !self.labels.is_empty() || self.signs() != Signs::Nothing
    }

    /// Has it signed from the next sealing on.
    pub const fn sign(&mut self) {
        self.signed = true;
    }

    /// Counts chunks that were sealed since the header was, so that the generation tells when a key has been used
    /// enough (FORMAT §5.1).
    pub const fn count_sealed(&mut self, chunks: u64) {
        self.state.generation = self
            .state
            .generation
            .saturating_add(chunks / CHUNKS_A_STATE);
    }

    /// Which of the objects in this directory are signed; nothing is in a file.
    #[must_use]
    pub const fn signs(&self) -> Signs {
        match &self.state.content {
            Content::Dir(content) => content.signs,
            Content::File(_) => Signs::Nothing,
        }
    }

    /// Says which of the objects in this directory are signed. There is no way back: a reader who has been told to
    /// expect signatures goes on expecting them.
    pub fn set_signs(&mut self, signs: Signs) -> Result<(), HeaderError> {
        let Content::Dir(content) = &mut self.state.content else {
            return Err(HeaderError::OtherKind);
        };
        content.signs = content.signs.max(signs);
        Ok(())
    }

    pub(in crate::format) const fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// The keys of its content.
    pub fn file_keys(&self) -> Result<FileKeys, HeaderError> {
        match self.core.id.kind() {
            Kind::File => Ok(FileKeys::new(self.core_hash, self.core.cipher, &self.ring)),
            Kind::Dir => Err(HeaderError::OtherKind),
        }
    }

    /// The keys of what lies in it.
    pub fn dir_keys(&self) -> Result<DirKeys, HeaderError> {
        match self.core.id {
            super::ObjectId::Dir(id) => Ok(DirKeys::new(id, self.ring.copy(), self.signs())),
            super::ObjectId::File(_) => Err(HeaderError::OtherKind),
        }
    }

    /// Where its chunks stand.
    pub fn layout(&self) -> Result<Layout, HeaderError> {
        Layout::new(self.core.chunk_bits).ok_or(HeaderError::OtherKind)
    }

    /// Its size and the top of its tree.
    pub const fn file(&self) -> Result<&FileContent, HeaderError> {
        match &self.state.content {
            Content::File(content) => Ok(content),
            Content::Dir(_) => Err(HeaderError::OtherKind),
        }
    }

    /// Its size and the top of its tree, to be changed.
    pub const fn file_mut(&mut self) -> Result<&mut FileContent, HeaderError> {
        match &mut self.state.content {
            Content::File(content) => Ok(content),
            Content::Dir(_) => Err(HeaderError::OtherKind),
        }
    }

    /// What encrypts the names in this directory.
    pub fn names(&self) -> Result<NameCipher, HeaderError> {
        let (id, names) = self.name_keys()?;
        self.open_name_key(&names.current)
            .map(|key| NameCipher::new(&key, id))
    }

    /// What encrypted the names that have not been changed yet, while they are being changed.
    pub fn prev_names(&self) -> Result<Option<NameCipher>, HeaderError> {
        let (id, names) = self.name_keys()?;
        let Some(prev) = &names.prev else {
            return Ok(None);
        };
        self.open_name_key(prev)
            .map(|key| Some(NameCipher::new(&key, id)))
    }

    fn name_keys(&self) -> Result<(DirId, &DirContent), HeaderError> {
        match (&self.state.content, self.core.id) {
            (Content::Dir(names), super::ObjectId::Dir(id)) => Ok((id, names)),
            _ => Err(HeaderError::OtherKind),
        }
    }

    fn open_name_key(&self, wrapped: &[u8; 48]) -> Result<NameKey, HeaderError> {
        let epoch = self.ring.current.epoch.to_be_bytes();
        let ad: [&[u8]; 3] = [NAME_KEY, &self.core_hash, &epoch];
        unwrap_key(self.ring.current.key(), &ad, wrapped)
            .map(|key| NameKey::from_bytes(&key))
            .map_err(|_| HeaderError::Refused(Part::Names))
    }

    /// The name key a directory gets with a key of its own (FORMAT §3.6).
    fn name_key_of(&self, key: &DirKey, epoch: u32) -> Result<NameKey, HeaderError> {
        let (id, _) = self.name_keys()?;
        Ok(NameKey::of_dir(key, &id, epoch))
    }

    fn wrap_name_key(&self, key: &NameKey) -> [u8; 48] {
        let epoch = self.ring.current.epoch.to_be_bytes();
        let ad: [&[u8]; 3] = [NAME_KEY, &self.core_hash, &epoch];
        wrap_key(self.ring.current.key(), &ad, key.as_bytes())
    }
}

impl core::fmt::Debug for OpenHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OpenHeader")
            .field("core", &self.core)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What a wrapping is for; always the first part of its associated data.
const NAME_KEY: &[u8] = b"kms/name-key/1";
const BINDING: &[u8] = b"kms/binding/1";
const LABEL: &[u8] = b"kms/label/1";
const PREV: &[u8] = b"kms/prev/1";

/// For so many chunks the generation grows as for one header.
const CHUNKS_A_STATE: u64 = 1024;

/// Where the seals begin.
const SEALS_AT: usize = super::HEADER_LEN - 128;
/// Magic, version and length, before the CBOR.
const PREFIX_LEN: usize = 14;
const MAGIC: [u8; 8] = *b"kmsfs\x1a\r\n";

#[cfg(test)]
mod tests;
