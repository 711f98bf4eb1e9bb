//! Puts a [`Vfs`] where programs see it: every request is a call and a reply, nothing more.
//!
//! Requests that may wait for the network (a recipient's lookups and opens, the `user.kms.*` attributes) move to a
//! pool of their own with their reply; everything else is answered on the thread that took it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, Errno, FileAttr, FileType, INodeNo, MountOption, Request, SessionACL};
use kms_crypto::format::Special;

use crate::backing::Kind;
use crate::vfs::{Attr, Caller, Vfs, VfsError};
use crate::waiter::Waiter;

use self::pool::Pool;
pub use self::session::{Mount, Unmounter};

mod answer;
mod direct;
mod listing;
mod ops;
mod pool;
mod session;
mod words;

/// How a mount is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MountOptions {
    /// What `mount` shows as the source.
    pub source: String,
    /// Whether other users may use the mount.
    pub allow_other: bool,
    /// Whether the kernel refuses every change.
    pub read_only: bool,
    /// How many requests are worked on at once, besides those that wait for the network.
    pub threads: usize,
    /// Whether key errors are folded into `EACCES` and `EIO`.
    pub posix_errno: bool,
    /// Whether other machines change the store while it is mounted: what the kernel remembers is then looked at again
    /// after a second.
    pub shared_storage: bool,
    /// What else the kernel is told; later ones win.
    pub kernel: Vec<KernelFlag>,
}

/// A flag of mount(8) that the kernel itself heeds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "mount(8) documents them")]
pub enum KernelFlag {
    Dev,
    NoDev,
    Suid,
    NoSuid,
    Exec,
    NoExec,
    Atime,
    NoAtime,
    Sync,
    DirSync,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            source: "kmsfs".to_owned(),
            allow_other: false,
            read_only: false,
            threads: 2,
            posix_errno: false,
            shared_storage: false,
            kernel: Vec::new(),
        }
    }
}

/// Mounts; the mount answers when this returns.
///
/// # Errors
/// The kernel or `fusermount3` refuses.
pub fn mount(vfs: Arc<Vfs>, at: &Path, options: &MountOptions) -> io::Result<Mount> {
    raise_descriptor_limit();
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(options.source.clone()),
        MountOption::Subtype("kmsfs".to_owned()),
        MountOption::DefaultPermissions,
    ];
    let mut kernel = vec![KernelFlag::NoSuid, KernelFlag::NoDev];
    for flag in &options.kernel {
        kernel.retain(|known| !known.contradicts(*flag));
        kernel.push(*flag);
    }
    config
        .mount_options
        .extend(kernel.into_iter().map(KernelFlag::for_helper));
    if options.read_only {
        config.mount_options.push(MountOption::RO);
    }
    config.acl = if options.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    config.n_threads = Some(options.threads.max(1));
    Mount::start(
        Arc::clone(&vfs),
        Bridge::new(vfs, options),
        at,
        options,
        &config,
    )
}

/// Every directory the kernel remembers takes a descriptor, and every open file.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// How long the kernel may rely on what it was told of an owner's store. Opening always asks: a file changed behind our
/// back is noticed there at the latest.
const TTL: Duration = Duration::from_secs(60);
/// The same where others change what is shown, and for names that are not there.
const GLANCE: Duration = Duration::from_secs(1);

impl KernelFlag {
    /// Whether the two cannot both hold, or are the same.
    #[must_use]
    pub fn contradicts(self, other: Self) -> bool {
        let topic = |flag| match flag {
            Self::Dev | Self::NoDev => 0,
            Self::Suid | Self::NoSuid => 1,
            Self::Exec | Self::NoExec => 2,
            Self::Atime | Self::NoAtime => 3,
            Self::Sync => 4,
            Self::DirSync => 5,
        };
        topic(self) == topic(other)
    }

    fn for_helper(self) -> MountOption {
        match self {
            Self::Dev => MountOption::Dev,
            Self::NoDev => MountOption::NoDev,
            Self::Suid => MountOption::Suid,
            Self::NoSuid => MountOption::NoSuid,
            Self::Exec => MountOption::Exec,
            Self::NoExec => MountOption::NoExec,
            Self::Atime => MountOption::Atime,
            Self::NoAtime => MountOption::NoAtime,
            Self::Sync => MountOption::Sync,
            Self::DirSync => MountOption::DirSync,
        }
    }
}

/// The translation between the kernel's requests and the filesystem's methods. Cheap to clone.
#[derive(Clone)]
struct Bridge {
    vfs: Arc<Vfs>,
    pool: Arc<Pool>,
    posix_errno: bool,
    /// How long the kernel may rely on a name and on attributes.
    ttl: Duration,
}

impl Bridge {
    fn new(vfs: Arc<Vfs>, options: &MountOptions) -> Self {
        // Only this mount changes an owner's store; a recipient must notice what others change.
        let ttl = if vfs.is_owner() && !options.shared_storage {
            TTL
        } else {
            GLANCE
        };
        Self {
            vfs,
            pool: Arc::new(Pool::new()),
            posix_errno: options.posix_errno,
            ttl,
        }
    }

    /// Runs `work` here, or on the pool where it may have to wait for keys, as long as they are wanted.
    fn run(&self, req: &Request, work: impl FnOnce(&Self) + Send + 'static) {
        if self.vfs.is_owner() {
            work(self);
        } else {
            let thread = req.pid();
            self.run_pooled(move |this| Waiter::serve(thread, || work(this)));
        }
    }

    fn run_pooled(&self, work: impl FnOnce(&Self) + Send + 'static) {
        let bridge = self.clone();
        self.pool.run(move || work(&bridge));
    }

    fn errno(&self, error: &VfsError) -> Errno {
        let errno = if self.posix_errno {
            error.posix_errno()
        } else {
            error.errno()
        };
        Errno::from_i32(errno.raw_os_error())
    }
}

fn caller(req: &Request) -> Caller {
    Caller {
        uid: req.uid(),
        gid: req.gid(),
        pid: req.pid(),
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Dir => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Special(Special::Fifo) => FileType::NamedPipe,
        Kind::Special(Special::Socket) => FileType::Socket,
        Kind::Special(Special::CharDevice(_)) => FileType::CharDevice,
        Kind::Special(Special::BlockDevice(_)) => FileType::BlockDevice,
        Kind::File | Kind::Other => FileType::RegularFile,
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime.into(),
        mtime: attr.mtime.into(),
        ctime: attr.ctime.into(),
        crtime: attr.ctime.into(),
        kind: file_type(attr.kind),
        perm: u16::try_from(attr.mode & 0o7777).unwrap_or(0),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: match attr.kind {
            Kind::Special(special) => special.device(),
            _ => 0,
        },
        blksize: 4096,
        flags: 0,
    }
}
