//! Listing directories.
//!
//! A listing is taken whole when it is begun, so that offsets (`telldir`) stay good whatever happens to the directory
//! meanwhile; `rewinddir` takes a new one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_crypto::name::{BackingName, NameTag, SIDE_SUFFIX};
use parking_lot::Mutex;
use rustix::io::Errno;

use super::copies::{ConflictCopy, is_strange};
use super::dirs::Secrets;
use super::recipient::Reach;
use super::{DirEntry, EntryAttr, Handle, Ino, Opened, Part, Result, Vfs, VfsError};
use crate::backing::{Kind, OpenMode, Stat, Time};
use crate::inode::{Inode, Place, Standing};

/// An open directory.
pub(super) struct OpenDir {
    inode: Arc<Inode>,
    listing: Mutex<Option<Arc<Listing>>>,
}

struct Listing {
    entries: Vec<Listed>,
}

struct Listed {
    name: Vec<u8>,
    backing: Arc<str>,
    tag: NameTag,
    standing: Standing,
    ino: u64,
    kind: Kind,
    /// How a recipient reaches it.
    reach: Reach,
}

/// `.` and `..` come first.
const DOTS: u64 = 2;
/// More than the longest side file has.
const SIDE_MAX: usize = 512;

/// Whether this says that a side file is not there, or is none: its entry cannot be read, and all others can.
const fn is_no_side_file(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ISDIR
    )
}

impl Vfs {
    /// Opens a directory for listing.
    ///
    /// # Errors
    /// It does not verify, or its key cannot be had.
    pub fn opendir(&self, ino: Ino) -> Result<Opened> {
        let inode = self.dir_inode(ino)?;
        let opened = if self.is_owner() {
            self.secrets(&inode).map(drop)
        } else {
            self.open_dir_as_reader(&inode)
        };
        self.note(self.uid, &inode, None, "opendir", opened)?;
        let mut keep_cache = false;
        if let Some(dir) = inode.dir().filter(|_| self.is_owner()) {
            let now = (
                dir.changes.load(Ordering::Acquire),
                self.disk.fstat(self.dir_fd(&inode)?)?.mtime,
            );
            keep_cache = dir.listed_at.lock().replace(now) == Some(now);
        }
        let handle = self.handles.number();
        let open = OpenDir {
            inode,
            listing: Mutex::new(None),
        };
        self.handles.dirs.write().insert(handle, Arc::new(open));
        Ok(Opened { handle, keep_cache })
    }

    fn open_dir_as_reader(&self, inode: &Arc<Inode>) -> Result<()> {
        if inode.ino == Ino::ROOT {
            self.reach_root();
        }
        match inode.reach() {
            Reach::Way(_) => Ok(()),
            reach => match self.reader_secrets(inode, std::time::Duration::ZERO) {
                Ok(_) => Ok(()),
                Err(error) => {
                    let below = reach
                        .path()
                        .map(|path| self.shared_names(path))
                        .unwrap_or_default();
                    if below.is_empty() { Err(error) } else { Ok(()) }
                }
            },
        }
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: Handle) {
        self.handles.dirs.write().remove(&handle);
    }

    /// Lists from `offset` on, until `take` says that it has had enough.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn readdir(
        &self,
        handle: Handle,
        offset: u64,
        take: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let open = self.open_dir(handle)?;
        let listing = self.listing(&open, offset)?;
        if self.list_dots(&open, offset, &mut |entry| take(entry)) {
            return Ok(());
        }
        for (at, listed) in listing.from(offset) {
            let Some(kind) = self.listed_kind(&open.inode, listed) else {
                continue;
            };
            let ino = self
                .table
                .find(listed.ino, listed.kind)
                .map_or(Ino(listed.ino), |known| known.ino);
            let entry = DirEntry {
                name: &listed.name,
                ino,
                kind,
                next: at + 1,
            };
            if take(entry) {
                break;
            }
        }
        Ok(())
    }

    /// What an entry is to programs: FIFOs and the like are regular files in the store, marked as those are whose mode
    /// is in their header. `None`: there is nothing behind its name.
    fn listed_kind(&self, dir: &Arc<Inode>, listed: &Listed) -> Option<Kind> {
        if listed.kind != Kind::File {
            return Some(listed.kind);
        }
        if let Some(known) = self.table.find(listed.ino, Kind::File)
            && known.mode().is_some()
        {
            return Some(known.shown_kind());
        }
        let stat = self
            .dir_fd(dir)
            .and_then(|fd| Ok(self.disk.stat(fd, &listed.backing)?));
        let Ok(stat) = stat else {
            return Some(Kind::File);
        };
        if self.is_unmade(&listed.place(dir), &stat) {
            return None;
        }
        if !super::attr::may_be_special(&stat) {
            return Some(Kind::File);
        }
        let Ok(inode) = self.intern(&stat, listed.place(dir), 0) else {
            return Some(Kind::File);
        };
        let kind = self
            .attr_from(&inode, &stat)
            .map_or(Kind::File, |attr| attr.kind);
        self.table.sweep(inode);
        Some(kind)
    }

    /// The same with attributes. Each entry handed out with attributes, but `.` and `..`, takes a reference.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn readdirplus(
        &self,
        handle: Handle,
        offset: u64,
        take: &mut dyn FnMut(DirEntry<'_>, EntryAttr) -> bool,
    ) -> Result<()> {
        let open = self.open_dir(handle)?;
        let listing = self.listing(&open, offset)?;
        if self.list_dots(&open, offset, &mut |entry| take(entry, None)) {
            return Ok(());
        }
        let fd = self.dir_fd(&open.inode)?;
        for (at, listed) in listing.from(offset) {
            let place = listed.place(&open.inode);
            let stat = match self.stat_listed(fd, &place) {
                Ok(stat) => stat,
                // Gone since.
                Err(VfsError::Os(Errno::NOENT)) => continue,
                Err(error) => return Err(error),
            };
            if self.is_unmade(&place, &stat) {
                continue;
            }
            let Ok(inode) = self.intern(&stat, place, 1) else {
                // What is wrong with it is told to whoever looks it up.
                let entry = DirEntry {
                    name: &listed.name,
                    ino: Ino(listed.ino),
                    kind: listed.kind,
                    next: at + 1,
                };
                if take(entry, None) {
                    break;
                }
                continue;
            };
            inode.set_reach(listed.reach.clone());
            let attr = self.attr_from(&inode, &stat).ok();
            let entry = DirEntry {
                name: &listed.name,
                ino: inode.ino,
                kind: attr.map_or(listed.kind, |attr| attr.kind),
                next: at + 1,
            };
            let is_full = take(entry, attr);
            if is_full || attr.is_none() {
                // It did not fit, and is handed out again next time; or it was handed out by its name alone.
                self.forget(inode.ino, 1);
            }
            if is_full {
                break;
            }
        }
        Ok(())
    }

    fn stat_listed(&self, dir: std::os::fd::BorrowedFd<'_>, place: &Place) -> Result<Stat> {
        match place.standing {
            Standing::Header => self.stat_place(place),
            Standing::Original | Standing::Copy => Ok(self.disk.stat(dir, &place.name)?),
        }
    }

    fn open_dir(&self, handle: Handle) -> Result<Arc<OpenDir>> {
        self.handles
            .dirs
            .read()
            .get(&handle)
            .cloned()
            .ok_or_else(|| Errno::BADF.into())
    }

    /// Says whether `take` has had enough.
    fn list_dots(
        &self,
        open: &OpenDir,
        offset: u64,
        take: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> bool {
        let parent = open.inode.place().map_or(Ino::ROOT, |place| place.dir.ino);
        let dots: [(&[u8], Ino); 2] = [(b".", open.inode.ino), (b"..", parent)];
        (0..)
            .zip(dots)
            .skip(usize::try_from(offset).unwrap_or(usize::MAX))
            .any(|(at, (name, ino))| {
                take(DirEntry {
                    name,
                    ino,
                    kind: Kind::Dir,
                    next: at + 1,
                })
            })
    }

    fn listing(&self, open: &OpenDir, offset: u64) -> Result<Arc<Listing>> {
        let mut listing = open.listing.lock();
        match &*listing {
            Some(listing) if offset > 0 => Ok(Arc::clone(listing)),
            _ => {
                let taken = Arc::new(Listing {
                    entries: self.list_dir(&open.inode)?,
                });
                *listing = Some(Arc::clone(&taken));
                Ok(taken)
            }
        }
    }

    /// All entries of a directory whose names verify. Others are for `fsck` to report.
    fn list_dir(&self, inode: &Arc<Inode>) -> Result<Vec<Listed>> {
        let dir = inode.dir().ok_or(Errno::NOTDIR)?;
        let before = self.listing_stamp(inode)?;
        let is_known = *dir.compared_at.lock() == Some(before);
        if !dir.just_loaded.swap(false, Ordering::AcqRel) && !is_known {
            // Its header may have been changed as well.
            self.refresh_dir(inode)?;
        }
        let secrets = match (inode.reach(), self.is_owner()) {
            (Reach::Way(way), false) => return Ok(self.list_shared(inode, &way)),
            (Reach::Shared { path, .. }, false) => match self.secrets(inode) {
                Err(_) if !self.shared_names(&path).is_empty() => {
                    return Ok(self.list_shared(inode, &path));
                }
                secrets => secrets?,
            },
            _ => self.secrets(inode)?,
        };
        let raw = match self.disk.list(self.dir_fd(inode)?) {
            // Removed while it was open: nothing is in it.
            Err(Errno::NOENT) => Vec::new(),
            raw => raw?,
        };
        let mut entries = Vec::with_capacity(raw.len());
        let mut strange = Vec::new();
        for entry in raw {
            let Ok(backing) = std::str::from_utf8(&entry.name) else {
                continue;
            };
            let (name, tag) = match self.decrypt_name(inode, &secrets, backing) {
                Ok(found) => found,
                // Gone since, planted, or a conflict copy.
                Err(VfsError::Damaged(_)) => {
                    if is_strange(&entry) {
                        strange.push(entry);
                    }
                    continue;
                }
                Err(VfsError::Os(error)) if is_no_side_file(error) => continue,
                Err(error) => return Err(error),
            };
            let kind = match entry.kind {
                Some(kind) => kind,
                None => match self.disk.stat(self.dir_fd(inode)?, backing) {
                    Ok(stat) => stat.kind,
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                },
            };
            entries.push(Listed {
                name,
                backing: backing.into(),
                tag,
                standing: Standing::Original,
                ino: entry.ino,
                kind,
                reach: Reach::Inherited,
            });
        }
        // Unless nobody has changed it since it was last done.
        if dir.compared_at.lock().replace(before) != Some(before) && !inode.is_copy() {
            let listed = entries.iter().map(|it| (it.tag, it));
            self.compare_names(inode, &secrets, listed, |it| (it.kind, &it.backing));
        }
        if !strange.is_empty() {
            let copies = self.name_copies(inode, &secrets, &strange);
            entries.extend(copies.iter().map(Listed::of_copy));
        }
        Ok(entries)
    }

    /// Changes whenever the names in a directory do.
    fn listing_stamp(&self, inode: &Inode) -> Result<(u64, Time)> {
        let dir = inode.dir().ok_or(Errno::NOTDIR)?;
        let changes = dir.changes.load(Ordering::Acquire);
        Ok((changes, self.disk.fstat(self.dir_fd(inode)?)?.ctime))
    }

    /// The entries of a directory on the way to something shared, as far as this copy of the store has them.
    fn list_shared(&self, inode: &Arc<Inode>, way: &[super::hooks::PathStep]) -> Vec<Listed> {
        let names = self.shared_names(way);
        let found = names.iter().filter_map(|shared| {
            let name = shared.step.plain.clone();
            let (place, stat, reach) = self.find_shared(inode, way, &name).ok()?;
            let (backing, tag) = (place.name, place.tag);
            Some(Listed {
                name,
                backing,
                tag,
                standing: place.standing,
                ino: stat.ino,
                kind: stat.kind,
                reach,
            })
        });
        found.collect()
    }

    /// The name behind a stored one.
    pub(super) fn decrypt_name(
        &self,
        dir: &Inode,
        secrets: &Secrets,
        backing: &str,
    ) -> Result<(Vec<u8>, NameTag)> {
        let whole = match BackingName::of(backing.as_bytes()) {
            BackingName::Short(_) => None,
            BackingName::Long(long) => Some(self.read_side_file(dir, long)?),
            _ => return Err(Part::Name.into()),
        };
        let whole = whole.as_deref();
        if let Ok(found) = secrets.names.decrypt(backing, whole) {
            return Ok(found);
        }
        let prev = secrets.prev_names.as_ref().ok_or(Part::Name)?;
        prev.decrypt(backing, whole).map_err(|_| Part::Name.into())
    }

    pub(super) fn read_side_file(&self, dir: &Inode, long: &str) -> Result<String> {
        let side = format!("{long}{SIDE_SUFFIX}");
        let file = self
            .disk
            .open_file(self.dir_fd(dir)?, &side, OpenMode::Read)?;
        let mut bytes = vec![0; SIDE_MAX];
        let len = self.disk.read_at(&file, 0, &mut bytes)?;
        bytes.truncate(len);
        String::from_utf8(bytes).map_err(|_| Part::Name.into())
    }

    /// Makes the headers of directories that were made in `dir` durable.
    pub(super) fn sync_new_dirs(&self, dir: &Arc<Inode>) -> Result<()> {
        for child in self.table.children(dir) {
            self.sync_dir_header(&child)?;
        }
        Ok(())
    }
}

impl Listed {
    fn place(&self, dir: &Arc<Inode>) -> Place {
        Place {
            dir: Arc::clone(dir),
            name: Arc::clone(&self.backing),
            tag: self.tag,
            standing: self.standing,
        }
    }

    fn of_copy(copy: &ConflictCopy) -> Self {
        Self {
            name: copy.name.clone(),
            backing: Arc::clone(&copy.stored),
            tag: copy.tag,
            standing: copy.standing,
            ino: copy.ino,
            kind: copy.kind,
            reach: Reach::Inherited,
        }
    }
}

impl Listing {
    /// The entries from `offset` on with the offsets they stand at.
    fn from(&self, offset: u64) -> impl Iterator<Item = (u64, &Listed)> {
        let skip = usize::try_from(offset.saturating_sub(DOTS)).unwrap_or(usize::MAX);
        (DOTS..).zip(&self.entries).skip(skip)
    }
}
