//! What a person is told when a command cannot be carried out: three lines and
//! an exit code (CLI 3).
//!
//! What happened, why, and what to do now. No usage dump, no function names.

use std::fmt;

/// Exit codes of every command except `fsck` and the mount helper (CLI 3.1).
/// The numbers are those of sysexits(3) and are never reused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// The work was done.
    Ok,
    /// Some parts of it were done, others not.
    Partial,
    /// The command line was wrong.
    Usage,
    /// Data is corrupt or malformed.
    Data,
    /// A store or file is missing.
    NoInput,
    /// The recipient is unknown.
    NoUser,
    /// Too few nodes, or no running mount.
    Unavailable,
    /// A defect of this program.
    Software,
    /// The system lacks something, such as `/dev/fuse`.
    System,
    /// A file, directory or mount point cannot be made or used.
    CannotCreate,
    /// Reading or writing failed.
    Io,
    /// Too slow; trying again may help.
    TempFail,
    /// Somebody answered with an invalid proof.
    Protocol,
    /// Denied: wrong passphrase, not the owner, not shared.
    Denied,
    /// Something is not configured.
    Config,
}

impl Exit {
    /// The number handed to the shell.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Partial => 1,
            Self::Usage => 64,
            Self::Data => 65,
            Self::NoInput => 66,
            Self::NoUser => 67,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::System => 71,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::TempFail => 75,
            Self::Protocol => 76,
            Self::Denied => 77,
            Self::Config => 78,
        }
    }

    /// The same answer in the language of mount(8) (CLI 3.2).
    pub const fn mount_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Usage | Self::Denied | Self::Config => 1,
            Self::System => 2,
            Self::Software => 4,
            _ => 32,
        }
    }

    /// The reverse of [`Exit::code`]; an unknown number is a defect.
    pub fn from_code(code: u8) -> Self {
        const ALL: [Exit; 15] = [
            Exit::Ok,
            Exit::Partial,
            Exit::Usage,
            Exit::Data,
            Exit::NoInput,
            Exit::NoUser,
            Exit::Unavailable,
            Exit::Software,
            Exit::System,
            Exit::CannotCreate,
            Exit::Io,
            Exit::TempFail,
            Exit::Protocol,
            Exit::Denied,
            Exit::Config,
        ];
        ALL.into_iter()
            .find(|exit| exit.code() == code)
            .unwrap_or(Self::Software)
    }
}

/// A command that was not carried out, in the words a person reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened.
    pub what: String,
    /// Why; may be empty when the first line says it all.
    pub why: String,
    /// What to do now; may be empty.
    pub now: String,
    /// The errno the same failure has inside a mount, if it came from there.
    pub errno: Option<String>,
}

impl Failure {
    /// A failure of which only the first line is known.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            why: String::new(),
            now: String::new(),
            errno: None,
        }
    }

    /// Adds the reason.
    #[must_use]
    pub fn why(mut self, why: impl fmt::Display) -> Self {
        self.why = why.to_string();
        self
    }

    /// Adds what to do now.
    #[must_use]
    pub fn now(mut self, now: impl Into<String>) -> Self {
        self.now = now.into();
        self
    }

    /// A file operation that failed, with the path it concerned.
    pub fn io(doing: &str, path: &std::path::Path, err: &std::io::Error) -> Self {
        let exit = match err.kind() {
            std::io::ErrorKind::NotFound => Exit::NoInput,
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Io,
        };
        Self::new(exit, format!("Cannot {doing} {}.", path.display())).why(sentence(err))
    }

    /// As one JSON document (CLI 3.3).
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": {
                "code": self.exit.code(),
                "errno": self.errno,
                "message": self.what,
                "why": self.why,
                "hint": self.now,
            }
        })
    }

    /// The reverse of [`Failure::to_json`], for what another process of ours said.
    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        let error = value.get("error")?;
        let text = |name: &str| {
            error
                .get(name)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let code = u8::try_from(error.get("code")?.as_u64()?).ok()?;
        Some(Self {
            exit: Exit::from_code(code),
            what: text("message"),
            why: text("why"),
            now: text("hint"),
            errno: error
                .get("errno")
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for line in [&self.why, &self.now] {
            if !line.is_empty() {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An operating system error as a sentence: "Permission denied."
pub fn sentence(err: &std::io::Error) -> String {
    let text = err.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    let capital = chars
        .next()
        .map(|first| first.to_uppercase().collect::<String>())
        .unwrap_or_default();
    let rest = chars.as_str();
    let stop = if rest.ends_with('.') { "" } else { "." };
    format!("{capital}{rest}{stop}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_three_lines() {
        let failure = Failure::new(Exit::Config, "Nothing was granted.")
            .why("No network is set up.")
            .now("Name one in config.toml.");
        assert_eq!(
            failure.to_string(),
            "Nothing was granted.\n  No network is set up.\n  Name one in config.toml."
        );
    }

    #[test]
    fn a_failure_survives_the_way_through_another_process() {
        let failure = Failure::new(Exit::NoUser, "a").why("b").now("c");
        assert_eq!(Failure::from_json(&failure.to_json()), Some(failure));
    }

    #[test]
    fn an_operating_system_error_becomes_a_sentence() {
        let err = std::io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(sentence(&err), "Permission denied.");
    }
}
