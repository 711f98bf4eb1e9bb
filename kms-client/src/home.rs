//! Where a person's own files are (CLI 4): identity, contacts, configuration, state and cache. Never inside a store.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

/// The paths of one person's files, resolved once at start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Home {
    /// The identity file, protected by a passphrase.
    pub identity: PathBuf,
    /// Petnames and their keys.
    pub contacts: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Journals, freshness records, logs. Losing it loses protection.
    pub state: PathBuf,
    /// Disposable.
    pub cache: PathBuf,
    /// Control sockets of running mounts.
    pub runtime: PathBuf,
}

impl Home {
    /// Resolves the paths from `KMSFS_HOME`, else from the XDG variables, else
    /// from `HOME`.
    pub fn resolve(var: impl Fn(&str) -> Option<OsString>) -> Result<Self, HomeError> {
        let dir = |name: &str| var(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        if let Some(home) = var("KMSFS_HOME").filter(|home| !home.is_empty()) {
            let home = std::path::absolute(PathBuf::from(home)).map_err(HomeError::Unusable)?;
            return Ok(Self::under(&home));
        }
        let home = || dir("HOME").ok_or(HomeError::Nowhere);
        let xdg = |name: &str, fallback: &str| -> Result<PathBuf, HomeError> {
            let base = match dir(name) {
                Some(base) => base,
                None => home()?.join(fallback),
            };
            Ok(base.join("kmsfs"))
        };
        let config = xdg("XDG_CONFIG_HOME", ".config")?;
        let state = xdg("XDG_STATE_HOME", ".local/state")?;
        let runtime = match dir("XDG_RUNTIME_DIR") {
            Some(runtime) => runtime.join("kmsfs"),
            None => state.join("run"),
        };
        Ok(Self {
            identity: config.join("identity"),
            contacts: config.join("contacts.toml"),
            config: config.join("config.toml"),
            cache: xdg("XDG_CACHE_HOME", ".cache")?,
            state,
            runtime,
        })
    }

    /// The paths of the running process.
    pub fn of_process() -> Result<Self, HomeError> {
        Self::resolve(|name| std::env::var_os(name))
    }

    /// Everything under one directory, as `KMSFS_HOME` has it.
    pub fn under(home: &Path) -> Self {
        Self {
            identity: home.join("identity"),
            contacts: home.join("contacts.toml"),
            config: home.join("config.toml"),
            state: home.join("state"),
            cache: home.join("cache"),
            runtime: home.join("state/run"),
        }
    }
}

/// Why it cannot be told where a person's files are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// Nothing says where.
    #[error("neither KMSFS_HOME nor HOME is set")]
    Nowhere,
    /// `KMSFS_HOME` is relative to a directory that is not there.
    #[error("KMSFS_HOME cannot be used: {0}")]
    Unusable(#[source] io::Error),
}

/// Makes a directory that only its owner can enter, with its parents.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Reads a plain file of at most `limit` bytes, which may lie where others write: never a link, never waiting for a pipe.
pub(crate) fn read_plain(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let limit = u64::try_from(limit).map_err(|_| io::ErrorKind::InvalidInput)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What to do about a file that is already there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// Put the new one in its place.
    Replace,
    /// Leave it and fail.
    Keep,
}

/// Writes a small private file so that a crash leaves the old or the new one.
pub fn write_private(path: &Path, contents: &[u8], existing: Existing) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    make_private_dir(dir)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Not the one that another thread is writing: what is linked or renamed must be what was written here.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".new{}-{number}", std::process::id()));
    let new = dir.join(name);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(contents)?;
        file.sync_all()?;
        match existing {
            Existing::Replace => fs::rename(&new, path)?,
            Existing::Keep => fs::hard_link(&new, path)?,
        }
        File::open(dir)?.sync_all()
    };
    let result = write();
    if existing == Existing::Keep || result.is_err() {
        let _ = fs::remove_file(&new);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        }
    }

    #[test]
    fn kmsfs_home_moves_everything() {
        let home = Home::resolve(with(&[("KMSFS_HOME", "/a"), ("HOME", "/h")])).unwrap();
        for path in [
            &home.identity,
            &home.contacts,
            &home.config,
            &home.state,
            &home.cache,
            &home.runtime,
        ] {
            assert!(path.starts_with("/a"), "{}", path.display());
        }
        assert_eq!(home.identity, Path::new("/a/identity"));
    }

    #[test]
    fn without_it_the_xdg_directories_are_used() {
        let home = Home::resolve(with(&[
            ("HOME", "/h"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
        ]))
        .unwrap();
        assert_eq!(home.identity, Path::new("/c/kmsfs/identity"));
        assert_eq!(home.state, Path::new("/h/.local/state/kmsfs"));
        assert_eq!(home.runtime, Path::new("/run/user/1/kmsfs"));
    }

    /// Both wrote into one file before either gave it its name: whoever was first had the name, and the other's content. Of two
    /// identities made at once, the recovery words could be those of the one that was not kept.
    #[test]
    fn what_two_write_at_once_is_of_one_of_them_and_that_one_knows() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = dir.path().join(format!("identity-{round}"));
            let write = |content: u8| write_private(&path, &vec![content; 100_000], Existing::Keep);
            let (first, second) = std::thread::scope(|scope| {
                let (first, second) = (scope.spawn(|| write(1)), scope.spawn(|| write(2)));
                (first.join().unwrap(), second.join().unwrap())
            });
            assert!(first.is_ok() != second.is_ok());
            let kept = fs::read(&path).unwrap();
            let expected = if first.is_ok() { 1 } else { 2 };
            assert!(kept.len() == 100_000 && kept.iter().all(|it| *it == expected));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 50);
    }

    #[test]
    fn no_home_at_all_says_what_to_set() {
        let error = Home::resolve(with(&[])).unwrap_err();
        assert!(error.to_string().contains("KMSFS_HOME"));
    }

    #[test]
    fn a_private_file_is_replaced_or_kept_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d/identity");
        write_private(&path, b"one", Existing::Keep).unwrap();
        assert!(write_private(&path, b"two", Existing::Keep).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write_private(&path, b"two", Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
}
