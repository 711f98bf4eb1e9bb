//! Changing an object's key while it is in use (FORMAT §3.3, §6).
//!
//! The old key stays, wrapped under the new one, until nothing is sealed under it any more.

use rand_core::CryptoRng;

use super::{Content, DirContent, OpenHeader};
use crate::format::core::{Kind, ObjectId};
use crate::format::error::{HeaderError, Part};
use crate::format::keys::{DirKeys, EpochKey};
use crate::id::LabelId;
use crate::key::{DirKey, FileKey, LabelSecret};

/// What still has to be able to open an object after its key has changed.
#[derive(Clone, Copy, Debug)]
pub struct Keepers<'a> {
    /// The directories of all its names.
    pub dirs: &'a [&'a DirKeys],
    /// The secrets of all its labels.
    pub labels: &'a [(LabelId, &'a LabelSecret)],
}

impl OpenHeader {
    /// Gives a file a new key. Seal the header before sealing anything under the new key.
    ///
    /// Chunks, pages and attributes sealed under the old key stay readable; once all of them are sealed anew,
    /// [`OpenHeader::finish_rekey`] forgets it.
    pub fn rekey_file(
        &mut self,
        keepers: &Keepers<'_>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), HeaderError> {
        if self.core.id.kind() != Kind::File {
            return Err(HeaderError::OtherKind);
        }
        self.rekey(FileKey::generate(rng).as_bytes(), keepers)
    }

    /// Gives a directory its next key. An owner takes `StoreKey::dir_key` of [`OpenHeader::next_epoch`].
    ///
    /// What lies in the directory stays readable; everything in it needs a key of its own wrapped under the new one
    /// ([`OpenHeader::rebind`]), and its names a new name key ([`OpenHeader::begin_rename`]).
    pub fn rekey_dir(&mut self, key: &DirKey, keepers: &Keepers<'_>) -> Result<(), HeaderError> {
        let Content::Dir(names) = &self.state.content else {
            return Err(HeaderError::OtherKind);
        };
        let signs = names.signs;
        let current = self.open_name_key(&names.current)?;
        let prev = names
            .prev
            .as_ref()
            .map(|prev| self.open_name_key(prev))
            .transpose()?;
        self.rekey(key.as_bytes(), keepers)?;
        let current = self.wrap_name_key(&current);
        let prev = prev.map(|prev| self.wrap_name_key(&prev));
        self.state.content = Content::Dir(DirContent {
            current,
            prev,
            signs,
        });
        Ok(())
    }

    /// The epoch the next key will have.
    pub fn next_epoch(&self) -> Result<u32, HeaderError> {
        self.ring
            .current
            .epoch
            .checked_add(1)
            .ok_or(HeaderError::Full(Part::Keys))
    }

    /// Whether a key change is under way.
    #[must_use]
    pub const fn is_rekeying(&self) -> bool {
        self.ring.prev.is_some()
    }

    /// Forgets the old key. Refused while the header itself shows something that is sealed under it; that no tag page
    /// and no child does is for the caller to know.
    pub fn finish_rekey(&mut self) -> Result<(), HeaderError> {
        let Some(prev) = &self.ring.prev else {
            return Err(HeaderError::Rekeying);
        };
        let epoch = prev.epoch;
        let leaf_is_old = match &self.state.content {
            Content::File(content) => content.leaves.iter().any(|leaf| leaf.epoch == epoch),
            Content::Dir(_) => false,
        };
        if leaf_is_old || self.state.xattrs.epoch() == Some(epoch) {
            return Err(HeaderError::StillOld { epoch });
        }
        self.ring.prev = None;
        Ok(())
    }

    /// Gives a directory the name key that comes of its current key, which must be new; the old one is kept until [`OpenHeader::finish_rename`].
    pub fn begin_rename(&mut self) -> Result<(), HeaderError> {
        let current = &self.ring.current;
        let fresh = self.name_key_of(&DirKey::from_bytes(current.key()), current.epoch)?;
        let fresh = self.wrap_name_key(&fresh);
        // Wrapping is deterministic: of one key comes one name key.
        let is_old = matches!(&self.state.content, Content::Dir(names) if names.current == fresh);
        if is_old {
            return Err(HeaderError::Rekeying);
        }
        match &mut self.state.content {
            Content::Dir(DirContent { prev: Some(_), .. }) => Err(HeaderError::Rekeying),
            Content::Dir(names) => {
                names.prev = Some(core::mem::replace(&mut names.current, fresh));
                Ok(())
            }
            Content::File(_) => Err(HeaderError::OtherKind),
        }
    }

    /// Forgets the old name key of a directory, all names having been changed.
    pub fn finish_rename(&mut self) -> Result<(), HeaderError> {
        match &mut self.state.content {
            Content::Dir(names) => names.prev.take().map(drop).ok_or(HeaderError::Rekeying),
            Content::File(_) => Err(HeaderError::OtherKind),
        }
    }

    fn rekey(&mut self, key: &[u8; 32], keepers: &Keepers<'_>) -> Result<(), HeaderError> {
        if self.ring.prev.is_some() {
            return Err(HeaderError::Rekeying);
        }
        let epoch = self.next_epoch()?;
        self.check_keepers(keepers)?;
        let fresh = EpochKey::new(epoch, key);
        self.ring.prev = Some(core::mem::replace(&mut self.ring.current, fresh));
        for dir in keepers.dirs {
            self.rebind(dir);
        }
        for (id, secret) in keepers.labels {
            let Some(slot) = self.label(id).cloned() else {
                continue;
            };
            let slot = self.wrapped_by(slot, secret);
            self.labels
                .iter_mut()
                .filter(|old| old.id == *id)
                .for_each(|old| *old = slot.clone());
        }
        Ok(())
    }

    /// Nobody may be forgotten: a name or label left behind could never open the object again.
    fn check_keepers(&self, keepers: &Keepers<'_>) -> Result<(), HeaderError> {
        for binding in &self.bindings {
            if !keepers.dirs.iter().any(|dir| dir.id() == binding.dir) {
                return Err(HeaderError::DirKeyNeeded(binding.dir));
            }
        }
        for slot in &self.labels {
            if !keepers.labels.iter().any(|(id, _)| *id == slot.id) {
                return Err(HeaderError::LabelSecretNeeded(slot.id));
            }
        }
        Ok(())
    }

    /// The id of a directory.
    pub const fn dir_id(&self) -> Result<crate::id::DirId, HeaderError> {
        match self.core.id {
            ObjectId::Dir(id) => Ok(id),
            ObjectId::File(_) => Err(HeaderError::OtherKind),
        }
    }

    /// The id of a file.
    pub const fn file_id(&self) -> Result<crate::id::FileId, HeaderError> {
        match self.core.id {
            ObjectId::File(id) => Ok(id),
            ObjectId::Dir(_) => Err(HeaderError::OtherKind),
        }
    }
}
