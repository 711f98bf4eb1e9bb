//! What the entries of a backing directory are, told by their names alone (FORMAT §7.2).

use super::{LINK_SUFFIX, NAME_MAX};

/// The name of a directory's header.
pub const DIR_HEADER: &str = "kmsfs.dir";
/// What the backing names of long names begin with.
pub const LONG_PREFIX: &str = "l.";
/// What is appended to it for the side file that holds the whole name.
pub const SIDE_SUFFIX: &str = ".name";

/// An entry of a backing directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BackingName<'a> {
    /// The directory's own header.
    DirHeader,
    /// A sealed name.
    Short(&'a str),
    /// The hash of a sealed name that is too long.
    Long(&'a str),
    /// The side file of the long name that it begins with.
    Side(&'a str),
    /// The side file of a symbolic link that points to this text.
    LinkSide(&'a str),
    /// Something this format does not put there.
    Foreign,
}

impl<'a> BackingName<'a> {
    /// Tells what `name` is.
    #[must_use]
    pub fn of(name: &'a [u8]) -> Self {
        let Ok(name) = core::str::from_utf8(name) else {
            return Self::Foreign;
        };
        if name == DIR_HEADER {
            return Self::DirHeader;
        }
        if let Some(long) = name.strip_suffix(SIDE_SUFFIX) {
            return if is_long(long) {
                Self::Side(long)
            } else {
                Self::Foreign
            };
        }
        if let Some(link) = name.strip_suffix(LINK_SUFFIX)
            && is_long(link)
        {
            return Self::LinkSide(link);
        }
        if is_long(name) {
            return Self::Long(name);
        }
        // A sealed name has at least 17 bytes: 23 characters.
        if (23..=NAME_MAX).contains(&name.len()) && is_base64url(name) {
            return Self::Short(name);
        }
        Self::Foreign
    }
}

pub(super) fn is_long(name: &str) -> bool {
    name.strip_prefix(LONG_PREFIX)
        .is_some_and(|hash| hash.len() == 43 && is_base64url(hash))
}

pub(super) fn is_base64url(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
