//! The requests, one method each: call, reply.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};

use super::words::{access, allocation, special, time_change};
use super::{Bridge, caller, file_attr};
use crate::backing::Replace;
use crate::vfs::{Access, AttrChange, Handle, Ino, Seek, XattrMode};

thread_local! {
    /// Reads are answered from here; a buffer for each would cost more than the decryption.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Filesystem for Bridge {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            // Not FUSE_ATOMIC_O_TRUNC: the kernel asks us to cut a file before it has looked whether it may be written,
            // and with O_RDONLY that empties a program while it runs.
            InitFlags::FUSE_ASYNC_DIO,
            if self.vfs.is_owner() {
                InitFlags::FUSE_EXPLICIT_INVAL_DATA
            } else {
                InitFlags::FUSE_AUTO_INVAL_DATA
            },
        ];
        for flag in wanted {
            // What an older kernel lacks costs speed, nothing else.
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(1 << 20);
        let _ = config.set_max_readahead(1 << 20);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (parent, name) = (Ino(parent.0), name.as_bytes().to_vec());
        self.run(req, move |this| {
            this.answer_entry(reply, || this.vfs.lookup(parent, &name))
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.vfs.forget(Ino(ino.0), nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let handle = fh.map(|fh| Handle(fh.0));
        self.answer_attr(reply, || self.vfs.getattr(Ino(ino.0), handle));
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = AttrChange {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: time_change(atime),
            mtime: time_change(mtime),
        };
        let handle = fh.map(|fh| Handle(fh.0));
        self.answer_attr(reply, || {
            self.vfs.setattr(caller(req), Ino(ino.0), handle, change)
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.call(|| self.vfs.readlink(Ino(ino.0))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let Some(special) = special(mode, rdev) else {
            return reply.error(Errno::EINVAL);
        };
        self.answer_entry(reply, || {
            self.vfs.mknod(
                caller(req),
                Ino(parent.0),
                name.as_bytes(),
                mode & 0o7777,
                special,
            )
        });
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.answer_entry(reply, || {
            self.vfs
                .mkdir(caller(req), Ino(parent.0), name.as_bytes(), mode & 0o7777)
        });
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer_empty(reply, || {
            self.vfs.unlink(caller(req), Ino(parent.0), name.as_bytes())
        });
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer_empty(reply, || {
            self.vfs.rmdir(caller(req), Ino(parent.0), name.as_bytes())
        });
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes();
        self.answer_entry(reply, || {
            self.vfs
                .symlink(caller(req), Ino(parent.0), link_name.as_bytes(), target)
        });
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let replace = match flags {
            flags if flags.is_empty() => Replace::Yes,
            RenameFlags::RENAME_NOREPLACE => Replace::No,
            RenameFlags::RENAME_EXCHANGE => Replace::Exchange,
            _ => return reply.error(Errno::EINVAL),
        };
        let from = (Ino(parent.0), name.as_bytes());
        let to = (Ino(newparent.0), newname.as_bytes());
        self.answer_empty(reply, || self.vfs.rename(caller(req), from, to, replace));
    }

    fn link(
        &self,
        req: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.answer_entry(reply, || {
            self.vfs.link(
                caller(req),
                Ino(ino.0),
                Ino(newparent.0),
                newname.as_bytes(),
            )
        });
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let caller = caller(req);
        self.run(req, move |this| {
            let truncate = flags.0 & libc::O_TRUNC != 0;
            match this.call(|| this.vfs.open(caller, Ino(ino.0), access(flags), truncate)) {
                Ok(opened) => {
                    let mut how = FopenFlags::empty();
                    how.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
                    // Who has written nothing has nothing to be told when he closes.
                    let reads_only = access(flags) == Access::Read && !truncate;
                    how.set(FopenFlags::FOPEN_NOFLUSH, reads_only);
                    reply.opened(FileHandle(opened.handle.0), how);
                }
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = usize::try_from(size).unwrap_or(0);
        READ_BUFFER.with_borrow_mut(|buf| {
            match self.call(|| self.vfs.read(Handle(fh.0), offset, size, buf)) {
                Ok(range) => reply.data(buf.get(range).unwrap_or_default()),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let clear_setid = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        match self.call(|| self.vfs.write(Handle(fh.0), offset, data, clear_setid)) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.answer_empty(reply, || self.vfs.flush(Handle(fh.0)));
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.answer_empty(reply, || self.vfs.release(Handle(fh.0)));
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.answer_empty(reply, || self.vfs.fsync(Handle(fh.0)));
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.run(req, move |this| {
            match this.call(|| this.vfs.opendir(Ino(ino.0))) {
                Ok(opened) => {
                    let mut flags = FopenFlags::empty();
                    if this.vfs.is_owner() {
                        flags |= FopenFlags::FOPEN_CACHE_DIR;
                        if opened.keep_cache {
                            flags |= FopenFlags::FOPEN_KEEP_CACHE;
                        }
                    }
                    reply.opened(FileHandle(opened.handle.0), flags);
                }
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdir(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.run(req, move |this| this.list(Handle(fh.0), offset, reply));
    }

    fn readdirplus(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.run(req, move |this| {
            this.list_with_attributes(Handle(fh.0), offset, reply)
        });
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.vfs.releasedir(Handle(fh.0));
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.answer_empty(reply, || self.vfs.fsyncdir(Ino(ino.0)));
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match self.call(|| self.vfs.statfs()) {
            Ok(it) => reply.statfs(
                it.blocks,
                it.free,
                it.available,
                it.files,
                it.files_free,
                it.block_size,
                255,
                it.fragment_size,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            0 => XattrMode::Set,
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let (caller, ino, name, value) = (
            caller(req),
            Ino(ino.0),
            name.as_bytes().to_vec(),
            value.to_vec(),
        );
        self.run_xattr(req, &name.clone(), move |this| {
            this.answer_empty(reply, || {
                this.vfs.setxattr(caller, ino, &name, &value, mode)
            });
        });
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (caller, ino, name) = (caller(req), Ino(ino.0), name.as_bytes().to_vec());
        self.run_xattr(req, &name.clone(), move |this| {
            this.answer_xattr(reply, size, || this.vfs.getxattr(caller, ino, &name));
        });
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let caller = caller(req);
        self.run(req, move |this| {
            this.answer_xattr(reply, size, || this.vfs.listxattr(caller, Ino(ino.0)));
        });
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer_empty(reply, || {
            self.vfs
                .removexattr(caller(req), Ino(ino.0), name.as_bytes())
        });
    }

    /// Asked only where the kernel does not compare permission bits itself, which is where nobody but root comes in.
    fn access(&self, _req: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        self.answer_empty(reply, || {
            self.vfs
                .root_may(Ino(ino.0), mask.contains(AccessFlags::X_OK))
        });
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.call(|| {
            let access = access(OpenFlags(flags));
            self.vfs.create(
                caller(req),
                Ino(parent.0),
                name.as_bytes(),
                mode & 0o7777,
                access,
            )
        });
        match made {
            Ok((attr, opened)) => {
                let handle = FileHandle(opened.handle.0);
                reply.created(
                    &self.ttl,
                    &file_attr(&attr),
                    Generation(0),
                    handle,
                    FopenFlags::empty(),
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some(what) = allocation(mode) else {
            return reply.error(Errno::EOPNOTSUPP);
        };
        self.answer_empty(reply, || {
            self.vfs.fallocate(Handle(fh.0), offset, length, what)
        });
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        _ino_in: INodeNo,
        _fh_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _fh_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The kernel then copies through its own cache.
        reply.error(Errno::ENOSYS);
    }

    fn lseek(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let seek = match whence {
            libc::SEEK_DATA => Seek::Data,
            libc::SEEK_HOLE => Seek::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return reply.error(Errno::ENXIO);
        };
        match self.call(|| self.vfs.lseek(Handle(fh.0), offset, seek)) {
            Ok(found) => reply.offset(i64::try_from(found).unwrap_or(i64::MAX)),
            Err(errno) => reply.error(errno),
        }
    }
}
