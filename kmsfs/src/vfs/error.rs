//! Why an operation failed: what the caller is told as an errno and what `why` says in words.

use kms_crypto::format::{BodyError, HeaderError};
use kms_crypto::id::{FileId, LabelId};
use rustix::io::Errno;
use thiserror::Error;

use super::hooks::{KeyError, VerbError};

/// Why a filesystem operation failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum VfsError {
    /// A rule of POSIX, or the store's own filesystem, says no.
    #[error("{}", std::io::Error::from(*.0))]
    Os(Errno),
    /// What stands in the store was not written by a key holder, or not there.
    #[error("{0}")]
    Damaged(Damage),
    /// The object is older than what this client has already seen of it (FRESHNESS §4).
    #[error("older than what was already seen")]
    Older,
    /// The configuration was replaced by another one that this client has seen.
    #[error("the configuration (kmsfs.toml) is one that was replaced since")]
    OldConfiguration,
    /// Something is strange, though nothing is refused; only in what `fsck` reports.
    #[error("{0}")]
    Odd(#[from] super::Oddity),
    /// The key of a shared object could not be had.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// Not shared with this person, or shared for reading only.
    #[error("not shared with you in this way")]
    NotShared,
    /// A `user.kms.*` attribute was refused.
    #[error("{0}")]
    Verb(#[from] VerbError),
}

/// What a failed verification found.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{part} does not verify")]
pub struct Damage {
    /// The object, where its header could be read.
    pub file: Option<FileId>,
    /// Which part of it.
    pub part: Part,
}

/// A part of a stored object.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// The header, its seals or its keys.
    #[error("the header")]
    Header,
    /// The place: the object was not put under this name by a key holder.
    #[error("the place (this object does not belong under this name)")]
    Place,
    /// The kind: a device, FIFO or link stands where a file or directory belongs.
    #[error("the kind of object")]
    Kind,
    /// A chunk of the content.
    #[error("chunk {0}")]
    Chunk(u64),
    /// A page of the tag tree.
    #[error("tag page {index} of level {level}")]
    Page {
        /// The page's level, 1 standing above the chunks.
        level: u8,
        /// Its position in the level.
        index: u64,
    },
    /// The length of the stored file, which is too short for its content.
    #[error("the length (content is missing at the end)")]
    Length,
    /// A name in a directory.
    #[error("a name")]
    Name,
    /// A symbolic link's target.
    #[error("the link's target")]
    Target,
    /// The extended attributes.
    #[error("the extended attributes")]
    Attributes,
    /// A label's key.
    #[error("the key of label {0}")]
    Label(LabelId),
}

impl From<Errno> for VfsError {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

impl From<Part> for VfsError {
    fn from(part: Part) -> Self {
        Self::Damaged(Damage { file: None, part })
    }
}

impl VfsError {
    /// Names the object that is damaged.
    #[must_use]
    pub(crate) fn of(self, file: FileId) -> Self {
        match self {
            Self::Damaged(Damage { file: None, part }) => Self::Damaged(Damage {
                file: Some(file),
                part,
            }),
            other => other,
        }
    }

    /// The error number a program sees (CLI §errors).
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Os(errno) => *errno,
            Self::Damaged(_) | Self::Odd(_) => Errno::IO,
            Self::Older | Self::OldConfiguration => Errno::STALE,
            Self::Key(key) => key.errno(),
            Self::NotShared => Errno::ACCESS,
            Self::Verb(verb) => Errno::from_raw_os_error(verb.errno),
        }
    }

    /// The same, folded into what programs written for POSIX know (`-o errno=posix`).
    #[must_use]
    pub fn posix_errno(&self) -> Errno {
        match self.errno() {
            Errno::KEYREVOKED | Errno::KEYEXPIRED | Errno::NOKEY => Errno::ACCESS,
            Errno::KEYREJECTED | Errno::HOSTUNREACH | Errno::TIMEDOUT | Errno::STALE => Errno::IO,
            Errno::DESTADDRREQ | Errno::NOTUNIQ => Errno::INVAL,
            other => other,
        }
    }
}

/// The result of a filesystem operation.
pub type Result<T, E = VfsError> = std::result::Result<T, E>;

/// What a header that was refused means for the caller.
pub(super) fn header_error(error: HeaderError) -> VfsError {
    match error {
        HeaderError::NotBound { .. } | HeaderError::OtherDir => Part::Place.into(),
        HeaderError::OtherKind => Part::Kind.into(),
        HeaderError::Full(kms_crypto::format::Part::Bindings) => Errno::MLINK.into(),
        HeaderError::Full(_) => Errno::NOSPC.into(),
        _ => Part::Header.into(),
    }
}

impl From<BodyError> for Part {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Chunk { index } | BodyError::ChunkEpoch { index, .. } => Self::Chunk(index),
            BodyError::Page { level, index } => Self::Page { level, index },
            _ => Self::Length,
        }
    }
}
