//! Attributes: reading them without opening anything, changing them.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::header::Promise;
use super::{Attr, AttrChange, Caller, Figures, Handle, Ino, Result, Vfs, VfsError};
use crate::backing::{Kind, Stat, Time, TimeChange};
use crate::inode::Inode;

/// In the store this bit says that the true mode is in the header.
const MODE_IN_HEADER: u32 = 0o1000;

/// The mode an object has in the store: its owner can always read and write it there, and set-id bits never stand
/// there.
pub(super) fn stored_mode(kind: Kind, mode: u32) -> u32 {
    let needed = if kind == Kind::Dir { 0o700 } else { 0o600 };
    let stored = mode & 0o777 | needed;
    // What holds no bytes looks like an empty file there.
    if stored == mode && !matches!(kind, Kind::Special(_)) {
        stored
    } else {
        stored | MODE_IN_HEADER
    }
}

/// Whether a file in the store may be something else to programs: its header then says so.
pub(super) fn may_be_special(stat: &Stat) -> bool {
    stat.mode & MODE_IN_HEADER != 0 && stat.size == kms_crypto::format::HEADER_LEN as u64
}

impl Vfs {
    /// The attributes of an object.
    ///
    /// # Errors
    /// It is gone, or the store cannot be read.
    pub fn getattr(&self, ino: Ino, _handle: Option<Handle>) -> Result<Attr> {
        let inode = self.inode(ino)?;
        self.attr(&inode)
    }

    /// What root may do, whom permission bits do not stop: anything, but run what nobody may run.
    ///
    /// # Errors
    /// `EACCES`, or as [`Self::getattr`].
    pub fn root_may(&self, ino: Ino, execute: bool) -> Result<()> {
        let attr = self.attr(&self.inode(ino)?)?;
        if execute && attr.kind != Kind::Dir && attr.mode & 0o111 == 0 {
            return Err(Errno::ACCESS.into());
        }
        Ok(())
    }

    pub(super) fn attr(&self, inode: &Arc<Inode>) -> Result<Attr> {
        self.settle_times(inode)?;
        let stat = self.stat_inode(inode)?;
        self.attr_from(inode, &stat)
    }

    /// A new file that was written to is committed before its attributes are told: they then stay as they are.
    fn settle_times(&self, inode: &Arc<Inode>) -> Result<()> {
        let Some(file) = inode.file() else {
            return Ok(());
        };
        let needed = {
            let cell = file.cell.read();
            cell.fresh.is()
                && cell
                    .loaded
                    .as_deref()
                    .is_some_and(|file| file.is_dirty() && !file.orphan)
        };
        if needed {
            self.commit(inode, &mut file.cell.write())
        } else {
            Ok(())
        }
    }

    /// The attributes of what stands for the object in the store.
    pub(super) fn stat_inode(&self, inode: &Inode) -> Result<Stat> {
        if let Some(file) = inode.file().filter(|_| self.is_owner()) {
            let cell = file.cell.read();
            let loaded = cell.loaded.as_deref().map(|loaded| &loaded.fd);
            if let Some(fd) = loaded.or(cell.kept.as_ref().map(|(fd, _)| fd)) {
                return Ok(self.disk.fstat(fd)?);
            }
        }
        if let Some(fd) = inode.dir().and_then(|dir| dir.fd.get()) {
            return Ok(self.disk.fstat(fd)?);
        }
        for place in inode.places() {
            if place.standing == crate::inode::Standing::Header {
                return Ok(self.disk.fstat(self.dir_fd(inode)?)?);
            }
            match self.disk.stat(self.dir_fd(&place.dir)?, &place.name) {
                Ok(stat) if stat.ino == inode.backing() && stat.kind == inode.kind() => {
                    return Ok(stat);
                }
                Ok(_) | Err(Errno::NOENT) => inode.remove_place(&place.dir, &place.name),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::STALE.into())
    }

    /// The attributes to show for what the store says.
    pub(super) fn attr_from(&self, inode: &Arc<Inode>, stat: &Stat) -> Result<Attr> {
        let mode = self.mode_of(inode, stat)?;
        let mut attr = Attr {
            ino: inode.ino,
            kind: inode.shown_kind(),
            size: stat.size,
            blocks: stat.blocks,
            mode,
            nlink: stat.nlink,
            uid: stat.uid,
            gid: stat.gid,
            atime: stat.atime,
            mtime: stat.mtime,
            ctime: stat.ctime,
        };
        match inode.kind() {
            Kind::File => self.file_attr(inode, stat, &mut attr),
            Kind::Symlink => {
                attr.size = self.target_len(inode, stat).unwrap_or(0);
                attr.mode = 0o777;
            }
            Kind::Dir | Kind::Special(_) | Kind::Other => {}
        }
        if self.try_owner().is_none() {
            attr.uid = self.uid;
            attr.gid = self.gid;
            attr.mode = attr.mode & 0o555 | if attr.kind == Kind::Dir { 0o500 } else { 0o400 };
        }
        Ok(attr)
    }

    fn file_attr(&self, inode: &Arc<Inode>, stat: &Stat, attr: &mut Attr) {
        let Some(file) = inode.file() else { return };
        let cell = file.cell.read();
        attr.ctime = cell.shown_ctime(stat);
        if let Some(loaded) = cell.loaded.as_deref().filter(|_| self.is_owner()) {
            attr.size = loaded.size();
            // What is to be given back shortly counts as given back.
            let punched: u64 = loaded.punched.iter().map(|(_, count)| count).sum();
            let blocks = punched.saturating_mul(loaded.layout.chunk_len() / 512);
            attr.blocks = attr.blocks.saturating_sub(blocks);
            if let Some(mtime) = loaded.mtime {
                attr.mtime = mtime;
                attr.ctime = attr.ctime.max(mtime);
            }
            return;
        }
        // By arithmetic alone; a length that no file has is shown as what it would be at most.
        attr.size = self
            .info
            .layout
            .plain_len(stat.size)
            .unwrap_or_else(|| stat.size.saturating_sub(4096));
    }

    fn mode_of(&self, inode: &Arc<Inode>, stat: &Stat) -> Result<u32> {
        if let Some(mode) = inode.mode().filter(|_| self.is_owner()) {
            return Ok(mode);
        }
        let is_plain = stat.mode & MODE_IN_HEADER == 0;
        if inode.kind() == Kind::Symlink || !self.is_owner() && is_plain {
            return Ok(stat.mode & 0o777);
        }
        let seen = self.seen_mode(inode);
        if let Some(mode) = seen
            && self.is_owner()
            && stored_mode(inode.kind(), mode) == stat.mode
            && !may_be_special(stat)
        {
            return Ok(mode);
        }
        // A header that does not verify is reported when the object is opened; one that cannot be read now may tell
        // of a FIFO, which must not pass for a file.
        let learned = self.read_header(inode, |header| {
            inode.learn(&header.state);
            header.state.mode
        });
        match learned {
            Ok(mode) => Ok(mode),
            Err(error @ VfsError::Os(Errno::IO)) => Err(error),
            Err(_) => Ok(seen.unwrap_or(stat.mode & 0o777)),
        }
    }

    /// Changes attributes and returns what they are then.
    ///
    /// # Errors
    /// The caller may not, or the store does not take it.
    pub fn setattr(
        &self,
        caller: Caller,
        ino: Ino,
        handle: Option<Handle>,
        change: AttrChange,
    ) -> Result<Attr> {
        self.owner()?;
        let inode = self.inode(ino)?;
        self.refuse_copy(&inode)?;
        if let Some(size) = change.size {
            self.truncate(caller, &inode, handle, size)?;
        }
        if let Some(mode) = change.mode {
            self.change_mode(&inode, mode)?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            self.change_owner(&inode, change)?;
        }
        if change.atime != TimeChange::Keep || change.mtime != TimeChange::Keep {
            self.change_times(&inode, change.atime, change.mtime)?;
        }
        self.attr(&inode)
    }

    pub(super) fn change_mode(&self, inode: &Arc<Inode>, mode: u32) -> Result<()> {
        let mode = mode & 0o7777;
        self.change_header(inode, Promise::Committed, |header| {
            header.state.mode = mode;
            Ok(())
        })?;
        let stored = stored_mode(inode.shown_kind(), mode);
        match &inode.node {
            // Who gets at the store's own directory is for whoever made it to say.
            crate::inode::Node::Dir(_) if inode.ino == Ino::ROOT => {}
            crate::inode::Node::Dir(_) => self.disk.set_dir_mode(self.dir_fd(inode)?, stored)?,
            _ => self.with_stored(inode, |disk, fd| disk.set_mode(fd, stored))?,
        }
        inode.set_mode(mode);
        Ok(())
    }

    fn change_owner(&self, inode: &Arc<Inode>, change: AttrChange) -> Result<()> {
        let (uid, gid) = (change.uid, change.gid);
        if inode.kind() == Kind::File && change.mode.is_none() {
            self.clear_setid(inode)?;
        }
        match inode.kind() {
            Kind::Dir => self.disk.set_owner_of(self.dir_fd(inode)?, uid, gid)?,
            Kind::File => self.with_stored(inode, |disk, fd| disk.set_owner_of(fd, uid, gid))?,
            Kind::Symlink | Kind::Special(_) | Kind::Other => {
                let place = self.live_place(inode)?;
                self.disk
                    .set_owner(self.dir_fd(&place.dir)?, &place.name, uid, gid)?;
            }
        }
        Ok(())
    }

    fn change_times(&self, inode: &Arc<Inode>, atime: TimeChange, mtime: TimeChange) -> Result<()> {
        if let Some(file) = inode.file() {
            let mut cell = file.cell.write();
            if cell.fresh.is() {
                // What is committed later would change the time again.
                self.commit(inode, &mut cell)?;
            }
            if let Some(loaded) = cell.loaded.as_deref_mut() {
                match mtime {
                    TimeChange::Keep => {}
                    TimeChange::Now if loaded.is_busy() => loaded.mtime = Some(Time::now()),
                    TimeChange::To(time) if loaded.is_busy() => loaded.mtime = Some(time),
                    TimeChange::Now | TimeChange::To(_) => loaded.mtime = None,
                }
            }
            cell.identity = None;
            drop(cell);
            self.with_stored(inode, |disk, fd| disk.set_times_of(fd, atime, mtime))?;
            let stat = self.stat_inode(inode)?;
            file.cell.write().identity = Some(super::file::Identity::of(&stat));
            return Ok(());
        }
        match inode.place() {
            Some(place) => {
                Ok(self
                    .disk
                    .set_times(self.dir_fd(&place.dir)?, &place.name, atime, mtime)?)
            }
            None => Ok(self
                .disk
                .set_times(self.dir_fd(inode)?, ".", atime, mtime)?),
        }
    }

    /// Runs `work` on the descriptor of a file: the one it is open by, or one that is opened for it.
    fn with_stored(
        &self,
        inode: &Arc<Inode>,
        work: impl FnOnce(&crate::backing::Disk, std::os::fd::BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> Result<()> {
        let file = inode.file().ok_or(Errno::INVAL)?;
        if let Some(loaded) = &file.cell.read().loaded {
            return Ok(work(&self.disk, loaded.fd.as_fd())?);
        }
        let fd = self.open_stored(inode, super::Access::Read)?.fd;
        Ok(work(&self.disk, fd.as_fd())?)
    }

    /// Takes set-id bits off a file somebody writes to.
    pub(super) fn clear_setid(&self, inode: &Arc<Inode>) -> Result<()> {
        let stat = self.stat_inode(inode)?;
        let mode = self.mode_of(inode, &stat)?;
        // A set-group-id bit without execution means something else and stays.
        let gone = 0o4000 | if mode & 0o010 != 0 { 0o2000 } else { 0 };
        if mode & gone == 0 {
            Ok(())
        } else {
            self.change_mode(inode, mode & !gone)
        }
    }

    /// Figures of the filesystem that holds the store.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn statfs(&self) -> Result<Figures> {
        let it = self.disk.statfs(self.root_dir()?)?;
        Ok(Figures {
            blocks: it.f_blocks,
            free: it.f_bfree,
            available: it.f_bavail,
            files: it.f_files,
            files_free: it.f_ffree,
            block_size: u32::try_from(it.f_bsize).unwrap_or(4096),
            fragment_size: u32::try_from(it.f_frsize).unwrap_or(4096),
        })
    }
}
