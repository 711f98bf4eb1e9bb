//! What can go wrong here, by the names of API §3.

use std::fmt;

use kms_crypto::error::{DecodeError, IdentityError, KeyTextError, OpenError, WordsError};
use kms_crypto::format::file::FileError;
use kms_crypto::format::{BodyError, HeaderError};
use kms_proto::answer::{Answers, Quorum, Shortfall};
use kms_proto::ticket::TicketError;
use serde_json::{Map, Value, json};

/// An error of API §3: its name, a sentence, and data.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    name: &'static str,
    sentence: String,
    data: Map<String, Value>,
}

impl Failure {
    /// An error with its sentence, without a full stop.
    #[must_use]
    pub fn new(name: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            name,
            sentence: sentence.into(),
            data: Map::new(),
        }
    }

    /// The same with more data.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// Too few good answers, by what the nodes did.
    #[must_use]
    pub fn of_quorum(quorum: &Quorum) -> Self {
        let name = match quorum.shortfall() {
            Shortfall::BadProofs => "BAD_PROOFS",
            Shortfall::Timeout => "TIMEOUT",
            Shortfall::NoQuorum => "NO_QUORUM",
        };
        let (needed, good) = (quorum.needed, quorum.good);
        let sentence = match name {
            "BAD_PROOFS" => {
                format!("{needed} valid answers are needed, {good} were valid ({quorum})")
            }
            "TIMEOUT" => format!("{needed} nodes are needed, {good} answered in time ({quorum})"),
            _ => format!("{needed} nodes are needed, {good} answered ({quorum})"),
        };
        Self::new(name, sentence)
            .with("needed", needed)
            .with("good", good)
            .with("nodes", nodes(&quorum.answers))
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What the catalogue has besides the sentence.
    #[must_use]
    pub const fn data(&self) -> &Map<String, Value> {
        &self.data
    }

    /// As the page gets it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"code": self.name, "message": self.sentence, "data": self.data})
    }
}

fn nodes(answers: &Answers) -> Vec<Value> {
    let node = |it: &kms_proto::answer::NodeAnswer| json!({"node": it.node.to_string(), "answer": it.answer.to_string()});
    answers.0.iter().map(node).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.sentence)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let name = match &error {
            FileError::Header(error) => header_name(error),
            FileError::Body(BodyError::ChunkEpoch { .. }) => "BAD_DATA",
            FileError::Body(_) => "TAMPERED",
            _ => "INTERNAL",
        };
        Self::new(name, error.to_string())
    }
}

fn header_name(error: &HeaderError) -> &'static str {
    match error {
        HeaderError::Refused(_) | HeaderError::Unsigned | HeaderError::NotBound { .. } => {
            "TAMPERED"
        }
        HeaderError::WrongKey => "WRONG_KEY",
        HeaderError::NoLabel(_) => "NOT_FOR_YOU",
        HeaderError::Full(_) | HeaderError::Rekeying => "INTERNAL",
        _ => "BAD_DATA",
    }
}

impl From<HeaderError> for Failure {
    fn from(error: HeaderError) -> Self {
        FileError::from(error).into()
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        FileError::from(error).into()
    }
}

impl From<TicketError> for Failure {
    fn from(error: TicketError) -> Self {
        let name = match &error {
            TicketError::Sealed(_) | TicketError::Elsewhere { .. } => "NOT_FOR_YOU",
            TicketError::NotByOwner => "TAMPERED",
            _ => "BAD_DATA",
        };
        Self::new(name, error.to_string())
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let name = match error {
            IdentityError::Passphrase => "WRONG_PASSPHRASE",
            _ => "BAD_DATA",
        };
        Self::new(name, error.to_string())
    }
}

impl From<KeyTextError> for Failure {
    fn from(error: KeyTextError) -> Self {
        Self::new("BAD_KEY", error.to_string())
    }
}

impl From<WordsError> for Failure {
    fn from(error: WordsError) -> Self {
        Self::new("BAD_KEY", error.to_string())
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::new("BAD_DATA", error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new("WRONG_KEY", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use kms_client::ApiError;
    use kms_crypto::format::Part;
    use kms_crypto::id::{LabelId, SchemeId};

    use super::*;

    #[track_caller]
    fn same<E: Clone>(error: E)
    where
        Failure: From<E>,
        ApiError: From<E>,
    {
        let (here, there) = (Failure::from(error.clone()), ApiError::from(error));
        assert_eq!(here.name(), there.code().name());
        assert_eq!(here.sentence, there.to_string());
    }

    #[test]
    fn an_error_has_the_name_that_all_languages_give_it() {
        let header = [
            HeaderError::NotAHeader,
            HeaderError::UnknownVersion(9),
            HeaderError::Refused(Part::KeySeal),
            HeaderError::Unsigned,
            HeaderError::WrongKey,
            HeaderError::NoLabel(LabelId([1; 16])),
            HeaderError::Rekeying,
        ];
        header.into_iter().for_each(|it| same(FileError::from(it)));
        let body = [
            BodyError::Chunk { index: 3 },
            BodyError::Truncated {
                expected: 2,
                found: 1,
            },
        ];
        body.into_iter().for_each(|it| same(FileError::from(it)));
        same(IdentityError::Passphrase);
        same(IdentityError::Malformed);
        same(DecodeError::Scheme(SchemeId(9)));
        same(OpenError::Mixed);
        let page = include_str!("../index.mjs");
        let types = include_str!("../index.d.ts");
        for code in kms_client::Code::ALL {
            let (name, number, errno) = (code.name(), code.number(), code.errno());
            let row = format!("  {name}: [{number}, {errno}],\n");
            assert_eq!(
                types.contains(&format!("'{name}'")),
                page.contains(&row),
                "{row}"
            );
        }
        let names = [
            "BAD_PARAMETER",
            "NO_NETWORK",
            "NOT_GRANTED",
            "REVOKED",
            "EXPIRED",
            "CANCELLED",
        ];
        let known = |name: &&str| kms_client::Code::ALL.iter().any(|it| it.name() == *name);
        assert!(names.iter().all(known));
    }
}
