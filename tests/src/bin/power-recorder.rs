//! A disk that writes down what reaches it: `power-recorder IMAGE LOG MOUNTPOINT` shows IMAGE as `MOUNTPOINT/disk`.
//!
//! A loop device over that file turns each block write into a write and each flush into an `fsync`; both go to the end of
//! LOG in the order in which they came, as `kms_tests::power` reads them. While there is a file LOG.fails, every call ends
//! with EIO. A process of its own: whoever waits for the
//! disk must not be who serves it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, Session, WriteFlags,
};
use kms_tests::power::Record;

const DISK: INodeNo = INodeNo(2);

struct Recorder {
    image: File,
    log: Mutex<File>,
    size: u64,
    /// While there is such a file, the disk is broken.
    fails: PathBuf,
}

impl Recorder {
    fn attr(&self, inode: INodeNo) -> FileAttr {
        let directory = inode == INodeNo::ROOT;
        FileAttr {
            ino: inode,
            size: if directory { 0 } else { self.size },
            blocks: if directory { 0 } else { self.size / 512 },
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if directory {
                FileType::Directory
            } else {
                FileType::RegularFile
            },
            perm: if directory { 0o700 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }

    fn is_broken(&self) -> bool {
        self.fails.exists()
    }

    fn note(&self, record: &Record<'_>) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.write_all(&record.encode())
    }
}

impl Filesystem for Recorder {
    fn lookup(&self, _req: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "disk" {
            reply.entry(&Duration::ZERO, &self.attr(DISK), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &self.attr(ino));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // A page cache in between would merge and delay the writes.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if self.is_broken() {
            return reply.error(Errno::EIO);
        }
        let length = u64::from(size).min(self.size.saturating_sub(offset));
        let mut data = vec![0; usize::try_from(length).unwrap_or(0)];
        match self.image.read_exact_at(&mut data, offset) {
            Ok(()) => reply.data(&data),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if self.is_broken() {
            return reply.error(Errno::EIO);
        }
        let done = self
            .image
            .write_all_at(data, offset)
            .and_then(|()| self.note(&Record::Write { offset, data }));
        match done {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        if self.is_broken() {
            return reply.error(Errno::EIO);
        }
        match self.note(&Record::Flush) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        // The kernel then writes the zeros, and they are noted like everything else.
        reply.error(Errno::EOPNOTSUPP);
    }
}

fn main() -> io::Result<()> {
    let usage = || io::Error::other("usage: power-recorder IMAGE LOG MOUNTPOINT");
    let mut args = std::env::args_os().skip(1);
    let (Some(image), Some(log), Some(at)) = (args.next(), args.next(), args.next()) else {
        return Err(usage());
    };
    let image = File::options().read(true).write(true).open(image)?;
    let recorder = Recorder {
        fails: PathBuf::from(&log).with_extension("fails"),
        size: image.metadata()?.len(),
        image,
        log: Mutex::new(File::options().create(true).append(true).open(log)?),
    };
    Session::new(recorder, at, &Config::default())?
        .spawn()?
        .join()
}
