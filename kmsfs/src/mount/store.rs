//! A store's configuration on disk: making, reading and opening it.

use std::{
    io::{ErrorKind, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use kms_crypto::{
    aead::Cipher,
    format::config::{ConfigError, FILE_NAME, NewStore, StoreConfig},
    id::SchemeId,
    kdf,
    key::{IdentitySecret, PublicKey, StoreKey},
    scheme::SchemeKind,
};

use super::point;
use crate::{
    contact::short,
    failure::{Exit, Failure, sentence},
    home::{Existing, Home, write_private},
    vfs::{StoreInfo, Vfs},
};

/// Reads the configuration of the store in `dir`.
pub fn read(dir: &Path) -> Result<StoreConfig, Failure> {
    let path = dir.join(FILE_NAME);
    let text = read_plain(&path).map_err(|err| match err.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => point::not_a_store(dir),
        ErrorKind::InvalidData => refused(dir, &ConfigError::NotAConfig),
        _ => Failure::io("read", &path, &err),
    })?;
    StoreConfig::parse(&text).map_err(|err| refused(dir, &err))
}

/// Reads a text that may be anything: never a link, never waiting for a pipe, never more than a configuration has.
fn read_plain(path: &Path) -> std::io::Result<String> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut text = String::new();
    file.take(MAX_CONFIG).read_to_string(&mut text)?;
    Ok(text)
}

/// More than FORMAT §8.1 allows.
const MAX_CONFIG: u64 = 64 << 10;

/// Takes the key out, for the owner.
pub fn open(dir: &Path, config: &StoreConfig, owner: &IdentitySecret) -> Result<StoreKey, Failure> {
    config.open(owner).map_err(|err| refused(dir, &err))
}

/// What the filesystem has to know of the configuration.
pub fn info(config: &StoreConfig) -> StoreInfo {
    StoreInfo::from(config)
}

/// What must be said of a store whose scheme is for debugging.
pub fn warning(scheme: SchemeId) -> Option<String> {
    let kind = SchemeKind::try_from(scheme).ok()?;
    let weakness = kind.weakness()?;
    Some(format!(
        "WARNING: NOT SECURE. This store shares by the debugging scheme {}: {weakness}.",
        kind.name()
    ))
}

/// Where this machine keeps what belongs to a store: one place for each copy of it.
pub fn state_dir(home: &Home, dir: &Path, config: &StoreConfig) -> PathBuf {
    home.state
        .join(STATES)
        .join(format!("{}-{}", config.store, place(dir)))
}

fn place(dir: &Path) -> String {
    let place = kdf::mac(&[0; 32], "kms/state-dir/1", &[dir.as_os_str().as_bytes()]);
    data_encoding::HEXLOWER.encode(&place[..4])
}

const STATES: &str = "stores";

/// What must be said when another store has stood here: whoever can write to the store's directory can put another
/// configuration there, and what is written then goes into a store of his.
pub fn exchanged(home: &Home, dir: &Path, config: &StoreConfig) -> Option<String> {
    let here = format!("-{}", place(dir));
    let names = std::fs::read_dir(home.state.join(STATES)).ok()?;
    let mut names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let other = names.find_map(|name| {
        let store = name.strip_suffix(&here)?.to_owned();
        (store != config.store.to_string()).then_some(store)
    })?;
    Some(format!(
        "WARNING: ANOTHER STORE. {} was store {other} when it was mounted before; now it is {}, which belongs to {}.",
        dir.display(),
        config.store,
        short(&config.owner)
    ))
}

/// Where in there belongs what a recipient with this key has seen (FRESHNESS §2).
pub fn reader_dir(reader: &PublicKey) -> String {
    let hash = kdf::hash("kms/reader-dir/1", &[&reader.to_bytes()]);
    data_encoding::HEXLOWER.encode(&hash[..6])
}

/// What tells one configuration of a store from another.
pub fn digest(config: &StoreConfig) -> [u8; 32] {
    kdf::hash("kms/seen-config/1", &[config.as_text().as_bytes()])
}

/// Makes a store in `dir`, which does not exist or is empty.
pub fn create(
    dir: &Path,
    owner: &IdentitySecret,
    cipher: Cipher,
    scheme: SchemeKind,
) -> Result<StoreConfig, Failure> {
    refuse_used(dir)?;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .or_else(|err| match err.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            _ => Err(err),
        })
        .map_err(|err| cannot_make(dir).why(sentence(&err)))?;
    let new = NewStore {
        cipher,
        scheme: scheme.id(),
        layout: kms_crypto::format::layout::Layout::new(12).expect("4 KiB chunks exist"),
        created: crate::time::now(),
    };
    let (config, key) = StoreConfig::create(&new, owner, &mut crate::random());
    Vfs::create_store(dir, &info(&config), &key).map_err(|err| cannot_make(dir).why(err))?;
    // Last: what makes it a store is there only when the rest is.
    write_private(
        &dir.join(FILE_NAME),
        config.as_text().as_bytes(),
        Existing::Keep,
    )?;
    Ok(config)
}

/// Refuses a place where something is already.
pub fn refuse_used(dir: &Path) -> Result<(), Failure> {
    if point::is_store(dir) {
        return Err(cannot_make(dir)
            .why("It is a store already. Nothing was changed.")
            .now(format!("Mount it: kmsfs mount {}", dir.display())));
    }
    match std::fs::read_dir(dir) {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        Err(err) => Err(cannot_make(dir).why(sentence(&err))),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(cannot_make(dir)
                .why("The directory is not empty.")
                .now("Choose another name, or move away what is there.")),
        },
    }
}

fn cannot_make(dir: &Path) -> Failure {
    Failure::new(
        Exit::CannotCreate,
        format!("Cannot make a store in {}.", dir.display()),
    )
}

fn refused(dir: &Path, err: &ConfigError) -> Failure {
    if let ConfigError::NotOwner { owner } = err {
        return Failure::new(
            Exit::Denied,
            format!("The store {} is not yours.", dir.display()),
        )
        .why(format!("It belongs to {}.", short(owner)));
    }
    Failure::new(
        Exit::Data,
        format!("Cannot use the store {}.", dir.display()),
    )
    .why(format!("{}.", crate::share::capital(&err.to_string())))
    .now(format!(
        "Its files are as they were; bring back {FILE_NAME} from a backup or another copy of the store."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refuse_used(dir.path()).is_ok());
        assert!(refuse_used(&dir.path().join("new")).is_ok());
        std::fs::write(dir.path().join("a"), "").unwrap();
        assert_eq!(
            refuse_used(dir.path()).unwrap_err().exit,
            Exit::CannotCreate
        );
    }

    #[test]
    fn an_edited_configuration_is_refused_as_data() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap_err().exit, Exit::NoInput);
        std::fs::write(dir.path().join(FILE_NAME), "format = 1\n").unwrap();
        assert_eq!(read(dir.path()).unwrap_err().exit, Exit::Data);
        std::fs::write(dir.path().join(FILE_NAME), b"\xff\xfe").unwrap();
        assert_eq!(read(dir.path()).unwrap_err().exit, Exit::Data);
        std::fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join(FILE_NAME), mode).unwrap();
        assert_eq!(read(dir.path()).unwrap_err().exit, Exit::Data);
    }
}
