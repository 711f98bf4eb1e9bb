//! Where a passphrase comes from (CLI 4.3): a file, standard input, or a
//! prompt. Never from the command line, where other users could read it.

use std::{
    io::{BufRead, IsTerminal},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, sentence};

/// Where to ask.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// The first line of a file.
    File(PathBuf),
    /// The first line of standard input.
    Stdin,
    /// The terminal.
    Prompt,
}

impl Source {
    /// The option if given, else `KMSFS_PASSFILE`, else the terminal.
    pub fn choose(option: Option<&Path>) -> Self {
        let from_env = std::env::var_os("KMSFS_PASSFILE").filter(|value| !value.is_empty());
        match option
            .map(Path::to_path_buf)
            .or(from_env.map(PathBuf::from))
        {
            Some(path) if path.as_os_str() == "-" => Self::Stdin,
            Some(path) => Self::File(path),
            None => Self::Prompt,
        }
    }

    /// Whether asking again could give another answer.
    pub fn can_retry(&self) -> bool {
        *self == Self::Prompt
    }

    /// Asks for an existing passphrase.
    pub fn ask(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        match self {
            Self::File(path) => {
                let file =
                    std::fs::File::open(path).map_err(|err| Failure::io("read", path, &err))?;
                first_line(std::io::BufReader::new(file))
                    .map_err(|err| Failure::io("read", path, &err))
            }
            Self::Stdin => first_line(std::io::stdin().lock())
                .map_err(|err| Failure::io("read", Path::new("standard input"), &err)),
            Self::Prompt => ask_terminal(prompt),
        }
    }

    /// Asks for a new passphrase; on a terminal twice.
    pub fn ask_new(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        let first = self.ask(prompt)?;
        if first.is_empty() {
            return Err(
                Failure::new(Exit::Usage, "An empty passphrase protects nothing.")
                    .now("Choose a few words that nobody would guess."),
            );
        }
        if *self == Self::Prompt && ask_terminal("Repeat: ")? != first {
            return Err(Failure::new(Exit::Usage, "The two passphrases differ.")
                .why("Nothing was written.")
                .now("Run the command again."));
        }
        Ok(first)
    }
}

fn ask_terminal(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let terminal = std::fs::File::open("/dev/tty").is_ok_and(|tty| tty.is_terminal());
    if !terminal {
        return Err(Failure::new(Exit::Denied, "A passphrase is needed.")
            .why("There is no terminal to ask at.")
            .now("Give a file: --passfile FILE, or KMSFS_PASSFILE=FILE; --passfile - reads standard input."));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|err| Failure::new(Exit::Io, "Cannot read the passphrase.").why(sentence(&err)))
}

/// The first line, without its end. At most 4 KiB, so that a device or a wrong
/// file does not fill the memory.
fn first_line(input: impl BufRead) -> std::io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(4096));
    input.take(4096).read_until(b'\n', &mut line)?;
    while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        line.pop();
    }
    let text = std::str::from_utf8(&line).map_err(|_| {
        std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "the first line is not text",
        )
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_counts() {
        assert_eq!(*first_line(&b"one two\r\nthree\n"[..]).unwrap(), "one two");
        assert_eq!(*first_line(&b"no end"[..]).unwrap(), "no end");
        assert_eq!(*first_line(&b""[..]).unwrap(), "");
        assert!(first_line(&b"\xff\xfe"[..]).is_err());
    }

    #[test]
    fn a_missing_file_is_named() {
        let failure = Source::File("/nonexistent/pass".into())
            .ask("")
            .unwrap_err();
        assert!(failure.what.contains("/nonexistent/pass"));
    }

    #[test]
    fn an_empty_new_passphrase_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = Source::File(file.path().to_owned());
        assert_eq!(source.ask_new("").unwrap_err().exit, Exit::Usage);
    }
}
