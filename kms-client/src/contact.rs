//! Petnames: the names a person has given to other people's keys (CLI 5).
//!
//! A name never changes its key silently. A key that differs from the one the
//! name stands for is a hard stop, as is one that differs from the key that was
//! compared with its owner.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use kms_crypto::key::PublicKey;
use serde::{Deserialize, Serialize};

use crate::home::{Existing, write_private};

mod fingerprint;
mod petname;
mod resolve;

pub use self::{
    fingerprint::fingerprint,
    petname::{NameError, Petname, short},
    resolve::Unresolved,
};

/// Somebody's key, under the name this person uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contact {
    /// Their public key.
    pub key: PublicKey,
    /// The day the contact was added.
    pub added: String,
    /// The day the key was compared with its owner, if it was.
    pub verified: Option<String>,
    /// The fingerprint that was compared.
    compared: Option<String>,
}

impl Contact {
    /// Whether the key is still the one that was compared with its owner.
    pub fn is_unchanged(&self) -> bool {
        self.compared
            .as_ref()
            .is_none_or(|compared| *compared == fingerprint(&self.key))
    }
}

/// All contacts and groups of one person.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Book {
    contacts: BTreeMap<String, Contact>,
    groups: BTreeMap<String, Vec<String>>,
}

/// `contacts.toml` as it is written.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawBook {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    group: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    contact: BTreeMap<String, RawContact>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawContact {
    key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    added: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compared: Option<String>,
}

const HEADING: &str = "# People and groups known to kmsfs. See: kmsfs contact --help\n\n";

impl Book {
    /// Reads the file; a missing one is an empty book.
    pub fn load(path: &Path) -> Result<Self, BookFileError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(BookFileError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, BookFileError> {
        let refuse = |reason: String| BookFileError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let raw: RawBook = toml::from_str(text).map_err(|err| refuse(toml_sentence(text, &err)))?;
        let mut contacts = BTreeMap::new();
        for (name, raw) in raw.contact {
            let key = raw
                .key
                .parse()
                .map_err(|err| refuse(format!("The key of {name}: {err}.")))?;
            contacts.insert(
                name,
                Contact {
                    key,
                    added: raw.added,
                    verified: raw.verified,
                    compared: raw.compared,
                },
            );
        }
        Ok(Self {
            contacts,
            groups: raw.group,
        })
    }

    /// Writes the file whole.
    pub fn save(&self, path: &Path) -> Result<(), BookFileError> {
        let raw = RawBook {
            group: self.groups.clone(),
            contact: self
                .contacts
                .iter()
                .map(|(name, contact)| {
                    let raw = RawContact {
                        key: contact.key.to_string(),
                        added: contact.added.clone(),
                        verified: contact.verified.clone(),
                        compared: contact.compared.clone(),
                    };
                    (name.clone(), raw)
                })
                .collect(),
        };
        let text = toml::to_string(&raw).expect("strings and lists of strings always serialise");
        write_private(
            path,
            format!("{HEADING}{text}").as_bytes(),
            Existing::Replace,
        )
        .map_err(|source| BookFileError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// All contacts by name.
    pub fn contacts(&self) -> impl Iterator<Item = (&str, &Contact)> {
        self.contacts
            .iter()
            .map(|(name, contact)| (name.as_str(), contact))
    }

    /// All groups by name.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.groups
            .iter()
            .map(|(name, members)| (name.as_str(), members.as_slice()))
    }

    /// The contact of exactly this name.
    pub fn get(&self, name: &str) -> Option<&Contact> {
        self.contacts.get(name)
    }

    /// The name this person uses for a key.
    pub fn name_of(&self, key: &PublicKey) -> Option<&str> {
        self.contacts()
            .find(|(_, contact)| contact.key == *key)
            .map(|(name, _)| name)
    }

    /// The name of a key, or the key in its short form.
    pub fn display(&self, key: &PublicKey) -> String {
        self.name_of(key).map_or_else(|| short(key), str::to_owned)
    }

    /// Adds somebody. Adding the same key under the same name again changes nothing.
    pub fn add(&mut self, name: &Petname, key: PublicKey, today: &str) -> Result<Added, BookError> {
        if let Some(known) = self.contacts.get(name.as_str()) {
            if known.key == key {
                return Ok(Added::Already);
            }
            return Err(BookError::KeyChanged {
                name: name.to_string(),
                known: Box::new(known.key),
                verified: known.verified.clone(),
            });
        }
        if let Some(other) = self.name_of(&key) {
            return Err(BookError::KnownAs {
                name: other.to_owned(),
            });
        }
        self.contacts.insert(
            name.to_string(),
            Contact {
                key,
                added: today.to_owned(),
                verified: None,
                compared: None,
            },
        );
        Ok(Added::New)
    }

    /// Notes that the key was compared with its owner.
    pub fn set_verified(&mut self, name: &str, today: &str) -> Result<(), Unresolved> {
        let name = self.find_even_if_changed(name)?.to_owned();
        let contact = self.contacts.get_mut(&name).expect("just found");
        contact.verified = Some(today.to_owned());
        contact.compared = Some(fingerprint(&contact.key));
        Ok(())
    }

    /// Forgets somebody, also in groups.
    pub fn remove(&mut self, name: &str) -> Result<Contact, Unresolved> {
        let name = self.find_even_if_changed(name)?.to_owned();
        for members in self.groups.values_mut() {
            members.retain(|member| *member != name);
        }
        self.groups.retain(|_, members| !members.is_empty());
        Ok(self.contacts.remove(&name).expect("just found"))
    }

    /// Makes a group, or adds members to it.
    pub fn group_add(&mut self, group: &Petname, members: &[String]) -> Result<(), Unresolved> {
        let mut found = Vec::new();
        for member in members {
            found.push(self.find(member)?.to_owned());
        }
        let list = self.groups.entry(group.to_string()).or_default();
        for member in found {
            if !list.contains(&member) {
                list.push(member);
            }
        }
        list.sort();
        Ok(())
    }

    /// Takes members out of a group, or removes it whole when none are named.
    pub fn group_remove(&mut self, group: &str, members: &[String]) -> Result<(), Unresolved> {
        let list = self
            .groups
            .get_mut(group)
            .ok_or_else(|| Unresolved::NoGroup {
                name: group.to_owned(),
            })?;
        list.retain(|member| !members.contains(member));
        if members.is_empty() || list.is_empty() {
            self.groups.remove(group);
        }
        Ok(())
    }
}

/// What adding a contact came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Added {
    /// The name is new.
    New,
    /// The same name had the same key already.
    Already,
}

/// Why somebody could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// The name stands for another key.
    #[error("{name} already stands for another key, {}", short(.known))]
    KeyChanged {
        /// The petname.
        name: String,
        /// The key it stands for.
        known: Box<PublicKey>,
        /// When that key was compared with its owner.
        verified: Option<String>,
    },
    /// The key has a name.
    #[error("this key is in your contacts as {name}")]
    KnownAs {
        /// That name.
        name: String,
    },
}

/// Why the file of contacts cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookFileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not such a file.
    #[error("cannot understand {}: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the line where known; a sentence.
        reason: String,
    },
}

/// What is wrong with a TOML file, as a sentence that names the line.
pub fn toml_sentence(text: &str, err: &toml::de::Error) -> String {
    let message = err.message().trim_end_matches('.').replace('\n', " ");
    match err.span() {
        Some(span) => {
            let line = 1 + text
                .get(..span.start)
                .map_or(0, |before| before.matches('\n').count());
            format!("Line {line}: {message}.")
        }
        None => format!("{message}."),
    }
}

#[cfg(test)]
mod tests;
