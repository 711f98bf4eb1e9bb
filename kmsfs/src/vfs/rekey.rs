//! Carrying a new key through: everything sealed under the old one is sealed anew, in the background (FORMAT §6).
//!
//! The header with the new key is in the store before anything here begins, so that nothing new is sealed under the
//! old one. [`super::jobs`] has the list of what is to be done.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_crypto::format::XattrMap;
use kms_crypto::name::NameTag;
use rustix::io::Errno;

use super::dirs::Secrets;
use super::error::header_error;
use super::file::{DIRTY_MAX, FileCell};
use super::header::Promise;
use super::jobs::pass_over_damage;
use super::{Part, Result, Vfs};
use crate::backing::{Kind, Replace};
use crate::inode::{Inode, Place};

/// How far the chunks of a file have been gone through, for one key.
#[derive(Default)]
struct Pass {
    epoch: u32,
    chunk: u64,
}

impl Vfs {
    /// Finishes a key change that is still under way on the object, as the next one needs it to be.
    pub(super) fn finish_rekey_now(&self, inode: &Arc<Inode>) -> Result<()> {
        if self.read_header(inode, |header| header.is_rekeying())? {
            self.carry_through(inode)
        } else {
            Ok(())
        }
    }

    /// Seals a file's chunks and attributes under its current key and forgets the old one.
    pub(super) fn rekey_file(&self, inode: &Arc<Inode>) -> Result<()> {
        let file = inode.file().ok_or(Errno::INVAL)?;
        let mut pass = Pass::default();
        loop {
            self.refuse_if_stopping()?;
            self.throttle();
            let mut cell = file.cell.write();
            self.ensure_loaded(inode, &mut cell)?;
            let is_done = self.reseal_some(inode, &mut cell, &mut pass)?;
            if is_done {
                let old_side = self.finish_file(inode, &mut cell)?;
                self.unload(inode, &mut cell);
                drop(cell);
                if let Some(path) = old_side {
                    self.drop_side(inode, &path);
                }
                return Ok(());
            }
        }
    }

    /// Seals the next few chunks anew. Says whether all have been.
    fn reseal_some(
        &self,
        inode: &Arc<Inode>,
        cell: &mut FileCell,
        pass: &mut Pass,
    ) -> Result<bool> {
        let loaded = cell.loaded.as_deref_mut().ok_or(Errno::IO)?;
        let Some(old) = loaded.keys.prev_epoch() else {
            return Ok(true);
        };
        if pass.epoch != loaded.keys.epoch() {
            // The key was changed once more: what this pass has sealed is old again.
            *pass = Pass {
                epoch: loaded.keys.epoch(),
                chunk: 0,
            };
        }
        let count = loaded.layout.chunk_count(loaded.size());
        while pass.chunk < count && loaded.dirty_len() < DIRTY_MAX {
            if loaded.leaf(&self.disk, pass.chunk)?.epoch == old {
                loaded.dirty_chunk(&self.disk, pass.chunk)?;
            }
            pass.chunk += 1;
        }
        let is_done = pass.chunk >= count;
        self.commit_sealed(inode, cell)?;
        Ok(is_done)
    }

    /// A file in a directory that has got a new key gets one as well before anything more is sealed in it. The content
    /// follows in the background, with the rest of the directory.
    pub(super) fn refresh_keys(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<()> {
        let dirs = self.dirs_of(inode)?;
        let is_stale = |cell: &FileCell| {
            let header = cell.loaded.as_deref().map(|loaded| &loaded.header);
            header.is_some_and(|header| dirs.iter().any(|dir| header.is_stale_in(&dir.keys)))
        };
        if !is_stale(cell) {
            return Ok(());
        }
        if cell
            .loaded
            .as_deref()
            .is_some_and(|loaded| loaded.header.is_rekeying())
        {
            let mut pass = Pass::default();
            while !self.reseal_some(inode, cell, &mut pass)? {}
            self.finish_file(inode, cell)?;
        }
        let loaded = cell.loaded.as_deref_mut().ok_or(Errno::IO)?;
        let keys: Vec<_> = dirs.iter().map(|dir| &dir.keys).collect();
        self.rekey_open_header(&mut loaded.header, &keys, None)?;
        loaded.header_dirty = true;
        loaded.keys_changed()
    }

    fn finish_file(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<Option<String>> {
        let mut old_side = None;
        // The old key goes only when what was sealed under it is no longer what the store would come back with.
        self.apply_file(inode, cell)?;
        let loaded = cell.loaded.as_deref_mut().ok_or(Errno::IO)?;
        if !loaded.header.is_rekeying() {
            return Ok(None);
        }
        if loaded
            .header
            .state
            .xattrs
            .epoch()
            .is_some_and(|epoch| epoch != loaded.header.key_epoch())
        {
            old_side = self.reseal_xattrs(&mut loaded.header)?;
        }
        loaded.header.finish_rekey().map_err(header_error)?;
        loaded.keys_changed()?;
        loaded.header_dirty = true;
        self.commit_sealed(inode, cell)?;
        Ok(old_side)
    }

    fn reseal_xattrs(&self, header: &mut kms_crypto::format::OpenHeader) -> Result<Option<String>> {
        let id = header.core().id;
        let side = header
            .state
            .xattrs
            .side_path(&id)
            .map(|path| self.read_side(&path))
            .transpose()?;
        let map: XattrMap = header
            .xattrs(side.as_deref())
            .map_err(|_| Part::Attributes)?;
        self.put_xattrs(header, &map)
    }

    /// Gives everything in a directory new keys and new stored names, then forgets the directory's old ones.
    pub(super) fn rekey_dir(&self, inode: &Arc<Inode>) -> Result<()> {
        let (is_rekeying, has_prev_names) = self.read_header(inode, |header| {
            (
                header.is_rekeying(),
                header.prev_names().is_ok_and(|names| names.is_some()),
            )
        })?;
        if !is_rekeying && !has_prev_names {
            return Ok(());
        }
        if !has_prev_names {
            self.change_header(inode, Promise::Stored, |header| {
                header.begin_rename().map_err(header_error)
            })?;
        }
        let entries = self.disk.list(self.dir_fd(inode)?)?;
        let backlog = &self.owner()?.jobs.backlog;
        backlog.fetch_add(entries.len() as u64, Ordering::Relaxed);
        for entry in entries {
            self.refuse_if_stopping()?;
            if let Ok(name) = std::str::from_utf8(&entry.name) {
                self.rekey_entry(inode, name)?;
            }
            let _ = backlog.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        }
        let secrets = self.secrets(inode)?;
        if self.has_old_names(inode, &secrets)? {
            // Made under an old name while the list was gone through: one more round.
            return self.rekey_dir(inode);
        }
        // A power cut must not bring names back that nothing opens any more.
        self.disk.sync_dir(self.dir_fd(inode)?)?;
        let old_side = self.change_header(inode, Promise::Stored, |header| {
            let mut old_side = None;
            if header
                .state
                .xattrs
                .epoch()
                .is_some_and(|epoch| epoch != header.key_epoch())
            {
                old_side = self.reseal_xattrs(header)?;
            }
            header.finish_rename().map_err(header_error)?;
            if header.is_rekeying() {
                header.finish_rekey().map_err(header_error)?;
            }
            Ok(old_side)
        })?;
        if let Some(path) = old_side {
            self.drop_side(inode, &path);
        }
        self.names_changed(inode);
        Ok(())
    }

    fn has_old_names(&self, inode: &Arc<Inode>, secrets: &Secrets) -> Result<bool> {
        let entries = self.disk.list(self.dir_fd(inode)?)?;
        Ok(entries.iter().any(|entry| {
            let Ok(name) = std::str::from_utf8(&entry.name) else {
                return false;
            };
            self.is_old_name(inode, secrets, name).is_some()
        }))
    }

    /// The plain name and old tag of an entry whose stored name is that of the old name key.
    fn is_old_name(
        &self,
        dir: &Inode,
        secrets: &Secrets,
        backing: &str,
    ) -> Option<(Vec<u8>, NameTag)> {
        let (name, tag) = self.decrypt_name(dir, secrets, backing).ok()?;
        let new = secrets.names.encrypt(&name).ok()?;
        (new.backing != backing).then_some((name, tag))
    }

    /// One entry of a directory that has a new key: new key, new binding, new stored name; then what lies below.
    fn rekey_entry(&self, dir: &Arc<Inode>, backing: &str) -> Result<()> {
        let inode = {
            let _names = self.lock_names(dir)?;
            let secrets = self.secrets(dir)?;
            let Ok((name, tag)) = self.decrypt_name(dir, &secrets, backing) else {
                return Ok(());
            };
            let stat = match self.disk.stat(self.dir_fd(dir)?, backing) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if stat.kind == Kind::Other {
                return Ok(());
            }
            let place = Place {
                dir: Arc::clone(dir),
                name: backing.into(),
                tag,
                standing: crate::inode::Standing::Original,
            };
            let inode = self.intern(&stat, place.clone(), 0)?;
            match self.renew_entry(&inode, &secrets, &place, &name) {
                Err(error @ super::VfsError::Damaged(_)) => return pass_over_damage(Err(error)),
                result => result?,
            }
            inode
        };
        let carried = self.carry_through(&inode);
        self.table.sweep(inode);
        pass_over_damage(carried)
    }

    fn renew_entry(
        &self,
        inode: &Arc<Inode>,
        secrets: &Secrets,
        place: &Place,
        name: &[u8],
    ) -> Result<()> {
        let encrypted = secrets.encrypt(name)?;
        let is_renamed = encrypted.backing != *place.name;
        if inode.kind() == Kind::Symlink {
            return if is_renamed {
                self.renew_symlink(inode, secrets, place, name)
            } else {
                Ok(())
            };
        }
        let stale = self.read_header(inode, |header| header.is_stale_in(&secrets.keys))?;
        if stale {
            self.finish_rekey_now(inode)?;
            self.rekey_header(inode, |_| Ok(None))?;
        }
        if !is_renamed {
            return Ok(());
        }
        let new = super::dirs::place(&place.dir, encrypted.clone());
        self.put_side_file(&place.dir, &encrypted)?;
        inode.set_next_place(Some(new.clone()));
        let bound = self.change_header(inode, Promise::Stored, |header| {
            header
                .bind(&secrets.keys, encrypted.tag)
                .map_err(header_error)
        });
        inode.set_next_place(None);
        bound?;
        if inode.kind() == Kind::Dir {
            self.bring_over_below(inode)?;
        }
        let fd = self.dir_fd(&place.dir)?;
        self.will_remove(&place.dir);
        self.disk
            .rename((fd, &*place.name), (fd, &*new.name), Replace::No)?;
        self.name_moved(place, &new, inode.kind());
        inode.remove_place(&place.dir, &place.name);
        inode.add_place(new);
        self.drop_side_file(&place.dir, &place.name);
        self.drop_binding(inode, place, secrets);
        if let Some(events) = self.events() {
            events.moved(super::hooks::Moved {
                ino: inode.ino,
                aside: None,
            });
        }
        Ok(())
    }

    fn renew_symlink(
        &self,
        inode: &Arc<Inode>,
        secrets: &Secrets,
        place: &Place,
        name: &[u8],
    ) -> Result<()> {
        let target = self.target_at(place)?;
        let encrypted = secrets.encrypt(name)?;
        self.put_side_file(&place.dir, &encrypted)?;
        self.will_remove(&place.dir);
        let to = super::dirs::place(&place.dir, encrypted);
        self.remake_symlink(inode, place, &to, secrets, &target)
    }
}
