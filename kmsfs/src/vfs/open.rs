//! Opening files, and what happens to them until they are closed.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kms_crypto::format::{Check, HEADER_LEN, Header, ObjectId, Via};
use parking_lot::RwLock;
use rustix::io::Errno;

use super::error::header_error;
use super::file::{FileCell, Fresh, Identity, Loaded};
use super::readdir::OpenDir;
use super::{Access, Caller, Handle, Ino, Opened, Part, Result, Vfs, VfsError};
use crate::backing::{Kind, OpenMode, Stat};
use crate::freshness::Mark;
use crate::inode::{FileNode, Inode, Place};

/// An open file.
pub(super) struct OpenFile {
    pub(super) inode: Arc<Inode>,
    access: Access,
    /// Who opened it.
    pub(super) uid: u32,
}

impl OpenFile {
    pub(super) fn file(&self) -> Result<&FileNode> {
        self.inode.file().ok_or_else(|| Errno::ISDIR.into())
    }

    pub(super) fn writes(&self) -> bool {
        self.access == Access::Write
    }
}

/// What stands for a file in the store.
pub(super) struct Stored {
    pub(super) fd: OwnedFd,
    pub(super) stat: Stat,
    pub(super) place: Place,
    /// Why it could be opened for reading only, when it was to be written.
    pub(super) read_only: Option<Errno>,
}

/// All open files and directories.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    files: RwLock<HashMap<Handle, Arc<OpenFile>>>,
    pub(super) dirs: RwLock<HashMap<Handle, Arc<OpenDir>>>,
}

impl Handles {
    pub(super) fn number(&self) -> Handle {
        Handle(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn add(&self, inode: &Arc<Inode>, access: Access, uid: u32) -> Handle {
        let handle = self.number();
        let open = OpenFile {
            inode: Arc::clone(inode),
            access,
            uid,
        };
        self.files.write().insert(handle, Arc::new(open));
        handle
    }
}

impl Vfs {
    /// Opens a file; `truncate` makes it empty.
    ///
    /// # Errors
    /// It does not verify, its key cannot be had, or it may not be written.
    pub fn open(&self, caller: Caller, ino: Ino, access: Access, truncate: bool) -> Result<Opened> {
        let inode = self.inode(ino)?;
        let opened = self.open_inode(&inode, access, truncate && access == Access::Write, caller);
        self.note(caller.uid, &inode, None, "open", opened)
    }

    fn open_inode(
        &self,
        inode: &Arc<Inode>,
        access: Access,
        truncate: bool,
        caller: Caller,
    ) -> Result<Opened> {
        if access == Access::Write {
            self.owner()?;
            self.refuse_copy(inode)?;
        }
        let file = inode.file().ok_or(if inode.dir().is_some() {
            Errno::ISDIR
        } else {
            Errno::LOOP
        })?;
        let mut cell = file.cell.write();
        let (before, was_loaded) = (cell.identity, cell.loaded.is_some());
        if self.is_owner() {
            self.ensure_loaded(inode, &mut cell)?;
        } else {
            self.load_as_reader(inode, &mut cell)?;
        }
        if matches!(inode.shown_kind(), Kind::Special(_)) {
            self.unload(inode, &mut cell);
            return Err(Errno::NXIO.into());
        }
        if access == Access::Write
            && let Err(error) = self.ensure_writable(inode, &mut cell)
        {
            self.unload(inode, &mut cell);
            return Err(error);
        }
        let keep_cache = before.is_some() && before == cell.identity;
        if self.is_owner() && !was_loaded && before.is_some() && !keep_cache {
            // Somebody else changed it. The kernel looks it up again and gets it as another object, of which it
            // remembers nothing.
            self.table.detach(inode);
            cell.loaded = None;
            return Err(Errno::STALE.into());
        }
        cell.opens += 1;
        drop(cell);
        if truncate && let Err(error) = self.truncate_open(caller, inode, 0) {
            self.close_one(inode);
            return Err(error);
        }
        Ok(Opened {
            handle: self.handles.add(inode, access, caller.uid),
            keep_cache,
        })
    }

    /// A handle for a file that was just made and whose `opens` has been counted.
    pub(super) fn add_handle(&self, inode: &Arc<Inode>, access: Access, uid: u32) -> Handle {
        self.handles.add(inode, access, uid)
    }

    pub(super) fn handle(&self, handle: Handle) -> Result<Arc<OpenFile>> {
        self.handles
            .files
            .read()
            .get(&handle)
            .cloned()
            .ok_or_else(|| Errno::BADF.into())
    }

    /// Makes sure that the keys of a file are at hand, and notices when somebody else has changed it.
    pub(super) fn ensure_loaded(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<()> {
        if cell.loaded.is_some() {
            return Ok(());
        }
        let Some(owner) = self.try_owner() else {
            return self.load_as_reader(inode, cell);
        };
        let (fd, stat, place, read_only) = match &cell.kept {
            Some((fd, place)) => (Arc::clone(fd), self.disk.fstat(fd)?, place.clone(), None),
            None => {
                let found = self.open_stored(inode, Access::Write)?;
                (Arc::new(found.fd), found.stat, found.place, found.read_only)
            }
        };
        let mut bytes = [0; HEADER_LEN];
        let len = self.disk.read_at(&fd, 0, &mut bytes)?;
        let header = Header::parse(&bytes[..len]).map_err(header_error)?;
        let header = self.with_names(header)?;
        let secrets = self.secrets(&place.dir)?;
        let id = header.core().id;
        let via = Via::Dir {
            keys: &secrets.keys,
            tag: place.tag,
        };
        let mut header = header
            .open(via, Check::Owner(&owner.mac))
            .map_err(|error| match id {
                ObjectId::File(id) => header_error(error).of(id),
                ObjectId::Dir(_) => header_error(error),
            })?;
        let mark = Mark::of(header.state.generation, &bytes);
        if cell.kept.is_none() {
            header.state.generation = self.see(inode, Some(&place), &header, mark)?;
            // Nothing is on its way into it: what is missing or too much was not done by its owner.
            let layout = header.layout().map_err(|_| Part::Kind)?;
            let size = header.file().map_err(|_| Part::Kind)?.size;
            // Of a copy, perhaps, by its owner's other version that was on its way into it.
            let len = if inode.is_copy() {
                stat.size.min(layout.backing_len(size))
            } else {
                stat.size
            };
            if let (Err(error), ObjectId::File(id)) = (layout.check_len(size, len), id) {
                return Err(VfsError::from(Part::from(error)).of(id));
            }
        }
        inode.learn(&header.state);
        cell.identity = Some(Identity::of(&stat));
        let mut loaded = Loaded::new(fd, header, mark, stat.size)?;
        loaded.orphan = cell.kept.is_some();
        loaded.read_only = read_only;
        loaded.lost_in = cell.kept.as_ref().map(|(_, place)| Arc::clone(&place.dir));
        cell.loaded = Some(Box::new(loaded));
        Ok(())
    }

    /// Before a file is changed: one that could only be read when it was opened is opened once more.
    pub(super) fn ensure_writable(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<()> {
        let Some(loaded) = cell.loaded.as_deref_mut() else {
            return Ok(());
        };
        if loaded.read_only.is_none() {
            return Ok(());
        }
        let found = self.open_stored(inode, Access::Write)?;
        if let Some(why) = found.read_only {
            return Err(why.into());
        }
        loaded.fd = Arc::new(found.fd);
        loaded.read_only = None;
        Ok(())
    }

    /// Opens what stands for a file in the store, at one of its names, and makes sure that it is the file.
    pub(super) fn open_stored(&self, inode: &Arc<Inode>, access: Access) -> Result<Stored> {
        for place in inode.places() {
            let dir = self.dir_fd(&place.dir)?;
            let (fd, read_only) = match self.open_at(dir, &place.name, access) {
                Ok(opened) => opened,
                Err(Errno::NOENT) => {
                    inode.remove_place(&place.dir, &place.name);
                    continue;
                }
                Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(Part::Kind.into()),
                Err(error) => return Err(error.into()),
            };
            let stat = self.disk.fstat(&fd)?;
            if stat.ino != inode.backing() {
                inode.remove_place(&place.dir, &place.name);
                continue;
            }
            if stat.kind != Kind::File {
                return Err(Part::Kind.into());
            }
            return Ok(Stored {
                fd,
                stat,
                place,
                read_only,
            });
        }
        // All its names are out of date: the kernel looks them up again.
        self.table.detach(inode);
        Err(Errno::STALE.into())
    }

    fn open_at(
        &self,
        dir: std::os::fd::BorrowedFd<'_>,
        name: &str,
        access: Access,
    ) -> rustix::io::Result<(OwnedFd, Option<Errno>)> {
        let mut read_only = None;
        if access == Access::Write && self.is_owner() {
            match self.disk.open_file(dir, name, OpenMode::ReadWrite) {
                // A store on read-only media can still be read.
                Err(why @ (Errno::ACCESS | Errno::ROFS | Errno::PERM | Errno::TXTBSY)) => {
                    read_only = Some(why);
                }
                result => return result.map(|fd| (fd, None)),
            }
        }
        let fd = self.disk.open_file(dir, name, OpenMode::Read)?;
        Ok((fd, read_only))
    }

    /// Before a file's name is taken by another one: whoever has looked the file up and is about to open it still can.
    pub(super) fn keep_openable(&self, inode: &Arc<Inode>, place: &Place) -> Result<()> {
        let Some(file) = inode.file() else {
            return Ok(());
        };
        let mut cell = file.cell.write();
        cell.replaced = true;
        if cell.loaded.is_none() && cell.kept.is_none() {
            let (fd, _) = self.open_at(self.dir_fd(&place.dir)?, &place.name, Access::Write)?;
            if self.disk.fstat(&fd)?.ino == inode.backing() {
                cell.kept = Some((Arc::new(fd), place.clone()));
            }
        }
        Ok(())
    }

    /// It was not taken after all.
    pub(super) fn keep_no_longer(&self, inode: &Arc<Inode>) {
        let Some(file) = inode.file() else { return };
        let mut cell = file.cell.write();
        (cell.replaced, cell.kept) = (false, None);
    }

    /// A name of the object that still leads to it.
    pub(super) fn live_place(&self, inode: &Arc<Inode>) -> Result<Place> {
        for place in inode.places() {
            match self.disk.stat(self.dir_fd(&place.dir)?, &place.name) {
                Ok(stat) if stat.ino == inode.backing() => return Ok(place),
                Ok(_) | Err(Errno::NOENT) => inode.remove_place(&place.dir, &place.name),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::STALE.into())
    }

    /// One of possibly several descriptors of an open file was closed: what was written is committed.
    ///
    /// # Errors
    /// It could not be committed; the program learns it from `close`.
    pub fn flush(&self, handle: Handle) -> Result<()> {
        let open = self.handle(handle)?;
        if !open.writes() {
            return Ok(());
        }
        self.commit(&open.inode, &mut open.file()?.cell.write())
    }

    /// The last descriptor of an open file was closed.
    ///
    /// # Errors
    /// As [`Self::flush`]; nobody hears it.
    pub fn release(&self, handle: Handle) -> Result<()> {
        let open = self
            .handles
            .files
            .write()
            .remove(&handle)
            .ok_or(Errno::BADF)?;
        let committed = if open.writes() {
            self.commit(&open.inode, &mut open.file()?.cell.write())
        } else {
            Ok(())
        };
        self.close_one(&open.inode);
        let inode = Arc::clone(&open.inode);
        drop(open);
        // The kernel may have let go of it meanwhile.
        self.table.sweep(inode);
        committed
    }

    pub(super) fn close_one(&self, inode: &Arc<Inode>) {
        let Some(file) = inode.file() else { return };
        let mut cell = file.cell.write();
        cell.opens = cell.opens.saturating_sub(1);
        self.unload(inode, &mut cell);
        drop(cell);
        self.drop_sides_at_close(inode);
    }

    /// Makes what was written to a file durable, and the names that lead to it as far as they are ours.
    ///
    /// # Errors
    /// The store or the journal does not take it.
    pub fn fsync(&self, handle: Handle) -> Result<()> {
        let open = self.handle(handle)?;
        if self.try_owner().is_none() {
            return Ok(());
        }
        self.sync_file(&open.inode)
    }

    pub(super) fn sync_file(&self, inode: &Arc<Inode>) -> Result<()> {
        let Some(file) = inode.file() else {
            return self.sync_dir_header(inode);
        };
        let owner = self.owner()?;
        let (fd, seq) = {
            let mut cell = file.cell.write();
            let cell = &mut *cell;
            self.commit(inode, cell)?;
            let Some(loaded) = cell.loaded.as_deref_mut() else {
                return Ok(());
            };
            if loaded.orphan {
                return Ok(self.disk.sync_data(&loaded.fd)?);
            }
            let needs_fd = loaded.unsynced || !cell.durable;
            loaded.unsynced = false;
            (needs_fd.then(|| Arc::clone(&loaded.fd)), loaded.seq)
        };
        // Without the lock: others may write meanwhile, and syncs share one trip to the disk.
        let synced = match &fd {
            Some(fd) => self.disk.sync_data(fd),
            None => Ok(()),
        };
        let mut cell = file.cell.write();
        if let Err(error) = synced {
            if let Some(loaded) = cell.loaded.as_deref_mut() {
                loaded.unsynced = true;
            }
            return Err(error.into());
        }
        cell.durable = true;
        cell.fresh = Fresh::default();
        if let Some(loaded) = cell.loaded.as_deref_mut().filter(|loaded| !loaded.unsynced) {
            loaded.relied = None;
        }
        drop(cell);
        owner.journal.sync_to(seq)?;
        self.sync_headers_above(inode)
    }

    /// The headers of the directories on the way to an object, where they are not durable yet: without them its name
    /// could not be read.
    fn sync_headers_above(&self, inode: &Arc<Inode>) -> Result<()> {
        for place in inode.places() {
            self.sync_dir_header(&place.dir)?;
            self.sync_headers_above(&place.dir)?;
        }
        Ok(())
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The store or the journal does not take it.
    pub fn fsyncdir(&self, ino: Ino) -> Result<()> {
        let dir = self.dir_inode(ino)?;
        let Some(owner) = self.try_owner() else {
            return Ok(());
        };
        if dir.place().is_none() && ino != Ino::ROOT {
            // Removed while it was open: there is nothing to keep.
            return Ok(());
        }
        // Headers that were given new names, and those of directories made in it.
        let busy: Vec<_> = owner.keeper.lock().busy.values().cloned().collect();
        for inode in busy {
            if inode.dir().is_some()
                && inode
                    .place()
                    .is_some_and(|place| Arc::ptr_eq(&place.dir, &dir))
            {
                self.commit_dir(&inode)?;
            }
        }
        owner.journal.sync_all()?;
        self.sync_new_dirs(&dir)?;
        self.sync_dir_header(&dir)?;
        self.sync_headers_above(&dir)?;
        Ok(self.disk.sync_dir(self.dir_fd(&dir)?)?)
    }
}
