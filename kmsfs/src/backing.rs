//! The store's files as the operating system holds them.
//!
//! Every system call on the store goes through [`Disk`]: paths are single names relative to an open directory and are
//! resolved beneath it without following links (`openat2`), so that nobody who can write into the store leads the
//! daemon out of it. Nothing here knows about encryption. [`Gate`] lets tests fail or stop any call.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, FallocateFlags, FileType, FlockOperation, Gid, Mode, OFlags, RawDir, RenameFlags,
    ResolveFlags, StatVfs, Timestamps, Uid,
};
use rustix::io::{Errno, Result};

pub use self::gate::{At, Call, Gate};
pub use self::stat::{Kind, Stat, Time, TimeChange};

mod gate;
mod stat;

/// The system calls on a store. Cheap to clone.
#[derive(Clone, Default)]
pub struct Disk {
    gate: Option<Arc<dyn Gate>>,
    /// Something was changed since [`Disk::sync_fs`].
    changed: Arc<AtomicBool>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("gated", &self.gate.is_some())
            .finish()
    }
}

/// One entry of a backing directory.
#[derive(Clone, Debug)]
pub struct RawEntry {
    /// The name as stored.
    pub name: Vec<u8>,
    /// The backing inode number.
    pub ino: u64,
    /// The kind, when the filesystem tells it in the listing.
    pub kind: Option<Kind>,
}

/// What a rename does with what stands at its destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replace {
    /// An existing object gives way.
    Yes,
    /// An existing object is an error (`EEXIST`).
    No,
    /// The two change places.
    Exchange,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenMode {
    /// For reading.
    Read,
    /// For reading and writing.
    ReadWrite,
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// `O_NONBLOCK` keeps a FIFO planted in the store from hanging the daemon; it means nothing for regular files.
const FILE: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

impl Disk {
    /// The system calls, each asked of `gate` first.
    pub fn gated(gate: Arc<dyn Gate>) -> Self {
        Self {
            gate: Some(gate),
            ..Self::default()
        }
    }

    /// The same system calls on another disk, whose changes are its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            gate: self.gate.clone(),
            ..Self::default()
        }
    }

    /// Does a call, unless the gate is against it. One that a signal has interrupted, as may happen on network and FUSE
    /// filesystems, is done once more.
    fn call<T>(&self, call: Call<'_>, mut run: impl FnMut() -> Result<T>) -> Result<T> {
        if call.changes() {
            self.changed.store(true, Ordering::Release);
        }
        let Some(gate) = &self.gate else {
            return rustix::io::retry_on_intr(run);
        };
        let result = rustix::io::retry_on_intr(|| {
            gate.pass(&call)?;
            run()
        })?;
        gate.done(&call);
        Ok(result)
    }

    /// How many bytes a system call may move, of those that are wanted.
    fn at_most(&self, wanted: usize) -> Result<usize> {
        self.gate
            .as_ref()
            .map_or(Ok(wanted), |gate| gate.at_most(wanted))
    }

    /// Opens the store's own directory; the one place where an ordinary path is followed.
    pub fn open_root(&self, path: &Path) -> Result<OwnedFd> {
        self.call(Call::Read, || {
            rustix::fs::open(
                path,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        })
    }

    /// Opens a directory as a place to resolve names from.
    pub fn open_dir(&self, dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
        self.call(Call::Read, || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat2(dir, one(name)?, flags, Mode::empty(), BENEATH)
        })
    }

    /// Opens a directory so that it can be listed and synced.
    fn reopen_dir(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
        rustix::fs::openat(
            dir,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    /// Opens a regular file. Anything else of that name is `ELOOP`, `EISDIR` or, for special files, `ENXIO`.
    pub fn open_file(&self, dir: BorrowedFd<'_>, name: &str, mode: OpenMode) -> Result<OwnedFd> {
        self.call(Call::Read, || {
            let access = match mode {
                OpenMode::Read => OFlags::RDONLY,
                OpenMode::ReadWrite => OFlags::RDWR,
            };
            let file = rustix::fs::openat2(dir, one(name)?, access | FILE, Mode::empty(), BENEATH)?;
            match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
                FileType::RegularFile => Ok(file),
                FileType::Directory => Err(Errno::ISDIR),
                _ => Err(Errno::NXIO),
            }
        })
    }

    /// Makes a regular file that must not exist and opens it for reading and writing.
    pub fn create_file(&self, dir: BorrowedFd<'_>, name: &str, mode: u32) -> Result<OwnedFd> {
        self.call(Call::CreateFile((dir, name)), || {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | FILE;
            rustix::fs::openat2(
                dir,
                one(name)?,
                flags,
                Mode::from_raw_mode(mode & 0o7777),
                BENEATH,
            )
        })
    }

    /// Attributes of a name, of the link itself where it is one.
    pub fn stat(&self, dir: BorrowedFd<'_>, name: &str) -> Result<Stat> {
        self.call(Call::Read, || {
            rustix::fs::statat(dir, one(name)?, AtFlags::SYMLINK_NOFOLLOW)
                .map(|raw| Stat::from_raw(&raw))
        })
    }

    /// Attributes of an open object.
    pub fn fstat(&self, fd: impl AsFd) -> Result<Stat> {
        self.call(Call::Read, || {
            // AT_EMPTY_PATH also serves the O_PATH descriptors directories are kept by.
            rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH).map(|raw| Stat::from_raw(&raw))
        })
    }

    /// Fills `buf` from `offset`; fewer bytes only at the end of the file.
    pub fn read_at(&self, fd: impl AsFd, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.call(Call::Read, || {
            let mut done = 0;
            while done < buf.len() {
                let at = offset.checked_add(done as u64).ok_or(Errno::INVAL)?;
                let read = rustix::io::retry_on_intr(|| {
                    let until = done + self.at_most(buf.len() - done)?;
                    rustix::io::pread(&fd, &mut buf[done..until], at)
                })?;
                if read == 0 {
                    break;
                }
                done += read;
            }
            Ok(done)
        })
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, fd: impl AsFd, offset: u64, bytes: &[u8]) -> Result<()> {
        self.call(
            Call::Write {
                file: fd.as_fd(),
                offset,
                bytes,
            },
            || {
                let mut done = 0;
                while done < bytes.len() {
                    let at = offset.checked_add(done as u64).ok_or(Errno::FBIG)?;
                    let written = rustix::io::retry_on_intr(|| {
                        let until = done + self.at_most(bytes.len() - done)?;
                        rustix::io::pwrite(&fd, &bytes[done..until], at)
                    })?;
                    if written == 0 {
                        return Err(Errno::IO);
                    }
                    done += written;
                }
                Ok(())
            },
        )
    }

    /// Cuts or extends a file.
    pub fn set_len(&self, fd: impl AsFd, len: u64) -> Result<()> {
        self.call(
            Call::SetLen {
                file: fd.as_fd(),
                len,
            },
            || rustix::fs::ftruncate(&fd, len),
        )
    }

    /// Reserves room, leaving the length alone.
    pub fn reserve(&self, fd: impl AsFd, offset: u64, len: u64) -> Result<()> {
        self.call(Call::Change, || {
            match rustix::fs::fallocate(&fd, FallocateFlags::KEEP_SIZE, offset, len) {
                // Not every filesystem can; the write itself will then tell.
                Err(Errno::OPNOTSUPP) => Ok(()),
                result => result,
            }
        })
    }

    /// Gives room back; the range reads as zeros and the length stays.
    pub fn punch(&self, fd: impl AsFd, offset: u64, len: u64) -> Result<()> {
        self.call(
            Call::Punch {
                file: fd.as_fd(),
                offset,
                len,
            },
            || {
                rustix::fs::fallocate(
                    &fd,
                    FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE,
                    offset,
                    len,
                )
            },
        )
    }

    /// Makes the bytes of a file durable.
    pub fn sync_data(&self, fd: impl AsFd) -> Result<()> {
        self.call(Call::SyncData(fd.as_fd()), || rustix::fs::fdatasync(&fd))
    }

    /// Makes a file, its attributes included, durable.
    pub fn sync_all(&self, fd: impl AsFd) -> Result<()> {
        self.call(Call::SyncAll(fd.as_fd()), || rustix::fs::fsync(&fd))
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, dir: BorrowedFd<'_>) -> Result<()> {
        self.call(Call::SyncDir(dir), || {
            rustix::fs::fsync(Self::reopen_dir(dir)?)
        })
    }

    /// Makes everything on the filesystem that holds the store durable.
    pub fn sync_fs(&self, dir: BorrowedFd<'_>) -> Result<()> {
        // Before: what is changed meanwhile needs another one.
        let changed = self.changed.swap(false, Ordering::AcqRel);
        let synced = self.call(Call::SyncFs, || rustix::fs::syncfs(Self::reopen_dir(dir)?));
        if synced.is_err() && changed {
            self.changed.store(true, Ordering::Release);
        }
        synced
    }

    /// The same, unless nothing was changed since: a whole disk, with all that others write there, takes a while.
    pub fn sync_fs_if_changed(&self, dir: BorrowedFd<'_>) -> Result<()> {
        if self.changed.load(Ordering::Acquire) {
            self.sync_fs(dir)
        } else {
            Ok(())
        }
    }

    /// Makes a directory.
    pub fn make_dir(&self, dir: BorrowedFd<'_>, name: &str, mode: u32) -> Result<()> {
        self.call(Call::MakeDir((dir, name)), || {
            rustix::fs::mkdirat(dir, one(name)?, Mode::from_raw_mode(mode & 0o7777))
        })
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, dir: BorrowedFd<'_>, name: &str) -> Result<()> {
        self.call(Call::Remove((dir, name)), || {
            rustix::fs::unlinkat(dir, one(name)?, AtFlags::REMOVEDIR)
        })
    }

    /// Removes a name that is not a directory's.
    pub fn unlink(&self, dir: BorrowedFd<'_>, name: &str) -> Result<()> {
        self.call(Call::Remove((dir, name)), || {
            rustix::fs::unlinkat(dir, one(name)?, AtFlags::empty())
        })
    }

    /// Moves a name.
    pub fn rename(
        &self,
        (from_dir, from): (BorrowedFd<'_>, &str),
        (to_dir, to): (BorrowedFd<'_>, &str),
        replace: Replace,
    ) -> Result<()> {
        let (from, to) = ((from_dir, from), (to_dir, to));
        let (call, flags) = match replace {
            Replace::Yes => (Call::Rename(from, to), RenameFlags::empty()),
            Replace::No => (Call::Rename(from, to), RenameFlags::NOREPLACE),
            Replace::Exchange => (Call::Exchange(from, to), RenameFlags::EXCHANGE),
        };
        self.call(call, || {
            rustix::fs::renameat_with(from.0, one(from.1)?, to.0, one(to.1)?, flags)
        })
    }

    /// Gives an object a second name.
    pub fn link(
        &self,
        (from_dir, from): (BorrowedFd<'_>, &str),
        (to_dir, to): (BorrowedFd<'_>, &str),
    ) -> Result<()> {
        self.call(Call::Link((from_dir, from), (to_dir, to)), || {
            rustix::fs::linkat(from_dir, one(from)?, to_dir, one(to)?, AtFlags::empty())
        })
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: &str, dir: BorrowedFd<'_>, name: &str) -> Result<()> {
        self.call(Call::Symlink(target, (dir, name)), || {
            rustix::fs::symlinkat(target, dir, one(name)?)
        })
    }

    /// Reads where a symbolic link points.
    pub fn read_link(&self, dir: BorrowedFd<'_>, name: &str) -> Result<Vec<u8>> {
        self.call(Call::Read, || {
            rustix::fs::readlinkat(dir, one(name)?, Vec::new()).map(std::ffi::CString::into_bytes)
        })
    }

    /// Sets the permission bits of an open file.
    pub fn set_mode(&self, fd: impl AsFd, mode: u32) -> Result<()> {
        self.call(Call::Change, || {
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o7777))
        })
    }

    /// Sets the permission bits of a directory held by an `O_PATH` descriptor.
    pub fn set_dir_mode(&self, dir: BorrowedFd<'_>, mode: u32) -> Result<()> {
        self.call(Call::Change, || {
            rustix::fs::chmodat(
                dir,
                ".",
                Mode::from_raw_mode(mode & 0o7777),
                AtFlags::empty(),
            )
        })
    }

    /// Sets the owner of a name, of the link itself where it is one.
    pub fn set_owner(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        self.call(Call::Change, || {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            rustix::fs::chownat(dir, one(name)?, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    /// Sets the owner of an open object.
    pub fn set_owner_of(&self, fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.call(Call::Change, || {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            rustix::fs::chownat(&fd, c"", uid, gid, AtFlags::EMPTY_PATH)
        })
    }

    /// Sets access and modification time of a name, of the link itself where it is one.
    pub fn set_times(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        atime: TimeChange,
        mtime: TimeChange,
    ) -> Result<()> {
        self.call(Call::Change, || {
            rustix::fs::utimensat(
                dir,
                one(name)?,
                &times(atime, mtime),
                AtFlags::SYMLINK_NOFOLLOW,
            )
        })
    }

    /// Sets access and modification time of an open file (not of an `O_PATH` descriptor).
    pub fn set_times_of(&self, fd: impl AsFd, atime: TimeChange, mtime: TimeChange) -> Result<()> {
        self.call(Call::Change, || {
            rustix::fs::futimens(&fd, &times(atime, mtime))
        })
    }

    /// All names in a directory but `.` and `..`.
    pub fn list(&self, dir: BorrowedFd<'_>) -> Result<Vec<RawEntry>> {
        self.call(Call::Read, || {
            let fd = Self::reopen_dir(dir)?;
            let mut buf = [MaybeUninit::uninit(); 32 * 1024];
            let mut raw = RawDir::new(fd, &mut buf);
            let mut entries = Vec::new();
            while let Some(entry) = raw.next() {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                let kind = match entry.file_type() {
                    FileType::Unknown => None,
                    known => Some(Kind::from_file_type(known)),
                };
                entries.push(RawEntry {
                    name: name.to_vec(),
                    ino: entry.ino(),
                    kind,
                });
            }
            Ok(entries)
        })
    }

    /// Figures of the filesystem that holds the store.
    pub fn statfs(&self, fd: impl AsFd) -> Result<StatVfs> {
        self.call(Call::Read, || rustix::fs::fstatvfs(&fd))
    }

    /// Takes the exclusive lock of an open file without waiting; it goes with the descriptor.
    pub fn lock(&self, fd: impl AsFd) -> Result<()> {
        rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive)
    }
}

/// One name and not a path: whoever made it up, nothing above or beside the directory is reached by it.
fn one(name: &str) -> Result<&str> {
    if name.is_empty() || name == ".." || name.contains('/') {
        Err(Errno::INVAL)
    } else {
        Ok(name)
    }
}

fn times(atime: TimeChange, mtime: TimeChange) -> Timestamps {
    Timestamps {
        last_access: atime.to_raw(),
        last_modification: mtime.to_raw(),
    }
}
