//! Symbolic links (FORMAT §7.3). Their targets are sealed for the place they stand at: a link that moves is made anew.

use std::sync::Arc;

use kms_crypto::name::{LINK_SUFFIX, NameCipher, NameError, NameTag, StoredLink};
use rustix::io::Errno;

use super::create::unless_not_root;
use super::dirs::{Secrets, place};
use super::{Attr, Caller, Ino, Part, Result, Vfs};
use crate::backing::{Kind, OpenMode, Replace, Stat, TimeChange};
use crate::inode::{Inode, Place};

/// What became of a link's side file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SideFile {
    /// It was made now.
    Made,
    /// There is none, or it was there: what was sealed twice for one place is the same.
    AsBefore,
}

/// More than two sealed targets take.
const SIDE_MAX: u64 = 16 << 10;

impl Vfs {
    /// Makes a symbolic link.
    ///
    /// # Errors
    /// `EEXIST`, `ENAMETOOLONG`, or the store does not take it.
    pub fn symlink(&self, caller: Caller, parent: Ino, name: &[u8], target: &[u8]) -> Result<Attr> {
        self.owner()?;
        let dir = self.dir_inode(parent)?;
        let _names = self.lock_names(&dir)?;
        let secrets = self.secrets(&dir)?;
        self.refuse_old_name(&dir, &secrets, name)?;
        let encrypted = secrets.encrypt(name)?;
        let fd = self.dir_fd(&dir)?;
        self.refuse_existing(&place(&dir, encrypted.clone()))?;
        let link = StoredLink::of(seal_target(&secrets, encrypted.tag, target)?);
        self.put_side_file(&dir, &encrypted)?;
        let side = self.put_link_side(&dir, &link)?;
        let made = self.disk.symlink(&link.target, fd, &encrypted.backing);
        self.unless_made(&dir, &encrypted.backing, made)
            .inspect_err(|_| self.take_back(&dir, &link, side))?;
        let gid = self.new_gid(&dir, caller)?;
        let mut stat = self.disk.stat(fd, &encrypted.backing)?;
        if (stat.uid, stat.gid) != (caller.uid, gid) {
            let owned = self
                .disk
                .set_owner(fd, &encrypted.backing, Some(caller.uid), Some(gid));
            owned.or_else(unless_not_root)?;
            stat = self.disk.stat(fd, &encrypted.backing)?;
        }
        self.names_changed(&dir);
        let place = place(&dir, encrypted);
        self.link_made(&place, target)?;
        let inode = self.intern(&stat, place, 1)?;
        self.attr_from(&inode, &stat)
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// It is none, or was not made by a key holder.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        if inode.kind() != Kind::Symlink {
            return Err(Errno::INVAL.into());
        }
        let place = self.live_place(&inode)?;
        let target = self
            .target_at(&place)
            .and_then(|target| self.see_link(&place, &target).map(|_| target));
        self.note(self.uid, &inode, None, "readlink", target)
    }

    /// The target of the symbolic link that stands at a place.
    pub(super) fn target_at(&self, place: &Place) -> Result<Vec<u8>> {
        let secrets = self.secrets(&place.dir)?;
        let link = self.disk.read_link(self.dir_fd(&place.dir)?, &place.name)?;
        let link = std::str::from_utf8(&link).map_err(|_| Part::Target)?;
        let side = self.link_side(&place.dir, link)?;
        let opened = secrets.names.open_link(place.tag, link, side.as_deref());
        let opened = match (&secrets.prev_names, opened) {
            (Some(prev), Err(_)) => prev.open_link(place.tag, link, side.as_deref()),
            (_, opened) => opened,
        };
        opened.map_err(|_| Part::Target.into())
    }

    /// How long the target of a symbolic link is, told without opening it.
    pub(super) fn target_len(&self, inode: &Arc<Inode>, stat: &Stat) -> Option<u64> {
        let len = usize::try_from(stat.size).ok()?;
        let mut side = None;
        if StoredLink::is_spilled(len) {
            let place = inode.place()?;
            let fd = self.dir_fd(&place.dir).ok()?;
            let link = self.disk.read_link(fd, &place.name).ok()?;
            side = self
                .link_side(&place.dir, std::str::from_utf8(&link).ok()?)
                .ok()?;
        }
        NameCipher::link_len(len, side.as_deref()).map(|len| len as u64)
    }

    /// The content of a link's side file, if it has one.
    fn link_side(&self, dir: &Inode, link: &str) -> Result<Option<String>> {
        if !StoredLink::is_spilled(link.len()) {
            return Ok(None);
        }
        let name = format!("{link}{LINK_SUFFIX}");
        let file = match self
            .disk
            .open_file(self.dir_fd(dir)?, &name, OpenMode::Read)
        {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let len = self.disk.fstat(&file)?.size.min(SIDE_MAX);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let len = self.disk.read_at(&file, 0, &mut bytes)?;
        bytes.truncate(len);
        Ok(Some(String::from_utf8(bytes).map_err(|_| Part::Target)?))
    }

    /// Makes sure that a link's side file is there, durably, before the link is.
    fn put_link_side(&self, dir: &Inode, link: &StoredLink) -> Result<SideFile> {
        let Some(content) = &link.side else {
            return Ok(SideFile::AsBefore);
        };
        let fd = self.dir_fd(dir)?;
        let name = format!("{}{LINK_SUFFIX}", link.target);
        if self.link_side(dir, &link.target)?.as_ref() == Some(content) {
            return Ok(SideFile::AsBefore);
        }
        match self.disk.unlink(fd, &name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let file = self.disk.create_file(fd, &name, 0o600)?;
        let written = self
            .disk
            .write_at(&file, 0, content.as_bytes())
            .and_then(|()| self.disk.sync_all(&file));
        if written.is_err() {
            let _ = self.disk.unlink(fd, &name);
        }
        Ok(written.map(|()| SideFile::Made)?)
    }

    /// A link was not made after all: a side file that was made for it goes.
    fn take_back(&self, dir: &Inode, link: &StoredLink, side: SideFile) {
        if side == SideFile::Made {
            self.drop_link_side(dir, &link.target);
        }
    }

    /// After a link has gone: its side file, if it had one, goes as well.
    pub(super) fn drop_link_side(&self, dir: &Inode, link: &str) {
        if StoredLink::is_spilled(link.len())
            && let Ok(fd) = self.dir_fd(dir)
        {
            // One that stays behind is harmless: nothing refers to it.
            let _ = self.disk.unlink(fd, &format!("{link}{LINK_SUFFIX}"));
        }
    }

    /// What the link at a place points to in the store, if it is a link that has a side file: to be dropped when the
    /// link has gone.
    pub(super) fn side_of(&self, place: &Place, stat: &Stat) -> Option<String> {
        let len = usize::try_from(stat.size).ok()?;
        if stat.kind != Kind::Symlink || !StoredLink::is_spilled(len) {
            return None;
        }
        let fd = self.dir_fd(&place.dir).ok()?;
        String::from_utf8(self.disk.read_link(fd, &place.name).ok()?).ok()
    }

    /// Makes a symbolic link anew at another place, with the owner and times of the old one, which goes.
    pub(super) fn remake_symlink(
        &self,
        inode: &Arc<Inode>,
        from: &Place,
        to: &Place,
        to_keys: &Secrets,
        target: &[u8],
    ) -> Result<()> {
        let sealed = seal_target(to_keys, to.tag, target)?;
        let from_fd = self.dir_fd(&from.dir)?;
        let stat = self.disk.stat(from_fd, &from.name)?;
        let side = self.side_of(from, &stat);
        let new = StoredLink::of(sealed);
        self.put_link(&stat, to, &new)?;
        self.link_made(to, target)?;
        if !from.is(&to.dir, &to.name) {
            self.disk.unlink(from_fd, &from.name)?;
            self.name_removed(from, None);
        }
        if let Some(link) = side.filter(|link| *link != new.target) {
            self.drop_link_side(&from.dir, &link);
        }
        let to_fd = self.dir_fd(&to.dir)?;
        self.table
            .rebind(inode, self.disk.stat(to_fd, &to.name)?.ino);
        if !from.is(&to.dir, &to.name) {
            inode.remove_place(&from.dir, &from.name);
            self.drop_side_file(&from.dir, &from.name);
        }
        inode.add_place(to.clone());
        Ok(())
    }

    /// Puts a link at a place, over what stands there, with the owner and times of another one.
    fn put_link(&self, like: &Stat, to: &Place, link: &StoredLink) -> Result<()> {
        let fd = self.dir_fd(&to.dir)?;
        let temporary = format!("kmsfs.new.{:016x}", like.ino);
        match self.disk.unlink(fd, &temporary) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let side = self.put_link_side(&to.dir, link)?;
        let (atime, mtime) = (TimeChange::To(like.atime), TimeChange::To(like.mtime));
        let done = self
            .disk
            .symlink(&link.target, fd, &temporary)
            .and_then(|()| {
                self.disk
                    .set_owner(fd, &temporary, Some(like.uid), Some(like.gid))
            })
            .and_then(|()| self.disk.set_times(fd, &temporary, atime, mtime))
            .and_then(|()| {
                self.disk
                    .rename((fd, &temporary), (fd, &to.name), Replace::Yes)
            });
        done.map_err(|error| {
            let _ = self.disk.unlink(fd, &temporary);
            self.take_back(&to.dir, link, side);
            error.into()
        })
    }

    /// Makes a link such that it opens under the name it has and under another one as well.
    pub(super) fn seal_link_for_both(
        &self,
        inode: &Arc<Inode>,
        at: &Place,
        other: &Place,
    ) -> Result<()> {
        let target = self.target_at(at)?;
        let here = seal_target(&*self.secrets(&at.dir)?, at.tag, &target)?;
        let there = seal_target(&*self.secrets(&other.dir)?, other.tag, &target)?;
        let fd = self.dir_fd(&at.dir)?;
        let stat = self.disk.stat(fd, &at.name)?;
        let side = self.side_of(at, &stat);
        let link = StoredLink::of_two(&here, &there);
        self.put_link(&stat, at, &link)?;
        // Its side file has to be found from the other place, too.
        if !Arc::ptr_eq(&at.dir, &other.dir) {
            self.put_link_side(&other.dir, &link)?;
        }
        if let Some(side) = side.filter(|side| *side != link.target) {
            self.drop_link_side(&at.dir, &side);
        }
        self.table.rebind(inode, self.disk.stat(fd, &at.name)?.ino);
        Ok(())
    }

    /// Makes a link that opens under two names one that opens under its own only. `other` is where it was, or was to
    /// go.
    pub(super) fn seal_link_for_one(
        &self,
        inode: &Arc<Inode>,
        at: &Place,
        other: &Place,
    ) -> Result<()> {
        let stat = self.disk.stat(self.dir_fd(&at.dir)?, &at.name)?;
        let side = self.side_of(at, &stat);
        let target = self.target_at(at)?;
        let secrets = self.secrets(&at.dir)?;
        self.remake_symlink(inode, at, at, &secrets, &target)?;
        if let Some(link) = side
            && !Arc::ptr_eq(&at.dir, &other.dir)
        {
            self.drop_link_side(&other.dir, &link);
        }
        Ok(())
    }
}

/// A target, sealed for the link with this name tag.
pub(super) fn seal_target(secrets: &Secrets, tag: NameTag, target: &[u8]) -> Result<String> {
    let sealed = secrets.names.encrypt_target(tag, target);
    sealed.map_err(|error| match error {
        NameError::TooLong => Errno::NAMETOOLONG.into(),
        _ => Errno::INVAL.into(),
    })
}
