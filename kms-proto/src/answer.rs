//! What nodes did with a question to several of them (WIRE §5), for whoever has to say why it came to nothing.

use std::fmt;

use kms_crypto::error::FragError;
use kms_crypto::key::PublicKey;

use crate::message::Refusal;
use crate::transport::TransportError;

/// How far a question to several nodes came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quorum {
    /// How many good answers were needed.
    pub needed: u8,
    /// How many there were.
    pub good: u8,
    /// What each node did.
    pub answers: Answers,
}

/// What each node did, in the order in which they were asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answers(pub Vec<NodeAnswer>);

/// What one node did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeAnswer {
    /// The node.
    pub node: PublicKey,
    /// What it did.
    pub answer: Answer,
}

/// What a node did with a request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// What it should.
    Good,
    /// It said no.
    Refused(Refusal),
    /// It answered, and the proof of the answer is wrong.
    BadProof(FragError),
    /// It answered with something that is no answer to the question.
    Malformed,
    /// It gave another node's share as its own.
    Duplicate,
    /// Its share is good and of another split of the key than most of the others.
    OtherSplit,
    /// It says that it has written into the ledger, and the ledger does not show it.
    NotWritten,
    /// What it reported before is not what it reports now.
    Altered,
    /// No answer came.
    Failed(TransportError),
    /// No answer had come when the time was over, or when it was no longer needed.
    Pending,
    /// It was not asked any more.
    NotAsked,
}

/// Why there were too few good answers, in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shortfall {
    /// Enough nodes answered, but fewer than needed proved that their answer is right.
    BadProofs,
    /// Enough might still have answered.
    Timeout,
    /// No more could be asked.
    NoQuorum,
}

impl Quorum {
    /// How far it came, by what the nodes did.
    #[must_use]
    pub fn of(needed: u8, answers: Answers) -> Self {
        let good = answers.count(|it| *it == Answer::Good);
        Self {
            needed,
            good: u8::try_from(good).unwrap_or(u8::MAX),
            answers,
        }
    }

    /// Why it is no quorum.
    #[must_use]
    pub fn shortfall(&self) -> Shortfall {
        let good = self.answers.count(|it| *it == Answer::Good);
        let misbehaved = self.answers.count(Answer::is_misbehaviour);
        let slow = self.answers.count(|it| {
            matches!(
                it,
                Answer::Pending | Answer::Failed(TransportError::Timeout)
            )
        });
        let enough = |count: usize| count >= usize::from(self.needed);
        if misbehaved > 0 && enough(good + misbehaved) {
            Shortfall::BadProofs
        } else if slow > 0 && enough(good + misbehaved + slow) {
            Shortfall::Timeout
        } else {
            Shortfall::NoQuorum
        }
    }
}

impl Answer {
    /// Whether the node answered and the answer shows that it does not do what it should.
    #[must_use]
    pub fn is_misbehaviour(&self) -> bool {
        matches!(
            self,
            Self::BadProof(_)
                | Self::Malformed
                | Self::Duplicate
                | Self::NotWritten
                | Self::Altered
        )
    }
}

impl Answer {
    /// Whether the connection broke before an answer was there: the node may have given one.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(
            self,
            Self::Failed(TransportError::Closed | TransportError::Timeout)
        )
    }
}

impl Answers {
    /// How many nodes say that the policy was revoked.
    #[must_use]
    pub fn revoked(&self) -> usize {
        self.count(|it| matches!(it, Answer::Refused(Refusal::Revoked { .. })))
    }

    /// The answers of one kind.
    #[must_use]
    pub fn count(&self, wanted: impl Fn(&Answer) -> bool) -> usize {
        self.0.iter().filter(|it| wanted(&it.answer)).count()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("ok"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::BadProof(error) => write!(f, "returned an invalid proof, not used: {error}"),
            Self::Malformed => f.write_str("returned something else than an answer"),
            Self::Duplicate => f.write_str("returned another node's share"),
            Self::OtherSplit => f.write_str("returned a share of another split of the key"),
            Self::NotWritten => f.write_str("says it has written what the ledger does not show"),
            Self::Altered => f.write_str("has altered what it reported before"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::Pending => f.write_str("no answer yet"),
            Self::NotAsked => f.write_str("not asked"),
        }
    }
}

impl fmt::Display for NodeAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", short(&self.node), self.answer)
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no node was asked");
        }
        for (index, answer) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{answer}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.answers.fmt(f)
    }
}

/// A node's key as people compare it in a line of text: its beginning and its end.
#[must_use]
pub fn short(node: &PublicKey) -> String {
    let text = node.to_string();
    match (
        text.get(..9),
        text.len().checked_sub(4).and_then(|at| text.get(at..)),
    ) {
        (Some(head), Some(tail)) => format!("{head}…{tail}"),
        _ => text,
    }
}
