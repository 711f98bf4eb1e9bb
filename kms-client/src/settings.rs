//! Where the network is, as a person has said it once for all programs: `KMSFS_…` variables, then `config.toml` (CLI §4.2).

use std::ffi::OsString;
use std::io::ErrorKind;
use std::time::Duration;

use kms_crypto::policy::Threshold;
use serde::Deserialize;

use crate::catalogue::{ApiError, Code};
use crate::connect::NetworkConfig;
use crate::grammar::{default_threshold, parse_threshold};
use crate::home::Home;

/// What one source says; everything may be missing.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Settings {
    /// The ledger.
    pub ledger: Option<String>,
    /// Nodes to begin with.
    pub bootstrap: Option<Vec<String>>,
    /// Of a grant that names none.
    pub threshold: Option<String>,
    /// The network's name.
    pub network: Option<String>,
    /// How long an operation may take: `8s`.
    pub net_timeout: Option<String>,
}

impl Settings {
    /// What the variables say, and where they say nothing, the file.
    ///
    /// # Errors
    /// [`Code::Io`], [`Code::BadParameter`] for a file that cannot be understood.
    pub fn of(home: &Home, var: impl Fn(&str) -> Option<OsString>) -> Result<Self, ApiError> {
        let text = |name: &str| {
            let value = var(name).and_then(|value| value.into_string().ok());
            value.filter(|value| !value.is_empty())
        };
        let file = Self::of_file(home)?;
        Ok(Self {
            ledger: text("KMSFS_LEDGER").or(file.ledger),
            bootstrap: text("KMSFS_BOOTSTRAP")
                .map(|list| split(&list))
                .or(file.bootstrap),
            threshold: text("KMSFS_THRESHOLD").or(file.threshold),
            network: text("KMSFS_NETWORK").or(file.network),
            net_timeout: text("KMSFS_NET_TIMEOUT").or(file.net_timeout),
        })
    }

    fn of_file(home: &Home) -> Result<Self, ApiError> {
        let path = &home.config;
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(|error| ApiError::io("read", path, &error))?,
        };
        toml::from_str(&text).map_err(|error| {
            let why = format!("cannot understand {}: {}", path.display(), error.message());
            ApiError::new(Code::BadParameter, why)
        })
    }

    /// The network and the threshold.
    ///
    /// # Errors
    /// [`Code::BadParameter`] for a threshold or a time that is none.
    pub fn resolve(self) -> Result<(NetworkConfig, Threshold), ApiError> {
        let usual = NetworkConfig::default();
        let threshold = match self.threshold {
            None => default_threshold(),
            Some(text) => parse_threshold(&text)?,
        };
        let timeout = match self.net_timeout {
            None => usual.timeout,
            Some(text) => seconds(&text).ok_or_else(|| {
                let why = format!("{text:?} is not a time from 1s to 60s");
                ApiError::new(Code::BadParameter, why).with("parameter", "net_timeout")
            })?,
        };
        let network = NetworkConfig {
            network: self.network.unwrap_or(usual.network),
            ledger: self.ledger.unwrap_or_default(),
            bootstrap: self.bootstrap.unwrap_or_default(),
            timeout,
            memory: None,
        };
        Ok((network, threshold))
    }
}

/// A list with commas.
#[must_use]
pub fn split(list: &str) -> Vec<String> {
    let words = list.split(',').map(str::trim);
    let words = words.filter(|it| !it.is_empty());
    words.map(str::to_owned).collect()
}

fn seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    (1..=60)
        .contains(&number)
        .then(|| Duration::from_secs(number))
}
