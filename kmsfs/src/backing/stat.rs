//! Attributes as the operating system tells them, in types of our own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kms_crypto::format::Special;
use rustix::fs::{FileType, RawMode, Timespec, UTIME_NOW, UTIME_OMIT};

/// What an object is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device by a file's header; in the store it is a regular file.
    Special(Special),
    /// A FIFO, socket or device in the store itself: planted, as kmsfs puts none there.
    Other,
}

impl Kind {
    pub(crate) fn from_file_type(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// A point in time, to the nanosecond, before or after 1970.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time {
    /// Whole seconds since 1970, rounded down.
    pub seconds: i64,
    /// Nanoseconds past those, below 10⁹.
    pub nanos: u32,
}

impl Time {
    /// The present, by the system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanos: after.subsec_nanos(),
            },
            Err(err) => {
                let before = err.duration();
                let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Self {
                        seconds: -seconds,
                        nanos: 0,
                    },
                    nanos => Self {
                        seconds: -seconds - 1,
                        nanos: 1_000_000_000 - nanos,
                    },
                }
            }
        }
    }
}

impl From<Time> for SystemTime {
    fn from(time: Time) -> Self {
        let nanos = Duration::from_nanos(u64::from(time.nanos));
        let whole = Duration::from_secs(time.seconds.unsigned_abs());
        let base = if time.seconds >= 0 {
            UNIX_EPOCH.checked_add(whole)
        } else {
            UNIX_EPOCH.checked_sub(whole)
        };
        base.and_then(|base| base.checked_add(nanos))
            .unwrap_or(UNIX_EPOCH)
    }
}

/// A change to a timestamp.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TimeChange {
    /// Leave it.
    Keep,
    /// The present, as the backing filesystem sees it.
    Now,
    /// This.
    To(Time),
}

impl TimeChange {
    pub(super) fn to_raw(self) -> Timespec {
        match self {
            Self::Keep => Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            Self::Now => Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
            Self::To(time) => Timespec {
                tv_sec: time.seconds,
                tv_nsec: time.nanos.into(),
            },
        }
    }
}

/// Attributes of a backing object.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// The device.
    pub dev: u64,
    /// The inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// How many names it has.
    pub nlink: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Its length in bytes.
    pub size: u64,
    /// How many 512-byte blocks it takes.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of its bytes.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
}

impl Stat {
    pub(super) fn from_raw(raw: &rustix::fs::Stat) -> Self {
        Self {
            dev: raw.st_dev,
            ino: raw.st_ino,
            kind: Kind::from_file_type(FileType::from_raw_mode(raw.st_mode as RawMode)),
            mode: raw.st_mode & 0o7777,
            nlink: u32::try_from(raw.st_nlink).unwrap_or(u32::MAX),
            uid: raw.st_uid,
            gid: raw.st_gid,
            size: u64::try_from(raw.st_size).unwrap_or(0),
            blocks: u64::try_from(raw.st_blocks).unwrap_or(0),
            atime: time(raw.st_atime.into(), raw.st_atime_nsec),
            mtime: time(raw.st_mtime.into(), raw.st_mtime_nsec),
            ctime: time(raw.st_ctime.into(), raw.st_ctime_nsec),
        }
    }
}

fn time(seconds: i128, nanos: u64) -> Time {
    Time {
        seconds: i64::try_from(seconds).unwrap_or(0),
        nanos: u32::try_from(nanos).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_survive_the_way_there_and_back() {
        for time in [
            Time {
                seconds: -1,
                nanos: 999_999_999,
            },
            Time {
                seconds: -5,
                nanos: 0,
            },
            Time {
                seconds: 0,
                nanos: 1,
            },
            Time {
                seconds: 1_700_000_000,
                nanos: 123_456_789,
            },
        ] {
            assert_eq!(Time::from(SystemTime::from(time)), time);
        }
    }
}
