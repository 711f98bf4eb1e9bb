//! Contacts as `kmsfs` uses them: what goes wrong with them, in the words of the command line (CLI 5).
//! The contacts themselves are the client's ([`kms_client::contact`]).

pub use kms_client::contact::*;

use crate::failure::{Exit, Failure};

/// What to do about a name that leads to nobody, in one line.
pub fn advice(err: &Unresolved) -> String {
    match err {
        Unresolved::Unknown {
            name,
            nearest: Some(nearest),
        } => format!("Did you mean {nearest}? Otherwise add them: kmsfs contact add {name} kms1…"),
        Unresolved::Unknown { name, .. } => format!(
            "Add them: kmsfs contact add {name} kms1…   (they see their key with: kmsfs identity show)"
        ),
        Unresolved::NoGroup { name } => {
            format!("Make it: kmsfs contact group add {name} NAME…")
        }
        Unresolved::Ambiguous { .. } => {
            "Spell it exactly, or remove one: kmsfs contact list".to_owned()
        }
        Unresolved::KeyChanged { name, .. } => format!(
            "Compare it again with {name} in person: kmsfs contact show {name}, then kmsfs contact verify {name}"
        ),
        Unresolved::BadKey { .. } => {
            "Copy the whole key again: kms1 and 58 or more letters and digits.".to_owned()
        }
        _ => String::new(),
    }
}

impl From<Unresolved> for Failure {
    fn from(err: Unresolved) -> Self {
        let mut what = err.to_string();
        if let Some(first) = what.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self::new(Exit::NoUser, format!("{what}.")).now(advice(&err))
    }
}

impl From<BookError> for Failure {
    fn from(err: BookError) -> Self {
        match err {
            BookError::KeyChanged {
                name,
                known,
                verified,
            } => {
                let verified = verified
                    .map(|day| format!(", which you compared on {day}"))
                    .unwrap_or_default();
                Self::new(Exit::Denied, format!("The key differs from the one {name} has."))
                    .why(format!("{name} is {known}{verified}. Nothing was changed."))
                    .now(format!(
                        "Ask {name} in person. If it is true: kmsfs contact rm {name}, then add the new key."
                    ))
            }
            BookError::KnownAs { name } => Self::new(
                Exit::Denied,
                format!("You know this key as {name} already."),
            )
            .why("One key has one name, so that lists of readers are not ambiguous.")
            .now(format!(
                "Use {name}, or rename: kmsfs contact rm {name}, then add it again."
            )),
            err => Self::new(Exit::Denied, format!("{err}.")),
        }
    }
}

impl From<BookFileError> for Failure {
    fn from(err: BookFileError) -> Self {
        match err {
            BookFileError::Read { path, source } => Self::io("read", &path, &source),
            BookFileError::Write { path, source } => crate::home::cannot_write(&path, &source),
            BookFileError::Malformed { path, reason } => Self::new(
                Exit::Config,
                format!("Cannot understand {}.", path.display()),
            )
            .why(reason)
            .now("Correct the file, or move it away and add the contacts again."),
            err => Self::new(Exit::Config, format!("{err}.")),
        }
    }
}
