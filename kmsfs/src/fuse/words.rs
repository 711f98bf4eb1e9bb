//! What the kernel's words mean to the filesystem.

use std::time::SystemTime;

use fuser::{OpenAccMode, OpenFlags, TimeOrNow};
use kms_crypto::format::Special;

use crate::backing::{Time, TimeChange};
use crate::vfs::{Access, Allocate};

pub(super) fn access(flags: OpenFlags) -> Access {
    match flags.acc_mode() {
        OpenAccMode::O_RDONLY => Access::Read,
        OpenAccMode::O_WRONLY | OpenAccMode::O_RDWR => Access::Write,
    }
}

pub(super) fn time_change(time: Option<TimeOrNow>) -> TimeChange {
    match time {
        None => TimeChange::Keep,
        Some(TimeOrNow::Now) => TimeChange::Now,
        Some(TimeOrNow::SpecificTime(time)) => TimeChange::To(as_sent(time)),
    }
}

/// Before 1970 the nanoseconds count from the second before the time, as everywhere; fuser subtracts them, too.
pub(super) fn as_sent(time: SystemTime) -> Time {
    match SystemTime::UNIX_EPOCH.duration_since(time) {
        Ok(before) if before.subsec_nanos() > 0 => Time {
            seconds: -i64::try_from(before.as_secs()).unwrap_or(i64::MAX),
            nanos: before.subsec_nanos(),
        },
        _ => time.into(),
    }
}

/// What `mknod` is to make: a regular file (no `Special`), or something else; `None` for what it cannot make.
pub(super) fn special(mode: u32, rdev: u32) -> Option<Option<Special>> {
    Some(match mode & libc::S_IFMT {
        libc::S_IFREG => None,
        libc::S_IFCHR => Some(Special::CharDevice(rdev)),
        libc::S_IFBLK => Some(Special::BlockDevice(rdev)),
        libc::S_IFIFO => Some(Special::Fifo),
        libc::S_IFSOCK => Some(Special::Socket),
        _ => return None,
    })
}

/// What `fallocate` is to do, if it can.
pub(super) fn allocation(mode: i32) -> Option<Allocate> {
    const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
    match mode {
        0 => Some(Allocate::Extend),
        KEEP => Some(Allocate::KeepSize),
        libc::FALLOC_FL_ZERO_RANGE => Some(Allocate::Zero),
        mode if mode == KEEP | libc::FALLOC_FL_PUNCH_HOLE => Some(Allocate::PunchHole),
        mode if mode == KEEP | libc::FALLOC_FL_ZERO_RANGE => Some(Allocate::ZeroKeepSize),
        _ => None,
    }
}
