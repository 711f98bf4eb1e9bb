//! What a petname may look like (CLI 5.1), and short forms of keys.

use std::{fmt, str::FromStr};

use kms_crypto::key::PublicKey;

/// A name as people write it into a grant. setfattr(1) reads values starting
/// with `0x`, `0s` or a quotation mark as encodings, so none of these can begin
/// a name; `kms1…` is a key.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Petname(String);

/// Why a text is not a petname.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing was given.
    #[error("a name has at least one letter")]
    Empty,
    /// Longer than 32 characters.
    #[error("a name has at most 32 characters, this one has {len}")]
    TooLong {
        /// How many it has.
        len: usize,
    },
    /// It starts with something else than a letter.
    #[error("a name starts with a letter from a to z, not with {first:?}")]
    Start {
        /// The character.
        first: char,
    },
    /// It contains a character names do not have.
    #[error("a name has only a to z, 0 to 9, '.', '_' and '-', not {found:?}")]
    Character {
        /// The character.
        found: char,
    },
    /// It looks like a key.
    #[error("a name does not start with kms1, which is how keys start")]
    LooksLikeKey,
    /// It is a word with a meaning of its own.
    #[error("{word:?} has a meaning of its own")]
    Reserved {
        /// The word.
        word: String,
    },
}

impl Petname {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Petname {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        let len = text.chars().count();
        if len > 32 {
            return Err(NameError::TooLong { len });
        }
        if !first.is_ascii_lowercase() {
            return Err(NameError::Start { first });
        }
        let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(*c);
        if let Some(found) = text.chars().find(|c| !allowed(c)) {
            return Err(NameError::Character { found });
        }
        if text.starts_with("kms1") {
            return Err(NameError::LooksLikeKey);
        }
        if ["me", "none", "r", "rw", "all"].contains(&text) {
            return Err(NameError::Reserved { word: text.into() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Petname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key as it stands in lists: both ends, enough to tell keys apart, not to
/// trust one.
pub fn short(key: &PublicKey) -> String {
    let text = key.to_string();
    let (head, tail) = (text.get(..10), text.get(text.len().saturating_sub(4)..));
    match (head, tail) {
        (Some(head), Some(tail)) => format!("{head}…{tail}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_accepted() {
        for name in ["bob", "b", "anna-maria", "ops.team_2"] {
            assert!(name.parse::<Petname>().is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_setfattr_or_the_grammar_would_misread_are_refused() {
        for name in [
            "",
            "Bob",
            "0xbob",
            "0sbob",
            "\"bob",
            "bo b",
            "bob,carol",
            "@team",
            "kms1bob",
            "bob=1",
            "r",
            "me",
            "bób",
            "bo\\b",
            "*",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(name.parse::<Petname>().is_err(), "{name}");
        }
    }
}
