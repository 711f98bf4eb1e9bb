//! From a configuration to a working client: opens the ledger, starts the transport.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kms_ledger::{Compacted, DhtLedger, DhtOptions, FileLedger, FileOptions, LedgerUrl, parse_url};
use kms_ledger_evm::{EvmLedger, EvmName, EvmOptions};
use kms_net::NetClient;
use kms_proto::DEFAULT_NETWORK;
use kms_proto::ledger::{Head, Ledger, LedgerError};
use kms_proto::transport::Transport;
use tokio::runtime::Handle;

mod keepers;
mod memory;

pub use keepers::{DhtName, DhtNameError};
use memory::{Memory, Remembered};

use crate::client::{Client, ClientConfig, DEFAULT_TIMEOUT};
use crate::error::ConnectError;

/// Which network, as it stands in a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkConfig {
    /// The network's name.
    pub network: String,
    /// The ledger: `file:/path`, `dht:keepers`, or `evm:chain/contract?rpc=…`.
    pub ledger: String,
    /// Nodes to begin with, as multiaddresses that end in `/p2p/…`. The ledger names all others.
    pub bootstrap: Vec<String>,
    /// How long one operation may take, all in all.
    pub timeout: Duration,
    /// A directory in which is remembered what was seen of ledgers; without it a run knows of none before it.
    pub memory: Option<PathBuf>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            network: DEFAULT_NETWORK.to_owned(),
            ledger: String::new(),
            bootstrap: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            memory: None,
        }
    }
}

impl Client {
    /// Connects. The ledger is opened and read; nodes are dialled when they are first needed, and again whenever a
    /// connection has broken. To be called inside a tokio runtime.
    pub async fn connect(config: &NetworkConfig) -> Result<Self, ConnectError> {
        if config.ledger.trim().is_empty() {
            return Err(ConnectError::NoLedger);
        }
        let transport = NetClient::start(&kms_net::ClientConfig {
            network: config.network.clone(),
            bootstrap: config.bootstrap.clone(),
        })
        .map_err(|error| ConnectError::Transport {
            reason: error.to_string(),
        })?;
        let transport: Arc<dyn Transport> = Arc::new(transport);
        let ledger = open_ledger(config, &transport)?;
        let mut with = ClientConfig::new(&config.network, ledger, transport);
        with.timeout = config.timeout;
        Ok(Self::new(with))
    }
}

impl NetworkConfig {
    fn memory(&self) -> Option<Memory> {
        let dir = self.memory.as_ref()?;
        Some(Memory::of(dir, &self.network, self.ledger.trim()))
    }

    /// Leaves out of a ledger in a file what says nothing any more. Blocks. For who may write it.
    pub fn compact_ledger(&self) -> Result<Compacted, ConnectError> {
        let url = self.ledger.trim();
        let unusable = |reason: String| ConnectError::LedgerUrl {
            url: url.to_owned(),
            reason,
        };
        let parsed = parse_url(url).map_err(|error| unusable(error.to_string()))?;
        let LedgerUrl::File(path) = parsed else {
            return Err(unusable("only a ledger in a file is compacted".to_owned()));
        };
        let memory = self.memory();
        let seen = memory.as_ref().map(Memory::recall).transpose();
        let options = FileOptions {
            seen: seen.map_err(ConnectError::Memory)?.flatten(),
            index: memory.as_ref().map(Memory::index),
            ..FileOptions::new(&self.network)
        };
        let compacted = path
            .metadata()
            .map_err(|error| LedgerError::Unavailable(Box::new(error)))
            .and_then(|_| FileLedger::open_writer(&path, options))
            .and_then(|ledger| ledger.compact());
        compacted.map_err(|source| ConnectError::LedgerOpen {
            url: url.to_owned(),
            source,
        })
    }

    /// Forgets what was seen of the ledger, for who knows that it was made anew; whether anything was known.
    pub fn forget_ledger(&self) -> std::io::Result<bool> {
        self.memory().map_or(Ok(false), |memory| memory.forget())
    }
}

fn remembered(
    ledger: impl Ledger + 'static,
    memory: Option<Memory>,
    seen: Option<Head>,
) -> Arc<dyn Ledger> {
    match memory {
        Some(memory) => Arc::new(Remembered::new(ledger, memory, seen)),
        None => Arc::new(ledger),
    }
}

fn open_ledger(
    config: &NetworkConfig,
    transport: &Arc<dyn Transport>,
) -> Result<Arc<dyn Ledger>, ConnectError> {
    let url = config.ledger.trim();
    let unusable = |reason: String| ConnectError::LedgerUrl {
        url: url.to_owned(),
        reason,
    };
    match parse_url(url).map_err(|error| unusable(error.to_string()))? {
        LedgerUrl::File(path) => {
            let memory = config.memory();
            let seen = match &memory {
                Some(memory) => memory.recall().map_err(ConnectError::Memory)?,
                None => None,
            };
            let options = FileOptions {
                seen,
                index: memory.as_ref().map(Memory::index),
                ..FileOptions::new(&config.network)
            };
            let ledger = FileLedger::open_reader(&path, options);
            let ledger = ledger.map_err(|source| ConnectError::LedgerOpen {
                url: url.to_owned(),
                source,
            })?;
            Ok(remembered(ledger, memory, seen))
        }
        LedgerUrl::Dht(place) => {
            let name = DhtName::parse(&place, &config.bootstrap)
                .map_err(|error| unusable(error.to_string()))?;
            let options = DhtOptions {
                network: config.network.clone(),
                quorum: name.quorum,
                ..DhtOptions::new(name.keepers, Arc::clone(transport), Handle::current())
            };
            let ledger = DhtLedger::open(options);
            let ledger = ledger.map_err(|source| ConnectError::LedgerOpen {
                url: url.to_owned(),
                source,
            })?;
            Ok(Arc::new(ledger))
        }
        LedgerUrl::Evm(place) => {
            let mut name = EvmName::parse(&place).map_err(|error| unusable(error.to_string()))?;
            // People write through nodes: nothing on the chain shows whose grant it is.
            name.key = None;
            let ledger = EvmLedger::open(name, EvmOptions::new(&config.network));
            let ledger = ledger.map_err(|source| ConnectError::LedgerOpen {
                url: url.to_owned(),
                source,
            })?;
            Ok(Arc::new(ledger))
        }
        other => Err(unusable(format!("{other:?} cannot be read from here"))),
    }
}
