//! When somebody else has put another version in the place of what was written here (JOURNAL §6): neither is lost, and
//! they are never mixed. What was written here goes on as a conflict copy beside the other one.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use kms_crypto::format::{HEADER_LEN, Header};
use kms_crypto::name::{BackingName, DIR_HEADER, NAME_MAX};
use rustix::io::Errno;

use super::dirs::DirState;
use super::file::{FileCell, Identity, Loaded};
use super::{Oddity, Part, Result, Vfs, VfsError};
use crate::backing::OpenMode;
use crate::freshness::Mark;
use crate::inode::{Inode, Place, Standing};

/// How much is copied or verified at a time.
const STEP: usize = 1 << 20;
/// How many names are tried.
const TRIES: usize = 100;
/// FORMAT §3.1.
const KEY_SEAL_AT: u64 = 4064;

/// Where an object was found to be.
enum Now {
    /// Where it was.
    Here,
    /// Set aside by a synchroniser, whole.
    Copy(Place),
    /// Another version stands in its place, or was written over it.
    Replaced,
    /// Nothing stands in its place.
    Removed,
}

impl Vfs {
    /// Before the stored file is written: if it is not the one any more that this mount has left there, what was
    /// written here gets another place first. Called without locks, or by whoever moves a directory above.
    pub(super) fn keep_apart(&self, inode: &Arc<Inode>) -> Result<()> {
        let Some(file) = inode.file() else {
            return Ok(());
        };
        let is_here = |cell: &FileCell| match cell.loaded.as_deref() {
            Some(file) if !file.orphan && !file.overlay.is_empty() => {
                Ok::<_, VfsError>(matches!(self.look_again(inode, file)?, Now::Here))
            }
            _ => Ok(true),
        };
        if is_here(&file.cell.read())? {
            return Ok(());
        }
        // It may be this mount that is just moving it, or taking it away.
        let mut dirs: Vec<_> = inode.places().into_iter().map(|place| place.dir).collect();
        dirs.sort_by_key(|dir| dir.ino);
        dirs.dedup_by_key(|dir| dir.ino);
        let _tree = if dirs.len() > 1 {
            Some(self.tree.try_lock().ok_or(Errno::BUSY)?)
        } else {
            None
        };
        let locked: Result<Vec<_>> = dirs.iter().map(|dir| self.lock_names(dir)).collect();
        let _names = locked?;
        let mut cell = file.cell.write();
        if is_here(&cell)? {
            return Ok(());
        }
        let path = self.path_of_inode(inode).unwrap_or_default();
        let what = match self.give_place(inode, &mut cell) {
            Ok(what) => what,
            // Its directory has gone as well.
            Err(VfsError::Os(Errno::NOENT | Errno::STALE | Errno::NAMETOOLONG)) => {
                if let Some(loaded) = cell.loaded.as_deref_mut() {
                    loaded.orphan = true;
                }
                Some(Oddity::Lost)
            }
            Err(error) => return Err(error),
        };
        if let Some(what) = what {
            self.notice(path, what);
        }
        Ok(())
    }

    fn give_place(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<Option<Oddity>> {
        let place = inode.place().ok_or(Errno::STALE)?;
        let file = cell.loaded.as_deref().ok_or(Errno::STALE)?;
        match self.look_again(inode, file)? {
            Now::Here => Ok(None),
            Now::Copy(copy) => {
                self.becomes_copy(inode, copy);
                Ok(Some(Oddity::SetAside))
            }
            Now::Removed => {
                self.make_again(inode, cell, &place)?;
                Ok(None)
            }
            Now::Replaced => {
                let is_whole = self.set_file_aside(inode, cell, &place)?;
                Ok(Some(if is_whole {
                    Oddity::SetAside
                } else {
                    Oddity::Lost
                }))
            }
        }
    }

    fn look_again(&self, inode: &Arc<Inode>, file: &Loaded) -> Result<Now> {
        let mut is_taken = false;
        let places = inode.places();
        for place in &places {
            match self.disk.stat(self.dir_fd(&place.dir)?, &place.name) {
                Ok(stat) if stat.ino == inode.backing() => {
                    let mut seal = [0; 16];
                    let len = self.disk.read_at(&file.fd, KEY_SEAL_AT, &mut seal)?;
                    // A file that is being made has none yet.
                    // And one may have been written just before something failed.
                    let is_same =
                        len < seal.len() || seal == file.stored.seal || seal == file.committed.seal;
                    return Ok(if is_same { Now::Here } else { Now::Replaced });
                }
                Ok(_) => is_taken = true,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.disk.fstat(&file.fd)?.nlink > 0 {
            for place in &places {
                let copies = self.list_copies(&place.dir)?;
                let is_it = |copy: &&super::copies::ConflictCopy| copy.ino == inode.backing();
                if let Some(copy) = copies.iter().find(is_it) {
                    return Ok(Now::Copy(copy.place(&place.dir)));
                }
            }
        }
        Ok(if is_taken || places.is_empty() {
            Now::Replaced
        } else {
            Now::Removed
        })
    }

    fn becomes_copy(&self, inode: &Arc<Inode>, copy: Place) {
        for place in inode.places() {
            inode.remove_place(&place.dir, &place.name);
        }
        inode.set_copy();
        inode.add_place(copy);
    }

    /// Somebody else has removed the file that is being written: it is there again.
    fn make_again(&self, inode: &Arc<Inode>, cell: &mut FileCell, place: &Place) -> Result<()> {
        let dir = self.dir_fd(&place.dir)?;
        let file = self.disk.create_file(dir, &place.name, 0o600)?;
        self.fill(inode, cell, file, place)?;
        self.names_changed(&place.dir);
        Ok(())
    }

    /// Writes a file's last committed state into a copy beside its place, and goes on with that. Says whether all of it
    /// was to be had.
    fn set_file_aside(
        &self,
        inode: &Arc<Inode>,
        cell: &mut FileCell,
        place: &Place,
    ) -> Result<bool> {
        let dir = self.dir_fd(&place.dir)?;
        let (file, name) = self.create_beside(dir, &place.name)?;
        let copy = Place {
            dir: Arc::clone(&place.dir),
            name: name.into(),
            tag: place.tag,
            standing: Standing::Copy,
        };
        self.fill(inode, cell, file, &copy)?;
        self.becomes_copy(inode, copy.clone());
        self.names_changed(&place.dir);
        self.list_copies(&copy.dir)?;
        let file = cell.loaded.as_deref().ok_or(Errno::IO)?;
        Ok(is_readable(&self.disk, file))
    }

    /// Writes what the file holds into another stored file, durably, and goes on with that one.
    fn fill(
        &self,
        inode: &Arc<Inode>,
        cell: &mut FileCell,
        new: OwnedFd,
        place: &Place,
    ) -> Result<()> {
        let file = cell.loaded.as_deref_mut().ok_or(Errno::IO)?;
        let old = self.disk.fstat(&file.fd)?;
        let end = old.size.max(file.committed_len);
        self.copy_bytes(&file.fd, &new, end)?;
        for (offset, bytes) in file.overlay.header_last() {
            self.disk.write_at(&new, offset, bytes)?;
        }
        if file.append_run.is_none() {
            self.disk.set_len(&new, file.committed_len)?;
        }
        self.disk.set_mode(&new, old.mode & 0o7777)?;
        self.disk.sync_all(&new)?;
        self.disk.sync_dir(self.dir_fd(&place.dir)?)?;
        let stat = self.disk.fstat(&new)?;
        file.overlay.clear();
        file.stored = file.committed;
        file.protected_len = file.committed_len;
        (file.unsynced, file.relied) = (false, None);
        file.fd = Arc::new(new);
        cell.identity = Some(Identity::of(&stat));
        self.table.rebind(inode, stat.ino);
        Ok(())
    }

    /// Everything but the header.
    fn copy_bytes(&self, from: &OwnedFd, to: &OwnedFd, end: u64) -> Result<()> {
        let mut buf = vec![0; STEP];
        let mut at = 0;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(STEP).min(STEP);
            let got = self.disk.read_at(from, at, &mut buf[..want])?;
            if got == 0 {
                break;
            }
            if at == 0 {
                buf[..HEADER_LEN.min(got)].fill(0);
            }
            self.disk.write_at(to, at, &buf[..got])?;
            at += got as u64;
        }
        Ok(())
    }

    /// The same at replay, of what the journal holds and what of the rest is still there. Says whether it is whole.
    pub(super) fn salvage_beside(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        there: &OwnedFd,
        pieces: &BTreeMap<u64, &[u8]>,
        len: u64,
    ) -> Result<bool> {
        let Some(sealed) = pieces
            .get(&0)
            .and_then(|it| <&[u8; HEADER_LEN]>::try_from(*it).ok())
        else {
            return Ok(false);
        };
        let (new, _) = self.create_beside(dir, name)?;
        self.copy_bytes(there, &new, len)?;
        for (offset, bytes) in pieces.range(1..) {
            self.disk.write_at(&new, *offset, bytes)?;
        }
        self.disk.write_at(&new, 0, sealed)?;
        self.disk.set_len(&new, len)?;
        self.disk.sync_all(&new)?;
        self.disk.sync_dir(dir)?;
        if name == DIR_HEADER {
            return Ok(true);
        }
        let header = Header::parse(sealed).map_err(|_| Part::Header)?;
        let header = self.open_own_header(header).ok_or(Part::Header)?;
        let mark = Mark::of(header.state.generation, sealed);
        if header.state.special.is_some() {
            return Ok(true);
        }
        let file = Loaded::new(Arc::new(new), header, mark, len)?;
        Ok(is_readable(&self.disk, &file))
    }

    /// Makes a file beside a stored one that will be taken for a conflict copy of it.
    fn create_beside(&self, dir: BorrowedFd<'_>, name: &str) -> Result<(OwnedFd, String)> {
        let stamp = crate::time::compact();
        for number in 0..TRIES {
            let added = match number {
                0 => format!(".conflict-{stamp}"),
                number => format!(".conflict-{stamp}-{number}"),
            };
            let copy = with_added(name, &added)
                .or_else(|| with_added(name, &format!("~{number}")))
                .ok_or(Errno::NAMETOOLONG)?;
            match self.disk.create_file(dir, &copy, 0o600) {
                Err(Errno::EXIST) => {}
                made => return Ok((made?, copy)),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Before a directory's header is written: whether the one this mount has left there still stands there. If not, what
    /// was to be written is set aside, and the other one counts.
    pub(super) fn keep_header_apart(
        &self,
        inode: &Arc<Inode>,
        state: &mut DirState,
    ) -> Result<bool> {
        let Some(mark) = self.header_there(inode)? else {
            return Ok(true);
        };
        if mark.seal == state.stored.seal || mark.seal == state.committed.seal {
            return Ok(true);
        }
        let path = self.path_of_inode(inode).unwrap_or_default();
        if let Some(staged) = state.staged.take() {
            let (new, _) = self.create_beside(self.dir_fd(inode)?, DIR_HEADER)?;
            self.disk.write_at(&new, 0, &*staged)?;
            self.disk.sync_all(&new)?;
            self.notice(path, Oddity::SetAside);
        }
        state.forget_header();
        Ok(false)
    }

    /// Reads the header of a directory again if somebody else has changed it and nothing was changed here.
    pub(super) fn refresh_dir(&self, inode: &Arc<Inode>) -> Result<()> {
        let Some(dir) = inode.dir().filter(|_| self.is_owner()) else {
            return Ok(());
        };
        let is_current = |state: &DirState| -> Result<bool> {
            if state.header.is_none() || state.header_dirty || state.staged.is_some() {
                return Ok(true);
            }
            let there = self.header_there(inode)?;
            Ok(there.is_none_or(|mark| mark.seal == state.stored.seal))
        };
        if is_current(&dir.state.read())? {
            return Ok(());
        }
        let mut state = dir.state.write();
        if !is_current(&state)? {
            state.forget_header();
        }
        Ok(())
    }

    /// The seal of the header that stands in a directory, not verified.
    pub(super) fn header_there(&self, inode: &Arc<Inode>) -> Result<Option<Mark>> {
        let merged = inode
            .place()
            .filter(|place| place.standing == Standing::Header);
        let name = merged.as_ref().map_or(DIR_HEADER, |place| &*place.name);
        let file = self
            .disk
            .open_file(self.dir_fd(inode)?, name, OpenMode::Read);
        let file = match file {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut seal = [0; 16];
        let len = self.disk.read_at(&file, KEY_SEAL_AT, &mut seal)?;
        Ok((len == seal.len()).then_some(Mark {
            generation: 0,
            seal,
        }))
    }

    /// A path as people see it, of names as they are stored.
    pub(super) fn path_of_stored(&self, path: &[String]) -> std::path::PathBuf {
        let below = match path.split_last() {
            Some((last, dirs)) if last == DIR_HEADER => dirs,
            _ => path,
        };
        let found = self
            .resolve_stored(&below.join("/"))
            .and_then(|inode| self.path_of_inode(&inode).ok_or(VfsError::Os(Errno::NOENT)));
        found.unwrap_or_else(|_| path.join("/").into())
    }
}

/// A stored name with something added that makes it a copy, unless it gets too long.
fn with_added(name: &str, added: &str) -> Option<String> {
    let copy = match (BackingName::of(name.as_bytes()), name.split_once('.')) {
        (BackingName::DirHeader | BackingName::Long(_), Some((head, tail))) => {
            format!("{head}{added}.{tail}")
        }
        _ => format!("{name}{added}"),
    };
    (copy.len() <= NAME_MAX).then_some(copy)
}

/// Whether every chunk verifies.
fn is_readable(disk: &crate::backing::Disk, file: &Loaded) -> bool {
    let mut buf = Vec::new();
    let mut at = 0;
    loop {
        match super::read::read_now(disk, file, at, STEP, &mut buf) {
            Ok(0) => return true,
            Ok(len) => at += len as u64,
            Err(_) => return false,
        }
    }
}
