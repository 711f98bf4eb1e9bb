//! The client: what it is connected to, and how it asks one node one thing.
//!
//! The operations on top of this live in files of their own: granting, revoking, fetching keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::PublicKey;
use kms_ledger::{Clock, machine, system_clock};
use kms_proto::DEFAULT_NETWORK;
use kms_proto::ledger::{Head, Ledger, LedgerError, NodeRecord, PolicyState};
use kms_proto::message::{Command, NodeStatus, Query, Response};
use kms_proto::signed::{Address, MAX_DEADLINE_SECONDS, Signer};
use kms_proto::transport::{Transport, TransportError};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::error::{Answer, ClientError};
use crate::health::Health;
use crate::place::NodeAddress;

/// How long one operation may take, all in all, when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a node may take before another one is asked beside it.
pub const DEFAULT_HEDGE: Duration = Duration::from_millis(300);
/// How old the ledger's word on a policy may be.
pub const STATE_LEASE: Duration = Duration::from_secs(1);

/// What a client works with.
pub struct ClientConfig {
    /// The network's name.
    pub network: String,
    /// Where grants and revocations are read. Only read: entries are submitted through nodes.
    pub ledger: Arc<dyn Ledger>,
    /// How nodes are reached.
    pub transport: Arc<dyn Transport>,
    /// How long one operation may take, all in all.
    pub timeout: Duration,
    /// How long a node may take before another one is asked beside it.
    pub hedge: Duration,
    /// What time it is, in seconds since 1970.
    pub clock: Clock,
}

impl ClientConfig {
    /// The usual times and the machine's clock.
    #[must_use]
    pub fn new(network: &str, ledger: Arc<dyn Ledger>, transport: Arc<dyn Transport>) -> Self {
        let network = if network.is_empty() {
            DEFAULT_NETWORK
        } else {
            network
        }
        .to_owned();
        Self {
            network,
            ledger,
            transport,
            timeout: DEFAULT_TIMEOUT,
            hedge: DEFAULT_HEDGE,
            clock: system_clock(),
        }
    }
}

/// Grants, revokes and fetches keys. Clones share everything.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    timeout: Duration,
}

pub(crate) struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) health: Health,
    states: Mutex<HashMap<PolicyId, (Instant, PolicyState)>>,
}

impl Client {
    /// A client on top of a given ledger and transport. [`Client::connect`] makes both from a configuration.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self {
            timeout: config.timeout,
            shared: Arc::new(Shared {
                config,
                health: Health::default(),
                states: Mutex::default(),
            }),
        }
    }

    /// The same client whose operations take at most so long, each of them all in all; what goes into the ledger besides as
    /// long as a chain takes to confirm it (WIRE §3.5).
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// How long one operation may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What time it is, in seconds since 1970.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.now()
    }

    /// The ledger's height and the hash of its last entry.
    pub async fn ledger_head(&self) -> Result<Head, ClientError> {
        self.read_ledger(self.deadline(), |ledger| ledger.head())
            .await
    }

    /// The network's name.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.shared.config.network
    }

    /// What the ledger says of a policy; at most [`STATE_LEASE`] old.
    pub async fn policy_state(&self, policy: &PolicyId) -> Result<PolicyState, ClientError> {
        self.policy_state_by(policy, self.deadline()).await
    }

    /// What the ledger says of a policy, read just now.
    pub async fn fresh_policy_state(&self, policy: &PolicyId) -> Result<PolicyState, ClientError> {
        self.fresh_policy_state_by(policy, self.deadline()).await
    }

    /// The same as a part of an operation that has to end at `deadline`.
    pub(crate) async fn policy_state_by(
        &self,
        policy: &PolicyId,
        deadline: Instant,
    ) -> Result<PolicyState, ClientError> {
        let cached = self.shared.states.lock().get(policy).cloned();
        if let Some((at, state)) = cached
            && at.elapsed() < STATE_LEASE
        {
            return Ok(self.as_of_now(state));
        }
        self.fresh_policy_state_by(policy, deadline).await
    }

    pub(crate) async fn fresh_policy_state_by(
        &self,
        policy: &PolicyId,
        deadline: Instant,
    ) -> Result<PolicyState, ClientError> {
        let id = *policy;
        // Before reading: what is read may be as old as this.
        let at = Instant::now();
        let state = self
            .read_ledger(deadline, move |ledger| ledger.policy(&id))
            .await?;
        let mut states = self.shared.states.lock();
        if states.len() >= MAX_STATES {
            states.retain(|_, (at, _)| at.elapsed() < STATE_LEASE);
        }
        // What is not there may come at any moment, and then its reader should not have to wait.
        if states.len() < MAX_STATES && state != PolicyState::Unknown {
            states.insert(id, (at, state.clone()));
        }
        drop(states);
        Ok(self.as_of_now(state))
    }

    /// All registered nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, ClientError> {
        self.nodes_by(self.deadline()).await
    }

    pub(crate) async fn nodes_by(&self, deadline: Instant) -> Result<Vec<NodeRecord>, ClientError> {
        self.read_ledger(deadline, |ledger| ledger.nodes()).await
    }

    /// How one node is.
    pub async fn node_status(&self, node: &NodeAddress) -> Result<NodeStatus, Answer> {
        match self
            .ask(node, Query::Status.to_bytes(), self.deadline())
            .await?
        {
            Response::Status(status) if status.node == node.key => Ok(status),
            Response::Refused(refusal) => Err(Answer::Refused(refusal)),
            _ => Err(Answer::Malformed),
        }
    }

    /// When an operation that begins now has to end.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub(crate) fn now(&self) -> u64 {
        (self.shared.config.clock)()
    }

    pub(crate) fn forget_state(&self, policy: &PolicyId) {
        self.shared.states.lock().remove(policy);
    }

    /// Reads the ledger where it may block on a disk, for as long as the operation may take.
    pub(crate) async fn read_ledger<T: Send + 'static>(
        &self,
        deadline: Instant,
        read: impl FnOnce(&dyn Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let ledger = Arc::clone(&self.shared.config.ledger);
        if machine::is_simulated() {
            return Ok(read(&*ledger)?);
        }
        let task = tokio::task::spawn_blocking(move || read(&*ledger));
        match timeout_at(deadline, task).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(error)) => Err(LedgerError::Unavailable(error.into()).into()),
            Err(elapsed) => Err(LedgerError::Unavailable(elapsed.into()).into()),
        }
    }

    /// Signs a command for one node and asks it. `make` makes the command: a second try is a request of its own, because
    /// the node may have done the first before the connection broke, and does none twice.
    pub(crate) async fn command(
        &self,
        node: &NodeAddress,
        make: impl Fn() -> Command,
        key: &impl Signer,
        deadline: Instant,
    ) -> Result<Response, Answer> {
        let sign = || self.signed(&node.key, make(), key, deadline);
        self.ask_with(node, sign, deadline).await
    }

    /// A command as it travels, good for one node until the deadline.
    pub(crate) fn signed(
        &self,
        node: &PublicKey,
        command: Command,
        key: &impl Signer,
        deadline: Instant,
    ) -> Result<Vec<u8>, Answer> {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .as_secs()
            .saturating_add(1);
        let void = self.now().saturating_add(left.min(MAX_DEADLINE_SECONDS));
        let to = Address {
            network: self.network(),
            node: *node,
            deadline: void,
        };
        // Callers check that the key is the command's author before they ask anybody.
        command
            .sign(&to, key, &mut rng())
            .map_err(|_| Answer::NotAsked)
    }

    /// Asks one node something that may be asked twice.
    pub(crate) async fn ask(
        &self,
        node: &NodeAddress,
        message: Vec<u8>,
        deadline: Instant,
    ) -> Result<Response, Answer> {
        self.ask_with(node, || Ok(message.clone()), deadline).await
    }

    /// Asks one node. A connection that breaks at once is tried a second time: the node may have been restarted since
    /// it was last spoken to.
    pub(crate) async fn ask_with(
        &self,
        node: &NodeAddress,
        mut message: impl FnMut() -> Result<Vec<u8>, Answer>,
        deadline: Instant,
    ) -> Result<Response, Answer> {
        let transport = &self.shared.config.transport;
        let call = |message| {
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::timeout(left, transport.call(&node.key, &node.addrs, message, left))
        };
        let mut answer = call(message()?).await;
        if matches!(answer, Ok(Err(TransportError::Closed))) {
            answer = match call(message()?).await {
                // It was there a moment ago, and may have answered.
                Ok(Err(TransportError::Unreachable)) => answer,
                answer => answer,
            };
        }
        let bytes = answer
            .unwrap_or(Err(TransportError::Timeout))
            .map_err(Answer::Failed)?;
        Response::from_bytes(&bytes).map_err(|_| Answer::Malformed)
    }

    /// The addresses of nodes: what the ledger says now, then what was known before.
    pub(crate) async fn locate(
        &self,
        keys: &[PublicKey],
        known: &[NodeAddress],
        deadline: Instant,
    ) -> Vec<NodeAddress> {
        // Without the ledger the addresses known before may still do.
        let records = self.nodes_by(deadline).await.unwrap_or_default();
        keys.iter()
            .map(|key| {
                let from_ledger = records
                    .iter()
                    .filter(|it| it.key == *key)
                    .flat_map(|it| it.addrs.clone());
                let from_before = known
                    .iter()
                    .filter(|it| it.key == *key)
                    .flat_map(|it| it.addrs.clone());
                let mut addrs: Vec<String> = Vec::new();
                for addr in from_ledger.chain(from_before) {
                    if !addrs.contains(&addr) {
                        addrs.push(addr);
                    }
                }
                NodeAddress { key: *key, addrs }
            })
            .collect()
    }

    /// A grant that was live when it was read may be over by now.
    fn as_of_now(&self, state: PolicyState) -> PolicyState {
        match state {
            PolicyState::Live(grant) if grant.expiry <= self.now() => PolicyState::Expired {
                at: grant.expiry,
                grant: Some(grant),
            },
            other => other,
        }
    }
}

pub(crate) use machine::rng;

const MAX_STATES: usize = 16_384;
