//! Where tests stand between the filesystem and the store: they fail a call, stop all of them, or write down what was
//! done. Without a gate none of this costs more than asking whether there is one.

use std::os::fd::BorrowedFd;

use rustix::io::Result;

/// A name in an open directory.
pub type At<'a> = (BorrowedFd<'a>, &'a str);

/// One call on the store or the journal, with all that is needed to do it once more.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Call<'a> {
    /// Reads bytes, attributes or names.
    Read,
    /// Writes bytes.
    Write {
        /// The file.
        file: BorrowedFd<'a>,
        /// Where.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// Cuts or extends a file.
    SetLen {
        /// The file.
        file: BorrowedFd<'a>,
        /// Its new length.
        len: u64,
    },
    /// Gives room back.
    Punch {
        /// The file.
        file: BorrowedFd<'a>,
        /// Where.
        offset: u64,
        /// How much.
        len: u64,
    },
    /// Changes room or attributes, nothing of the content.
    Change,
    /// Makes a regular file.
    CreateFile(At<'a>),
    /// Makes a directory.
    MakeDir(At<'a>),
    /// Makes a symbolic link to this target.
    Symlink(&'a str, At<'a>),
    /// Gives an object a second name.
    Link(At<'a>, At<'a>),
    /// Moves a name, perhaps over another one.
    Rename(At<'a>, At<'a>),
    /// Lets two names change places.
    Exchange(At<'a>, At<'a>),
    /// Removes a name, that of an empty directory perhaps.
    Remove(At<'a>),
    /// Makes bytes and length of a file durable.
    SyncData(BorrowedFd<'a>),
    /// Makes a file, and the name it was made under, durable.
    SyncAll(BorrowedFd<'a>),
    /// Makes the names in a directory durable.
    SyncDir(BorrowedFd<'a>),
    /// Makes everything durable.
    SyncFs,
}

impl Call<'_> {
    /// Whether the call leaves everything as it is.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::Read)
    }

    /// Whether it leaves something that has to be made durable.
    #[must_use]
    pub const fn changes(&self) -> bool {
        !matches!(
            self,
            Self::Read | Self::SyncData(_) | Self::SyncAll(_) | Self::SyncDir(_) | Self::SyncFs
        )
    }
}

/// Is asked before each call and told after it.
pub trait Gate: Send + Sync {
    /// Says whether a call may go ahead; an error stands in for the call's own.
    ///
    /// # Errors
    /// What the caller is to see.
    fn pass(&self, call: &Call<'_>) -> Result<()>;

    /// The call has succeeded.
    fn done(&self, call: &Call<'_>) {
        let _ = call;
    }

    /// How many of the `wanted` bytes the next system call moves, at least one: the kernel may move fewer, too.
    ///
    /// # Errors
    /// `EINTR`: a signal came first.
    fn at_most(&self, wanted: usize) -> Result<usize> {
        Ok(wanted)
    }
}
