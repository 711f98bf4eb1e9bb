//! The filesystem: plain methods on [`Vfs`], no FUSE types, no network.
//!
//! One file for each family of operations under `vfs/`. An owner's filesystem reads and writes the store; a
//! recipient's shows what is shared, read-only, and writes nothing into the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::id::{CipherId, LabelId, SchemeId, StoreId};
use kms_crypto::key::{IdentitySecret, PublicKey, StoreKey};

pub use self::error::{Damage, Part, Result, VfsError};

pub mod error;
pub mod hooks;

use self::hooks::{Events, KeySource, Shares, Verbs};

/// The number by which an object is known while the filesystem is up.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory.
    pub const ROOT: Self = Self(1);
}

/// What the filesystem has to know of a store's configuration.
#[derive(Clone, Debug)]
pub struct StoreInfo {
    /// The store's id.
    pub id: StoreId,
    /// Its owner.
    pub owner: PublicKey,
    /// The cipher new files get.
    pub cipher: CipherId,
    /// The scheme new labels get.
    pub scheme: SchemeId,
    /// log₂ of the chunk size of new files.
    pub chunk_bits: u8,
}

/// How a filesystem is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// A local directory outside the store for the journal; made when missing. Recipients need none.
    pub state_dir: PathBuf,
    /// The user shown as owner of everything in a recipient's mount.
    pub uid: u32,
    /// The group shown there.
    pub gid: u32,
}

/// The filesystem.
#[derive(Debug)]
pub struct Vfs {
    _private: (),
}

/// A label and what opens it.
#[derive(Clone, Debug)]
pub struct LabelInfo {
    /// The label.
    pub label: LabelId,
    /// Whether it stands on a directory.
    pub is_dir: bool,
    /// The label's public key.
    pub key: PublicKey,
    /// Which delegating key of the label this is.
    pub generation: u32,
    /// The key epoch; a revocation begins a new one.
    pub epoch: u32,
    /// The scheme of the capsule.
    pub scheme: SchemeId,
    /// The capsule.
    pub capsule: Vec<u8>,
}

/// The last failure of a user at a path, for `why`.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When, in seconds since 1970.
    pub at: u64,
    /// What failed: the name of the operation.
    pub operation: &'static str,
    /// Why.
    pub error: VfsError,
}

/// Something `fsck` found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The path people see, as far as names could be decrypted.
    pub path: PathBuf,
    /// The path in the store.
    pub backing: PathBuf,
    /// What is wrong.
    pub problem: VfsError,
}

/// What `fsck` looked at and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many directories were checked.
    pub dirs: u64,
    /// How many files.
    pub files: u64,
    /// How many symbolic links.
    pub links: u64,
    /// How many bytes of content.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

#[expect(unused_variables, reason = "bodies follow")]
#[expect(clippy::todo, reason = "bodies follow")]
#[expect(clippy::missing_errors_doc, reason = "bodies follow")]
impl Vfs {
    /// Lays out an empty store in `dir` (which exists and is empty, or holds just the configuration).
    pub fn create_store(dir: &Path, info: &StoreInfo, key: &StoreKey) -> Result<()> {
        todo!()
    }

    /// Opens a store as its owner: takes the store's lock, replays the journal, goes on with unfinished re-keying.
    /// `EBUSY` when another mount of this machine has it.
    pub fn open_owner(
        store: &Path,
        info: StoreInfo,
        key: StoreKey,
        signer: Arc<IdentitySecret>,
        options: Options,
    ) -> Result<Arc<Self>> {
        todo!()
    }

    /// Opens a store as somebody with whom parts of it are shared: read-only, no lock, nothing is written.
    pub fn open_recipient(
        store: &Path,
        info: StoreInfo,
        keys: Arc<dyn KeySource>,
        shares: Arc<dyn Shares>,
        options: Options,
    ) -> Result<Arc<Self>> {
        todo!()
    }

    /// Sets who answers `user.kms.*`. Until then every verb is `EOPNOTSUPP`.
    pub fn set_verbs(&self, verbs: Arc<dyn Verbs>) {
        todo!()
    }

    /// Sets who is told of renames.
    pub fn set_events(&self, events: Arc<dyn Events>) {
        todo!()
    }

    /// Makes everything durable and stops the background work. The filesystem must not be used afterwards.
    pub fn close(&self) -> Result<()> {
        todo!()
    }

    /// The object at a path relative to the root, symbolic links not followed.
    pub fn resolve(&self, path: &Path) -> Result<Ino> {
        todo!()
    }

    /// A path of an object, relative to the root; `None` once it has no name left.
    pub fn path_of(&self, ino: Ino) -> Option<PathBuf> {
        todo!()
    }

    /// The same as plain and stored names.
    pub fn locate(&self, ino: Ino) -> Option<Vec<hooks::PathStep>> {
        todo!()
    }

    /// The object's own label, if it has one.
    pub fn label_of(&self, ino: Ino) -> Result<Option<LabelInfo>> {
        todo!()
    }

    /// The labels through which the object can be read: its own first, then those of the directories above it,
    /// nearest first.
    pub fn labels_over(&self, ino: Ino) -> Result<Vec<(Ino, LabelInfo)>> {
        todo!()
    }

    /// The object's own label, made when there is none: label key, capsule and signature come into being here.
    /// Durable and in the store when it returns.
    pub fn ensure_label(&self, ino: Ino) -> Result<LabelInfo> {
        todo!()
    }

    /// Begins a new epoch of the label on the object: a new secret and capsule, and new keys for the content, which a
    /// background job goes through. Durable and in the store when it returns.
    pub fn rotate(&self, ino: Ino) -> Result<LabelInfo> {
        todo!()
    }

    /// The same with a new delegating key: after too few nodes confirmed to have deleted a fragment.
    pub fn renew_label(&self, ino: Ino) -> Result<LabelInfo> {
        todo!()
    }

    /// Takes the label off the object, which gets new keys as after [`Self::rotate`].
    pub fn drop_label(&self, ino: Ino) -> Result<()> {
        todo!()
    }

    /// How many objects still wait for new keys.
    pub fn rekey_backlog(&self) -> u64 {
        todo!()
    }

    /// The last failure of `uid` at `path` (relative to the root), of whatever operation.
    pub fn last_failure(&self, uid: u32, path: &Path) -> Option<Failure> {
        todo!()
    }

    /// Reads and verifies everything below `path`, changing nothing. `progress` is called with the running totals.
    pub fn fsck(&self, path: &Path, progress: &mut dyn FnMut(&Report)) -> Result<Report> {
        todo!()
    }
}
