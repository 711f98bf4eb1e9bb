//! Symbolic links as they stand in the store: the sealed target itself, or the name of a side file that holds it
//! (FORMAT §7.3).

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use super::backing::is_long;
use super::{LONG_PREFIX, NameCipher, NameError, NameTag};

/// The longest target of a symbolic link, in the mount and in the store.
pub const TARGET_MAX: usize = 4095;
/// What is appended to the target of a stored link for the side file that holds the sealed one.
pub const LINK_SUFFIX: &str = ".link";
/// Between the two forms of a link that is about to change places with something.
const SEPARATOR: char = '.';
/// `"l."` and 43 characters: no sealed target has this length.
const SPILLED_LEN: usize = 45;

/// A symbolic link as it stands in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredLink {
    /// What it points to there.
    pub target: String,
    /// What is to be kept in `<target>.link`, made first.
    pub side: Option<String>,
}

impl StoredLink {
    /// Of one sealed target.
    #[must_use]
    pub fn of(sealed: String) -> Self {
        if sealed.len() <= TARGET_MAX {
            return Self {
                target: sealed,
                side: None,
            };
        }
        Self::spilled(sealed)
    }

    /// Of a target sealed for two names, under either of which it opens.
    #[must_use]
    pub fn of_two(one: &str, other: &str) -> Self {
        Self::spilled(format!("{one}{SEPARATOR}{other}"))
    }

    /// Whether a stored link with a target of `len` bytes has a side file.
    #[must_use]
    pub const fn is_spilled(len: usize) -> bool {
        len == SPILLED_LEN
    }

    fn spilled(content: String) -> Self {
        Self {
            target: side_name(&content),
            side: Some(content),
        }
    }
}

impl NameCipher {
    /// Opens a stored link found under a name with this tag; `side` is the content of `<target>.link`, if it has one.
    pub fn open_link(
        &self,
        tag: NameTag,
        target: &str,
        side: Option<&str>,
    ) -> Result<Vec<u8>, NameError> {
        if target.len() > TARGET_MAX {
            return Err(NameError::Refused);
        }
        if !is_long(target) {
            return self.decrypt_target(tag, target);
        }
        let content = side.ok_or(NameError::SideMissing)?;
        if side_name(content) != target {
            return Err(NameError::Refused);
        }
        match content.split_once(SEPARATOR) {
            None if content.len() <= TARGET_MAX => Err(NameError::Refused),
            None => self.decrypt_target(tag, content),
            Some((one, other)) => self
                .decrypt_target(tag, one)
                .or_else(|_| self.decrypt_target(tag, other)),
        }
    }

    /// How long the target of a stored link is: what `stat` shows of it. `side` as for [`NameCipher::open_link`], which
    /// verifies what this does not.
    #[must_use]
    pub fn link_len(stored_len: usize, side: Option<&str>) -> Option<usize> {
        let len = match side {
            None => stored_len,
            Some(content) => content
                .split_once(SEPARATOR)
                .map_or(content, |(one, _)| one)
                .len(),
        };
        BASE64URL_NOPAD.decode_len(len).ok()?.checked_sub(16)
    }
}

fn side_name(content: &str) -> String {
    let mut name = String::from(LONG_PREFIX);
    BASE64URL_NOPAD.encode_append(&Sha256::digest(content.as_bytes()), &mut name);
    name
}
