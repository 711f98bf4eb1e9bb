//! Files of one's own stores of `kmsfs`, opened where they lie (API §2.3).
//!
//! What a mount has not brought into the store yet is not seen, and nobody says whether a file is its newest version:
//! that is known to the machine that has mounted it.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use kms_crypto::format::config::{FILE_NAME, StoreConfig};
use kms_crypto::format::file::FileError;
use kms_crypto::format::{Check, DirKeys, Header, OpenHeader, Via};
use kms_crypto::key::{IdentitySecret, StoreKey};
use kms_crypto::name::{DIR_HEADER, NameTag};

use super::Session;
use super::files::{OpenedFile, Partial, about, open_plain};
use super::lists::read_config;
use crate::catalogue::ApiError;
use crate::stream::{self, Stop};

/// A store of one's own.
struct Store {
    root: PathBuf,
    config: StoreConfig,
    key: StoreKey,
}

/// A file in a store, with what opens it.
struct Stored {
    file: File,
    header: Header,
    keys: DirKeys,
    tag: NameTag,
}

impl Session {
    /// Decrypts a file of one's own store, if `source` is one: by the name it is stored under, or by the one that a
    /// mount shows.
    pub(super) fn decrypt_stored(
        &self,
        source: &Path,
        target: &Path,
        stop: &Stop,
    ) -> Result<Option<OpenedFile>, ApiError> {
        let Some(store) = Store::around(source, &self.inner.identity) else {
            return Ok(None);
        };
        let Some(mut it) = store.find(source)? else {
            return Ok(None);
        };
        let mac = store.key.owner_mac_key();
        let via = Via::Dir {
            keys: &it.keys,
            tag: it.tag,
        };
        let mut to = Partial::create(target)?;
        let sizes = stream::open(&mut it.file, to.file(), via, Check::Owner(&mac), stop);
        let sizes = sizes.map_err(|error| about(error, source, target))?;
        to.finish()?;
        Ok(Some(OpenedFile {
            label: it.header.labels().first().map(|slot| slot.id),
            owner: self.identity(),
            sizes,
        }))
    }
}

impl Store {
    /// The store in whose directory something lies.
    fn around(path: &Path, owner: &IdentitySecret) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let mut dirs = path.ancestors().skip(1);
        let root = dirs.find(|dir| dir.join(FILE_NAME).is_file())?;
        let config = read_config(root).ok()?;
        let key = config.open(owner).ok()?;
        Some(Self {
            root: root.to_owned(),
            config,
            key,
        })
    }

    fn find(&self, path: &Path) -> Result<Option<Stored>, ApiError> {
        let mut file = match open_plain(path) {
            Ok(file) => file,
            Err(error) if path.symlink_metadata().is_ok() => return Err(error),
            Err(error) => {
                return self
                    .find_by_name(path)
                    .transpose()
                    .unwrap_or(Err(error))
                    .map(Some);
            }
        };
        let header = inspect(&mut file, path)?;
        let binding = header.bindings().first().cloned();
        let Some(binding) = binding.filter(|_| header.core().store == self.config.store) else {
            return Ok(None);
        };
        Ok(Some(Stored {
            file,
            header,
            keys: DirKeys::derived(&self.key, binding.dir, binding.dir_epoch),
            tag: binding.name_tag,
        }))
    }

    /// Goes from directory to directory, each of which has to be the one that was made under that name.
    fn find_by_name(&self, path: &Path) -> Result<Option<Stored>, ApiError> {
        let path = std::path::absolute(path).map_err(|error| ApiError::io("read", path, &error))?;
        let Ok(below) = path.strip_prefix(&self.root) else {
            return Ok(None);
        };
        let root = Via::Store {
            key: &self.key,
            id: self.config.root(),
        };
        let mut dir = self.root.clone();
        let mut header = self.directory(&dir, root)?;
        let mut names = below.components().peekable();
        while let Some(Component::Normal(name)) = names.next() {
            let ciphers = [
                Some(names_of(&header)?),
                header.prev_names().map_err(refused)?,
            ];
            let sealed = ciphers.iter().flatten();
            let sealed = sealed.filter_map(|it| it.encrypt(name.as_bytes()).ok());
            let mut there = sealed.filter(|it| dir.join(&it.backing).symlink_metadata().is_ok());
            let Some(sealed) = there.next() else {
                return Ok(None);
            };
            let keys = header.dir_keys().map_err(refused)?;
            dir.push(&sealed.backing);
            if names.peek().is_none() {
                let mut file = open_plain(&dir)?;
                let header = inspect(&mut file, &path)?;
                return Ok(Some(Stored {
                    file,
                    header,
                    keys,
                    tag: sealed.tag,
                }));
            }
            let via = Via::Dir {
                keys: &keys,
                tag: sealed.tag,
            };
            header = self.directory(&dir, via)?;
        }
        Ok(None)
    }

    fn directory(&self, dir: &Path, via: Via<'_>) -> Result<OpenHeader, ApiError> {
        let path = dir.join(DIR_HEADER);
        let header = inspect(&mut open_plain(&path)?, &path)?;
        let mac = self.key.owner_mac_key();
        header.open(via, Check::Owner(&mac)).map_err(refused)
    }
}

fn names_of(header: &OpenHeader) -> Result<kms_crypto::name::NameCipher, ApiError> {
    header.names().map_err(refused)
}

fn inspect(file: &mut File, path: &Path) -> Result<Header, ApiError> {
    stream::inspect(file).map_err(|error| about(error, path, path))
}

fn refused(error: kms_crypto::format::HeaderError) -> ApiError {
    FileError::from(error).into()
}
