//! Listings: entries until the reply is full.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fuser::{FileAttr, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::answer::NOTHING;
use super::{Bridge, file_attr, file_type};
use crate::vfs::Handle;

impl Bridge {
    pub(super) fn list(&self, handle: Handle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.call(|| {
            self.vfs.readdir(handle, offset, &mut |entry| {
                let kind = file_type(entry.kind);
                reply.add(
                    INodeNo(entry.ino.0),
                    entry.next,
                    kind,
                    OsStr::from_bytes(entry.name),
                )
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn list_with_attributes(
        &self,
        handle: Handle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.call(|| {
            self.vfs.readdirplus(handle, offset, &mut |entry, attr| {
                let name = OsStr::from_bytes(entry.name);
                let (nodeid, attr, ttl) = match attr {
                    Some(attr) => (INodeNo(attr.ino.0), file_attr(&attr), self.ttl),
                    // Node id 0: the kernel takes the name and looks the rest up when it needs it.
                    None => {
                        let (ino, kind) = (INodeNo(entry.ino.0), file_type(entry.kind));
                        (
                            INodeNo(0),
                            FileAttr {
                                ino,
                                kind,
                                ..NOTHING
                            },
                            Duration::ZERO,
                        )
                    }
                };
                reply.add(nodeid, entry.next, name, &ttl, &attr, Generation(0))
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }
}
