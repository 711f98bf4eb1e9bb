//! What can be wrong with a line of the sharing grammar, said so that the next attempt succeeds.

use kms_crypto::error::KeyTextError;

use super::{MAX_NAME_BYTES, MAX_PEOPLE, MAX_TEXT_BYTES};

/// Why a line of the sharing grammar is refused. The text says what is wrong; [`GrammarError::advice`] what to write.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// Nothing at all.
    #[error("nobody is named")]
    Empty,
    /// More text than any sensible line.
    #[error("the text is {bytes} bytes long; {MAX_TEXT_BYTES} are looked at")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Options without people before them.
    #[error("nobody is named before '{word}'")]
    NoRecipient {
        /// The option that stands first.
        word: String,
    },
    /// Two commas in a row, or one at an end.
    #[error("a name is missing beside a comma in '{list}'")]
    EmptyPerson {
        /// The whole list.
        list: String,
    },
    /// More people than one line may name.
    #[error("{people} people are named; at most {MAX_PEOPLE} go into one grant")]
    TooManyPeople {
        /// How many.
        people: usize,
    },
    /// Not a petname, a group or a key.
    #[error("'{text}' cannot be a petname")]
    Name {
        /// What was written.
        text: String,
    },
    /// A `kms1…` text that is not a key.
    #[error("'{text}' is not a key: {source}")]
    Key {
        /// What was written.
        text: String,
        /// What is wrong with it.
        source: KeyTextError,
    },
    /// Somebody pasted a secret key. It is not repeated in the message.
    #[error("that is a secret key, which nobody else may see")]
    SecretKey,
    /// A word that is neither a mode nor an option.
    #[error("'{word}' is not understood here")]
    UnknownWord {
        /// The word.
        word: String,
    },
    /// `name=value` with a name that does not exist.
    #[error("there is no option '{name}='")]
    UnknownOption {
        /// The name.
        name: String,
    },
    /// One thing said twice.
    #[error("{what} is given twice")]
    Twice {
        /// Which one.
        what: &'static str,
    },
    /// Not a duration.
    #[error("'{text}' is not a duration")]
    Duration {
        /// What was written.
        text: String,
    },
    /// Not a date.
    #[error("'{text}' is not a date or time")]
    Date {
        /// What was written.
        text: String,
    },
    /// A time that is already over.
    #[error("{at} is already over")]
    Past {
        /// The time, in UTC.
        at: String,
    },
    /// A duration that ends after the last time that can be written down.
    #[error("that is too far away")]
    TooFar,
    /// Not `m/n` with 1 ≤ m ≤ n ≤ 255.
    #[error("'{text}' is not a threshold")]
    Threshold {
        /// What was written.
        text: String,
    },
}

impl GrammarError {
    /// What to write instead: one line.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Empty | Self::NoRecipient { .. } => "name somebody first, as in: bob ttl=7d".to_owned(),
            Self::TooLong { .. } | Self::TooManyPeople { .. } => "make a group of them and name the group: @team".to_owned(),
            Self::EmptyPerson { .. } => "separate people by single commas: bob,carol".to_owned(),
            Self::Name { .. } => format!(
                "a petname has small letters, digits, '.', '_' and '-', starts with a letter and has at most {MAX_NAME_BYTES} characters"
            ),
            Self::Key { .. } => "copy the whole key again, from kms1 to its last character".to_owned(),
            Self::SecretKey => "use the public key, which starts with kms1".to_owned(),
            Self::UnknownWord { .. } => {
                "several people are separated by commas (bob,carol); after them come r or rw, ttl=7d or until=2030-12-24, and m=3/5"
                    .to_owned()
            }
            Self::UnknownOption { .. } => "the options are ttl=7d, until=2030-12-24 and m=3/5".to_owned(),
            Self::Twice { .. } => "say it once".to_owned(),
            Self::Duration { .. } => "write a number and s, m, h, d or w: 90m, 12h, 7d, 2w".to_owned(),
            Self::Date { .. } => "write 2030-12-24 (to the end of that day, UTC) or 2030-12-24T10:00:00Z".to_owned(),
            Self::Past { .. } => "choose a later time".to_owned(),
            Self::TooFar => "choose an earlier time".to_owned(),
            Self::Threshold { .. } => "write how many nodes of how many must answer, as in m=3/5; at most 255 nodes".to_owned(),
        }
    }
}
