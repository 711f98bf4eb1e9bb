//! From what the filesystem says to replies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use fuser::{
    Errno, FileAttr, Generation, INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyXattr, Request,
};

use super::{Bridge, GLANCE, file_attr};
use crate::vfs::{Attr, Result};

impl Bridge {
    /// Calls into the filesystem. A panic there is our mistake and costs this request, not the mount.
    pub(super) fn call<T>(
        &self,
        work: impl FnOnce() -> Result<T>,
    ) -> std::result::Result<T, Errno> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                tracing::debug!(%error, "request failed");
                Err(self.errno(&error))
            }
            Err(_) => {
                tracing::error!("a request panicked; this is a mistake in kmsfs");
                Err(Errno::EIO)
            }
        }
    }

    pub(super) fn answer_entry(&self, reply: ReplyEntry, work: impl FnOnce() -> Result<Attr>) {
        match self.call(work) {
            Ok(attr) => reply.entry(&self.ttl, &file_attr(&attr), Generation(0)),
            // Missing names are worth remembering, too.
            Err(errno) if errno.code() == libc::ENOENT && self.vfs.is_owner() => {
                reply.entry(&GLANCE, &NOTHING, Generation(0));
            }
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn answer_attr(&self, reply: ReplyAttr, work: impl FnOnce() -> Result<Attr>) {
        match self.call(work) {
            Ok(attr) => reply.attr(&self.ttl, &file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn answer_empty(&self, reply: ReplyEmpty, work: impl FnOnce() -> Result<()>) {
        match self.call(work) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn answer_xattr(
        &self,
        reply: ReplyXattr,
        size: u32,
        work: impl FnOnce() -> Result<Vec<u8>>,
    ) {
        match self.call(work) {
            Ok(value) => match u32::try_from(value.len()) {
                Ok(len) if size == 0 => reply.size(len),
                Ok(len) if len <= size => reply.data(&value),
                _ => reply.error(Errno::ERANGE),
            },
            Err(errno) => reply.error(errno),
        }
    }
}

impl Bridge {
    /// The verbs may wait for the network in an owner's mount as well.
    pub(super) fn run_xattr(
        &self,
        req: &Request,
        name: &[u8],
        work: impl FnOnce(&Self) + Send + 'static,
    ) {
        if name.starts_with(b"user.kms.") {
            self.run_pooled(work);
        } else {
            self.run(req, work);
        }
    }
}

/// Inode 0: no such name.
pub(super) const NOTHING: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: SystemTime::UNIX_EPOCH,
    mtime: SystemTime::UNIX_EPOCH,
    ctime: SystemTime::UNIX_EPOCH,
    crtime: SystemTime::UNIX_EPOCH,
    kind: fuser::FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 4096,
    flags: 0,
};
