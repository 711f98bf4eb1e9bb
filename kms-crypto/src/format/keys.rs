//! The keys of an opened object, with what is derived from them (FORMAT §3.3).

use core::fmt;
use std::sync::OnceLock;

use super::header::Signs;
use crate::aead::{ChunkCipher, Cipher, Refused, unwrap_key, wrap_key};
use crate::id::DirId;
use crate::kdf::{derive32, mac};
use crate::key::{DirKey, StoreKey};
use crate::wipe::{Kept, without_trace};

/// A key and the epoch it belongs to.
pub(super) struct EpochKey {
    pub(super) epoch: u32,
    key: Kept<[u8; 32]>,
}

impl EpochKey {
    pub(super) fn new(epoch: u32, key: &[u8; 32]) -> Self {
        Self {
            epoch,
            key: Kept::copied(key),
        }
    }

    pub(super) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    pub(super) fn copy(&self) -> Self {
        Self::new(self.epoch, &self.key)
    }

    /// What a header says about the key so that no other key can pass for it.
    pub(super) fn commitment(&self, core_hash: &[u8; 32]) -> [u8; 32] {
        *derive32(
            &self.key,
            "kms/commitment/1",
            &[core_hash, &self.epoch.to_be_bytes()],
        )
    }
}

/// An object's current key, and the one before while a key change is under way.
pub(super) struct KeyRing {
    pub(super) current: EpochKey,
    pub(super) prev: Option<EpochKey>,
}

impl KeyRing {
    pub(super) fn find(&self, epoch: u32) -> Option<&EpochKey> {
        self.iter().find(|key| key.epoch == epoch)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &EpochKey> {
        core::iter::once(&self.current).chain(&self.prev)
    }

    pub(super) fn copy(&self) -> Self {
        Self {
            current: self.current.copy(),
            prev: self.prev.as_ref().map(EpochKey::copy),
        }
    }
}

/// Seals and opens the chunks and tag pages of one file. Shareable between threads; keys are expanded at first use,
/// once.
pub struct FileKeys {
    core_hash: [u8; 32],
    cipher: Cipher,
    current: ContentKey,
    prev: Option<ContentKey>,
}

impl FileKeys {
    pub(super) fn new(core_hash: [u8; 32], cipher: Cipher, ring: &KeyRing) -> Self {
        let prev = ring.prev.as_ref().map(|key| ContentKey::new(key.copy()));
        Self {
            core_hash,
            cipher,
            current: ContentKey::new(ring.current.copy()),
            prev,
        }
    }

    /// The epoch under which everything new is sealed.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.current.key.epoch
    }

    /// The epoch before, while something may still be sealed under it.
    #[must_use]
    pub fn prev_epoch(&self) -> Option<u32> {
        self.prev.as_ref().map(|key| key.key.epoch)
    }

    /// The hash of the file's core.
    #[must_use]
    pub fn core_hash(&self) -> &[u8; 32] {
        &self.core_hash
    }

    pub(super) fn chunk_cipher(&self, epoch: u32) -> Option<&ChunkCipher> {
        let content = self.find(epoch)?;
        Some(content.chunks.get_or_init(|| {
            without_trace(|| {
                let key = derive32(content.key.key(), "kms/chunk-key/1", &[&self.core_hash]);
                ChunkCipher::new(self.cipher, &key)
            })
        }))
    }

    pub(super) fn page_mac(&self, epoch: u32, parts: &[&[u8]]) -> Option<[u8; 32]> {
        let content = self.find(epoch)?;
        let key = content.tree.get_or_init(|| {
            without_trace(|| {
                let key = derive32(content.key.key(), "kms/tree-key/1", &[&self.core_hash]);
                Kept::copied(&key)
            })
        });
        Some(mac(key, "kms/page/1", parts))
    }

    fn find(&self, epoch: u32) -> Option<&ContentKey> {
        if epoch == self.current.key.epoch {
            return Some(&self.current);
        }
        self.prev.as_ref().filter(|key| key.key.epoch == epoch)
    }
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKeys(epoch {})", self.epoch())
    }
}

struct ContentKey {
    key: EpochKey,
    chunks: OnceLock<ChunkCipher>,
    tree: OnceLock<Kept<[u8; 32]>>,
}

impl ContentKey {
    fn new(key: EpochKey) -> Self {
        Self {
            key,
            chunks: OnceLock::new(),
            tree: OnceLock::new(),
        }
    }
}

/// Wraps and unwraps the keys of what lies in one directory. Shareable between threads.
pub struct DirKeys {
    id: DirId,
    ring: KeyRing,
    signs: Signs,
}

impl DirKeys {
    pub(super) const fn new(id: DirId, ring: KeyRing, signs: Signs) -> Self {
        Self { id, ring, signs }
    }

    /// The keys of a directory the owner made, without reading its header: for names that are there already.
    #[must_use]
    pub fn derived(store: &StoreKey, id: DirId, epoch: u32) -> Self {
        let current = EpochKey::new(epoch, store.dir_key(&id, epoch).as_bytes());
        Self {
            id,
            ring: KeyRing {
                current,
                prev: None,
            },
            signs: Signs::Nothing,
        }
    }

    /// The same keys of a directory whose header is known to say this of what is in it.
    #[must_use]
    pub const fn signing(mut self, signs: Signs) -> Self {
        self.signs = signs;
        self
    }

    /// Which of the objects in the directory are signed.
    #[must_use]
    pub const fn signs(&self) -> Signs {
        self.signs
    }

    /// The directory.
    #[must_use]
    pub const fn id(&self) -> DirId {
        self.id
    }

    /// The epoch under which everything new is wrapped.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.ring.current.epoch
    }

    /// The epoch before, while something may still be wrapped under it.
    #[must_use]
    pub fn prev_epoch(&self) -> Option<u32> {
        self.ring.prev.as_ref().map(|key| key.epoch)
    }

    /// The current key.
    #[must_use]
    pub fn key(&self) -> DirKey {
        DirKey::from_bytes(self.ring.current.key())
    }

    pub(super) fn wrap(&self, ad: &[&[u8]], key: &[u8; 32]) -> [u8; 48] {
        wrap_key(self.ring.current.key(), ad, key)
    }

    /// `None` when the directory has no key of that epoch any more.
    pub(super) fn unwrap(
        &self,
        epoch: u32,
        ad: &[&[u8]],
        wrapped: &[u8; 48],
    ) -> Option<Result<Kept<[u8; 32]>, Refused>> {
        self.ring
            .find(epoch)
            .map(|key| unwrap_key(key.key(), ad, wrapped))
    }
}

impl fmt::Debug for DirKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirKeys({:?}, epoch {})", self.id, self.epoch())
    }
}
