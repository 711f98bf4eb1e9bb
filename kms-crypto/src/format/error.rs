//! What can be wrong with a backing file, and with which part of it (FORMAT §3.7, §5.4).

use core::fmt;

use thiserror::Error;

use crate::id::{CipherId, DirId, LabelId, SchemeId};

/// A part of a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// The frame around all parts, its length and padding.
    Envelope,
    /// What the object is.
    Core,
    /// The key table.
    Keys,
    /// The names the object has.
    Bindings,
    /// The labels it is shared by.
    Labels,
    /// Size, mode, leaves and the like.
    State,
    /// The inline attributes.
    Xattrs,
    /// The name key of a directory.
    Names,
    /// The seal made with the object's key.
    KeySeal,
    /// The seal made with the owner's key.
    OwnerSeal,
    /// The signature.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Envelope => "envelope",
            Self::Core => "core",
            Self::Keys => "key table",
            Self::Bindings => "bindings",
            Self::Labels => "labels",
            Self::State => "state",
            Self::Xattrs => "attributes",
            Self::Names => "name key",
            Self::KeySeal => "key seal",
            Self::OwnerSeal => "owner seal",
            Self::Signature => "signature",
        })
    }
}

/// Why a header was not read, opened or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It does not begin as a header does.
    #[error("not a header of this format")]
    NotAHeader,
    /// Fewer than 4096 bytes were there.
    #[error("the header is cut off after {found} bytes")]
    Short {
        /// How many bytes there were.
        found: usize,
    },
    /// More than 4096 bytes were there, where a directory's header stands alone.
    #[error("the header of a directory goes on: {found} bytes")]
    Long {
        /// How many bytes there were.
        found: usize,
    },
    /// A version this program does not know.
    #[error("format version {0} is not known here")]
    UnknownVersion(u16),
    /// A kind of object this program does not know.
    #[error("object kind {0} is not known here")]
    UnknownKind(u64),
    /// A cipher this program does not know.
    #[error("cipher {0} is not known here")]
    UnknownCipher(CipherId),
    /// A re-encryption scheme this program does not know.
    #[error("re-encryption scheme {0} is not known here")]
    UnknownScheme(SchemeId),
    /// A chunk size that does not exist.
    #[error("chunks of 2^{0} bytes are not known here")]
    UnknownChunkBits(u8),
    /// A field this program does not know.
    #[error("header field {0} is not known here")]
    UnknownField(u64),
    /// A part is not encoded as it must be.
    #[error("the {0} of the header cannot be read")]
    Malformed(Part),
    /// A part was altered, or made by somebody who may not.
    #[error("the {0} of the header does not verify")]
    Refused(Part),
    /// A shared object without the signature it must have.
    #[error("the header is not signed")]
    Unsigned,
    /// The key that was offered opens something else.
    #[error("the key does not belong to this object")]
    WrongKey,
    /// The object has no such name in that directory: it was put there by somebody else.
    #[error("the object does not belong under this name in directory {dir:?}")]
    NotBound {
        /// The directory.
        dir: DirId,
    },
    /// The name is wrapped under a directory key that is not at hand.
    #[error("directory key epoch {epoch} is needed")]
    DirEpoch {
        /// The epoch that is needed.
        epoch: u32,
    },
    /// The object has no such label.
    #[error("the object has no label {0:?}")]
    NoLabel(LabelId),
    /// The other kind of object was expected.
    #[error("a file was expected where a directory is, or the reverse")]
    OtherKind,
    /// The directory that was expected is another one.
    #[error("another directory stands in this place")]
    OtherDir,
    /// No more names or labels fit.
    #[error("the {0} are full")]
    Full(Part),
    /// A key change is under way already, or none is.
    #[error("a key change is under way, or none is")]
    Rekeying,
    /// A chunk or the attributes are still sealed under the old key.
    #[error("something is still sealed under key epoch {epoch}")]
    StillOld {
        /// The old epoch.
        epoch: u32,
    },
    /// The secret of a label is needed to let it open the new key.
    #[error("the secret of label {0:?} is needed")]
    LabelSecretNeeded(LabelId),
    /// The key of a directory is needed to let it open the new key.
    #[error("the key of directory {0:?} is needed")]
    DirKeyNeeded(DirId),
}

/// What is wrong with a file's body.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// A chunk was altered, moved, or is not the one last written.
    #[error("chunk {index} does not verify")]
    Chunk {
        /// Which one.
        index: u64,
    },
    /// A chunk is sealed under a key that the header no longer has.
    #[error("chunk {index} names key epoch {epoch}, which the header does not have")]
    ChunkEpoch {
        /// Which one.
        index: u64,
        /// The epoch it names.
        epoch: u32,
    },
    /// A tag page was altered, moved, or is not the one last written.
    #[error("tag page {index} of level {level} does not verify")]
    Page {
        /// Its level.
        level: u8,
        /// Its place in the level.
        index: u64,
    },
    /// The file ends too early.
    #[error("the file is cut off: {found} bytes of {expected}")]
    Truncated {
        /// How long the file must be.
        expected: u64,
        /// How long it is.
        found: u64,
    },
    /// The file goes on past its end.
    #[error("the file goes on past its end: {found} bytes instead of {expected}")]
    Extended {
        /// How long the file must be.
        expected: u64,
        /// How long it is.
        found: u64,
    },
}
