//! The contacts, which are those of `kmsfs` (API §2.2). They need no unlocked identity.

use std::path::{Path, PathBuf};

use kms_crypto::key::PublicKey;
use serde::Serialize;

use super::as_text;
use crate::catalogue::{ApiError, Code};
use crate::contact::{Added, Book, Petname, fingerprint};
use crate::grammar::Who;

/// Somebody in the contacts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ContactInfo {
    /// The petname.
    pub name: String,
    /// The public key.
    #[serde(serialize_with = "as_text")]
    pub identity: PublicKey,
    /// The digits to compare with its owner.
    pub fingerprint: String,
    /// Whether that was done.
    pub verified: bool,
}

/// People under one name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct GroupInfo {
    /// Its name, without the `@`.
    pub name: String,
    /// Petnames.
    pub members: Vec<String>,
}

/// The contacts of a person, in their file.
#[derive(Clone, Debug)]
pub struct Contacts {
    path: PathBuf,
}

impl Contacts {
    /// Those in the file at `path`; see [`crate::home::Home::contacts`].
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Adds somebody; whether they are new.
    ///
    /// # Errors
    /// [`Code::Exists`] if the name has another key, or the key another name; [`Code::BadParameter`] for what is no
    /// petname; [`Code::Io`].
    ///
    /// ```
    /// use kms_client::Contacts;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = &dir.path().join("contacts.toml");
    /// let contacts = Contacts::new(path);
    /// let bob = kms_client::sealed::generate_key().public();
    /// assert!(contacts.add("bob", bob)?);
    /// assert!(!contacts.add("bob", bob)?);
    /// assert_eq!(contacts.list()?.0[0].name, "bob");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add(&self, name: &str, key: PublicKey) -> Result<bool, ApiError> {
        let name: Petname = name.parse().map_err(|error| {
            let why = format!("{error}");
            ApiError::new(Code::BadParameter, why).with("parameter", "name")
        })?;
        let mut book = self.book()?;
        let added = book.add(&name, key, &today())?;
        if added == Added::New {
            book.save(&self.path)?;
        }
        Ok(added == Added::New)
    }

    /// Forgets somebody, in groups too; the key they had.
    ///
    /// # Errors
    /// [`Code::UnknownRecipient`], [`Code::Io`].
    pub fn remove(&self, name: &str) -> Result<PublicKey, ApiError> {
        let mut book = self.book()?;
        let contact = book.remove(name)?;
        book.save(&self.path)?;
        Ok(contact.key)
    }

    /// Notes that the key was compared with its owner, if `digits` are those of its fingerprint; spaces do not matter.
    ///
    /// # Errors
    /// [`Code::UnknownRecipient`], [`Code::BadParameter`] for other digits, [`Code::Io`].
    pub fn verify(&self, name: &str, digits: &str) -> Result<ContactInfo, ApiError> {
        let mut book = self.book()?;
        let (found, contact) = book.look_up(name)?;
        let (found, key) = (found.to_owned(), contact.key);
        let plain = |text: &str| text.split_whitespace().collect::<String>();
        let expected = fingerprint(&key);
        if plain(digits) != plain(&expected) {
            let why = format!("these are not the digits of {found}'s key: do not trust it");
            return Err(ApiError::new(Code::BadParameter, why).with("parameter", "fingerprint"));
        }
        book.set_verified(&found, &today())?;
        book.save(&self.path)?;
        Ok(ContactInfo {
            name: found,
            identity: key,
            fingerprint: expected,
            verified: true,
        })
    }

    /// Everybody, and the groups, by name.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn list(&self) -> Result<(Vec<ContactInfo>, Vec<GroupInfo>), ApiError> {
        let book = self.book()?;
        let people = book.contacts().map(|(name, contact)| ContactInfo {
            name: name.to_owned(),
            identity: contact.key,
            fingerprint: fingerprint(&contact.key),
            verified: contact.verified.is_some() && contact.is_unchanged(),
        });
        let groups = book.groups().map(|(name, members)| GroupInfo {
            name: name.to_owned(),
            members: members.to_vec(),
        });
        Ok((people.collect(), groups.collect()))
    }

    fn book(&self) -> Result<Book, ApiError> {
        Ok(Book::load(&self.path)?)
    }
}

/// The keys of the people somebody named, each once.
pub(super) fn keys(book: &Book, people: &[Who]) -> Result<Vec<PublicKey>, ApiError> {
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

fn today() -> String {
    crate::grammar::date((kms_ledger::system_clock())())
}
