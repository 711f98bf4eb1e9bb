//! From what a person typed to a key: petname, `@group` or `kms1…` (CLI 5.2).

use kms_crypto::key::PublicKey;

use super::{Book, Contact};
use crate::grammar::Who;

/// Why a name does not lead to one trusted key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unresolved {
    /// Nobody has this name.
    #[error("nobody called {name:?} in your contacts")]
    Unknown {
        /// What was asked for.
        name: String,
        /// A name that is nearly the same.
        nearest: Option<String>,
    },
    /// No group has this name.
    #[error("no group called {name:?} in your contacts")]
    NoGroup {
        /// What was asked for, without the `@`.
        name: String,
    },
    /// Several names differ from it in the case of letters alone.
    #[error("{name:?} could be any of {}", .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The names it could mean.
        candidates: Vec<String>,
    },
    /// The key is not the one that was compared with its owner.
    #[error("the key of {name} is not the one you compared on {verified}")]
    KeyChanged {
        /// The petname.
        name: String,
        /// When the other key was compared.
        verified: String,
    },
    /// The text starts like a key and is none.
    #[error("{text} is not a key: {reason}")]
    BadKey {
        /// What was typed.
        text: String,
        /// What is wrong with it, with the position where known.
        reason: String,
    },
}

impl Book {
    /// The key meant by a petname or a `kms1…` text.
    pub fn resolve(&self, who: &str) -> Result<PublicKey, Unresolved> {
        if who.to_ascii_lowercase().starts_with("kms1") {
            return who.parse().map_err(|err| Unresolved::BadKey {
                text: who.to_owned(),
                reason: format!("{err}"),
            });
        }
        let name = self.find(who)?;
        Ok(self.contacts.get(name).expect("just found").key)
    }

    /// The keys meant by a petname, a key, or a `@group`.
    pub fn resolve_all(&self, who: &str) -> Result<Vec<PublicKey>, Unresolved> {
        let Some(group) = who.strip_prefix('@') else {
            return Ok(vec![self.resolve(who)?]);
        };
        let members = self.groups.get(group).ok_or_else(|| Unresolved::NoGroup {
            name: group.to_owned(),
        })?;
        members.iter().map(|member| self.resolve(member)).collect()
    }

    /// The keys meant by somebody in the sharing grammar.
    pub fn keys_of(&self, who: &Who) -> Result<Vec<PublicKey>, Unresolved> {
        match who {
            Who::Key(key) => Ok(vec![*key]),
            Who::Petname(name) => Ok(vec![self.resolve(name)?]),
            Who::Group(name) => self.resolve_all(&format!("@{name}")),
        }
    }

    /// The name in the book that is meant, refusing a changed key.
    pub(super) fn find(&self, name: &str) -> Result<&str, Unresolved> {
        let found = self.find_even_if_changed(name)?;
        let contact = self.contacts.get(found).expect("just found");
        if !contact.is_unchanged() {
            return Err(Unresolved::KeyChanged {
                name: found.to_owned(),
                verified: contact.verified.clone().unwrap_or_default(),
            });
        }
        Ok(found)
    }

    /// The contact that is meant, whatever state its key is in.
    pub fn look_up(&self, name: &str) -> Result<(&str, &Contact), Unresolved> {
        let found = self.find_even_if_changed(name)?;
        Ok((found, self.contacts.get(found).expect("just found")))
    }

    pub(super) fn find_even_if_changed(&self, name: &str) -> Result<&str, Unresolved> {
        let candidates: Vec<&str> = self
            .contacts
            .keys()
            .map(String::as_str)
            .filter(|known| known.eq_ignore_ascii_case(name))
            .collect();
        match candidates.as_slice() {
            [only] => Ok(only),
            [] => Err(Unresolved::Unknown {
                name: name.to_owned(),
                nearest: self.nearest(name),
            }),
            several => Err(Unresolved::Ambiguous {
                name: name.to_owned(),
                candidates: several.iter().map(|&s| s.to_owned()).collect(),
            }),
        }
    }

    fn nearest(&self, name: &str) -> Option<String> {
        // Longer names may differ in more places and still be what was meant.
        let tolerance = 1 + name.chars().count() / 4;
        self.contacts
            .keys()
            .map(|known| (distance(known, &name.to_ascii_lowercase()), known))
            .filter(|(far, _)| *far <= tolerance)
            .min()
            .map(|(_, known)| known.clone())
    }
}

/// How many single-character edits, neighbours swapped included, lie between
/// two names.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn a_slip_of_one_key_is_one_edit() {
        assert_eq!(distance("bob", "bobb"), 1);
        assert_eq!(distance("carol", "craol"), 1);
        assert_eq!(distance("bob", "bob"), 0);
        assert_eq!(distance("", "abc"), 3);
    }
}
