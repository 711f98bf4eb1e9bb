//! Directories in use: their descriptors, their keys, their headers.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_crypto::format::{Check, DirKeys, HEADER_LEN, Header, OpenHeader, Via};
use kms_crypto::id::DirId;
use kms_crypto::name::{BackingName, DIR_HEADER, EncryptedName, NameCipher, NameError};
use rustix::io::Errno;

use super::file::Fresh;
use super::{Part, Result, Vfs};
use crate::backing::{Kind, OpenMode};
use crate::freshness::Mark;
use crate::inode::{Inode, Place, Standing};
use crate::journal::{Action, Piece, Record, Seq};

/// What is remembered of a directory.
#[derive(Default)]
pub(crate) struct DirState {
    pub(super) secrets: Option<Arc<Secrets>>,
    pub(super) header: Option<Box<OpenHeader>>,
    /// The header was changed since it was sealed.
    pub(super) header_dirty: bool,
    /// The sealed header, while the stored one is older.
    pub(super) staged: Option<Box<[u8; HEADER_LEN]>>,
    /// The staged header is not in the journal yet.
    pub(super) unlogged: bool,
    /// The header was brought over from the journal and may not be durable in the directory yet.
    pub(super) applied: bool,
    /// The directory was removed: nothing of it has to survive.
    is_gone: bool,
    /// The last committed state, and the one whose header stands in the directory.
    pub(super) committed: Mark,
    pub(super) stored: Mark,
    pub(super) seq: Seq,
    pub(super) fresh: Fresh,
    /// Of a recipient: which header the keys are from, and when that was last looked at.
    pub(super) version: Option<(u64, u32)>,
    pub(super) looked: Option<std::time::Instant>,
}

impl DirState {
    /// What is known of the header no longer counts: it is read when it is next needed.
    pub(super) fn forget_header(&mut self) {
        self.header = None;
        self.secrets = None;
        self.staged = None;
        (self.header_dirty, self.unlogged) = (false, false);
    }

    /// The directory is removed, and with it all that was on its way.
    pub(super) fn lose(&mut self) {
        self.is_gone = true;
        self.staged = None;
        (self.header_dirty, self.unlogged, self.applied) = (false, false, false);
    }
}

/// What it takes to work in a directory.
pub(crate) struct Secrets {
    pub(crate) id: DirId,
    pub(crate) keys: DirKeys,
    pub(crate) names: NameCipher,
    /// While names are being changed.
    pub(crate) prev_names: Option<NameCipher>,
}

impl Secrets {
    pub(super) fn of(header: &OpenHeader) -> Result<Self> {
        let keys = header.dir_keys().map_err(|_| Part::Kind)?;
        let names = header.names().map_err(|_| Part::Header)?;
        let prev_names = header.prev_names().map_err(|_| Part::Header)?;
        Ok(Self {
            id: keys.id(),
            keys,
            names,
            prev_names,
        })
    }

    /// The name as it stands in the store.
    pub(super) fn encrypt(&self, name: &[u8]) -> Result<EncryptedName> {
        self.names
            .encrypt(name)
            .map_err(|err| name_error(err).into())
    }
}

fn name_error(error: NameError) -> Errno {
    match error {
        NameError::TooLong => Errno::NAMETOOLONG,
        NameError::NotAName => Errno::INVAL,
        _ => Errno::IO,
    }
}

impl Vfs {
    /// The descriptor of a directory; opened at its place, once.
    pub(super) fn dir_fd<'a>(&self, inode: &'a Inode) -> Result<BorrowedFd<'a>> {
        let dir = inode.dir().ok_or(Errno::NOTDIR)?;
        if let Some(fd) = dir.fd.get() {
            return Ok(fd.as_fd());
        }
        let place = inode.place().ok_or(Errno::STALE)?;
        if place.standing == Standing::Header {
            let fd = self.open_merged(&place)?;
            return Ok(dir.fd.get_or_init(|| fd).as_fd());
        }
        let fd = self
            .disk
            .open_dir(self.dir_fd(&place.dir)?, &place.name)
            .map_err(|err| match err {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Errno::STALE,
                other => other,
            })?;
        if self.disk.fstat(&fd)?.ino != inode.backing() {
            return Err(Errno::STALE.into());
        }
        Ok(dir.fd.get_or_init(|| fd).as_fd())
    }

    /// The keys of a directory, its header being read and verified when they are first needed.
    pub(super) fn secrets(&self, inode: &Arc<Inode>) -> Result<Arc<Secrets>> {
        let dir = inode.dir().ok_or(Errno::NOTDIR)?;
        if !self.is_owner() {
            return self.glance(inode);
        }
        if let Some(secrets) = &dir.state.read().secrets {
            return Ok(Arc::clone(secrets));
        }
        let mut state = dir.state.write();
        self.load_dir(inode, &mut state)?;
        state.secrets.clone().ok_or_else(|| Errno::IO.into())
    }

    /// Reads and verifies the header of a directory.
    pub(super) fn load_dir(&self, inode: &Arc<Inode>, state: &mut DirState) -> Result<()> {
        if state.header.is_some() {
            return Ok(());
        }
        if !self.is_owner() {
            return Err(super::VfsError::NotShared);
        }
        let (parsed, mark) = match self.read_dir_header(inode) {
            Ok(found) => found,
            Err(super::VfsError::Os(Errno::NOENT))
                if !inode.is_copy() && self.is_empty_dir(inode)? =>
            {
                return self.remake_dir_header(inode, state);
            }
            Err(super::VfsError::Os(Errno::NOENT)) => return Err(Part::Header.into()),
            Err(error) => return Err(error),
        };
        let mut header = self.open_dir_header(inode, parsed)?;
        header.state.generation = self.see(inode, inode.place().as_ref(), &header, mark)?;
        if let Some(dir) = inode.dir() {
            dir.just_loaded.store(true, Ordering::Release);
        }
        state.secrets = Some(Arc::new(Secrets::of(&header)?));
        (state.committed, state.stored) = (mark, mark);
        inode.learn(&header.state);
        state.header = Some(Box::new(header));
        Ok(())
    }

    pub(super) fn read_dir_header(&self, inode: &Inode) -> Result<(Header, Mark)> {
        let merged = inode
            .place()
            .filter(|place| place.standing == Standing::Header);
        let name = merged.as_ref().map_or(DIR_HEADER, |place| &*place.name);
        let fd = self
            .disk
            .open_file(self.dir_fd(inode)?, name, OpenMode::Read)?;
        let stat = self.disk.fstat(&fd)?;
        if stat.kind != Kind::File {
            return Err(Part::Kind.into());
        }
        let mut bytes = [0; HEADER_LEN];
        let len = self.disk.read_at(&fd, 0, &mut bytes)?;
        if bytes[..len].iter().all(|byte| *byte == 0) {
            // Made by mkdir when the power was cut.
            return Err(Errno::NOENT.into());
        }
        let header = Header::parse(&bytes[..len]).map_err(|_| Part::Header)?;
        let mark = Mark::of(header.state().generation, &bytes);
        Ok((header, mark))
    }

    fn open_dir_header(&self, inode: &Arc<Inode>, header: Header) -> Result<OpenHeader> {
        let owner = self.owner()?;
        let check = Check::Owner(&owner.mac);
        let opened = match inode.place() {
            None => header.open(
                Via::Store {
                    key: &owner.key,
                    id: self.root_id(),
                },
                check,
            ),
            Some(mut place) => {
                if place.standing == Standing::Header {
                    // It lies where the directory lies that it was merged into.
                    place = place.dir.place().ok_or(Part::Place)?;
                }
                let parent = self.secrets(&place.dir)?;
                header.open(
                    Via::Dir {
                        keys: &parent.keys,
                        tag: place.tag,
                    },
                    check,
                )
            }
        };
        opened.map_err(super::header_error)
    }

    fn is_empty_dir(&self, inode: &Arc<Inode>) -> Result<bool> {
        if self.try_owner().is_none() || inode.place().is_none() {
            return Ok(false);
        }
        let entries = self.disk.list(self.dir_fd(inode)?)?;
        Ok(entries
            .iter()
            .all(|entry| entry.name == DIR_HEADER.as_bytes()))
    }

    /// An empty directory without a header is a `mkdir` that was cut short: it gets one now.
    pub(super) fn remake_dir_header(&self, inode: &Arc<Inode>, state: &mut DirState) -> Result<()> {
        let place = inode.place().ok_or(Part::Header)?;
        let fd = self.dir_fd(inode)?;
        let mode = self.disk.fstat(fd)?.mode & 0o777;
        match self.disk.unlink(fd, DIR_HEADER) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let header = self.new_dir_header(&place, mode)?;
        self.install_dir_header(inode, state, header)
    }

    /// Writes a new directory's header into it and takes the directory into use.
    pub(super) fn install_dir_header(
        &self,
        inode: &Arc<Inode>,
        state: &mut DirState,
        mut header: OpenHeader,
    ) -> Result<()> {
        let secrets = Secrets::of(&header)?;
        let bytes = self.seal_header(&mut header)?;
        let fd = self
            .disk
            .create_file(self.dir_fd(inode)?, DIR_HEADER, 0o600)?;
        self.disk.write_at(&fd, 0, &bytes)?;
        self.remember_unsynced(inode);
        let mark = Mark::of(header.state.generation, &bytes);
        self.wrote(inode, &header, mark);
        inode.learn(&header.state);
        (state.committed, state.stored) = (mark, mark);
        state.fresh = Fresh::now();
        state.secrets = Some(Arc::new(secrets));
        state.header = Some(Box::new(header));
        Ok(())
    }

    /// A header for a new directory at `place`.
    pub(super) fn new_dir_header(&self, place: &Place, mode: u32) -> Result<OpenHeader> {
        let parent = self.secrets(&place.dir)?;
        let mut rng = super::rng();
        let id = DirId::random(&mut rng);
        let mut header = self.owner()?.new_dir(&self.info, id, mode)?;
        header
            .bind(&parent.keys, place.tag)
            .map_err(super::header_error)?;
        Ok(header)
    }

    /// Finds a name in a directory. The place is where it stands, or would stand.
    pub(super) fn find(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
    ) -> Result<(Place, crate::backing::Stat)> {
        let secrets = self.secrets(dir)?;
        let fd = self.dir_fd(dir)?;
        let found = secrets.encrypt(name)?;
        match self.disk.stat(fd, &found.backing) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
            Ok(stat) => {
                let place = place(dir, found);
                if self.is_unmade(&place, &stat) {
                    return Err(Errno::NOENT.into());
                }
                return Ok((place, stat));
            }
        }
        if let Ok(found) = self.find_copy(dir, name) {
            return Ok(found);
        }
        let Some(prev) = &secrets.prev_names else {
            self.missed(dir, secrets.id.as_bytes(), found.tag, &found.backing);
            return Err(Errno::NOENT.into());
        };
        let found = prev.encrypt(name).map_err(name_error)?;
        let stat = self.disk.stat(fd, &found.backing)?;
        Ok((place(dir, found), stat))
    }

    /// Makes sure that a long name's side file is there before the name itself is.
    pub(super) fn put_side_file(&self, dir: &Inode, name: &EncryptedName) -> Result<()> {
        let Some(whole) = &name.long else {
            return Ok(());
        };
        let fd = self.dir_fd(dir)?;
        let side = format!("{}{}", name.backing, kms_crypto::name::SIDE_SUFFIX);
        let file = match self.disk.create_file(fd, &side, 0o600) {
            // Left over, or that of an entry about to be replaced: the same name has the same side file.
            Err(Errno::EXIST) if self.is_side_file(fd, &side, whole)? => return Ok(()),
            Err(Errno::EXIST) => {
                self.disk.unlink(fd, &side)?;
                self.disk.create_file(fd, &side, 0o600)?
            }
            made => made?,
        };
        // Without it the name could not be read, whatever became durable of the rest.
        let written = self
            .disk
            .write_at(&file, 0, whole.as_bytes())
            .and_then(|()| self.disk.sync_all(&file));
        if written.is_err() {
            // Or it would be taken for durable the next time.
            let _ = self.disk.unlink(fd, &side);
        }
        Ok(written?)
    }

    fn is_side_file(&self, dir: BorrowedFd<'_>, side: &str, whole: &str) -> Result<bool> {
        let file = match self.disk.open_file(dir, side, OpenMode::Read) {
            // Planted.
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Ok(false),
            opened => opened?,
        };
        let mut there = vec![0; whole.len() + 1];
        let len = self.disk.read_at(&file, 0, &mut there)?;
        Ok(there[..len] == *whole.as_bytes())
    }

    /// Removes the side file of a long name after the name itself.
    pub(super) fn drop_side_file(&self, dir: &Inode, backing: &str) {
        if let BackingName::Long(_) = BackingName::of(backing.as_bytes())
            && let Ok(fd) = self.dir_fd(dir)
        {
            let side = format!("{backing}{}", kms_crypto::name::SIDE_SUFFIX);
            // One that stays behind is harmless: nothing refers to it.
            let _ = self.disk.unlink(fd, &side);
        }
    }

    /// Seals the directory's changed header and logs it.
    pub(super) fn commit_dir(&self, inode: &Arc<Inode>) -> Result<()> {
        let Some(dir) = inode.dir() else {
            return Ok(());
        };
        let mut state = dir.state.write();
        self.commit_dir_state(inode, &mut state)
    }

    pub(super) fn commit_dir_state(&self, inode: &Arc<Inode>, state: &mut DirState) -> Result<()> {
        if state.is_gone {
            state.lose();
        }
        if state.header_dirty {
            let Some(header) = state.header.as_deref_mut() else {
                return Ok(());
            };
            state.staged = Some(Box::new(self.seal_header(header)?));
            state.header_dirty = false;
            state.unlogged = true;
        }
        if !state.unlogged {
            return Ok(());
        }
        let (Some(header), Some(staged)) = (state.header.as_deref(), state.staged.as_deref())
        else {
            return Ok(());
        };
        let generation = header.state.generation;
        let mark = Mark::of(generation, staged);
        if state.fresh.is() {
            // One page, written at once; see `Fresh`.
            let fd = self
                .disk
                .open_file(self.dir_fd(inode)?, DIR_HEADER, OpenMode::ReadWrite)?;
            self.disk.write_at(&fd, 0, staged)?;
            self.remember_unsynced(inode);
            state.staged = None;
            state.stored = mark;
        } else {
            let action = Action::Commit {
                base: state.committed,
                mark,
                len: HEADER_LEN as u64,
                pieces: vec![Piece {
                    offset: 0,
                    bytes: staged.to_vec(),
                }],
                direct: Vec::new(),
            };
            let record = Record {
                id: *header.core().id.as_bytes(),
                paths: self.stored_paths(inode)?,
                action,
            };
            self.mark_busy(inode);
            state.seq = self.owner()?.journal.append(&record)?.seq;
        }
        if let Some(header) = state.header.as_deref() {
            self.wrote(inode, header, mark);
        }
        state.unlogged = false;
        state.committed = mark;
        Ok(())
    }

    /// Writes a logged header into the directory. Says whether it was, now or before, and is not durable there yet.
    pub(super) fn apply_dir(&self, inode: &Arc<Inode>) -> Result<bool> {
        let Some(dir) = inode.dir() else {
            return Ok(false);
        };
        let mut state = dir.state.write();
        self.commit_dir_state(inode, &mut state)?;
        if state.staged.is_none() {
            return Ok(state.applied);
        }
        self.owner()?.journal.sync_to(state.seq)?;
        match self.keep_header_apart(inode, &mut state) {
            // Below, where it is written.
            Err(super::VfsError::Os(Errno::STALE)) => {}
            apart => drop(apart?),
        }
        let Some(staged) = state.staged.as_deref() else {
            return Ok(state.applied);
        };
        let file = self
            .dir_fd(inode)
            .and_then(|fd| Ok(self.disk.open_file(fd, DIR_HEADER, OpenMode::ReadWrite)?));
        match file {
            Ok(file) => self.disk.write_at(&file, 0, staged)?,
            // Somebody else has removed the directory: there is nothing left to keep.
            Err(super::VfsError::Os(Errno::NOENT | Errno::STALE)) => {
                state.staged = None;
                return Ok(state.applied);
            }
            Err(error) => return Err(error),
        }
        dir.unsynced.store(true, Ordering::Release);
        state.staged = None;
        state.stored = state.committed;
        state.applied = true;
        Ok(true)
    }

    /// The directory's header has just been written, without being synced.
    fn remember_unsynced(&self, inode: &Arc<Inode>) {
        let (Some(dir), Some(owner)) = (inode.dir(), self.try_owner()) else {
            return;
        };
        if !dir.unsynced.swap(true, Ordering::AcqRel) {
            let entry = (std::time::Instant::now(), Arc::clone(inode));
            owner.keeper.lock().new_dirs.insert(inode.ino, entry);
        }
    }

    pub(super) fn is_dir_busy(&self, inode: &Inode) -> bool {
        inode.dir().is_some_and(|dir| {
            let state = dir.state.read();
            state.header_dirty || state.applied || state.staged.is_some()
        })
    }

    /// Makes a directory's header durable.
    pub(super) fn sync_dir_header(&self, inode: &Inode) -> Result<()> {
        let Some(dir) = inode.dir() else {
            return Ok(());
        };
        if !dir.unsynced.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = self
            .dir_fd(inode)
            .and_then(|fd| Ok(self.disk.open_file(fd, DIR_HEADER, OpenMode::Read)?))
            .and_then(|file| Ok(self.disk.sync_all(&file)?));
        if synced.is_err() {
            dir.unsynced.store(true, Ordering::Release);
        } else {
            dir.state.write().fresh = Fresh::default();
        }
        synced
    }
}

pub(super) fn place(dir: &Arc<Inode>, name: EncryptedName) -> Place {
    Place {
        dir: Arc::clone(dir),
        name: name.backing.into(),
        tag: name.tag,
        standing: Standing::Original,
    }
}
