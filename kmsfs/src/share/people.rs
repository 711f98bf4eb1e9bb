//! From the people a verb names to keys. Contacts are read afresh each time:
//! a contact just added counts in a mount that is already running.

use std::path::PathBuf;

use kms_client::{GrantSpec, RevokeSpec, Who};
use kms_crypto::key::PublicKey;

use super::Refused;
use crate::contact::{Book, BookFileError, Unresolved};

/// Where this person's contacts are.
#[derive(Clone, Debug)]
pub struct People {
    contacts: PathBuf,
}

impl People {
    /// The people in a contacts file.
    pub fn new(contacts: PathBuf) -> Self {
        Self { contacts }
    }

    /// The contacts as they are now; a file that cannot be read is no reason to
    /// show nothing, so it counts as empty here.
    pub fn book_for_display(&self) -> Book {
        Book::load(&self.contacts).unwrap_or_default()
    }

    /// The keys of the people somebody named, each once.
    pub fn keys(&self, people: &[Who]) -> Result<Vec<PublicKey>, Refused> {
        let book = Book::load(&self.contacts)?;
        let mut keys: Vec<PublicKey> = Vec::new();
        for who in people {
            for key in book.keys_of(who)? {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }
}

/// A verb's value as text: tools add a newline or a zero byte.
pub(super) fn text(value: &[u8]) -> Result<&str, Refused> {
    let text = std::str::from_utf8(value)
        .map_err(|_| Refused::new(libc::EINVAL, "The value is not text."))?;
    Ok(text.trim_matches(|c: char| c.is_whitespace() || c == '\0'))
}

/// Understands the value of a grant.
pub(super) fn grant_spec(value: &[u8]) -> Result<GrantSpec, Refused> {
    Ok(text(value)?.parse::<GrantSpec>()?)
}

/// Understands the value of a revocation.
pub(super) fn revoke_spec(value: &[u8]) -> Result<RevokeSpec, Refused> {
    Ok(text(value)?.parse::<RevokeSpec>()?)
}

impl From<Unresolved> for Refused {
    fn from(err: Unresolved) -> Self {
        let errno = match err {
            Unresolved::Unknown { .. } | Unresolved::NoGroup { .. } => libc::EDESTADDRREQ,
            Unresolved::Ambiguous { .. } | Unresolved::KeyChanged { .. } => libc::ENOTUNIQ,
            _ => libc::EINVAL,
        };
        let failure = crate::failure::Failure::from(err);
        Self::from_failure(errno, failure)
    }
}

impl From<BookFileError> for Refused {
    fn from(err: BookFileError) -> Self {
        crate::failure::Failure::from(err).into()
    }
}
