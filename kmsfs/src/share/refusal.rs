//! Why a verb was refused: an errno for programs, three lines for people.
//! One place maps everything that can go wrong in the network (SEMANTICS 6).

use kms_client::{ClientError, ConnectError, grammar::GrammarError};

use super::network::Unreachable;
use crate::{
    failure::{Exit, Failure},
    vfs::{VfsError, hooks::VerbError},
};

/// A refused verb.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The error number, as in errno(3).
    pub errno: i32,
    /// The same for people.
    pub failure: Box<Failure>,
}

impl Refused {
    /// A refusal of which only the first line is known.
    pub fn new(errno: i32, what: impl Into<String>) -> Self {
        Self::from_failure(errno, Failure::new(exit(errno), what))
    }

    /// A refusal with its wording.
    pub fn from_failure(errno: i32, mut failure: Failure) -> Self {
        failure.errno = Some(name(errno).to_owned());
        Self {
            errno,
            failure: Box::new(failure),
        }
    }

    /// Adds the reason.
    #[must_use]
    pub fn why(mut self, why: impl std::fmt::Display) -> Self {
        self.failure.why = why.to_string();
        self
    }

    /// Adds what to do now.
    #[must_use]
    pub fn now(mut self, now: impl Into<String>) -> Self {
        self.failure.now = now.into();
        self
    }
}

impl From<Refused> for VerbError {
    fn from(refused: Refused) -> Self {
        Self {
            errno: refused.errno,
            why: refused.failure.to_string(),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        *refused.failure
    }
}

impl From<Failure> for Refused {
    /// Of a file of this person that cannot be read, such as the contacts.
    fn from(failure: Failure) -> Self {
        let errno = match failure.exit {
            Exit::Config => libc::EINVAL,
            _ => libc::EIO,
        };
        Self::from_failure(errno, failure)
    }
}

impl From<GrammarError> for Refused {
    fn from(err: GrammarError) -> Self {
        let mut advice = err.advice();
        if let Some(first) = advice.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self::new(libc::EINVAL, "The value is not understood.")
            .why(format!("{}.", capital(&err.to_string())))
            .now(format!("{advice}."))
    }
}

impl From<VfsError> for Refused {
    fn from(err: VfsError) -> Self {
        let errno = err.errno().raw_os_error();
        Self::new(errno, "The object cannot be shared.")
            .why(format!("{}.", capital(&err.to_string())))
    }
}

impl From<Unreachable> for Refused {
    fn from(err: Unreachable) -> Self {
        let refused = Self::from_failure(
            libc::EHOSTUNREACH,
            Failure::new(Exit::Config, "There is no network to share through."),
        );
        match err {
            Unreachable::NotSetUp => refused
                .why("No ledger is named; private files need none.")
                .now("Set ledger and bootstrap in config.toml, or KMSFS_LEDGER and KMSFS_BOOTSTRAP, and mount again."),
            Unreachable::Connect(err) => {
                let refused = refused.why(format!("{}.", capital(&err.to_string())));
                match err.is_another_ledger() {
                    true => refused.now(FORGET),
                    false => refused,
                }
            }
        }
    }
}

/// What to do about a ledger that is not the one that was seen before.
pub(crate) const FORGET: &str = "Somebody may be hiding what was revoked. If the ledger was really made anew: kmsfs ledger forget";

impl From<ClientError> for Refused {
    fn from(err: ClientError) -> Self {
        let why = format!("{}.", capital(&err.to_string()));
        let errno = errno(&err);
        let what = match errno {
            libc::EHOSTUNREACH => "Too few nodes can be reached.",
            libc::ETIMEDOUT => "The nodes took too long.",
            libc::EKEYREJECTED => "Nodes gave answers that do not verify.",
            libc::EKEYREVOKED => "The grant was withdrawn.",
            libc::EKEYEXPIRED => "The grant has ended.",
            _ => "The network refused.",
        };
        let refused = Self::new(errno, what).why(why);
        if matches!(err, ClientError::TooFewNodes { .. }) {
            return refused.now(
                "Nothing was changed. Choose an earlier time or fewer nodes, as in ttl=30d m=2/3; how the nodes are: kmsfs status",
            );
        }
        match errno {
            libc::EHOSTUNREACH | libc::ETIMEDOUT => {
                refused.now("Nothing was changed. Try again; how the nodes are: kmsfs status")
            }
            _ => refused,
        }
    }
}

/// The error number of what went wrong in the network.
fn errno(err: &ClientError) -> i32 {
    match err {
        ClientError::NoNetwork(ConnectError::NoLedger) => libc::EHOSTUNREACH,
        ClientError::Timeout(_) => libc::ETIMEDOUT,
        ClientError::BadProofs(_) | ClientError::Open(_) => libc::EKEYREJECTED,
        ClientError::NotGranted => libc::EACCES,
        ClientError::Revoked { .. } => libc::EKEYREVOKED,
        ClientError::Expired { .. } => libc::EKEYEXPIRED,
        ClientError::BadRequest(_) => libc::EINVAL,
        _ => libc::EHOSTUNREACH,
    }
}

/// The exit code that goes with an error number.
fn exit(errno: i32) -> Exit {
    match errno {
        libc::EINVAL | libc::EOPNOTSUPP => Exit::Usage,
        libc::EDESTADDRREQ | libc::ENOTUNIQ => Exit::NoUser,
        libc::EHOSTUNREACH => Exit::Unavailable,
        libc::ETIMEDOUT | libc::EINPROGRESS => Exit::TempFail,
        libc::EKEYREJECTED => Exit::Protocol,
        libc::ENOENT => Exit::NoInput,
        libc::EIO | libc::ENOSPC => Exit::Io,
        _ => Exit::Denied,
    }
}

/// The name of an error number, for documents.
fn name(errno: i32) -> &'static str {
    match errno {
        libc::EINVAL => "EINVAL",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EDESTADDRREQ => "EDESTADDRREQ",
        libc::ENOTUNIQ => "ENOTUNIQ",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::EINPROGRESS => "EINPROGRESS",
        libc::EKEYREJECTED => "EKEYREJECTED",
        libc::EKEYREVOKED => "EKEYREVOKED",
        libc::EKEYEXPIRED => "EKEYEXPIRED",
        libc::ENOKEY => "ENOKEY",
        libc::EACCES => "EACCES",
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::ENODATA => "ENODATA",
        libc::EIO => "EIO",
        libc::ENOSPC => "ENOSPC",
        libc::ESTALE => "ESTALE",
        _ => "other",
    }
}

pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
