//! A node on the network: starting, registering, looking after its fragments, stopping.
//!
//! Nothing has to be cleaned up after a crash: the lock is the kernel's, and store and ledger mend themselves when they
//! are opened.

pub mod leaving;
mod neighbours;
mod renewal;
pub mod upkeep;

use std::fs::{self, File, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kms_client::connect::{DhtName, DhtNameError};
use kms_crypto::key::{NodeSecret, PublicKey};
use kms_ledger::{
    DhtLedger, DhtOptions, FileLedger, FileOptions, LedgerUrl, UrlError, parse_url, system_clock,
};
use kms_ledger_evm::{EvmLedger, EvmName, EvmOptions, NameError};
use kms_net::{ClientConfig, NetClient, NetError, NetServer, ServerConfig};
use kms_proto::codec;
use kms_proto::ledger::{Head, Ledger, LedgerError};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::audit::AuditLog;
use crate::config::Config;
use crate::keyfile::{self, KeyFileError, StorageKey};
use crate::keysource::passphrase::ask_for_account;
use crate::keysource::{self, Source, SourceError};
use crate::lock;
use crate::monitor::Monitor;
use crate::node::{Node, Parts, Service};
use crate::requests::RequestLog;
use crate::store::{Note, RedbStore, Slots, StoreError, Vault};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {source}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The node has left the network for good.
    #[error("this node retired {ago}, and keeps nothing", ago = since(*.at))]
    Retired {
        /// When its time was over, Unix seconds.
        at: u64,
    },
    /// Another node runs on the same data.
    #[error("another kms-node is running on {0}")]
    Running(PathBuf),
    /// A key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// There is no storage key.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The fragments cannot be opened.
    #[error("cannot open the fragments: {0}")]
    Store(#[from] StoreError),
    /// The ledger's name is not one.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The name of a ledger on a chain is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name of a ledger in replicas is not one.
    #[error(transparent)]
    Keepers(#[from] DhtNameError),
    /// This kind of ledger cannot be used by a node.
    #[error("a node cannot use the ledger {0}")]
    LedgerKind(String),
    /// The ledger cannot be opened, or does not take the node's registration.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The monitor's address cannot be used.
    #[error("cannot listen for operators' tools: {0}")]
    Monitor(io::Error),
    /// The network does not start.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Something that is not the configuration's fault.
    #[error("{0}")]
    Internal(&'static str),
}

/// A node that is up: registered, listening, looking after itself.
pub struct Daemon {
    node: Arc<Node>,
    server: NetServer,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    monitor: Option<Monitor>,
    pid_file: Option<PathBuf>,
    addresses_file: PathBuf,
    /// Held as long as the node runs.
    _lock: File,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Daemon {
    /// Starts a node; it serves when this returns.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let data_dir = config.data_dir.clone();
        let identity = config.identity.clone();
        let (lock, secret) = blocking(move || {
            let lock = claim(&data_dir)?;
            Ok((lock, keyfile::node_secret(&identity)?))
        })
        .await?;
        let monitor = match config.monitor {
            Some(address) => Some(Monitor::start(address).await.map_err(StartError::Monitor)?),
            None => None,
        };
        let (storage_key, source) = keysource::open(&config, &secret).await?;
        let storage_key = Arc::new(storage_key);
        let (opening, key) = (config.clone(), Arc::clone(&storage_key));
        let node = blocking(move || open(&opening, secret, &key, source)).await?;
        let server_config = ServerConfig {
            external: config.external.clone(),
            bootstrap: config.bootstrap.clone(),
            remembered: neighbours::remembered(&config.data_dir.join(PEERS_FILE)),
            ..ServerConfig::new(&config.network, config.listen.clone())
        };
        let service = Arc::new(Service::new(Arc::clone(&node)));
        let server = NetServer::start(server_config, node.secret(), service).await?;
        node.set_addresses(server.addresses().to_vec());
        let addresses_file = config.data_dir.join(ADDRESSES_FILE);
        write_line(&addresses_file, &server.addresses().join("\n"))?;
        let mut registering =
            upkeep::begin_registration(&node, server.addresses(), config.lifetime);
        let first = match timeout(REGISTERED_WITHIN, &mut registering).await {
            Ok(Ok(())) => None,
            // Those who have to take it may be starting, too. Until they have, this node takes no fragments.
            Ok(Err(error @ (LedgerError::Unavailable(_) | LedgerError::Busy))) => {
                tracing::warn!(%error, "not registered yet");
                None
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                tracing::info!("the registration is on its way into the ledger");
                Some(registering)
            }
        };
        if let Some(path) = &config.pid_file {
            write_line(path, &std::process::id().to_string())?;
        }
        let upkeep = tokio::spawn(upkeep::run(
            Arc::clone(&node),
            server.addresses().to_vec(),
            config.lifetime,
            first,
        ));
        let leaving = tokio::spawn(leaving::run(
            Arc::clone(&node),
            server.addresses().to_vec(),
            config.bootstrap.clone(),
        ));
        let neighbours = tokio::spawn(neighbours::run(
            Arc::clone(&node),
            server.neighbours().clone(),
            config.data_dir.join(PEERS_FILE),
        ));
        let renewal = (source == Source::Kms)
            .then(|| tokio::spawn(renewal::run(config.clone(), Arc::clone(&node), storage_key)));
        if let Some(monitor) = &monitor {
            monitor.serving(Arc::clone(&node));
        }
        tracing::info!(node = %node.key(), addresses = ?server.addresses(), held = node.vault().held(), "serving");
        Ok(Self {
            node,
            server,
            tasks: [upkeep, leaving, neighbours]
                .into_iter()
                .chain(renewal)
                .collect(),
            monitor,
            pid_file: config.pid_file,
            addresses_file,
            _lock: lock,
        })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its addresses, each ending in `/p2p/…`.
    pub fn addresses(&self) -> &[String] {
        self.server.addresses()
    }

    /// Serves until `end`, then stops.
    pub async fn run_until(self, end: impl Future<Output = ()>) {
        end.await;
        self.stop().await;
    }

    /// Stops: answers what was asked, closes the store.
    pub async fn stop(self) {
        tracing::info!("stopping");
        if let Some(monitor) = &self.monitor {
            monitor.stopping();
        }
        self.server.stop().await;
        for task in self.tasks {
            task.abort();
            // Aborted or ended, it holds the node no longer.
            let _ = task.await;
        }
        // Files of a running node: gone with it, if they are still its own.
        let own = std::process::id().to_string();
        for path in self
            .pid_file
            .iter()
            .filter(|path| fs::read_to_string(path).is_ok_and(|pid| pid.trim() == own))
        {
            drop(fs::remove_file(path));
        }
        drop(fs::remove_file(&self.addresses_file));
        let node = self.node;
        // Closing waits for the last write.
        let close = move || {
            node.audit().finish();
            drop(node);
        };
        let closed = tokio::task::spawn_blocking(close).await;
        if closed.is_err() {
            tracing::error!("closing the store failed");
        }
    }
}

fn since(at: u64) -> String {
    let moment = i64::try_from(at)
        .ok()
        .and_then(|at| jiff::Timestamp::from_second(at).ok());
    moment.map_or_else(|| "before".to_owned(), |moment| format!("at {moment}"))
}

/// A chain may take longer to confirm a registration than anybody wants to wait for a start.
const REGISTERED_WITHIN: Duration = Duration::from_secs(10);

/// The file in the data directory that names some of the nodes met.
const PEERS_FILE: &str = "peers";

/// The file in the data directory that says where the running node is reached.
pub const ADDRESSES_FILE: &str = "addresses";

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StartError::Internal("opening the store failed"))?
}

fn open(
    config: &Config,
    secret: NodeSecret,
    storage_key: &StorageKey,
    source: Source,
) -> Result<Arc<Node>, StartError> {
    let clock = system_clock();
    let vault = open_vault(&config.data_dir, storage_key, clock())?;
    let seen = vault
        .note(Note::LedgerHead)?
        .and_then(|bytes| codec::decode::<Head>(&bytes, bytes.len()).ok());
    let ledger = open_ledger(config, &secret.public(), seen)?;
    let audit = config.data_dir.join("audit.redb");
    let requests = config.data_dir.join("requests");
    let node = Node::new(Parts {
        secret,
        network: config.network.clone(),
        vault,
        ledger,
        clock: Arc::clone(&clock),
        max_fragments: config.max_fragments,
        own_key: source.is_own(),
        audit: AuditLog::open(&audit)?,
        requests: Some(RequestLog::open(&requests, clock()).map_err(|source| {
            StartError::DataDir {
                path: requests,
                source,
            }
        })?),
    });
    node.recall_retirement()?;
    let over = node
        .retirement()
        .filter(|it| it.done && it.until <= clock());
    if let Some(retirement) = over {
        return Err(StartError::Retired {
            at: retirement.until,
        });
    }
    Ok(Arc::new(node))
}

/// The id of a node that may run or not; its identity is made if there is none.
pub fn id(config: &Config) -> Result<String, StartError> {
    make(&config.data_dir)?;
    Ok(kms_net::peer_id(
        &keyfile::node_secret(&config.identity)?.public(),
    ))
}

fn make(data_dir: &Path) -> Result<(), StartError> {
    fs::create_dir_all(data_dir)
        .and_then(|()| fs::set_permissions(data_dir, Permissions::from_mode(0o700)))
        .map_err(|source| StartError::DataDir {
            path: data_dir.to_owned(),
            source,
        })
}

/// Makes the data directory and takes its lock, which ends with the process however that ends.
fn claim(data_dir: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::DataDir {
        path: data_dir.to_owned(),
        source,
    };
    make(data_dir)?;
    lock::take(data_dir)
        .map_err(failed)?
        .ok_or_else(|| StartError::Running(data_dir.to_owned()))
}

fn open_vault(data_dir: &Path, storage_key: &StorageKey, now: u64) -> Result<Vault, StoreError> {
    let keys = data_dir.join("record-keys");
    let store = RedbStore::open(data_dir.join("fragments.redb"))?;
    // Opening the slots makes the names of both files durable; this, that of the directory, if it may be read.
    let parent = data_dir.parent().filter(|it| !it.as_os_str().is_empty());
    if let Ok(parent) = File::open(parent.unwrap_or(Path::new("."))) {
        parent.sync_all()?;
    }
    Vault::open(Box::new(store), Slots::open(&keys)?, storage_key, now)
}

fn open_ledger(
    config: &Config,
    own: &PublicKey,
    seen: Option<Head>,
) -> Result<Arc<dyn Ledger>, StartError> {
    let network = &config.network;
    match parse_url(&config.ledger)? {
        LedgerUrl::File(path) => {
            let options = FileOptions {
                seen,
                index: Some(config.data_dir.join("ledger-index")),
                ..FileOptions::new(network)
            };
            Ok(Arc::new(FileLedger::open_writer(&path, options)?))
        }
        LedgerUrl::Dht(place) => {
            let name = DhtName::parse(&place, &config.bootstrap)?;
            let keeps = name.keepers.iter().any(|it| it.key == *own);
            let transport = NetClient::start(&ClientConfig {
                network: network.clone(),
                bootstrap: config.bootstrap.clone(),
            })?;
            let options = DhtOptions {
                network: network.clone(),
                quorum: name.quorum,
                own: Some(*own),
                replica: keeps.then(|| config.data_dir.join("ledger")),
                seen,
                ..DhtOptions::new(name.keepers, Arc::new(transport), Handle::current())
            };
            Ok(Arc::new(DhtLedger::open(options)?))
        }
        LedgerUrl::Evm(place) => {
            let options = EvmOptions {
                seen,
                ask: Some(Arc::new(ask_for_account)),
                ..EvmOptions::new(network)
            };
            Ok(Arc::new(EvmLedger::open(EvmName::parse(&place)?, options)?))
        }
        _ => Err(StartError::LedgerKind(config.ledger.clone())),
    }
}

fn write_line(path: &Path, text: &str) -> Result<(), StartError> {
    replace_file(path, text).map_err(|source| StartError::DataDir {
        path: path.to_owned(),
        source,
    })
}

/// Replaces a small file at once, so that nobody reads half of it.
fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    fs::write(&temporary, format!("{text}\n"))?;
    fs::rename(&temporary, path)
}
