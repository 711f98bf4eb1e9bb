//! Encrypted names and symbolic links (FORMAT §7).
//!
//! A name is sealed deterministically, so that a lookup needs no search; the same name in another directory, or under
//! another name key, looks different. What stands in the store is base64url of it, which no file system mangles.

mod backing;
mod conflict;
mod link;

pub use backing::{BackingName, DIR_HEADER, LONG_PREFIX, SIDE_SUFFIX};
pub use conflict::Guess;
pub use link::{LINK_SUFFIX, StoredLink, TARGET_MAX};

use core::fmt;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::aead::{siv_open, siv_seal};
use crate::id::DirId;
use crate::kdf::derive64;
use crate::key::NameKey;

/// The longest name, in the mount and in the store.
pub const NAME_MAX: usize = 255;

/// Tells a name from all others of its directory without telling the name: the synthetic nonce of its sealing.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NameTag(pub [u8; 16]);

impl fmt::Debug for NameTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "NameTag({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// A name as it stands in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EncryptedName {
    /// The name of the backing file.
    pub backing: String,
    /// The whole sealed name, when it is too long: to be kept in the file `<backing>.name`, made first.
    pub long: Option<String>,
    /// The tag that stands in the object's binding.
    pub tag: NameTag,
}

/// Why a name was not sealed or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty, `.`, `..`, or with a slash or a zero byte in it.
    #[error("not a name for a file")]
    NotAName,
    /// Too long.
    #[error("the name is too long")]
    TooLong,
    /// It was not made with this directory's name key, or has been altered.
    #[error("the name does not belong into this directory")]
    Refused,
    /// Its whole form, kept beside it, was not given.
    #[error("the side file of a long name is missing")]
    SideMissing,
}

/// Seals and opens the names in one directory.
pub struct NameCipher {
    dir: DirId,
    names: Zeroizing<[u8; 64]>,
    targets: Zeroizing<[u8; 64]>,
}

impl NameCipher {
    /// For the directory `dir`, whose name key this is.
    #[must_use]
    pub fn new(key: &NameKey, dir: DirId) -> Self {
        let names = derive64(key.as_bytes(), "kms/name/1", &[]);
        let targets = derive64(key.as_bytes(), "kms/symlink/1", &[]);
        Self {
            dir,
            names,
            targets,
        }
    }

    /// The directory.
    #[must_use]
    pub const fn dir(&self) -> DirId {
        self.dir
    }

    /// Seals a name.
    pub fn encrypt(&self, name: &[u8]) -> Result<EncryptedName, NameError> {
        check(name)?;
        let sealed = siv_seal(&self.names, &[self.dir.as_bytes()], name);
        let tag = tag_of(&sealed).ok_or(NameError::NotAName)?;
        let whole = BASE64URL_NOPAD.encode(&sealed);
        if whole.len() <= NAME_MAX {
            return Ok(EncryptedName {
                backing: whole,
                long: None,
                tag,
            });
        }
        Ok(EncryptedName {
            backing: long_name(&sealed),
            long: Some(whole),
            tag,
        })
    }

    /// Opens a name as it stands in the store; `long` is the content of `<backing>.name` for a long one.
    pub fn decrypt(
        &self,
        backing: &str,
        long: Option<&str>,
    ) -> Result<(Vec<u8>, NameTag), NameError> {
        let whole = match BackingName::of(backing.as_bytes()) {
            BackingName::Short(whole) => whole,
            BackingName::Long(_) => long.ok_or(NameError::SideMissing)?,
            _ => return Err(NameError::Refused),
        };
        let sealed = BASE64URL_NOPAD
            .decode(whole.as_bytes())
            .map_err(|_| NameError::Refused)?;
        let tag = tag_of(&sealed).ok_or(NameError::Refused)?;
        let is_long = whole.len() > NAME_MAX;
        if is_long != backing.starts_with(LONG_PREFIX) || is_long && long_name(&sealed) != backing {
            return Err(NameError::Refused);
        }
        let name = siv_open(&self.names, &[self.dir.as_bytes()], &sealed)
            .map_err(|_| NameError::Refused)?;
        check(&name).map_err(|_| NameError::Refused)?;
        Ok((name.to_vec(), tag))
    }

    /// Seals the target of the symbolic link with this name tag; [`StoredLink`] says where the result goes.
    pub fn encrypt_target(&self, tag: NameTag, target: &[u8]) -> Result<String, NameError> {
        if target.is_empty() || target.contains(&0) {
            return Err(NameError::NotAName);
        }
        if target.len() > TARGET_MAX {
            return Err(NameError::TooLong);
        }
        let ad: [&[u8]; 2] = [self.dir.as_bytes(), &tag.0];
        Ok(BASE64URL_NOPAD.encode(&siv_seal(&self.targets, &ad, target)))
    }

    /// Opens the target of the symbolic link with this name tag.
    pub fn decrypt_target(&self, tag: NameTag, sealed: &str) -> Result<Vec<u8>, NameError> {
        let sealed = BASE64URL_NOPAD
            .decode(sealed.as_bytes())
            .map_err(|_| NameError::Refused)?;
        let ad: [&[u8]; 2] = [self.dir.as_bytes(), &tag.0];
        let target = siv_open(&self.targets, &ad, &sealed).map_err(|_| NameError::Refused)?;
        if target.is_empty() || target.contains(&0) || target.len() > TARGET_MAX {
            return Err(NameError::Refused);
        }
        Ok(target.to_vec())
    }
}

impl fmt::Debug for NameCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameCipher({:?})", self.dir)
    }
}

fn check(name: &[u8]) -> Result<(), NameError> {
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong);
    }
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
        return Err(NameError::NotAName);
    }
    Ok(())
}

fn tag_of(sealed: &[u8]) -> Option<NameTag> {
    sealed.first_chunk().copied().map(NameTag)
}

/// `"l." ‖ base64url(SHA-256(sealed name))`.
fn long_name(sealed: &[u8]) -> String {
    let mut name = String::from(LONG_PREFIX);
    BASE64URL_NOPAD.encode_append(&Sha256::digest(sealed), &mut name);
    name
}

#[cfg(test)]
mod tests;
