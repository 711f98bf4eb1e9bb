//! The node's configuration: a file, and options that take precedence over it (CLI, kms-node).
//!
//! Relative paths in a file are relative to the file's directory.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kms_proto::DEFAULT_NETWORK;
use serde::Deserialize;

use crate::time::{DurationTextError, parse_duration};

/// Where a node listens if nothing is said.
pub const DEFAULT_LISTEN: &str = "/ip4/0.0.0.0/tcp/4710";
/// How long a node promises to serve if nothing is said.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How many fragments a node keeps at most if nothing is said.
pub const DEFAULT_MAX_FRAGMENTS: u64 = 1_000_000;

/// What a file or the options say; nothing is required.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Directory for the node's keys and fragments
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Name of the network
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Addresses to listen on, such as /ip4/0.0.0.0/tcp/4710
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub listen: Option<Vec<String>>,
    /// Addresses under which others reach the node, if not those it listens on
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub external: Option<Vec<String>>,
    /// Nodes to begin with, each address ending in /p2p/ and the node's id
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub bootstrap: Option<Vec<String>>,
    /// The ledger, such as file:/var/lib/kms/ledger
    #[arg(long, value_name = "LEDGER")]
    pub ledger: Option<String>,
    /// File with the node's identity; made at the first start
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// File with the key under which fragments are kept; made at the first start
    #[arg(long, value_name = "FILE")]
    pub storage_key: Option<PathBuf>,
    /// How long the node promises to serve, such as 365d; renewed in time
    #[arg(long, value_name = "TIME")]
    pub lifetime: Option<String>,
    /// How many fragments the node keeps at most
    #[arg(long, value_name = "NUMBER")]
    pub max_fragments: Option<u64>,
    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
}

/// A complete configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Directory for the node's keys and fragments.
    pub data_dir: PathBuf,
    /// Name of the network.
    pub network: String,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Addresses under which others reach the node; none: those it listens on.
    pub external: Vec<String>,
    /// Nodes to begin with.
    pub bootstrap: Vec<String>,
    /// The ledger, as an absolute url.
    pub ledger: String,
    /// File with the node's identity.
    pub identity: PathBuf,
    /// File with the storage key.
    pub storage_key: PathBuf,
    /// How long the node promises to serve.
    pub lifetime: Duration,
    /// How many fragments it keeps at most.
    pub max_fragments: u64,
    /// File to write the process id to.
    pub pid_file: Option<PathBuf>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: Box<toml::de::Error>,
    },
    /// Something necessary is missing.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// The lifetime is not a length of time.
    #[error("lifetime: {0}")]
    Lifetime(#[from] DurationTextError),
    /// The working directory is gone.
    #[error("the working directory cannot be found: {0}")]
    NoDirectory(std::io::Error),
}

impl RawConfig {
    /// Reads a file; its relative paths become absolute.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(read)?;
        let raw: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let directory = fs::canonicalize(path).map_err(read)?;
        Ok(raw.from_directory(directory.parent().unwrap_or(Path::new("/"))))
    }

    /// Makes relative paths absolute.
    #[must_use]
    pub fn from_directory(self, directory: &Path) -> Self {
        let absolute = |path: Option<PathBuf>| path.map(|path| directory.join(path));
        Self {
            data_dir: absolute(self.data_dir),
            identity: absolute(self.identity),
            storage_key: absolute(self.storage_key),
            pid_file: absolute(self.pid_file),
            ledger: self
                .ledger
                .map(|ledger| absolute_ledger(&ledger, directory)),
            ..self
        }
    }

    /// Where this says nothing, `other` counts.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(other.data_dir),
            network: self.network.or(other.network),
            listen: self.listen.or(other.listen),
            external: self.external.or(other.external),
            bootstrap: self.bootstrap.or(other.bootstrap),
            ledger: self.ledger.or(other.ledger),
            identity: self.identity.or(other.identity),
            storage_key: self.storage_key.or(other.storage_key),
            lifetime: self.lifetime.or(other.lifetime),
            max_fragments: self.max_fragments.or(other.max_fragments),
            pid_file: self.pid_file.or(other.pid_file),
        }
    }

    /// Fills in what was not said.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let data_dir = match self.data_dir {
            Some(data_dir) => data_dir,
            None => default_data_dir().ok_or(ConfigError::Missing("data_dir"))?,
        };
        Ok(Config {
            network: self.network.unwrap_or_else(|| DEFAULT_NETWORK.to_owned()),
            listen: self
                .listen
                .unwrap_or_else(|| vec![DEFAULT_LISTEN.to_owned()]),
            external: self.external.unwrap_or_default(),
            bootstrap: self.bootstrap.unwrap_or_default(),
            ledger: self.ledger.ok_or(ConfigError::Missing("ledger"))?,
            identity: self.identity.unwrap_or_else(|| data_dir.join("node.key")),
            storage_key: self
                .storage_key
                .unwrap_or_else(|| data_dir.join("storage.key")),
            lifetime: self
                .lifetime
                .map_or(Ok(DEFAULT_LIFETIME), |text| parse_duration(&text))?,
            max_fragments: self.max_fragments.unwrap_or(DEFAULT_MAX_FRAGMENTS),
            pid_file: self.pid_file,
            data_dir,
        })
    }
}

impl Config {
    /// Reads a file, with options that take precedence.
    pub fn load(file: Option<&Path>, options: RawConfig) -> Result<Self, ConfigError> {
        let here = env::current_dir().map_err(ConfigError::NoDirectory)?;
        let options = options.from_directory(&here);
        let file = file.map(RawConfig::read).transpose()?.unwrap_or_default();
        options.or(file).resolve()
    }
}

fn absolute_ledger(ledger: &str, directory: &Path) -> String {
    match ledger.strip_prefix("file:") {
        Some(path) if !path.is_empty() && !path.starts_with('/') => {
            format!("file:{}", directory.join(path).display())
        }
        _ => ledger.to_owned(),
    }
}

fn default_data_dir() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data =
        set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")))?;
    Some(data.join("kms-node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("config.toml");
        fs::write(&path, text).unwrap();
        Config::load(Some(&path), RawConfig::default())
            .map(|config| Config {
                ledger: config.ledger.replace(dir.path().to_str().unwrap(), "DIR"),
                ..config
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_short_file_is_enough_and_paths_are_relative_to_it() {
        let config =
            parse("data_dir = 'data'\nledger = 'file:../ledger'\nlifetime = '30d'\n").unwrap();
        assert_eq!(config.network, DEFAULT_NETWORK);
        assert_eq!(config.ledger, "file:DIR/../ledger");
        assert_eq!(config.identity, config.data_dir.join("node.key"));
        assert!(config.data_dir.is_absolute());
        assert_eq!(config.lifetime, Duration::from_secs(30 * 86_400));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("ledger = 'file:/x'\nlisten_on = []", "listen_on"),
            ("data_dir = '/x'", "ledger is not set"),
            ("ledger = 'file:/x'\nlifetime = 'long'", "long"),
            ("ledger = 7", "ledger"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn options_take_precedence_over_the_file() {
        let option = RawConfig {
            network: Some("a".to_owned()),
            ..RawConfig::default()
        };
        let file = RawConfig {
            network: Some("b".to_owned()),
            ledger: Some("file:/l".to_owned()),
            ..RawConfig::default()
        };
        let both = option.or(file);
        assert_eq!(
            (both.network.as_deref(), both.ledger.as_deref()),
            (Some("a"), Some("file:/l"))
        );
    }
}
