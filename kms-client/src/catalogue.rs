//! The one catalogue of errors of the API, whatever language asks (API §3).

use std::io;
use std::path::Path;

use kms_crypto::error::{DecodeError, IdentityError, KeyTextError, OpenError};
use kms_crypto::format::file::FileError;
use kms_crypto::format::{BodyError, HeaderError};
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use crate::contact::{BookError, BookFileError, Unresolved};
use crate::error::{Answers, ClientError, Quorum, RequestError};
use crate::grammar::GrammarError;
use crate::record::RecordError;
use crate::sealed::SealedError;
use crate::stream::StreamError;
use crate::ticket::TicketError;

macro_rules! catalogue {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $number:literal, $errno:ident;)*) => {
        /// Which error of API §3 it is.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Its number in JSON-RPC.
            #[must_use]
            pub const fn number(self) -> i32 {
                match self { $(Self::$variant => $number),* }
            }

            /// Its errno; of an error of the system, that of the system.
            #[must_use]
            pub const fn errno(self) -> i32 {
                match self { $(Self::$variant => Errno::$errno.raw_os_error()),* }
            }

            const fn rustix_name(self) -> &'static str {
                match self { $(Self::$variant => concat!("E", stringify!($errno))),* }
            }
        }
    };
}

catalogue! {
    /// A defect.
    Internal = "INTERNAL", -32603, IO;
    /// The wrong number of arguments.
    Misc = "MISC", -1, INVAL;
    /// A parameter of another type.
    BadType = "BAD_TYPE", -3, INVAL;
    /// Not a key.
    BadKey = "BAD_KEY", -5, INVAL;
    /// A value that is not allowed, or a parameter that does not exist.
    BadParameter = "BAD_PARAMETER", -8, INVAL;
    /// No ledger is configured, or it cannot be opened.
    NoNetwork = "NO_NETWORK", -9, HOSTUNREACH;
    /// The identity is locked.
    Locked = "LOCKED", -13, NOKEY;
    /// Or the identity file was altered.
    WrongPassphrase = "WRONG_PASSPHRASE", -14, ACCESS;
    /// No such identity.
    NoIdentity = "NO_IDENTITY", -18, NOKEY;
    /// Not encrypted data, not a ticket, or of a version not known here.
    BadData = "BAD_DATA", -22, BADMSG;
    /// Altered, cut off, or not by the owner.
    Tampered = "TAMPERED", -25, IO;
    /// Not ready yet.
    WarmingUp = "WARMING_UP", -28, AGAIN;
    /// Nobody by that name.
    UnknownRecipient = "UNKNOWN_RECIPIENT", -100, DESTADDRREQ;
    /// Several people, or a key that is not the one that was compared.
    AmbiguousRecipient = "AMBIGUOUS_RECIPIENT", -101, NOTUNIQ;
    /// Fewer nodes than needed gave their part.
    NoQuorum = "NO_QUORUM", -102, HOSTUNREACH;
    /// Too few nodes answered in time.
    Timeout = "TIMEOUT", -103, TIMEDOUT;
    /// Too few answers were valid.
    BadProofs = "BAD_PROOFS", -104, KEYREJECTED;
    /// No such grant.
    NotGranted = "NOT_GRANTED", -105, ACCESS;
    /// The owner withdrew it.
    Revoked = "REVOKED", -106, KEYREVOKED;
    /// It is over.
    Expired = "EXPIRED", -107, KEYEXPIRED;
    /// Not enough nodes serve so long.
    TooFewNodes = "TOO_FEW_NODES", -108, HOSTUNREACH;
    /// Not enough nodes took a fragment.
    NotStored = "NOT_STORED", -109, HOSTUNREACH;
    /// No node wrote into the ledger.
    NotRecorded = "NOT_RECORDED", -110, HOSTUNREACH;
    /// The ledger cannot be read, or refuses.
    Ledger = "LEDGER", -111, HOSTUNREACH;
    /// No such policy or grant.
    NotFound = "NOT_FOUND", -112, NOENT;
    /// It belongs to somebody else.
    NotOwner = "NOT_OWNER", -113, PERM;
    /// A ticket for somebody else, or for something else.
    NotForYou = "NOT_FOR_YOU", -114, ACCESS;
    /// The key does not open it.
    WrongKey = "WRONG_KEY", -115, KEYREJECTED;
    /// Known, and not done here.
    Unsupported = "UNSUPPORTED", -116, OPNOTSUPP;
    /// A file cannot be read or written.
    Io = "IO", -117, IO;
    /// It is there already.
    Exists = "EXISTS", -118, EXIST;
    /// By the caller.
    Cancelled = "CANCELLED", -119, CANCELED;
    /// Too much is under way.
    Busy = "BUSY", -120, BUSY;
}

impl Code {
    /// The name of [`Code::errno`].
    #[must_use]
    pub const fn errno_name(self) -> &'static str {
        match self {
            // Spelt differently by rustix.
            Self::WrongPassphrase | Self::NotGranted | Self::NotForYou => "EACCES",
            _ => self.rustix_name(),
        }
    }
}

/// An error of the API. It contains no secret that was given.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    code: Code,
    message: String,
    errno: i32,
    data: Map<String, Value>,
}

impl ApiError {
    /// An error with its sentence, without a full stop.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut data = Map::new();
        data.insert("name".into(), code.name().into());
        data.insert("errno".into(), code.errno_name().into());
        Self {
            code,
            message: message.into(),
            errno: code.errno(),
            data,
        }
    }

    /// An error of the system about a file.
    #[must_use]
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::AlreadyExists => Code::Exists,
            _ => Code::Io,
        };
        let message = format!("cannot {doing} {}: {error}", path.display());
        let mut this = Self::new(code, message).with("path", path.to_string_lossy());
        if let Some(number) = error.raw_os_error() {
            this.errno = number;
            this.data.insert("errno".into(), system_name(number).into());
        }
        this
    }

    /// The same with more data.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    fn with_nodes(self, answers: &Answers) -> Self {
        let nodes: Vec<Value> = answers.0.iter().map(node_answer).collect();
        self.with("nodes", nodes)
    }

    fn with_quorum(self, quorum: &Quorum) -> Self {
        self.with("needed", quorum.needed)
            .with("good", quorum.good)
            .with_nodes(&quorum.answers)
    }

    /// Which error it is.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Its number as in errno(3).
    #[must_use]
    pub const fn errno(&self) -> i32 {
        self.errno
    }

    /// What the catalogue has besides the sentence.
    #[must_use]
    pub const fn data(&self) -> &Map<String, Value> {
        &self.data
    }
}

/// The names of what happens to files; everything else is `EIO`.
fn system_name(number: i32) -> &'static str {
    let known = [
        (Errno::NOENT, "ENOENT"),
        (Errno::ACCESS, "EACCES"),
        (Errno::PERM, "EPERM"),
        (Errno::EXIST, "EEXIST"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::DQUOT, "EDQUOT"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ROFS, "EROFS"),
        (Errno::LOOP, "ELOOP"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
    ];
    let found = known
        .into_iter()
        .find(|(errno, _)| errno.raw_os_error() == number);
    found.map_or("EIO", |(_, name)| name)
}

fn node_answer(it: &crate::error::NodeAnswer) -> Value {
    json!({"node": it.node.to_string(), "answer": it.answer.to_string()})
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        let new = |code| Self::new(code, error.to_string());
        match &error {
            ClientError::NoNetwork(_) => new(Code::NoNetwork),
            ClientError::Ledger(_) => new(Code::Ledger),
            ClientError::NotGranted => new(Code::NotGranted),
            ClientError::Revoked { at } => new(Code::Revoked).with("at", *at),
            ClientError::Expired { at } => new(Code::Expired).with("at", *at),
            ClientError::NoQuorum(quorum) => new(Code::NoQuorum).with_quorum(quorum),
            ClientError::Timeout(quorum) => new(Code::Timeout).with_quorum(quorum),
            ClientError::BadProofs(quorum) => new(Code::BadProofs).with_quorum(quorum),
            ClientError::Open(_) => new(Code::WrongKey),
            ClientError::TooFewNodes {
                needed,
                eligible,
                registered,
                ..
            } => new(Code::TooFewNodes)
                .with("needed", *needed)
                .with("eligible", *eligible)
                .with("registered", *registered),
            ClientError::NotStored { quorum, .. } => new(Code::NotStored).with_quorum(quorum),
            ClientError::NotRecorded(answers) => new(Code::NotRecorded).with_nodes(answers),
            ClientError::BadRequest(RequestError::NotTheRecipient) => new(Code::NotForYou),
            ClientError::BadRequest(RequestError::NotTheAuthor) => new(Code::NotOwner),
            ClientError::BadRequest(_) => new(Code::BadParameter),
        }
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        let code = match &error {
            FileError::Header(error) => header_code(error),
            FileError::Body(BodyError::ChunkEpoch { .. }) => Code::BadData,
            FileError::Body(_) => Code::Tampered,
            _ => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

fn header_code(error: &HeaderError) -> Code {
    match error {
        HeaderError::Refused(_) | HeaderError::Unsigned | HeaderError::NotBound { .. } => {
            Code::Tampered
        }
        HeaderError::WrongKey => Code::WrongKey,
        HeaderError::NoLabel(_) => Code::NotForYou,
        HeaderError::Full(_) | HeaderError::Rekeying => Code::Internal,
        _ => Code::BadData,
    }
}

impl From<SealedError> for ApiError {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::File(error) => error.into(),
            SealedError::OtherLabel => Self::new(Code::NotForYou, error.to_string()),
            SealedError::Capsule(error) => error.into(),
            SealedError::Open(error) => error.into(),
            SealedError::Key(error) => error.into(),
        }
    }
}

impl From<StreamError> for ApiError {
    fn from(error: StreamError) -> Self {
        let code = match error {
            StreamError::File(error) => return error.into(),
            StreamError::Read(_) | StreamError::Write(_) => Code::Io,
            StreamError::TooLarge => Code::Unsupported,
            StreamError::Cancelled => Code::Cancelled,
        };
        Self::new(code, error.to_string())
    }
}

impl From<TicketError> for ApiError {
    fn from(error: TicketError) -> Self {
        let code = match &error {
            TicketError::Io(_) => Code::Io,
            TicketError::Sealed(_) | TicketError::Elsewhere { .. } => Code::NotForYou,
            TicketError::NotByOwner => Code::Tampered,
            _ => Code::BadData,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        Self::new(Code::Io, error.to_string())
    }
}

impl From<GrammarError> for ApiError {
    fn from(error: GrammarError) -> Self {
        let code = match error {
            GrammarError::Key { .. } | GrammarError::SecretKey => Code::BadKey,
            _ => Code::BadParameter,
        };
        Self::new(code, format!("{error}; {}", error.advice()))
    }
}

impl From<Unresolved> for ApiError {
    fn from(error: Unresolved) -> Self {
        let code = match &error {
            Unresolved::Unknown { .. } | Unresolved::NoGroup { .. } => Code::UnknownRecipient,
            Unresolved::BadKey { .. } => Code::BadKey,
            _ => Code::AmbiguousRecipient,
        };
        let this = Self::new(code, error.to_string());
        match error {
            Unresolved::Unknown { nearest, .. } => this.with("nearest", nearest),
            _ => this,
        }
    }
}

impl From<BookError> for ApiError {
    fn from(error: BookError) -> Self {
        Self::new(Code::Exists, error.to_string())
    }
}

impl From<BookFileError> for ApiError {
    fn from(error: BookFileError) -> Self {
        Self::new(Code::Io, error.to_string())
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        let code = match error {
            IdentityError::Passphrase => Code::WrongPassphrase,
            _ => Code::BadData,
        };
        Self::new(code, error.to_string())
    }
}

impl From<KeyTextError> for ApiError {
    fn from(error: KeyTextError) -> Self {
        Self::new(Code::BadKey, error.to_string())
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        Self::new(Code::BadData, error.to_string())
    }
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        Self::new(Code::WrongKey, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_name_and_a_number_of_its_own_and_stands_in_the_specification() {
        let spec = include_str!("../../spec/API.md");
        for (index, code) in Code::ALL.iter().enumerate() {
            for other in &Code::ALL[..index] {
                assert_ne!(code.name(), other.name());
                assert_ne!(code.number(), other.number());
            }
            let errno = match code {
                Code::Io => "the system's",
                _ => code.errno_name(),
            };
            let row = format!("| `{}` | {} | {errno} |", code.name(), code.number());
            assert!(spec.contains(&row), "no row {row}");
        }
    }
}
