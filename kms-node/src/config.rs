//! The node's configuration: a file, and options that take precedence over it (CLI, kms-node).
//!
//! Relative paths in a file are relative to the file's directory.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kms_crypto::policy::{Threshold, ThresholdTextError};
use kms_proto::DEFAULT_NETWORK;
use serde::Deserialize;

use crate::keysource::{Source, SourceTextError};
use crate::logging::{LogFormat, LogFormatError};
use crate::time::{DurationTextError, parse_duration};

/// Where a node listens if nothing is said.
pub const DEFAULT_LISTEN: &str = "/ip4/0.0.0.0/tcp/4710";
/// How long a node promises to serve if nothing is said.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How many of how many other nodes keep a storage key if nothing is said.
pub const DEFAULT_KEY_THRESHOLD: &str = "2/3";
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
    /// Where that key comes from: generated, file, passphrase or kms; by default what is there, at first generated
    #[arg(long, value_name = "SOURCE")]
    pub key_source: Option<String>,
    /// File with the passphrase of that key; by default systemd's credential kms-node-passphrase, or a prompt
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// How many of how many other nodes give a key back that is kept in the network, such as 2/3
    #[arg(long, value_name = "M/N")]
    pub key_threshold: Option<String>,
    /// How long the network keeps such a key, such as 365d; renewed in time
    #[arg(long, value_name = "TIME")]
    pub key_lifetime: Option<String>,
    /// How long the node promises to serve, such as 365d; renewed in time
    #[arg(long, value_name = "TIME")]
    pub lifetime: Option<String>,
    /// How many fragments the node keeps at most
    #[arg(long, value_name = "NUMBER")]
    pub max_fragments: Option<u64>,
    /// Loopback address for /metrics, /healthz and /readyz, such as 127.0.0.1:4711; none by default
    #[arg(long, value_name = "ADDRESS")]
    pub monitor: Option<String>,
    /// How the log is written: text or json
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<String>,
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
    /// Where the storage key comes from; none: from where it is.
    pub key_source: Option<Source>,
    /// File with the passphrase of the storage key.
    pub passphrase_file: Option<PathBuf>,
    /// How many of how many other nodes keep a storage key.
    pub key_threshold: Threshold,
    /// For how long.
    pub key_lifetime: Duration,
    /// How long the node promises to serve.
    pub lifetime: Duration,
    /// How many fragments it keeps at most.
    pub max_fragments: u64,
    /// Where operators' tools may ask, on loopback.
    pub monitor: Option<SocketAddr>,
    /// How the log is written.
    pub log_format: LogFormat,
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
    /// The key's lifetime is not a length of time.
    #[error("key_lifetime: {0}")]
    KeyLifetime(DurationTextError),
    /// The key's source is none.
    #[error("key_source: {0}")]
    KeySource(#[from] SourceTextError),
    /// The key's threshold is none.
    #[error("key_threshold: {0}")]
    KeyThreshold(#[from] ThresholdTextError),
    /// The monitor's address is none, or not on loopback.
    #[error("monitor: {0:?} is not a loopback address and port such as 127.0.0.1:4711")]
    Monitor(String),
    /// The form of the log is none.
    #[error("log_format: {0}")]
    LogFormat(#[from] LogFormatError),
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
            passphrase_file: absolute(self.passphrase_file),
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
            key_source: self.key_source.or(other.key_source),
            passphrase_file: self.passphrase_file.or(other.passphrase_file),
            key_threshold: self.key_threshold.or(other.key_threshold),
            key_lifetime: self.key_lifetime.or(other.key_lifetime),
            lifetime: self.lifetime.or(other.lifetime),
            max_fragments: self.max_fragments.or(other.max_fragments),
            monitor: self.monitor.or(other.monitor),
            log_format: self.log_format.or(other.log_format),
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
            key_source: self.key_source.map(|text| text.parse()).transpose()?,
            passphrase_file: self.passphrase_file,
            key_threshold: self
                .key_threshold
                .as_deref()
                .unwrap_or(DEFAULT_KEY_THRESHOLD)
                .parse()?,
            key_lifetime: self
                .key_lifetime
                .map_or(Ok(DEFAULT_LIFETIME), |text| parse_duration(&text))
                .map_err(ConfigError::KeyLifetime)?,
            lifetime: self
                .lifetime
                .map_or(Ok(DEFAULT_LIFETIME), |text| parse_duration(&text))?,
            max_fragments: self.max_fragments.unwrap_or(DEFAULT_MAX_FRAGMENTS),
            monitor: self.monitor.map(loopback).transpose()?,
            log_format: self
                .log_format
                .map_or(Ok(LogFormat::default()), |text| text.parse())?,
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

/// Nobody else's business: what it tells has no password.
fn loopback(text: String) -> Result<SocketAddr, ConfigError> {
    let address: Option<SocketAddr> = text.parse().ok();
    address
        .filter(|address| address.ip().is_loopback())
        .ok_or(ConfigError::Monitor(text))
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
            ("ledger = 'file:/x'\nmonitor = '0.0.0.0:80'", "0.0.0.0:80"),
            ("ledger = 'file:/x'\nlog_format = 'xml'", "xml"),
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
