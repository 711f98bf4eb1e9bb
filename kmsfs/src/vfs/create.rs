//! Making files, directories and further names.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_crypto::format::{Core, OpenHeader, Special};
use kms_crypto::id::FileId;
use kms_crypto::key::FileKey;
use rustix::io::Errno;

use super::attr::stored_mode;
use super::dirs::place;
use super::error::header_error;
use super::file::{Fresh, Identity, Loaded};
use super::header::Promise;
use super::{Access, Attr, Caller, Handle, Ino, Opened, Part, Result, Vfs, rng};
use crate::backing::Kind;
use crate::freshness::Mark;
use crate::inode::{Inode, Place};
use crate::journal::{Action, Logged, Record};

impl Vfs {
    /// Makes a file that must not exist and opens it.
    ///
    /// # Errors
    /// `EEXIST`, or the store does not take it.
    pub fn create(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        access: Access,
    ) -> Result<(Attr, Opened)> {
        let inode = self.new_file(caller, parent, name, NewFile::regular(mode))?;
        // `new_file` has counted one open.
        let attr = self.attr(&inode).inspect_err(|_| self.close_one(&inode))?;
        let handle: Handle = self.add_handle(&inode, access, caller.uid);
        Ok((
            attr,
            Opened {
                handle,
                keep_cache: false,
            },
        ))
    }

    /// Makes a file that must not exist, or something else that holds no bytes.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn mknod(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        special: Option<Special>,
    ) -> Result<Attr> {
        let inode = self.new_file(caller, parent, name, NewFile { mode, special })?;
        self.close_one(&inode);
        self.attr(&inode)
    }

    fn new_file(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        new: NewFile,
    ) -> Result<Arc<Inode>> {
        self.owner()?;
        self.throttle();
        let dir = self.dir_inode(parent)?;
        let _names = self.lock_names(&dir)?;
        let secrets = self.secrets(&dir)?;
        self.refuse_old_name(&dir, &secrets, name)?;
        let encrypted = secrets.encrypt(name)?;
        let fd = self.dir_fd(&dir)?;
        self.put_side_file(&dir, &encrypted)?;
        let place = place(&dir, encrypted);
        let _making = self.owner()?.making.read();
        let id = FileId::random(&mut rng());
        let announced = self.announce_file(id, &place)?;
        let stored = new.stored_mode();
        let made = self.make_at(&place, || self.disk.create_file(fd, &place.name, stored));
        let file = self.unless_made(&dir, &place.name, made)?;
        let result = self.fill_new_file(caller, &place, file, id, new);
        if result.is_err() {
            let _ = self.disk.unlink(fd, &place.name);
            self.drop_side_file(&dir, &place.name);
        }
        self.names_changed(&dir);
        let inode = result?;
        if let Some(file) = inode.file()
            && let Some(loaded) = file.cell.write().loaded.as_deref_mut()
        {
            loaded.announced = Some(announced);
        }
        Ok(inode)
    }

    /// Tells the journal that a file is being made: without its header it is none.
    fn announce_file(&self, id: FileId, place: &Place) -> Result<Logged> {
        let journal = &self.owner()?.journal;
        let record = Record {
            id: id.0,
            paths: vec![super::lookup::stored_path(place)],
            action: Action::Create,
        };
        Ok(journal.append(&record)?)
    }

    fn fill_new_file(
        &self,
        caller: Caller,
        place: &Place,
        fd: OwnedFd,
        id: FileId,
        new: NewFile,
    ) -> Result<Arc<Inode>> {
        let gid = self.new_gid(&place.dir, caller)?;
        let mut stat = self.disk.fstat(&fd)?;
        if (stat.uid, stat.gid) != (caller.uid, gid) {
            self.disk
                .set_owner_of(&fd, Some(caller.uid), Some(gid))
                .or_else(unless_not_root)?;
            stat = self.disk.fstat(&fd)?;
        }
        let stored = new.stored_mode();
        if stat.mode != stored {
            // The process's umask, or the directory's default ACL, had another idea.
            self.disk.set_mode(&fd, stored)?;
        }
        let secrets = self.secrets(&place.dir)?;
        let core = Core::file(self.info.id, id, self.info.cipher, self.info.layout);
        let key = FileKey::generate(&mut rng());
        let mut header = OpenHeader::new_file(core, &key, new.mode).map_err(header_error)?;
        header.state.special = new.special;
        header
            .bind(&secrets.keys, place.tag)
            .map_err(header_error)?;
        let bytes = self.seal_header(&mut header)?;
        // From here on it is a file.
        self.disk.write_at(&fd, 0, &bytes)?;
        let stat = self.disk.fstat(&fd)?;
        let inode = self.intern(&stat, place.clone(), 1)?;
        let mark = Mark::of(header.state.generation, &bytes);
        self.wrote(&inode, &header, mark);
        inode.learn(&header.state);
        let file = inode.file().ok_or(Part::Kind)?;
        let mut cell = file.cell.write();
        cell.loaded = Some(Box::new(Loaded::new(
            Arc::new(fd),
            header,
            mark,
            stat.size,
        )?));
        cell.opens = 1;
        cell.fresh = Fresh::now();
        cell.durable = false;
        cell.made_by = Some(caller.uid);
        cell.made_at = Some(std::time::Instant::now());
        cell.identity = Some(Identity::of(&stat));
        drop(cell);
        Ok(inode)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// `EEXIST`, or the store does not take it.
    pub fn mkdir(&self, caller: Caller, parent: Ino, name: &[u8], mode: u32) -> Result<Attr> {
        self.owner()?;
        let dir = self.dir_inode(parent)?;
        let _names = self.lock_names(&dir)?;
        let secrets = self.secrets(&dir)?;
        self.refuse_old_name(&dir, &secrets, name)?;
        let encrypted = secrets.encrypt(name)?;
        let fd = self.dir_fd(&dir)?;
        let mode = mode | self.parent_mode(&dir)? & 0o2000;
        self.put_side_file(&dir, &encrypted)?;
        let place = place(&dir, encrypted);
        let stored = stored_mode(Kind::Dir, mode);
        let made = self.make_at(&place, || self.disk.make_dir(fd, &place.name, stored));
        self.unless_made(&dir, &place.name, made)?;
        let result = self.fill_new_dir(caller, &place, mode);
        if result.is_err() {
            if let Ok(new) = self.disk.open_dir(fd, &place.name) {
                use std::os::fd::AsFd;
                let _ = self.disk.unlink(new.as_fd(), kms_crypto::name::DIR_HEADER);
            }
            let _ = self.disk.remove_dir(fd, &place.name);
            self.drop_side_file(&dir, &place.name);
        }
        self.names_changed(&dir);
        result
    }

    fn fill_new_dir(&self, caller: Caller, place: &Place, mode: u32) -> Result<Attr> {
        let header = self.new_dir_header(place, mode)?;
        let parent = self.dir_fd(&place.dir)?;
        let stat = self.disk.stat(parent, &place.name)?;
        let inode = self.intern(&stat, place.clone(), 1)?;
        let fd = self.dir_fd(&inode)?;
        {
            let node = inode.dir().ok_or(Part::Kind)?;
            let mut state = node.state.write();
            self.install_dir_header(&inode, &mut state, header)?;
        }
        self.dir_made(&inode);
        let gid = self.new_gid(&place.dir, caller)?;
        if (stat.uid, stat.gid) != (caller.uid, gid) {
            self.disk
                .set_owner_of(fd, Some(caller.uid), Some(gid))
                .or_else(unless_not_root)?;
        }
        let stored = stored_mode(Kind::Dir, mode);
        if stat.mode != stored {
            self.disk.set_dir_mode(fd, stored)?;
        }
        self.attr(&inode)
    }

    /// Gives a file one more name.
    ///
    /// # Errors
    /// `EEXIST`, `EMLINK`, or the store does not take it. A symbolic link has one name only (`EPERM`).
    pub fn link(&self, caller: Caller, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        let _ = caller;
        self.owner()?;
        let inode = self.inode(ino)?;
        if inode.kind() != Kind::File {
            return Err(Errno::PERM.into());
        }
        self.refuse_copy(&inode)?;
        let dir = self.dir_inode(parent)?;
        let _names = self.lock_names(&dir)?;
        let secrets = self.secrets(&dir)?;
        self.refuse_old_name(&dir, &secrets, name)?;
        let encrypted = secrets.encrypt(name)?;
        let fd = self.dir_fd(&dir)?;
        let new = place(&dir, encrypted.clone());
        self.refuse_existing(&new)?;
        let from = self.live_place(&inode)?;
        self.put_side_file(&dir, &encrypted)?;
        let tag = encrypted.tag;
        inode.set_next_place(Some(new.clone()));
        let bound = self.bind_name(&inode, Promise::Stored, &secrets.keys, tag);
        inode.set_next_place(None);
        bound?;
        let linked = self.disk.link(
            (self.dir_fd(&from.dir)?, &*from.name),
            (fd, encrypted.backing.as_str()),
        );
        if let Err(error) = linked {
            self.drop_binding(&inode, &new, &secrets);
            self.drop_side_file(&dir, &encrypted.backing);
            return Err(error.into());
        }
        self.names_changed(&dir);
        let stat = self.disk.stat(fd, &encrypted.backing)?;
        let place = place(&dir, encrypted);
        self.read_header(&inode, |header| {
            self.name_made(&place, Kind::File, header);
        })?;
        let inode = self.intern(&stat, place, 1)?;
        self.attr(&inode)
    }

    /// Passes a failure to make a name on, taking back what was prepared for it.
    pub(super) fn unless_made<T>(
        &self,
        dir: &Inode,
        backing: &str,
        made: rustix::io::Result<T>,
    ) -> Result<T> {
        made.map_err(|error| {
            if error != Errno::EXIST {
                self.drop_side_file(dir, backing);
            }
            error.into()
        })
    }

    /// Refuses a name that is taken. Where that cannot be told, nothing is begun: taking it back might take what is
    /// there.
    pub(super) fn refuse_existing(&self, place: &Place) -> Result<()> {
        match self.disk.stat(self.dir_fd(&place.dir)?, &place.name) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) if self.clear_unmade(place)? => Ok(()),
            Ok(_) => Err(Errno::EXIST.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// While names are being changed, one that exists under the old name key must not come into being twice.
    pub(super) fn refuse_old_name(
        &self,
        dir: &Inode,
        secrets: &super::dirs::Secrets,
        name: &[u8],
    ) -> Result<()> {
        self.refuse_copy(dir)?;
        let Some(prev) = &secrets.prev_names else {
            return Ok(());
        };
        let old = prev.encrypt(name).map_err(|_| Errno::INVAL)?;
        match self.disk.stat(self.dir_fd(dir)?, &old.backing) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) => Err(Errno::EXIST.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// The group of something new: the caller's, or the directory's where its set-group-id bit says so.
    pub(super) fn new_gid(&self, dir: &Arc<Inode>, caller: Caller) -> Result<u32> {
        if self.parent_mode(dir)? & 0o2000 == 0 {
            return Ok(caller.gid);
        }
        Ok(self.disk.fstat(self.dir_fd(dir)?)?.gid)
    }

    fn parent_mode(&self, dir: &Arc<Inode>) -> Result<u32> {
        match dir.mode() {
            Some(mode) => Ok(mode),
            None => self.read_header(dir, |header| header.state.mode),
        }
    }

    pub(super) fn lock_names<'a>(&self, dir: &'a Inode) -> Result<parking_lot::MutexGuard<'a, ()>> {
        Ok(dir.dir().ok_or(Errno::NOTDIR)?.names.lock())
    }

    pub(super) fn names_changed(&self, dir: &Inode) {
        if let Some(dir) = dir.dir() {
            dir.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// What a new file is to be.
#[derive(Clone, Copy)]
struct NewFile {
    mode: u32,
    special: Option<Special>,
}

impl NewFile {
    const fn regular(mode: u32) -> Self {
        Self {
            mode,
            special: None,
        }
    }

    fn stored_mode(self) -> u32 {
        stored_mode(self.special.map_or(Kind::File, Kind::Special), self.mode)
    }
}

/// Only root gives files away; for everybody else caller and process are the same user, or it is not possible.
pub(super) fn unless_not_root(error: Errno) -> rustix::io::Result<()> {
    if error == Errno::PERM {
        Ok(())
    } else {
        Err(error)
    }
}
