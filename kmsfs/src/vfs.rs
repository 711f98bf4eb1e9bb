//! The filesystem: plain methods on [`Vfs`], no FUSE types, no network.
//!
//! One file for each family of operations under `vfs/`. An owner's filesystem reads and writes the store; a
//! recipient's shows what is shared, read-only, and writes nothing into the store.
//!
//! Locks are taken in this order, and never across the network: the tree's (by whoever needs two directories) → names
//! of a directory → a file's or directory's own → the table, the keeper, the journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::aead::Cipher;
use kms_crypto::format::{Layout, StoreConfig};
use kms_crypto::id::{DirId, LabelId, SchemeId, StoreId};
use kms_crypto::key::{IdentitySecret, LabelPublicKey, PublicKey, StoreKey};
use parking_lot::RwLock;
use rustix::io::Errno;

pub use self::error::{Damage, Part, Result, VfsError};
pub use self::fresh::{Notice, Oddity};
pub use self::fsck::finding::{ConflictFinding, Fate, Finding, Loss, Problem, Remedy, Report};
pub use self::types::{
    Access, Allocate, Attr, AttrChange, Caller, DirEntry, EntryAttr, Figures, Handle, Opened, Seek,
    XattrMode,
};
pub use self::why::Failure;

use self::error::header_error;
use self::hooks::{Events, KeySource, Shares, Verbs};
use self::open::Handles;
use self::owner::Owner;
use self::recipient::Recipient;
use self::why::Failures;
use crate::backing::Disk;
use crate::freshness::{Freshness, Verdict};
use crate::inode::{Inode, Table};

mod aside;
mod attr;
mod bind;
mod checkpoint;
mod commit;
pub(crate) mod copies;
mod create;
pub(crate) mod dirs;
pub mod error;
mod exchange;
pub(crate) mod file;
pub mod fresh;
mod fsck;
mod header;
pub mod hooks;
mod jobs;
mod lookup;
mod open;
mod overlay;
mod owner;
mod read;
mod readdir;
pub(crate) mod recipient;
mod rekey;
mod rename;
mod replay;
mod share;
mod sides;
mod sign;
mod space;
mod symlink;
mod types;
mod unlink;
mod unmade;
mod why;
mod write;
mod xattr;

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
    pub cipher: Cipher,
    /// The scheme new labels get.
    pub scheme: SchemeId,
    /// The chunks of new files.
    pub layout: Layout,
}

impl From<&StoreConfig> for StoreInfo {
    fn from(config: &StoreConfig) -> Self {
        Self {
            id: config.store,
            owner: config.owner,
            cipher: config.cipher,
            scheme: config.scheme,
            layout: config.layout,
        }
    }
}

/// How a filesystem is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// A local directory outside the store for the journal and for what was seen of the store; made when missing.
    pub state_dir: PathBuf,
    /// What tells the configuration the store is opened by from others, where an older one is to be noticed.
    pub config: Option<[u8; 32]>,
    /// The user shown as owner of everything in a recipient's mount.
    pub uid: u32,
    /// The group shown there.
    pub gid: u32,
    /// The system calls; tests put a gate before them.
    pub disk: Disk,
    /// After so many states (FORMAT §3.6) a file gets a new key.
    pub key_life: u64,
    /// Whether threads empty the journal and carry key changes through; without them, [`Vfs::checkpoint`] and
    /// [`Vfs::rekey_step`] do.
    pub background: bool,
    /// The store is only looked through: it is opened even if the header of its root is lost.
    pub for_check: bool,
}

/// Half of what FORMAT §5.1 allows: should one new key be lost in a crash, the next comes in time.
const KEY_LIFE: u64 = 1 << 20;

impl Options {
    /// The usual options with this directory for the journal, for the calling process's user.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Self {
            state_dir,
            config: None,
            uid,
            gid,
            disk: Disk::default(),
            key_life: KEY_LIFE,
            background: true,
            for_check: false,
        }
    }
}

/// The filesystem.
pub struct Vfs {
    disk: Disk,
    info: StoreInfo,
    role: Role,
    table: Table,
    handles: Handles,
    hooks: RwLock<Hooks>,
    failures: Failures,
    /// Held by whoever locks the names of two directories.
    tree: parking_lot::Mutex<()>,
    /// What was seen of the store, now and by earlier mounts.
    seen: Freshness,
    notices: parking_lot::Mutex<Vec<Notice>>,
    threads: parking_lot::Mutex<Vec<std::thread::JoinHandle<()>>>,
    uid: u32,
    gid: u32,
}

enum Role {
    Owner(Box<Owner>),
    Recipient(Recipient),
}

#[derive(Default)]
struct Hooks {
    verbs: Option<Arc<dyn Verbs>>,
    events: Option<Arc<dyn Events>>,
}

/// A label and what opens it.
#[derive(Clone, Debug)]
pub struct LabelInfo {
    /// The label.
    pub label: LabelId,
    /// Whether it stands on a directory.
    pub is_dir: bool,
    /// The label's public key.
    pub key: LabelPublicKey,
    /// Which delegating key of the label this is.
    pub generation: u32,
    /// The key epoch; a revocation begins a new one.
    pub epoch: u32,
    /// The scheme of the capsule.
    pub scheme: SchemeId,
    /// The capsule.
    pub capsule: Vec<u8>,
}

impl Vfs {
    /// What the store's configuration says.
    #[must_use]
    pub const fn info(&self) -> &StoreInfo {
        &self.info
    }

    /// Opens a store as its owner: takes the store's lock, replays the journal, goes on with unfinished re-keying.
    ///
    /// # Errors
    /// `EBUSY` when another mount of this machine has the store; otherwise what is wrong with store or journal.
    pub fn open_owner(
        store: &Path,
        info: StoreInfo,
        key: StoreKey,
        signer: Arc<IdentitySecret>,
        options: Options,
    ) -> Result<Arc<Self>> {
        let disk = options.disk.clone();
        let root = disk.open_root(store)?;
        let backing = disk.fstat(&root)?.ino;
        let (owner, records) = Owner::open(&disk, &root, &info, key, signer, &options)?;
        let vfs = Self::assemble(
            disk,
            info,
            Role::Owner(Box::new(owner)),
            root,
            backing,
            &options,
        );
        vfs.see_config(&options)?;
        vfs.replay(records)?;
        vfs.owner()?.journal.forget_all()?;
        // Nothing can be opened without the root's keys: better said now.
        let root = vfs.secrets(vfs.table.root());
        if !options.for_check {
            root?;
        }
        let vfs = Arc::new(vfs);
        vfs.load_rekey_list()?;
        if options.background {
            vfs.start_threads(options.for_check);
        }
        Ok(vfs)
    }

    /// Opens a store as somebody with whom parts of it are shared: read-only, no lock, nothing is written.
    ///
    /// # Errors
    /// The store's directory cannot be opened.
    pub fn open_recipient(
        store: &Path,
        info: StoreInfo,
        keys: Arc<dyn KeySource>,
        shares: Arc<dyn Shares>,
        options: Options,
    ) -> Result<Arc<Self>> {
        let disk = options.disk.clone();
        let root = disk.open_root(store)?;
        let backing = disk.fstat(&root)?.ino;
        let role = Role::Recipient(Recipient { keys, shares });
        let vfs = Self::assemble(disk, info, role, root, backing, &options);
        vfs.see_config(&options)?;
        vfs.reach_root();
        let vfs = Arc::new(vfs);
        if options.background {
            vfs.start_thread("kmsfs-memory", Self::remember_once);
        }
        Ok(vfs)
    }

    fn assemble(
        disk: Disk,
        info: StoreInfo,
        role: Role,
        root_fd: std::os::fd::OwnedFd,
        backing: u64,
        options: &Options,
    ) -> Self {
        let root = Inode::root(backing);
        if let Some(dir) = root.dir() {
            let _ = dir.fd.set(root_fd);
        }
        Self {
            disk,
            info,
            role,
            table: Table::new(root),
            handles: Handles::default(),
            hooks: RwLock::default(),
            failures: Failures::default(),
            tree: parking_lot::Mutex::new(()),
            seen: Freshness::open(&options.state_dir),
            notices: parking_lot::Mutex::default(),
            threads: parking_lot::Mutex::default(),
            uid: options.uid,
            gid: options.gid,
        }
    }

    /// Sets who answers `user.kms.*`. Until then every verb is `EOPNOTSUPP`.
    pub fn set_verbs(&self, verbs: Arc<dyn Verbs>) {
        self.hooks.write().verbs = Some(verbs);
    }

    /// Sets who is told of renames.
    pub fn set_events(&self, events: Arc<dyn Events>) {
        self.hooks.write().events = Some(events);
    }

    /// Whether this is the owner's filesystem.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        matches!(self.role, Role::Owner(_))
    }

    fn see_config(&self, options: &Options) -> Result<()> {
        match options.config.map(|digest| self.seen.see_config(digest)) {
            Some(Verdict::Older) => Err(VfsError::OldConfiguration),
            _ => Ok(()),
        }
    }

    /// Forgets all that was seen of a store by mounts with this state directory, which none is using.
    pub fn forget_seen(state_dir: &Path) {
        Freshness::forget_all(state_dir);
    }

    /// Makes everything durable and stops the background work. The filesystem must not be used afterwards.
    ///
    /// # Errors
    /// What could not be brought into the store; it stays in the journal and is replayed at the next mount.
    pub fn close(&self) -> Result<()> {
        if let Some(owner) = self.try_owner() {
            let mut keeper = owner.keeper.lock();
            keeper.stopping = true;
            owner.wake.notify_all();
            owner.shorter.notify_all();
        }
        self.stop_rekeying();
        self.seen.stop();
        for thread in self.threads.lock().drain(..) {
            // They only end by being told to; a panic in one was logged where it happened.
            let _ = thread.join();
        }
        if let Some(owner) = self.try_owner() {
            self.checkpoint()?;
            owner.journal.forget_all()?;
            // What is remembered must not be newer than what is durable, whoever has written it.
            self.seen
                .write(|| Ok::<_, VfsError>(self.disk.sync_fs(self.root_dir()?)?))?;
            self.disk.sync_fs_if_changed(self.root_dir()?)?;
        } else {
            self.remember()?;
        }
        self.seen.close();
        Ok(())
    }

    /// Who looks through a store wants no key to change meanwhile.
    fn start_threads(self: &Arc<Self>, for_check: bool) {
        self.start_thread("kmsfs-keeper", Self::keep_once);
        if !for_check {
            self.start_thread("kmsfs-rekey", Self::rekey_once);
        }
        self.start_thread("kmsfs-memory", Self::remember_once);
    }

    /// Runs `turn` again and again until it says that it is over.
    fn start_thread(self: &Arc<Self>, name: &str, turn: fn(&Self) -> bool) {
        // A weak reference: a filesystem that is dropped without `close` takes its threads along.
        let vfs = Arc::downgrade(self);
        let started = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(vfs) = vfs.upgrade() {
                    if !turn(&vfs) {
                        return;
                    }
                }
            });
        match started {
            Ok(thread) => self.threads.lock().push(thread),
            Err(error) => {
                tracing::warn!(%error, "no background thread: some work waits for the next mount")
            }
        }
    }

    fn owner(&self) -> Result<&Owner> {
        self.try_owner().ok_or(VfsError::NotShared)
    }

    fn try_owner(&self) -> Option<&Owner> {
        match &self.role {
            Role::Owner(owner) => Some(owner),
            Role::Recipient(_) => None,
        }
    }

    fn root_id(&self) -> DirId {
        DirId(self.info.id.0)
    }

    fn root_dir(&self) -> Result<std::os::fd::BorrowedFd<'_>> {
        self.dir_fd(self.table.root())
    }

    fn inode(&self, ino: Ino) -> Result<Arc<Inode>> {
        self.table.get(ino).ok_or_else(|| Errno::STALE.into())
    }

    fn dir_inode(&self, ino: Ino) -> Result<Arc<Inode>> {
        let inode = self.inode(ino)?;
        if inode.dir().is_some() {
            Ok(inode)
        } else {
            Err(Errno::NOTDIR.into())
        }
    }
}

impl std::fmt::Debug for Vfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vfs")
            .field("store", &self.info.id)
            .field("is_owner", &self.is_owner())
            .finish_non_exhaustive()
    }
}

fn rng() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}
