//! What goes into and comes out of the operations of [`super::Vfs`].

use crate::backing::{Kind, Time, TimeChange};

use super::Ino;

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The process.
    pub pid: u32,
}

/// The attributes of an object as programs see them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attr {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub size: u64,
    /// How many 512-byte blocks it takes in the store.
    pub blocks: u64,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// How many names it has.
    pub nlink: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Last access.
    pub atime: Time,
    /// Last change of its bytes.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
}

/// Changes to attributes; what is `None` or `Keep` stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AttrChange {
    /// New permission, set-id and sticky bits.
    pub mode: Option<u32>,
    /// New owning user.
    pub uid: Option<u32>,
    /// New owning group.
    pub gid: Option<u32>,
    /// New length.
    pub size: Option<u64>,
    /// New access time.
    pub atime: TimeChange,
    /// New modification time.
    pub mtime: TimeChange,
}

impl AttrChange {
    /// Changes nothing.
    pub const NONE: Self = Self {
        mode: None,
        uid: None,
        gid: None,
        size: None,
        atime: TimeChange::Keep,
        mtime: TimeChange::Keep,
    };
}

/// An open file or directory.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Handle(pub u64);

/// What a program may do with an open file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Read.
    Read,
    /// Write, or read and write.
    Write,
}

/// A file just opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Opened {
    /// The handle.
    pub handle: Handle,
    /// Whether what the kernel remembers of the content is still right.
    pub keep_cache: bool,
}

/// One entry of a directory listing.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The number to show.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// The offset that continues after this entry.
    pub next: u64,
}

/// The attribute that comes with a name in a listing; `None` where the kernel should look it up when it needs it.
pub type EntryAttr = Option<Attr>;

/// Figures of the whole filesystem.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Figures {
    /// Total blocks of `frsize` bytes.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks for ordinary users.
    pub available: u64,
    /// Total inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Preferred size of an operation.
    pub block_size: u32,
    /// The unit of the counts.
    pub fragment_size: u32,
}

/// Whether `setxattr` may make or replace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XattrMode {
    /// Either.
    Set,
    /// Only make.
    Create,
    /// Only replace.
    Replace,
}

/// What `fallocate` does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Allocate {
    /// Makes room and, if need be, the file longer.
    Extend,
    /// Makes room and leaves the length.
    KeepSize,
    /// Makes a hole and leaves the length.
    PunchHole,
    /// Makes the range read as zeros, and the file longer if need be.
    Zero,
    /// Makes the range read as zeros and leaves the length.
    ZeroKeepSize,
}

/// What `lseek` looks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seek {
    /// The next byte that is not in a hole.
    Data,
    /// The next hole.
    Hole,
}
