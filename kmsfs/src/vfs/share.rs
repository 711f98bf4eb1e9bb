//! Labels: what makes an object something that can be shared by itself (FORMAT §3.5).
//!
//! An object gets its label, and with it a capsule and a signature, when it is first shared; until then it costs no
//! public-key operation. A revocation begins a new epoch: a new secret in a new capsule and new keys below, which
//! [`super::rekey`] carries through.

use std::sync::Arc;

use kms_crypto::format::{DirKeys, Keepers, LabelKey, LabelSlot, OpenHeader, Signs};
use kms_crypto::id::{DirId, LabelId, SchemeId};
use kms_crypto::key::{DelegatingKey, LabelSecret};
use kms_crypto::scheme::Capsule;
use rustix::io::Errno;

use super::error::header_error;
use super::header::Promise;
use super::{Ino, LabelInfo, Part, Result, Vfs, rng};
use crate::backing::Kind;
use crate::inode::Inode;

/// The first delegating key of every label.
const FIRST_GENERATION: u32 = 1;

impl Vfs {
    /// The object's own label, if it has one.
    ///
    /// # Errors
    /// The object is gone or does not verify.
    pub fn label_of(&self, ino: Ino) -> Result<Option<LabelInfo>> {
        self.label_of_inode(&self.inode(ino)?)
    }

    fn label_of_inode(&self, inode: &Arc<Inode>) -> Result<Option<LabelInfo>> {
        if inode.kind() == Kind::Symlink {
            return Ok(None);
        }
        let slot = self.read_header(inode, |header| header.labels().first().cloned())?;
        slot.map(|slot| self.label_info(inode, &slot)).transpose()
    }

    fn label_info(&self, inode: &Inode, slot: &LabelSlot) -> Result<LabelInfo> {
        let key = self
            .label_key(slot.scheme, slot.id, slot.generation)?
            .public;
        Ok(LabelInfo {
            label: slot.id,
            is_dir: inode.kind() == Kind::Dir,
            key,
            generation: slot.generation,
            epoch: slot.epoch,
            scheme: slot.scheme,
            capsule: slot.capsule.clone(),
        })
    }

    /// The labels through which the object can be read: its own first, then those of the directories above it,
    /// nearest first.
    ///
    /// # Errors
    /// The object is gone, or something on the way to it does not verify.
    pub fn labels_over(&self, ino: Ino) -> Result<Vec<(Ino, LabelInfo)>> {
        let mut at = self.inode(ino)?;
        let mut labels = Vec::new();
        loop {
            if let Some(info) = self.label_of_inode(&at)? {
                labels.push((at.ino, info));
            }
            match at.place() {
                Some(place) => at = place.dir,
                None => return Ok(labels),
            }
        }
    }

    /// The object's own label, made when there is none: label key, capsule and signature come into being here.
    /// Durable and in the store when it returns.
    ///
    /// # Errors
    /// Symbolic links have no label (`EOPNOTSUPP`); the object does not verify; the store does not take it.
    pub fn ensure_label(&self, ino: Ino) -> Result<LabelInfo> {
        let inode = self.inode(ino)?;
        if let Some(info) = self.label_of_inode(&inode)? {
            // Whatever is on its way into the store is to be seen by whom it is shared with.
            self.checkpoint()?;
            return Ok(info);
        }
        self.put_label(&inode, LabelId::random(&mut rng()), FIRST_GENERATION)
    }

    /// Puts a label that has lost its object on another one, which has none: fragments at nodes are the label's, so
    /// whoever could read the object that is gone can read this one. An object with a label keeps its own.
    ///
    /// # Errors
    /// As [`Self::ensure_label`].
    pub fn adopt_label(&self, ino: Ino, label: LabelId, generation: u32) -> Result<LabelInfo> {
        let inode = self.inode(ino)?;
        match self.label_of_inode(&inode)? {
            Some(info) => Ok(info),
            None => self.put_label(&inode, label, generation),
        }
    }

    fn put_label(&self, inode: &Arc<Inode>, id: LabelId, generation: u32) -> Result<LabelInfo> {
        self.change_header(inode, Promise::Stored, |header| {
            let key = self.label_key(self.info.scheme, id, generation)?;
            header.renew_label(&key, &mut rng()).map_err(header_error)?;
            match header.dir_id() {
                Ok(_) => header.set_signs(Signs::WhatIsNew).map_err(header_error),
                Err(_) => Ok(()),
            }
        })?;
        if inode.kind() == Kind::Dir {
            self.enqueue_signing(inode)?;
        }
        self.publish(inode)?;
        self.label_of_inode(inode)?
            .ok_or_else(|| Part::Label(id).into())
    }

    /// Begins a new epoch of the label on the object: a new secret and capsule, and new keys for the content, which a
    /// background job goes through. Durable and in the store when it returns.
    ///
    /// # Errors
    /// `ENODATA` when there is no label; the object does not verify; the store does not take it.
    pub fn rotate(&self, ino: Ino) -> Result<LabelInfo> {
        self.begin_epoch(ino, 0)
    }

    /// The same with a new delegating key: after too few nodes confirmed to have deleted a fragment.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn renew_label(&self, ino: Ino) -> Result<LabelInfo> {
        self.begin_epoch(ino, 1)
    }

    fn begin_epoch(&self, ino: Ino, generations: u32) -> Result<LabelInfo> {
        let inode = self.inode(ino)?;
        let info = self.label_of_inode(&inode)?.ok_or(Errno::NODATA)?;
        self.finish_rekey_now(&inode)?;
        let generation = info
            .generation
            .checked_add(generations)
            .ok_or(Errno::OVERFLOW)?;
        self.rekey_header(&inode, |header| {
            let key = self.label_key(info.scheme, info.label, generation)?;
            let secret = header.renew_label(&key, &mut rng()).map_err(header_error)?;
            Ok(Some((info.label, secret)))
        })?;
        self.enqueue_rekey(&inode)?;
        self.publish(&inode)?;
        self.label_of_inode(&inode)?
            .ok_or_else(|| Part::Label(info.label).into())
    }

    /// Takes the label off the object, which gets new keys as after [`Self::rotate`].
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn drop_label(&self, ino: Ino) -> Result<()> {
        let inode = self.inode(ino)?;
        let info = self.label_of_inode(&inode)?.ok_or(Errno::NODATA)?;
        self.finish_rekey_now(&inode)?;
        self.rekey_header(&inode, |header| {
            header.drop_label(&info.label);
            Ok(None)
        })?;
        self.enqueue_rekey(&inode)?;
        self.publish(&inode)
    }

    fn label_key(&self, scheme: SchemeId, id: LabelId, generation: u32) -> Result<LabelKey> {
        let public = self.delegating_key(scheme, id, generation)?.public();
        Ok(LabelKey {
            id,
            generation,
            public,
        })
    }

    fn delegating_key(
        &self,
        scheme: SchemeId,
        id: LabelId,
        generation: u32,
    ) -> Result<DelegatingKey> {
        let key = &self.owner()?.key;
        key.delegating_key_for(scheme, &id, generation)
            .map_err(|_| Part::Label(id).into())
    }

    /// Gives the object a new key in its header. What is sealed under the old one stays readable until it has been
    /// sealed anew. `change` changes the labels first, and may hand over the secret of one it has renewed.
    pub(super) fn rekey_header(
        &self,
        inode: &Arc<Inode>,
        change: impl FnOnce(&mut OpenHeader) -> Result<Option<(LabelId, LabelSecret)>>,
    ) -> Result<()> {
        let dirs = self.dirs_of(inode)?;
        let dirs: Vec<_> = dirs.iter().map(|secrets| &secrets.keys).collect();
        self.change_header(inode, Promise::Stored, |header| {
            let renewed = change(header)?;
            self.rekey_open_header(header, &dirs, renewed)
        })
    }

    /// The same for a header at hand; `dirs` are the directories its names are known to be in.
    pub(super) fn rekey_open_header(
        &self,
        header: &mut OpenHeader,
        dirs: &[&DirKeys],
        renewed: Option<(LabelId, LabelSecret)>,
    ) -> Result<()> {
        let owner = self.owner()?;
        let mut secrets = Vec::new();
        for slot in header.labels() {
            if renewed.as_ref().is_none_or(|(id, _)| *id != slot.id) {
                secrets.push((slot.id, self.own_label_secret(slot)?));
            }
        }
        secrets.extend(renewed);
        let labels: Vec<_> = secrets.iter().map(|(id, secret)| (*id, secret)).collect();
        // Names in directories nobody has looked into: their keys of that epoch are derived.
        let is_known = |id: &DirId| dirs.iter().any(|keys| keys.id() == *id);
        let unknown: Vec<_> = header
            .bindings()
            .iter()
            .filter(|binding| !is_known(&binding.dir))
            .map(|binding| (binding.dir.0, binding.dir_epoch))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|(dir, epoch)| DirKeys::derived(&owner.key, DirId(dir), epoch))
            .collect();
        let dirs: Vec<_> = dirs.iter().copied().chain(&unknown).collect();
        let keepers = Keepers {
            dirs: &dirs,
            labels: &labels,
        };
        match header.dir_id() {
            Ok(id) => {
                let epoch = header.next_epoch().map_err(header_error)?;
                header.rekey_dir(&owner.key.dir_key(&id, epoch), &keepers)
            }
            Err(_) => header.rekey_file(&keepers, &mut rng()),
        }
        .map_err(header_error)
    }

    /// The owner opens his own capsules with the label's key.
    fn own_label_secret(&self, slot: &LabelSlot) -> Result<LabelSecret> {
        let capsule = Capsule::from_bytes(&slot.capsule).map_err(|_| Part::Label(slot.id))?;
        let key = self.delegating_key(slot.scheme, slot.id, slot.generation)?;
        key.decapsulate(&capsule, &slot.context(self.info.id))
            .map_err(|_| Part::Label(slot.id).into())
    }

    /// The keys of the directories the object's known names are in.
    pub(super) fn dirs_of(&self, inode: &Arc<Inode>) -> Result<Vec<Arc<super::dirs::Secrets>>> {
        let mut dirs: Vec<Arc<super::dirs::Secrets>> = Vec::new();
        for place in inode.places() {
            let secrets = self.secrets(&place.dir)?;
            if !dirs.iter().any(|known| known.id == secrets.id) {
                dirs.push(secrets);
            }
        }
        Ok(dirs)
    }

    /// Makes an object and all that leads to it durable in the store, for others to see.
    fn publish(&self, inode: &Arc<Inode>) -> Result<()> {
        self.checkpoint()?;
        if inode.dir().is_some() {
            self.sync_dir_header(inode)?;
        } else if inode.file().is_some() {
            self.sync_unopened(inode)?;
        }
        let Some(place) = inode.place() else {
            return Ok(());
        };
        self.fsyncdir(place.dir.ino)
    }

    fn sync_unopened(&self, inode: &Arc<Inode>) -> Result<()> {
        let file = inode.file().ok_or(Errno::INVAL)?;
        {
            let mut cell = file.cell.write();
            self.ensure_loaded(inode, &mut cell)?;
            cell.opens += 1;
        }
        let synced = self.sync_file(inode);
        self.close_one(inode);
        synced
    }
}
