//! A store in a temporary directory, and the operations tests are written in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kms_crypto::aead::Cipher;
use kms_crypto::format::Layout;
use kms_crypto::id::{SchemeId, StoreId};
use kms_crypto::key::{IdentitySecret, StoreKey};
use kmsfs::backing::{Call, Disk, Gate, Replace};
use kmsfs::vfs::{
    Access, Attr, AttrChange, Caller, Handle, Ino, Options, Problem, Result, StoreInfo, Vfs,
    VfsError, XattrMode,
};
use rustix::io::Errno;
use tempfile::TempDir;

pub(crate) const CHUNK: usize = 4096;

/// Where a store is, for as long as it is needed.
pub(crate) enum Place {
    Own(TempDir),
    Borrowed(PathBuf),
}

impl Place {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Own(dir) => dir.path(),
            Self::Borrowed(dir) => dir,
        }
    }
}

/// A store and its owner.
pub(crate) struct World {
    pub(crate) dir: Place,
    pub(crate) owner: Arc<IdentitySecret>,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = memory();
        let world = Self::at(Place::Own(dir));
        std::fs::create_dir(world.store()).unwrap();
        Vfs::create_store(&world.store(), &world.info(), &Self::key()).unwrap();
        std::fs::write(world.store().join("kmsfs.toml"), "").unwrap();
        world
    }

    /// One that another process has made.
    pub(crate) fn borrowed(dir: &Path) -> Self {
        Self::at(Place::Borrowed(dir.to_owned()))
    }

    fn at(dir: Place) -> Self {
        Self {
            dir,
            owner: Arc::new(IdentitySecret::from_bytes(&[7; 32]).unwrap()),
        }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn key() -> StoreKey {
        StoreKey::from_bytes(&[9; 32])
    }

    pub(crate) fn info(&self) -> StoreInfo {
        StoreInfo {
            id: StoreId([5; 16]),
            owner: self.owner.public(),
            cipher: Cipher::Aes256Gcm,
            scheme: SchemeId::SPLIT_ECIES,
            layout: Layout::new(12).unwrap(),
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            background: false,
            ..Options::new(self.dir.path().join("state"))
        }
    }

    pub(crate) fn open(&self) -> Arc<Vfs> {
        self.try_open(Disk::default()).unwrap()
    }

    pub(crate) fn try_open(&self, disk: Disk) -> Result<Arc<Vfs>> {
        self.open_as(self.info(), disk)
    }

    /// With this cipher for new files.
    pub(crate) fn open_for(&self, cipher: Cipher) -> Arc<Vfs> {
        let info = StoreInfo {
            cipher,
            ..self.info()
        };
        self.open_as(info, Disk::default()).unwrap()
    }

    fn open_as(&self, info: StoreInfo, disk: Disk) -> Result<Arc<Vfs>> {
        self.open_with(
            info,
            Options {
                disk,
                ..self.options()
            },
        )
    }

    /// With other options than the usual ones.
    pub(crate) fn try_open_with(&self, options: Options) -> Result<Arc<Vfs>> {
        self.open_with(self.info(), options)
    }

    fn open_with(&self, info: StoreInfo, options: Options) -> Result<Arc<Vfs>> {
        let owner = Arc::clone(&self.owner);
        Vfs::open_owner(&self.store(), info, Self::key(), owner, options)
    }
}

/// A temporary directory in memory, where there is: these tests sync a lot.
pub(crate) fn memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .unwrap()
}

pub(crate) fn me() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        pid: 1,
    }
}

/// Fails the calls that change something, or those that read, from the n-th on or just the n-th.
#[derive(Debug)]
pub(crate) struct Faults {
    left: AtomicU64,
    forever: bool,
    reads: bool,
    errno: Errno,
}

impl Faults {
    /// As if the process were killed before the n-th change.
    pub(crate) fn kill_at(n: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(n),
            forever: true,
            reads: false,
            errno: Errno::IO,
        })
    }

    /// The n-th change fails, others do not.
    pub(crate) fn fail_at(n: u64, errno: Errno) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(n),
            forever: false,
            reads: false,
            errno,
        })
    }

    /// The n-th call that reads bytes, attributes or names fails, others do not.
    pub(crate) fn fail_read_at(n: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(n),
            forever: false,
            reads: true,
            errno: Errno::IO,
        })
    }

    /// Whether the n-th change was reached.
    pub(crate) fn struck(&self) -> bool {
        self.left.load(Ordering::Relaxed) > u64::MAX / 2 || self.left.load(Ordering::Relaxed) == 0
    }
}

impl Gate for Faults {
    fn pass(&self, call: &Call<'_>) -> rustix::io::Result<()> {
        if call.is_read() != self.reads {
            return Ok(());
        }
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
                0 if self.forever => None,
                left => Some(left.wrapping_sub(1)),
            }) {
            Ok(0) => Err(self.errno),
            Ok(1) if self.forever => Err(self.errno),
            Ok(1) => {
                // The next subtraction goes past zero and counts down from far above.
                self.left.store(u64::MAX, Ordering::Relaxed);
                Err(self.errno)
            }
            Ok(_) => Ok(()),
            Err(_) => Err(self.errno),
        }
    }
}

/// Splits a path into its directory's number and its name.
pub(crate) fn at(vfs: &Vfs, path: &str) -> Result<(Ino, Vec<u8>)> {
    let path = Path::new(path);
    let dir = vfs.resolve(path.parent().unwrap())?;
    Ok((
        dir,
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .as_bytes()
            .to_vec(),
    ))
}

pub(crate) fn attr(vfs: &Vfs, path: &str) -> Result<Attr> {
    vfs.getattr(vfs.resolve(Path::new(path))?, None)
}

pub(crate) fn open(vfs: &Vfs, path: &str, access: Access) -> Result<Handle> {
    Ok(vfs
        .open(me(), vfs.resolve(Path::new(path))?, access, false)?
        .handle)
}

pub(crate) fn create(vfs: &Vfs, path: &str) -> Result<Handle> {
    let (dir, name) = at(vfs, path)?;
    vfs.create(me(), dir, &name, 0o644, Access::Write)
        .map(|(_, opened)| opened.handle)
}

/// Flushes and releases, as `close` does.
pub(crate) fn close(vfs: &Vfs, handle: Handle) -> Result<()> {
    let flushed = vfs.flush(handle);
    vfs.release(handle)?;
    flushed
}

/// Makes or replaces a file's content, as a shell's redirection does.
pub(crate) fn put(vfs: &Vfs, path: &str, content: &[u8]) -> Result<()> {
    let handle = match vfs.resolve(Path::new(path)) {
        Ok(ino) => vfs.open(me(), ino, Access::Write, true)?.handle,
        Err(VfsError::Os(Errno::NOENT)) => create(vfs, path)?,
        Err(error) => return Err(error),
    };
    let written = vfs.write(handle, 0, content, false);
    close(vfs, handle)?;
    written
}

/// Writes into an existing file.
pub(crate) fn patch(vfs: &Vfs, path: &str, offset: usize, content: &[u8]) -> Result<()> {
    let handle = open(vfs, path, Access::Write)?;
    let written = vfs.write(handle, offset as u64, content, false);
    close(vfs, handle)?;
    written
}

pub(crate) fn truncate(vfs: &Vfs, path: &str, size: usize) -> Result<()> {
    let ino = vfs.resolve(Path::new(path))?;
    let change = AttrChange {
        size: Some(size as u64),
        ..AttrChange::NONE
    };
    vfs.setattr(me(), ino, None, change).map(drop)
}

pub(crate) fn chmod(vfs: &Vfs, path: &str, mode: u32) -> Result<()> {
    let ino = vfs.resolve(Path::new(path))?;
    let change = AttrChange {
        mode: Some(mode),
        ..AttrChange::NONE
    };
    vfs.setattr(me(), ino, None, change).map(drop)
}

pub(crate) fn get(vfs: &Vfs, path: &str) -> Result<Vec<u8>> {
    let handle = open(vfs, path, Access::Read)?;
    let content = read_all(vfs, handle);
    vfs.release(handle)?;
    content
}

pub(crate) fn read_all(vfs: &Vfs, handle: Handle) -> Result<Vec<u8>> {
    let (mut content, mut buf) = (Vec::new(), Vec::new());
    loop {
        let range = vfs.read(handle, content.len() as u64, 128 << 10, &mut buf)?;
        if range.is_empty() {
            return Ok(content);
        }
        content.extend_from_slice(&buf[range]);
    }
}

pub(crate) fn fsync(vfs: &Vfs, path: &str) -> Result<()> {
    let handle = open(vfs, path, Access::Write)?;
    let synced = vfs.fsync(handle);
    close(vfs, handle)?;
    synced
}

pub(crate) fn mkdir(vfs: &Vfs, path: &str) -> Result<()> {
    let (dir, name) = at(vfs, path)?;
    vfs.mkdir(me(), dir, &name, 0o755).map(drop)
}

pub(crate) fn unlink(vfs: &Vfs, path: &str) -> Result<()> {
    let (dir, name) = at(vfs, path)?;
    vfs.unlink(me(), dir, &name)
}

pub(crate) fn rmdir(vfs: &Vfs, path: &str) -> Result<()> {
    let (dir, name) = at(vfs, path)?;
    vfs.rmdir(me(), dir, &name)
}

pub(crate) fn rename(vfs: &Vfs, from: &str, to: &str) -> Result<()> {
    let (from_dir, from) = at(vfs, from)?;
    let (to_dir, to) = at(vfs, to)?;
    vfs.rename(me(), (from_dir, &from), (to_dir, &to), Replace::Yes)
}

pub(crate) fn link(vfs: &Vfs, from: &str, to: &str) -> Result<()> {
    let ino = vfs.resolve(Path::new(from))?;
    let (dir, name) = at(vfs, to)?;
    vfs.link(me(), ino, dir, &name).map(drop)
}

pub(crate) fn symlink(vfs: &Vfs, target: &str, path: &str) -> Result<()> {
    let (dir, name) = at(vfs, path)?;
    vfs.symlink(me(), dir, &name, target.as_bytes()).map(drop)
}

pub(crate) fn readlink(vfs: &Vfs, path: &str) -> Result<String> {
    let target = vfs.readlink(vfs.resolve(Path::new(path))?)?;
    Ok(String::from_utf8(target).unwrap())
}

pub(crate) fn set_xattr(vfs: &Vfs, path: &str, name: &str, value: &[u8]) -> Result<()> {
    let ino = vfs.resolve(Path::new(path))?;
    vfs.setxattr(me(), ino, name.as_bytes(), value, XattrMode::Set)
}

pub(crate) fn xattr(vfs: &Vfs, path: &str, name: &str) -> Result<Vec<u8>> {
    vfs.getxattr(me(), vfs.resolve(Path::new(path))?, name.as_bytes())
}

/// The names in a directory, sorted, without `.` and `..`.
pub(crate) fn list(vfs: &Vfs, path: &str) -> Result<Vec<String>> {
    let handle = vfs.opendir(vfs.resolve(Path::new(path))?)?.handle;
    let mut names = Vec::new();
    let listed = vfs.readdir(handle, 0, &mut |entry| {
        names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        false
    });
    vfs.releasedir(handle);
    listed?;
    names.retain(|name| name != "." && name != "..");
    names.sort();
    Ok(names)
}

/// What a store's check finds, as text; but for what a crash may leave and does no harm.
pub(crate) fn fsck(vfs: &Vfs) -> Vec<String> {
    let report = vfs.fsck(Path::new(""), &mut |_| {}).unwrap();
    report
        .findings
        .iter()
        .filter(|it| !matches!(it.problem, Problem::Unused | Problem::Unmade))
        .map(|it| format!("{}: {}", it.path.display(), it.problem))
        .collect()
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let byte = |at: usize| at.to_le_bytes();
    (0..len)
        .map(|at| byte(at)[0].wrapping_mul(31) ^ byte(at)[1] ^ seed)
        .collect()
}

/// The stored file of a path.
pub(crate) fn stored(world: &World, vfs: &Vfs, path: &str) -> PathBuf {
    let ino = vfs.resolve(Path::new(path)).unwrap();
    let steps = vfs.locate(ino).unwrap();
    steps
        .iter()
        .fold(world.store(), |at, step| at.join(&step.backing))
}
