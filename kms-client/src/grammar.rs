//! The one grammar for sharing: `bob,@team r ttl=7d m=3/5`.
//!
//! The `user.kms.grant` attribute, the command line and every later interface parse the same text into the same
//! [`GrantSpec`], so that a line learnt in one place works in all. Parsing is pure: names are not looked up in the
//! contacts here, and times are not compared with a clock until [`Expiry::deadline`].
//!
//! ```text
//! grant   = people *( SP option )
//! revoke  = people / "*"
//! people  = person *( "," person )
//! person  = petname / "@" group / "kms1…"
//! option  = "r" / "rw" / "ttl=" duration / "until=" date / "m=" m "/" n      each at most once, in any order
//! ```
//! Specification: SEMANTICS, "Attributes".

use std::fmt;
use std::str::FromStr;

use kms_crypto::key::PublicKey;
use kms_crypto::policy::Threshold;

pub use self::error::GrammarError;
pub use self::time::{Expiry, Ttl, Until, date, utc};

mod error;
mod time;

/// The longest text that is looked at, in bytes. An attribute value of the kernel is not longer than 64 KiB.
pub const MAX_TEXT_BYTES: usize = 4096;
/// The largest number of people one line may name.
pub const MAX_PEOPLE: usize = 64;
/// The longest petname or group name, in bytes.
pub const MAX_NAME_BYTES: usize = 32;

/// What a grant asks for, as somebody wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrantSpec {
    /// The people, in the order given and without repetitions.
    pub who: Vec<Who>,
    /// What they may do. Reading, unless `rw` is said.
    pub access: Access,
    /// When it ends, when anything is said about it.
    pub expiry: Option<Expiry>,
    /// How many nodes of how many, when anything is said about it.
    pub threshold: Option<Threshold>,
}

/// Whose access a revocation ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RevokeSpec {
    /// `*`: everybody who has access now.
    Everybody,
    /// The people named.
    These(Vec<Who>),
}

/// One person or group, as written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Who {
    /// A petname of the contacts, in lower case.
    Petname(String),
    /// A group of the contacts, in lower case and without the `@`.
    Group(String),
    /// A public key itself.
    Key(PublicKey),
}

/// What a grant lets somebody do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Access {
    /// Read.
    #[default]
    Read,
    /// Read and write.
    ReadWrite,
}

/// The threshold when nobody says anything: three of five.
#[must_use]
pub fn default_threshold() -> Threshold {
    Threshold::new(3, 5).expect("three is not more than five")
}

impl FromStr for GrantSpec {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let (who, options) = split_people(text)?;
        let mut spec = Self {
            who: parse_people(&who)?,
            access: Access::Read,
            expiry: None,
            threshold: None,
        };
        let mut access = None;
        for word in options {
            let Some((name, value)) = word.split_once('=') else {
                let wanted = match word {
                    "r" => Access::Read,
                    "rw" => Access::ReadWrite,
                    _ => {
                        return Err(GrammarError::UnknownWord {
                            word: word.to_owned(),
                        });
                    }
                };
                set_once(&mut access, wanted, "r or rw")?;
                continue;
            };
            match name {
                "ttl" => set_once(
                    &mut spec.expiry,
                    Expiry::After(value.parse()?),
                    "ttl or until",
                )?,
                "until" => set_once(&mut spec.expiry, Expiry::At(value.parse()?), "ttl or until")?,
                "m" => set_once(&mut spec.threshold, parse_threshold(value)?, "m")?,
                _ => {
                    return Err(GrammarError::UnknownOption {
                        name: name.to_owned(),
                    });
                }
            }
        }
        spec.access = access.unwrap_or_default();
        Ok(spec)
    }
}

impl FromStr for RevokeSpec {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        if text.trim() == "*" {
            return Ok(Self::Everybody);
        }
        let (who, options) = split_people(text)?;
        if let Some(word) = options.first() {
            return Err(GrammarError::UnknownWord {
                word: (*word).to_owned(),
            });
        }
        Ok(Self::These(parse_people(&who)?))
    }
}

impl FromStr for Who {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("kms-secret-key-1") {
            return Err(GrammarError::SecretKey);
        }
        if lower.starts_with("kms1") {
            let key = text.parse().map_err(|source| GrammarError::Key {
                text: text.to_owned(),
                source,
            })?;
            return Ok(Self::Key(key));
        }
        let (name, group) = match lower.strip_prefix('@') {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        if !is_name(name) {
            return Err(GrammarError::Name {
                text: text.to_owned(),
            });
        }
        Ok(if group {
            Self::Group(name.to_owned())
        } else {
            Self::Petname(name.to_owned())
        })
    }
}

/// Whether `name` can be a petname or the name of a group: `[a-z][a-z0-9._-]{0,31}`, and nothing a key begins with.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
        })
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with("kms1")
        && !name.starts_with("kms-secret-key-")
}

/// Reads `3/5`.
pub fn parse_threshold(text: &str) -> Result<Threshold, GrammarError> {
    text.parse().map_err(|_| GrammarError::Threshold {
        text: text.to_owned(),
    })
}

/// Splits off the list of people. A list may go on after a comma and a space, as people write lists.
fn split_people(text: &str) -> Result<(String, Vec<&str>), GrammarError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(GrammarError::TooLong { bytes: text.len() });
    }
    let mut words = text.split_whitespace().peekable();
    let first = words.next().ok_or(GrammarError::Empty)?;
    if first.contains('=') {
        return Err(GrammarError::NoRecipient {
            word: first.to_owned(),
        });
    }
    let mut who = first.to_owned();
    while let Some(next) = words.peek() {
        if !who.ends_with(',') && !next.starts_with(',') {
            break;
        }
        who.push_str(next);
        words.next();
    }
    Ok((who, words.collect()))
}

fn parse_people(list: &str) -> Result<Vec<Who>, GrammarError> {
    let mut people = Vec::new();
    for text in list.split(',') {
        if text.is_empty() {
            return Err(GrammarError::EmptyPerson {
                list: list.to_owned(),
            });
        }
        let who = text.parse()?;
        if !people.contains(&who) {
            people.push(who);
        }
    }
    if people.len() > MAX_PEOPLE {
        return Err(GrammarError::TooManyPeople {
            people: people.len(),
        });
    }
    Ok(people)
}

fn set_once<T>(slot: &mut Option<T>, value: T, what: &'static str) -> Result<(), GrammarError> {
    if slot.replace(value).is_some() {
        return Err(GrammarError::Twice { what });
    }
    Ok(())
}

impl fmt::Display for GrantSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_people(f, &self.who)?;
        write!(f, " {}", self.access)?;
        if let Some(expiry) = &self.expiry {
            write!(f, " {expiry}")?;
        }
        if let Some(threshold) = &self.threshold {
            write!(f, " m={threshold}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RevokeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("*"),
            Self::These(people) => write_people(f, people),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Petname(name) => f.write_str(name),
            Self::Group(name) => write!(f, "@{name}"),
            Self::Key(key) => write!(f, "{key}"),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r",
            Self::ReadWrite => "rw",
        })
    }
}

fn write_people(f: &mut fmt::Formatter<'_>, people: &[Who]) -> fmt::Result {
    for (index, who) in people.iter().enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        write!(f, "{who}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
