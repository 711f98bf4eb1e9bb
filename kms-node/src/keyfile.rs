//! The node's two secrets in files that only it can read: its identity and its storage key (NODE §4).
//!
//! A file is a comment line and 64 hexadecimal digits. It is made at the first start, with mode 0600, whole or not at
//! all; a file that others can read is refused.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use kms_crypto::key::NodeSecret;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::rng;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or made.
    #[error("cannot use the key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Other users of the machine can read it.
    #[error("the key file {path} can be read by others (mode {mode:o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It does not hold a key.
    #[error("the key file {path} does not hold a key of 64 hexadecimal digits")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// The key under which a node's record keys are wrapped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct StorageKey([u8; 32]);

impl StorageKey {
    /// Takes the key's bytes.
    pub const fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// Makes a new one.
    pub fn generate() -> Self {
        let mut key = Self([0; 32]);
        rand_core::Rng::fill_bytes(&mut rng(), &mut key.0);
        key
    }

    /// The bytes, for derivations.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StorageKey(..)")
    }
}

/// Reads a node's identity, making one if there is none.
pub fn node_secret(path: &Path) -> Result<NodeSecret, KeyFileError> {
    let bytes = read_or_make(path, "node identity", || {
        NodeSecret::generate(&mut rng()).to_bytes()
    })?;
    NodeSecret::from_bytes(&bytes).map_err(|_| KeyFileError::Malformed {
        path: path.to_owned(),
    })
}

/// Reads a node's storage key, making one if there is none.
pub fn storage_key(path: &Path) -> Result<StorageKey, KeyFileError> {
    let bytes = read_or_make(path, STORAGE_KEY, || {
        Zeroizing::new(*StorageKey::generate().as_bytes())
    })?;
    Ok(StorageKey::from_bytes(&bytes))
}

/// Reads a storage key that has to be there.
pub fn read_storage_key(path: &Path) -> Result<StorageKey, KeyFileError> {
    let failed = |source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    let bytes = read(path, &metadata)?;
    Ok(StorageKey::from_bytes(&bytes))
}

/// Writes a storage key into a file that is not there yet.
pub fn write_storage_key(path: &Path, key: &StorageKey) -> Result<(), KeyFileError> {
    write_new(path, STORAGE_KEY, key.as_bytes()).map_err(|source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    })
}

const STORAGE_KEY: &str = "node storage key";

/// Overwrites a file with zeros and removes it; what that is worth is up to the file system and the drive.
pub(crate) fn erase(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    fs::remove_file(path)?;
    fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Writes a file that only its owner can read, in place of one that was left behind.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read_or_make(
    path: &Path,
    what: &str,
    make: impl FnOnce() -> Zeroizing<[u8; 32]>,
) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let failed = |source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    };
    // Through links: what counts is who can read the key itself. A link to nothing is not written through.
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = make();
            write_new(path, what, &key).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
        Ok(metadata) => read(path, &metadata),
    }
}

fn read(path: &Path, metadata: &fs::Metadata) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let mode = metadata.mode() & 0o777;
    if metadata.is_file() && mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let text = fs::read_to_string(path).map_err(|source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    })?;
    parse(&Zeroizing::new(text)).ok_or_else(|| KeyFileError::Malformed {
        path: path.to_owned(),
    })
}

fn parse(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let digits = lines.next()?.trim();
    if lines.next().is_some() {
        return None;
    }
    let bytes = Zeroizing::new(HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?);
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(key)
}

fn write_new(path: &Path, what: &str, key: &[u8; 32]) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = parent.join(name);
    let mut text = Zeroizing::new(format!("# kms {what}: keep it secret\n"));
    text.push_str(&Zeroizing::new(HEXLOWER_PERMISSIVE.encode(key)));
    text.push('\n');
    // A file left behind by an interrupted start was never used, unless it is a second name of a key: it is removed,
    // never written to.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // Linking refuses to replace: whoever was first has made the key.
    fs::hard_link(&temporary, path)?;
    fs::remove_file(&temporary)?;
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_the_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/storage.key");
        let made = storage_key(&path).unwrap();
        assert_eq!(storage_key(&path).unwrap().as_bytes(), made.as_bytes());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let identity = dir.path().join("node.key");
        assert_eq!(
            node_secret(&identity).unwrap().public(),
            node_secret(&identity).unwrap().public()
        );
    }

    #[test]
    fn a_key_others_can_read_and_a_file_without_a_key_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        storage_key(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            storage_key(&path),
            Err(KeyFileError::Exposed { mode: 0o640, .. })
        ));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(
            matches!(
                storage_key(&link),
                Err(KeyFileError::Exposed { mode: 0o640, .. })
            ),
            "nor by way of a link"
        );
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(storage_key(&link).is_ok());
        for text in [
            "",
            "# only a comment\n",
            "abcd\n",
            &"00".repeat(33),
            &format!("{0}\n{0}\n", "11".repeat(32)),
        ] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(storage_key(&path), Err(KeyFileError::Malformed { .. })),
                "{text}"
            );
        }
        fs::write(&path, "00".repeat(32)).unwrap();
        assert!(
            matches!(node_secret(&path), Err(KeyFileError::Malformed { .. })),
            "zero is no identity"
        );
    }
}
