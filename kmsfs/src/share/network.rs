//! The connection to ledger and nodes, made when it is first needed: private
//! files never need it.

use std::{sync::Arc, time::Duration};

use kms_client::{Compacted, ConnectError, NetworkConfig, blocking::Client};
use parking_lot::Mutex;

use crate::{config, home::Home};

/// The directory in the state in which is remembered what was seen of ledgers.
const LEDGERS: &str = "ledgers";

/// How the nodes are reached, and the connection once there is one.
pub struct Network {
    config: Option<NetworkConfig>,
    client: Mutex<Option<Arc<Client>>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// Nothing says where the network is.
    #[error("no network is set up")]
    NotSetUp,
    /// What is set up does not work.
    #[error("{0}")]
    Connect(#[from] ConnectError),
}

impl Network {
    /// As the configuration has it.
    pub fn new(network: &config::Network, timeout: Duration) -> Self {
        let config = match network {
            config::Network::Absent => None,
            config::Network::Named {
                name,
                ledger,
                bootstrap,
            } => Some(NetworkConfig {
                network: name.clone(),
                ledger: ledger.clone(),
                bootstrap: bootstrap.clone(),
                timeout,
                memory: Home::of_process().ok().map(|home| home.state.join(LEDGERS)),
            }),
        };
        Self {
            config,
            client: Mutex::new(None),
        }
    }

    /// A connection that is there already.
    pub fn connected(client: Client) -> Self {
        Self {
            config: None,
            client: Mutex::new(Some(Arc::new(client))),
        }
    }

    /// Forgets what was seen of the ledger; whether anything was known.
    pub fn forget_ledger(&self) -> std::io::Result<bool> {
        self.config
            .as_ref()
            .map_or(Ok(false), NetworkConfig::forget_ledger)
    }

    /// Leaves out of the ledger what says nothing any more.
    pub fn compact_ledger(&self) -> Result<Compacted, Unreachable> {
        let config = self.config.as_ref().ok_or(Unreachable::NotSetUp)?;
        Ok(config.compact_ledger()?)
    }

    /// Whether a network is named at all.
    pub fn is_set_up(&self) -> bool {
        self.config.is_some() || self.client.lock().is_some()
    }

    /// The connection; a failed attempt is made again at the next call.
    pub fn client(&self) -> Result<Arc<Client>, Unreachable> {
        let mut client = self.client.lock();
        if let Some(client) = client.as_ref() {
            return Ok(Arc::clone(client));
        }
        let config = self.config.as_ref().ok_or(Unreachable::NotSetUp)?;
        let connected = Arc::new(Client::connect(config)?);
        *client = Some(Arc::clone(&connected));
        Ok(connected)
    }
}
