//! Where a node's storage key comes from (NODE §4): a file, a passphrase, or other nodes.
//!
//! Which of the three files is there says which source it is. A source can be changed; the key stays the same, so that
//! nothing has to be sealed anew.

pub mod network;
pub mod passphrase;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use kms_client::{ClientError, ConnectError};
use kms_crypto::error::IdentityError;
use kms_crypto::key::NodeSecret;
use kms_crypto::policy::Threshold;

use crate::config::Config;
use crate::keyfile::{self, KeyFileError, StorageKey};

/// A source of the storage key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// A file that is made at the first start.
    Generated,
    /// A file that the operator has put there.
    File,
    /// A passphrase.
    Passphrase,
    /// Other nodes.
    Kms,
}

/// A source that is not one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no source of a key: write generated, file, passphrase or kms")]
pub struct SourceTextError(String);

impl Source {
    const ALL: [Self; 4] = [Self::Generated, Self::File, Self::Passphrase, Self::Kms];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::File => "file",
            Self::Passphrase => "passphrase",
            Self::Kms => "kms",
        }
    }

    /// Whether the node needs nobody else to start.
    pub const fn is_own(self) -> bool {
        !matches!(self, Self::Kms)
    }

    /// The file that shows it.
    pub fn path(self, config: &Config) -> PathBuf {
        match self {
            Self::Generated | Self::File => config.storage_key.clone(),
            Self::Passphrase => config.data_dir.join("storage.sealed"),
            Self::Kms => config.data_dir.join("storage.kms"),
        }
    }

    /// The source that is in use: the first whose file is there, the one that needs least first.
    pub fn present(config: &Config) -> Option<Self> {
        [Self::File, Self::Passphrase, Self::Kms]
            .into_iter()
            .find(|source| source.path(config).exists())
    }
}

impl FromStr for Source {
    type Err = SourceTextError;

    fn from_str(text: &str) -> Result<Self, SourceTextError> {
        Self::ALL
            .into_iter()
            .find(|source| source.name() == text)
            .ok_or_else(|| SourceTextError(text.to_owned()))
    }
}

/// Why there is no storage key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The key file cannot be used.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The operator was to put a key there.
    #[error("there is no key file {0}")]
    Absent(PathBuf),
    /// The configuration names another source than the one in use.
    #[error("the configuration says {configured}, but the storage key is kept as {present}")]
    Differs {
        /// What the configuration says.
        configured: &'static str,
        /// What is there.
        present: &'static str,
    },
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no passphrase.
    #[error("there is no passphrase: {0}")]
    NoPassphrase(String),
    /// The passphrase is wrong, or the file is damaged.
    #[error("{path}: {source}")]
    Sealed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: IdentityError,
    },
    /// The file about the key in the network does not parse, or belongs to another node.
    #[error("{0} is damaged, or not this node's")]
    Damaged(PathBuf),
    /// There is no way to the network.
    #[error("the key is kept by other nodes, and there is no way to them: {0}")]
    NoNetwork(#[from] ConnectError),
    /// The other nodes do not release the key, or do not take it, and trying again would not help.
    #[error("the key is to be kept by other nodes: {0}")]
    Network(#[from] ClientError),
    /// Too few nodes could start without others.
    #[error(
        "of the {threshold} nodes that would keep the key, {} must have a key source of their own, and only {own} do: \
         if all stopped, none could be the first to start", threshold.needed()
    )]
    Dependent {
        /// How many of how many.
        threshold: Threshold,
        /// How many nodes have their own.
        own: usize,
    },
    /// The node keeps the ledger, and too few of the others that do could start without others.
    #[error(
        "this node keeps the ledger, of whose other keepers {needed} must have a key source of their own, and only \
         {own} do: if all stopped, nobody could read the ledger, and nobody would release a key"
    )]
    KeepsLedger {
        /// How many have to answer.
        needed: usize,
        /// How many of the others have their own.
        own: usize,
    },
}

impl SourceError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// The storage key, wherever it is kept; made where the configuration says at the first start.
///
/// Waits for other nodes if they keep it, and says why.
pub async fn open(
    config: &Config,
    secret: &NodeSecret,
) -> Result<(StorageKey, Source), SourceError> {
    let configured = config.key_source;
    let Some(present) = Source::present(config) else {
        let source = configured.unwrap_or(Source::Generated);
        return Ok((make(config, secret, source).await?, source));
    };
    if let Some(configured) = configured {
        let same = |source| {
            if source == Source::Generated {
                Source::File
            } else {
                source
            }
        };
        if same(configured) != same(present) {
            return Err(SourceError::Differs {
                configured: configured.name(),
                present: present.name(),
            });
        }
    }
    Ok((fetch(config, secret, present).await?, present))
}

/// Reads the key from where it is.
pub async fn fetch(
    config: &Config,
    secret: &NodeSecret,
    source: Source,
) -> Result<StorageKey, SourceError> {
    let path = source.path(config);
    match source {
        Source::Generated | Source::File => Ok(keyfile::read_storage_key(&path)?),
        Source::Passphrase => {
            let config = config.clone();
            blocking(move || passphrase::open(&path, &config)).await
        }
        Source::Kms => network::fetch(config, secret).await,
    }
}

async fn make(
    config: &Config,
    secret: &NodeSecret,
    source: Source,
) -> Result<StorageKey, SourceError> {
    if source == Source::File {
        return Err(SourceError::Absent(source.path(config)));
    }
    let key = StorageKey::generate();
    keep(config, secret, source, &key).await?;
    Ok(key)
}

/// Keeps a key in a source; durable when this returns.
pub async fn keep(
    config: &Config,
    secret: &NodeSecret,
    source: Source,
    key: &StorageKey,
) -> Result<(), SourceError> {
    let path = source.path(config);
    match source {
        Source::Generated | Source::File => Ok(keyfile::write_storage_key(&path, key)?),
        Source::Passphrase => {
            let (config, key) = (config.clone(), StorageKey::from_bytes(key.as_bytes()));
            blocking(move || passphrase::seal(&path, &config, &key)).await
        }
        Source::Kms => network::keep(config, secret, key).await,
    }
}

/// Keeps the key in another source and drops the one it was in. Interrupted, there are both.
pub async fn move_to(
    config: &Config,
    secret: &NodeSecret,
    to: Source,
) -> Result<Source, SourceError> {
    let from =
        Source::present(config).ok_or_else(|| SourceError::Absent(Source::File.path(config)))?;
    let key = fetch(config, secret, from).await?;
    let others = |source: &Source| source.path(config) != to.path(config);
    if from.path(config) != to.path(config) {
        keep(config, secret, to, &key).await?;
    }
    for source in [Source::File, Source::Passphrase, Source::Kms] {
        if others(&source) && source.path(config).exists() {
            if source == Source::Kms {
                network::revoke(config).await;
            }
            keyfile::erase(&source.path(config)).map_err(SourceError::io(&source.path(config)))?;
        }
    }
    Ok(from)
}

/// Replaces a file at once, for its owner alone; durable when this returns.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let written = || {
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let temporary = path.with_file_name(name);
        keyfile::write_private(&temporary, bytes)?;
        fs::rename(&temporary, path)?;
        fs::File::open(parent)?.sync_all()
    };
    written().map_err(SourceError::io(path))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(SourceError::NoPassphrase("a worker has failed".to_owned())),
    }
}
