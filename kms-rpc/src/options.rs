//! Options in bitcoind's manner (API §4.5): `-name=value` on the command line, `name=value` in the file, `[network]`
//! sections, the command line first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kms_client::home::{Home, HomeError};

/// The port of a daemon that is told nothing else.
pub const DEFAULT_PORT: u16 = 9470;
/// The file of options in the data directory.
pub const CONF_FILE: &str = "kmsd.conf";

/// An option that exists.
#[derive(Debug)]
pub struct Known {
    /// Its name, without the dash.
    pub name: &'static str,
    /// What it means.
    pub about: &'static str,
}

const fn known(name: &'static str, about: &'static str) -> Known {
    Known { name, about }
}

/// The options of `kmsd`.
pub const DAEMON: &[Known] = &[
    known(
        "datadir",
        "Where everything is kept (default: $KMSFS_HOME, else ~/.kms)",
    ),
    known(
        "conf",
        "The file of options (default: kmsd.conf in the data directory)",
    ),
    known("network", "The network's name"),
    known("ledger", "The ledger, as file:/path or evm:…"),
    known("bootstrap", "A node to begin with; may be given many times"),
    known("threshold", "Of a grant that names none (default: 3/5)"),
    known("timeout", "Seconds that an operation may take (default: 8)"),
    known(
        "passfile",
        "A file whose first line unlocks the default identity at the start",
    ),
    known("daemon", "Run in the background (default: 0)"),
    known(
        "pid",
        "The file with the process number (default: kmsd.pid)",
    ),
    known("debuglogfile", "The log (default: debug.log)"),
    known("rpcport", "The port to listen on (default: 9470)"),
    known(
        "rpcbind",
        "An address to listen on; ignored without rpcallowip; many times",
    ),
    known(
        "rpcallowip",
        "An address or network that may connect; many times",
    ),
    known(
        "rpcallowhost",
        "A name for this machine that clients may use; many times",
    ),
    known(
        "rpcauth",
        "USER:SALT$HASH, as kms-cli -rpcauth USER makes it; many times",
    ),
    known(
        "rpcwhitelist",
        "USER:method,… the only ones that user may call; many times",
    ),
    known(
        "rpcwhitelistdefault",
        "Users without a list may call nothing (default: 0)",
    ),
    known(
        "rpccookiefile",
        "The cookie (default: .cookie in the data directory; 0: none)",
    ),
    known("rpcthreads", "How many calls run at once (default: 16)"),
    known("rpcworkqueue", "How many more may wait (default: 64)"),
    known(
        "rpcservertimeout",
        "Seconds that a request may take to arrive (default: 30)",
    ),
    known("rpcunix", "Also listen on a Unix socket at this path"),
    known(
        "gateway",
        "Pass recipients' requests from web pages on to nodes, at this address (default: none; alone: 127.0.0.1, port 9471)",
    ),
    known(
        "gatewayorigin",
        "A page's origin that the gateway serves, https://app.example; many times",
    ),
    known(
        "gatewayrate",
        "Requests a second that the gateway passes on from one address (default: 50)",
    ),
    known(
        "printtoconsole",
        "Write the log to standard output, too (default: 1, with daemon: 0)",
    ),
    known("debug", "Say more in the log (default: 0)"),
];

/// The options of `kms-cli`.
pub const CLI: &[Known] = &[
    known(
        "datadir",
        "The daemon's data directory (default: $KMSFS_HOME, else ~/.kms)",
    ),
    known("conf", "The daemon's file of options"),
    known("network", "The network, for its section of that file"),
    known(
        "rpcconnect",
        "Where the daemon listens (default: 127.0.0.1)",
    ),
    known("rpcport", "Its port (default: 9470)"),
    known("rpcunix", "Its Unix socket, instead"),
    known("rpcuser", "The user of an rpcauth"),
    known("rpcpassword", "Its password; better: -stdinrpcpass"),
    known(
        "stdinrpcpass",
        "Read that password from standard input, first",
    ),
    known("rpccookiefile", "The cookie"),
    known("rpcwait", "Wait until the daemon is ready"),
    known(
        "rpcwaittimeout",
        "Seconds to wait at most (default: 0: for ever)",
    ),
    known(
        "rpcclienttimeout",
        "Seconds to wait for an answer (default: 900)",
    ),
    known("named", "Arguments are name=value"),
    known(
        "stdin",
        "Read further arguments from standard input, one a line",
    ),
    known(
        "stdinpass",
        "Read a passphrase from standard input, as the first argument",
    ),
    known("getinfo", "A summary"),
    known(
        "rpcauth",
        "Make a line for rpcauth with this user, and its password",
    ),
];

/// Why options are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// There is none by that name.
    #[error("Error parsing command line arguments: Invalid parameter {0}")]
    Unknown(String),
    /// There is none by that name in a file.
    #[error("{file}, line {line}: there is no option {name:?}")]
    UnknownInFile {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        name: String,
    },
    /// A line that says nothing.
    #[error("{file}, line {line}: an option is name=value, without a dash")]
    Line {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// A value that cannot be.
    #[error("-{name}: {value:?} is not {what}")]
    Value {
        /// The option.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it must be.
        what: &'static str,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be told where anything is.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// Options with their values; of each, the one that counts comes first.
#[derive(Debug, Default)]
pub struct Options {
    values: HashMap<String, Vec<String>>,
    known: &'static [Known],
}

/// Where a person's files and the daemon's own are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The daemon's data directory.
    pub dir: PathBuf,
    /// The person's files.
    pub home: Home,
}

impl Options {
    /// Reads the options in front of everything else, which is returned.
    ///
    /// # Errors
    /// An option that is not `known`.
    pub fn of_args(
        known: &'static [Known],
        args: impl Iterator<Item = String>,
    ) -> Result<(Self, Vec<String>), OptionError> {
        let mut this = Self {
            known,
            ..Self::default()
        };
        let mut rest = Vec::new();
        for arg in args {
            let is_option = rest.is_empty() && arg.len() > 1 && arg.starts_with('-');
            if !is_option {
                rest.push(arg);
                continue;
            }
            let text = arg.trim_start_matches('-');
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (text, "1".to_owned()),
            };
            let unknown = || OptionError::Unknown(arg.split('=').next().unwrap_or("").to_owned());
            let (name, value) = this.meant(name, value).ok_or_else(unknown)?;
            this.values.entry(name).or_default().push(value);
        }
        Ok((this, rest))
    }

    /// `-noname` is `-name=0`.
    fn meant(&self, name: &str, value: String) -> Option<(String, String)> {
        let exists = |name: &str| self.known.iter().any(|it| it.name == name);
        if exists(name) {
            return Some((name.to_owned(), value));
        }
        let positive = name.strip_prefix("no").filter(|name| exists(name))?;
        let negated = if value == "0" { "1" } else { "0" };
        Some((positive.to_owned(), negated.to_owned()))
    }

    /// Adds what the file says, after what is there; a missing file says nothing. Sections other than `[network]` are
    /// skipped. Options that only the other program has are taken.
    ///
    /// # Errors
    /// A line that cannot be understood.
    pub fn add_file(&mut self, path: &Path) -> Result<(), OptionError> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            read => read.map_err(|source| OptionError::Read {
                path: path.display().to_string(),
                source,
            })?,
        };
        let file = path.display().to_string();
        // What is in the network's own section counts more than what is above all sections.
        let (mut top, mut own) = (Vec::new(), Vec::new());
        let mut section: Option<String> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                section = Some(name.to_owned());
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('-'))
            else {
                return Err(OptionError::Line { file, line: number });
            };
            let (name, value) = (name.trim(), value.trim().to_owned());
            let elsewhere = |name: &str| {
                [DAEMON, CLI]
                    .iter()
                    .any(|list| list.iter().any(|it| it.name == name))
            };
            match self.meant(name, value) {
                Some(entry) if section.is_none() => top.push(entry),
                Some(entry) => own.push((section.clone().unwrap_or_default(), entry)),
                None if elsewhere(name) => {}
                None => {
                    return Err(OptionError::UnknownInFile {
                        file,
                        line: number,
                        name: name.to_owned(),
                    });
                }
            }
        }
        let named = top.iter().find(|(name, _)| name == "network");
        let network = self.text("network").map(str::to_owned);
        let network = network
            .or(named.map(|(_, value)| value.clone()))
            .unwrap_or_default();
        let own = own.into_iter().filter(|(section, _)| *section == network);
        for (name, value) in own.map(|(_, entry)| entry).chain(top) {
            self.values.entry(name).or_default().push(value);
        }
        Ok(())
    }

    /// The value that counts.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let values = self.values.get(name)?;
        values.first().map(String::as_str)
    }

    /// Whether it was taken back by `-no…`.
    #[must_use]
    pub fn is_negated(&self, name: &str) -> bool {
        self.text(name) == Some("0")
    }

    /// The value that counts, unless it was taken back.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|_| !self.is_negated(name))
    }

    /// All values.
    #[must_use]
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether it is set; by itself, `-name` is.
    #[must_use]
    pub fn is_set(&self, name: &str, default: bool) -> bool {
        self.text(name).map_or(default, |value| value != "0")
    }

    /// A number.
    ///
    /// # Errors
    /// It is none, or none that may be.
    pub fn number(
        &self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, OptionError> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| OptionError::Value {
            name,
            value: text.to_owned(),
            what: "a number that is allowed here",
        })
    }

    /// Where everything is.
    ///
    /// # Errors
    /// Nothing says so.
    pub fn places(&self) -> Result<Places, OptionError> {
        let given = self.text("datadir").map(PathBuf::from);
        let from_env = std::env::var_os("KMSFS_HOME").filter(|it| !it.is_empty());
        if let Some(dir) = given.or(from_env.map(PathBuf::from)) {
            let dir = std::path::absolute(dir).map_err(HomeError::Unusable)?;
            let home = Home::under(&dir);
            return Ok(Places { dir, home });
        }
        let home = Home::of_process()?;
        let dir = std::env::var_os("HOME").ok_or(HomeError::Nowhere)?;
        let dir = PathBuf::from(dir).join(".kms");
        Ok(Places { dir, home })
    }

    /// A path, from the data directory on if it is relative.
    #[must_use]
    pub fn path(&self, name: &str, dir: &Path, default: &str) -> PathBuf {
        dir.join(self.text(name).unwrap_or(default))
    }
}

/// What `-help` says.
#[must_use]
pub fn help(usage: &str, known: &[Known]) -> String {
    let mut text = format!("{usage}\n\nOptions:\n");
    for option in known {
        text.push_str(&format!("  -{}\n       {}\n", option.name, option.about));
    }
    text
}
