//! What the filesystem asks of the world around it: keys of shared objects, the list of what is shared, and the verbs
//! people write as attributes. Implemented by the sharing side; the filesystem knows no network.

use std::sync::Arc;

use kms_crypto::id::{LabelId, SchemeId};
use kms_crypto::key::{LabelSecret, PublicKey};
use rustix::io::Errno;
use thiserror::Error;

use super::Ino;

/// Which label secret is wanted.
#[derive(Clone, Debug)]
pub struct LabelRequest {
    /// The label.
    pub label: LabelId,
    /// Its key epoch; a revocation begins a new one.
    pub epoch: u32,
    /// The scheme that made the capsule.
    pub scheme: SchemeId,
    /// The capsule, as it stands in the object's header.
    pub capsule: Vec<u8>,
}

/// Gives a recipient the keys of what is shared with him.
pub trait KeySource: Send + Sync {
    /// The secret in a label's capsule. Called at every open of something shared, so that a revocation bites at the
    /// next open: an implementation may remember an answer for a second, not longer.
    ///
    /// # Errors
    /// Why the key cannot be had; the program that opens sees [`KeyError::errno`].
    fn label_secret(&self, want: &LabelRequest) -> Result<LabelSecret, KeyError>;
}

/// One node's own answer, for `why`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeAnswer {
    /// The node.
    pub node: PublicKey,
    /// What it said, or that it said nothing.
    pub answer: String,
}

/// Why the key of a shared object cannot be had.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum KeyError {
    /// It was never shared with this person.
    #[error("not shared with you")]
    NotShared,
    /// The owner withdrew it.
    #[error("revoked")]
    Revoked {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// The grant has run out.
    #[error("expired")]
    Expired {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// Fewer nodes answered than are needed.
    #[error("{answered} of the {needed} nodes needed answered")]
    NoQuorum {
        /// m.
        needed: u8,
        /// How many gave a good answer.
        answered: u8,
        /// What each one said.
        answers: Vec<NodeAnswer>,
    },
    /// Not enough answers in time.
    #[error("the nodes took too long")]
    Timeout {
        /// What each one said until then.
        answers: Vec<NodeAnswer>,
    },
    /// Nodes answered with proofs that do not hold, and too few others did.
    #[error("nodes gave answers that do not verify")]
    BadProofs {
        /// What each one said.
        answers: Vec<NodeAnswer>,
    },
    /// The answers verify and open nothing: the object's label does not fit the ticket.
    #[error("the key does not open this object")]
    WrongKey,
    /// No ledger or nodes are set up.
    #[error("no network is set up")]
    NoNetwork,
    /// There is no unlocked identity.
    #[error("locked")]
    Locked,
    /// Who wanted it was told to stop, and wants it no more.
    #[error("interrupted")]
    Interrupted,
}

impl KeyError {
    /// The error number a program sees.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::NotShared => Errno::ACCESS,
            Self::Revoked { .. } => Errno::KEYREVOKED,
            Self::Expired { .. } => Errno::KEYEXPIRED,
            Self::NoQuorum { .. } | Self::NoNetwork => Errno::HOSTUNREACH,
            Self::Timeout { .. } => Errno::TIMEDOUT,
            Self::BadProofs { .. } | Self::WrongKey => Errno::KEYREJECTED,
            Self::Locked => Errno::NOKEY,
            Self::Interrupted => Errno::INTR,
        }
    }
}

/// One name on the way from the store's root to something shared.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PathStep {
    /// The name people see.
    pub plain: Vec<u8>,
    /// The name in the store.
    pub backing: String,
}

/// One thing shared with the person who mounts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shared {
    /// Its label.
    pub label: LabelId,
    /// Whether it is a directory with all below it.
    pub is_dir: bool,
    /// Where it stands; never empty unless the root itself is shared.
    pub path: Vec<PathStep>,
}

/// Lists what is shared with the person who mounts, what was revoked or has expired included.
pub trait Shares: Send + Sync {
    /// The list as it is now. Called often: an implementation reads its tickets at most once a second and hands out
    /// the same list until they change.
    fn current(&self) -> Arc<[Shared]>;
}

/// Who asks for a verb.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asker {
    /// The user.
    pub uid: u32,
    /// The process.
    pub pid: u32,
}

/// A refused verb.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{why}")]
pub struct VerbError {
    /// The error number, as in errno(3).
    pub errno: i32,
    /// What `user.kms.why` says.
    pub why: String,
}

/// The `user.kms.*` attributes. Called on a pool of its own threads; may wait for the network within its deadline.
pub trait Verbs: Send + Sync {
    /// `setxattr` of `user.kms.<name>`.
    ///
    /// # Errors
    /// What the caller is told.
    fn set(&self, ino: Ino, name: &str, value: &[u8], asker: Asker) -> Result<(), VerbError>;

    /// `getxattr` of `user.kms.<name>`.
    ///
    /// # Errors
    /// What the caller is told; `ENODATA` where there is nothing to say.
    fn get(&self, ino: Ino, name: &str, asker: Asker) -> Result<Vec<u8>, VerbError>;

    /// Whether `user.kms.info` is listed for this object: while it is shared, directly or through a directory. Must
    /// not wait for the network.
    fn listed(&self, ino: Ino) -> bool;
}

/// A labelled object that changed its place, or one that lies below a directory that did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Moved {
    /// The object that was renamed: labelled itself or an ancestor of something labelled.
    pub ino: Ino,
    /// The directory and name a file had, if it stays in that directory: it may have been put aside for a new version.
    pub aside: Option<(Ino, Vec<u8>)>,
}

/// A labelled object that is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Removed {
    /// The label it had.
    pub label: LabelId,
    /// The object, as it was known.
    pub ino: Ino,
}

/// A file that took the place of another one with a label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replaced {
    /// The label of the file that was there.
    pub label: LabelId,
    /// The file that is there now.
    pub by: Ino,
    /// The user who renamed.
    pub uid: u32,
    /// Whether the replacement was created in the same directory by the same user moments before and has no label of
    /// its own: the way editors save.
    pub is_save: bool,
}

/// Is told what happens to names; calls come after the fact, from the thread that did it, and must return at once.
pub trait Events: Send + Sync {
    /// Whether anything is labelled at all: if not, nobody looks for labels before something goes.
    fn watches(&self) -> bool {
        true
    }
    /// Something labelled, or a directory that may contain something labelled, was renamed.
    fn moved(&self, _moved: Moved) {}
    /// A labelled file was replaced by a rename and has no other name.
    fn replaced(&self, _replaced: Replaced) {}
    /// A labelled object lost its last name, other than by being replaced by a file.
    fn removed(&self, _removed: Removed) {}
}
