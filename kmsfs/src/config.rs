//! The configuration: `config.toml`, `KMSFS_…` variables and options, in
//! rising order of precedence (CLI 4.2).
//!
//! Owners need none of it: without a network private files work in full.

use std::{ffi::OsString, path::Path, time::Duration};

use kms_crypto::policy::{Threshold, ThresholdTextError};
use serde::Deserialize;

use kms_client::contact::toml_sentence;

use crate::failure::{Exit, Failure};

/// What one source says. Everything is optional here.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where the ledger is: `file:/path`.
    pub ledger: Option<String>,
    /// Nodes to begin with.
    pub bootstrap: Option<Vec<String>>,
    /// How many nodes, and how many of them must agree: `3/5`.
    pub threshold: Option<String>,
    /// The network's name.
    pub network: Option<String>,
    /// How long a call may wait for the network: `8s`.
    pub net_timeout: Option<String>,
}

/// The resolved configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// How to reach the nodes; `Absent` when nothing says so.
    pub network: Network,
    /// The default quorum of a grant.
    pub threshold: Threshold,
    /// The longest a call may wait for the network.
    pub net_timeout: Duration,
}

/// Whether and how the nodes can be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Network {
    /// No ledger is named: granting is impossible, everything of one's own works.
    Absent,
    /// A ledger and where to begin.
    Named {
        /// The network's name.
        name: String,
        /// The ledger, as an URL.
        ledger: String,
        /// Nodes to begin with; with none, the ledger's own list is used.
        bootstrap: Vec<String>,
    },
}

/// The name of the network people are in unless they say otherwise.
pub const DEFAULT_NETWORK: &str = "kms-main";

/// How long a call may wait for the network.
pub const NET_TIMEOUT: Duration = Duration::from_secs(8);

impl RawConfig {
    /// Reads the file; a missing one says nothing.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(err) => return Err(Failure::io("read", path, &err)),
        };
        toml::from_str(&text).map_err(|err| {
            Failure::new(
                Exit::Config,
                format!("Cannot understand {}.", path.display()),
            )
            .why(toml_sentence(&text, &err))
            .now("It has: ledger, bootstrap, threshold, network, net_timeout.")
        })
    }

    /// What the environment says.
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            var(name)
                .and_then(|value| value.into_string().ok())
                .filter(|value| !value.is_empty())
        };
        Self {
            ledger: text("KMSFS_LEDGER"),
            bootstrap: text("KMSFS_BOOTSTRAP").map(|list| split_list(&list)),
            threshold: text("KMSFS_THRESHOLD"),
            network: text("KMSFS_NETWORK"),
            net_timeout: text("KMSFS_NET_TIMEOUT"),
        }
    }

    /// This, where it says something, else `weaker`.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self {
            ledger: self.ledger.or(weaker.ledger),
            bootstrap: self.bootstrap.or(weaker.bootstrap),
            threshold: self.threshold.or(weaker.threshold),
            network: self.network.or(weaker.network),
            net_timeout: self.net_timeout.or(weaker.net_timeout),
        }
    }

    /// What is said here, as text: ledger, bootstrap, threshold, network, net_timeout.
    pub fn texts(self) -> [Option<String>; 5] {
        let bootstrap = self.bootstrap.map(|list| list.join(","));
        [
            self.ledger,
            bootstrap,
            self.threshold,
            self.network,
            self.net_timeout,
        ]
    }

    /// Checks and completes.
    pub fn resolve(self) -> Result<Config, Failure> {
        let invalid = |what: String, why: String| {
            Failure::new(Exit::Config, what)
                .why(why)
                .now("Correct config.toml, the KMSFS_ variables, or the option.")
        };
        let threshold = match self.threshold {
            None => Threshold::new(3, 5).expect("three is not more than five"),
            Some(text) => text.parse().map_err(|err: ThresholdTextError| {
                invalid(format!("{text:?} is not a threshold."), format!("{err}."))
            })?,
        };
        let net_timeout = match self.net_timeout {
            None => NET_TIMEOUT,
            Some(text) => parse_seconds(&text).ok_or_else(|| {
                invalid(
                    "The net_timeout is wrong.".into(),
                    format!("{text:?} is not a time from 1s to 60s."),
                )
            })?,
        };
        let network = match self.ledger {
            None => Network::Absent,
            Some(ledger) => {
                if !ledger.contains(':') {
                    return Err(invalid(
                        "The ledger is wrong.".into(),
                        format!("{ledger:?} does not say what kind it is, such as file:/path."),
                    ));
                }
                Network::Named {
                    name: self.network.unwrap_or_else(|| DEFAULT_NETWORK.into()),
                    ledger,
                    bootstrap: self.bootstrap.unwrap_or_default(),
                }
            }
        };
        Ok(Config {
            network,
            threshold,
            net_timeout,
        })
    }
}

/// A list separated by commas or white space.
pub fn split_list(text: &str) -> Vec<String> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn parse_seconds(text: &str) -> Option<Duration> {
    let seconds: u64 = text.trim().trim_end_matches('s').parse().ok()?;
    (1..=60)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_up_is_a_configuration_too() {
        let config = RawConfig::default().resolve().unwrap();
        assert_eq!(config.network, Network::Absent);
        assert_eq!(config.threshold.to_string(), "3/5");
        assert_eq!(config.net_timeout, Duration::from_secs(8));
    }

    #[test]
    fn the_option_wins_over_the_environment_and_that_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(
            &path,
            "ledger = \"file:/f\"\nthreshold = \"1/1\"\nnetwork = \"n\"\n",
        )
        .unwrap();
        let file = RawConfig::load(&path).unwrap();
        let env = RawConfig::from_env(|name| match name {
            "KMSFS_LEDGER" => Some("file:/e".into()),
            "KMSFS_THRESHOLD" => Some("2/2".into()),
            "KMSFS_BOOTSTRAP" => Some("/ip4/1.2.3.4/tcp/1,/ip4/1.2.3.4/tcp/2".into()),
            _ => None,
        });
        let option = RawConfig {
            threshold: Some("2/3".into()),
            ..RawConfig::default()
        };
        let config = option.or(env).or(file).resolve().unwrap();
        assert_eq!(config.threshold.to_string(), "2/3");
        assert_eq!(
            config.network,
            Network::Named {
                name: "n".into(),
                ledger: "file:/e".into(),
                bootstrap: vec!["/ip4/1.2.3.4/tcp/1".into(), "/ip4/1.2.3.4/tcp/2".into()],
            }
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "network = \"n\"\nlegder = \"file:/f\"\n").unwrap();
        let failure = RawConfig::load(&path).unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        assert!(failure.why.starts_with("Line 2:"), "{}", failure.why);
        assert!(failure.why.contains("legder"), "{}", failure.why);
    }

    #[test]
    fn an_impossible_threshold_is_refused() {
        let raw = RawConfig {
            threshold: Some("6/5".into()),
            ..RawConfig::default()
        };
        assert_eq!(raw.resolve().unwrap_err().exit, Exit::Config);
    }
}
