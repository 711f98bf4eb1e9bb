//! Small files in a store's `shares/`: read within bounds, replaced whole.
//!
//! A store may lie where others write. What is read is therefore a plain file of bounded size, reached from the store's
//! root without following a link at any step, whoever changes what meanwhile, and never a pipe; what is written appears
//! whole under its name or not at all, also after a crash.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rand_core::CryptoRng;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// A directory in a store's `shares/`, which may not be there yet.
pub(crate) struct Shelf {
    root: PathBuf,
    name: String,
}

/// The directory of everything about sharing, in the root of a store.
const SHARES: &str = "shares";
const TEMPORARY: &str = ".tmp";

/// From the root on nothing leads out of the store. The root itself is whatever the user has named.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
/// Without NONBLOCK, opening a pipe that somebody put here would wait for ever.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl Shelf {
    /// `shares/NAME` in the store at `root`.
    pub(crate) fn new(root: &Path, name: &str) -> Self {
        Self {
            root: root.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.join(SHARES).join(&self.name)
    }

    /// Reads a plain file of at most `limit` bytes. A longer one, or something else than a file, is `InvalidData`.
    pub(crate) fn read(&self, name: &str, limit: usize) -> io::Result<Vec<u8>> {
        let file = open_beneath(&self.open()?, name, OFlags::RDONLY | FILE)?;
        let limit = u64::try_from(limit).map_err(|_| ErrorKind::InvalidInput)?;
        if !is_file(&rustix::fs::fstat(&file)?) {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut bytes = Vec::new();
        File::from(file)
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|len| len > limit) {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(bytes)
    }

    /// The attributes of a file, of the link itself where it is one.
    pub(crate) fn stat(&self, name: &str) -> io::Result<Stat> {
        let dir = self.open()?;
        Ok(rustix::fs::statat(
            dir,
            one(name)?,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Puts a file in place of whatever has its name; durable when it returns. The directory is made when it is missing.
    pub(crate) fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> io::Result<()> {
        let dir = self.make()?;
        let mut tail = [0; 8];
        rng.fill_bytes(&mut tail);
        let temporary = format!("{name}.{}{TEMPORARY}", HEXLOWER.encode(&tail));
        let written = write_new(&dir, &temporary, bytes)
            .and_then(|()| Ok(rustix::fs::renameat(&dir, &temporary, &dir, one(name)?)?));
        if written.is_err() {
            // The first error is the one worth telling; a file left behind is ignored by every reader.
            let _ = rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty());
        }
        written?;
        Ok(rustix::fs::fsync(dir)?)
    }

    /// Removes a file. Durable when it returns; one that is not there is fine.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        let dir = match self.open() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            dir => dir?,
        };
        match rustix::fs::unlinkat(&dir, one(name)?, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(rustix::fs::fsync(dir)?),
        }
    }

    /// The names that end in `suffix`, sorted; at most `limit`. None when there is no such directory.
    pub(crate) fn names(&self, suffix: &str, limit: usize) -> io::Result<Vec<String>> {
        let dir = match self.open() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            dir => dir?,
        };
        let mut names = Vec::new();
        for entry in Dir::new(dir)? {
            if let Ok(name) = entry?.file_name().to_str()
                && name.ends_with(suffix)
            {
                names.push(name.to_owned());
            }
            if names.len() == limit {
                break;
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn root(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(&self.root, DIRECTORY, Mode::empty())?)
    }

    fn open(&self) -> io::Result<OwnedFd> {
        let shares = open_beneath(&self.root()?, SHARES, DIRECTORY)?;
        open_beneath(&shares, &self.name, DIRECTORY)
    }

    /// The same, made when it is missing.
    fn make(&self) -> io::Result<OwnedFd> {
        let shares = make_dir(&self.root()?, SHARES)?;
        make_dir(&shares, &self.name)
    }
}

/// Opens a directory, which is made, and durable in the one above, when it is missing.
fn make_dir(above: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match open_beneath(above, name, DIRECTORY) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(above, one(name)?, Mode::from_raw_mode(0o777)) {
        // Somebody else was faster.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::fs::fsync(above)?;
    open_beneath(above, name, DIRECTORY)
}

/// A link, or whatever else is in the way, is `InvalidData`.
fn open_beneath(dir: &OwnedFd, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    rustix::fs::openat2(dir, one(name)?, flags, Mode::empty(), BENEATH).map_err(|errno| match errno
    {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV | Errno::NXIO => ErrorKind::InvalidData.into(),
        errno => errno.into(),
    })
}

fn write_new(dir: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | FILE;
    let mode = Mode::from_raw_mode(0o666);
    let mut file = File::from(rustix::fs::openat2(dir, one(name)?, flags, mode, BENEATH)?);
    file.write_all(bytes)?;
    file.sync_all()
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// One name and not a path.
fn one(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == ".." || name.contains('/') {
        return Err(ErrorKind::InvalidInput.into());
    }
    Ok(name)
}
