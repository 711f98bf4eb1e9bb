//! What a node does about a message: checks, decides, acts, answers (NODE §2, WIRE §3).
//!
//! Knows no network. Deciding is calculation and runs in the [`Workshop`]; the two things that wait for the disk,
//! storing and removing, leave it and wait in the vault's queue, where they are committed together.

mod handover;
mod ledger;
mod policy;
#[cfg(feature = "signing")]
mod signing;
mod writing;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use kms_crypto::id::PolicyId;
use kms_crypto::key::{NodeSecret, PublicKey};
use kms_ledger::Clock;
use kms_net::{Handler, PeerKey};
use kms_proto::ledger::{Ledger, SignedEntry};
use kms_proto::message::{Command, NodeStatus, Query, Refusal, Response, Retire};
use kms_proto::signed::{Arrival, Gate, Incoming};

use crate::audit::AuditLog;
use crate::limits::Limits;
use crate::requests::RequestLog;
use crate::store::{Fragment, Memory, StoreError, Vault};
use crate::tally::Tally;
use parking_lot::Mutex;
use tokio::sync::Notify;
use zeroize::Zeroizing;

pub use self::handover::Retirement;
use self::handover::{Forwarded, Offer};
use self::writing::Writing;
use crate::view::{LEASE, LedgerView};
use crate::work::{WorkError, Workshop};

/// What a node is made of.
pub struct Parts {
    /// Its identity.
    pub secret: NodeSecret,
    /// The network's name.
    pub network: String,
    /// Its fragments.
    pub vault: Vault,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The clock.
    pub clock: Clock,
    /// How many fragments it keeps at most.
    pub max_fragments: u64,
    /// Whether it needs no other node to open its store.
    pub own_key: bool,
    /// The requests that were done, across restarts; none: they are remembered by this process alone.
    pub requests: Option<RequestLog>,
    /// Who asked for what.
    pub audit: AuditLog,
}

/// A node without its network.
pub struct Node {
    secret: NodeSecret,
    network: String,
    gate: Gate,
    requests: Option<RequestLog>,
    limits: Limits,
    audit: AuditLog,
    tally: Tally,
    vault: Vault,
    view: Arc<LedgerView>,
    max_fragments: u64,
    own_key: bool,
    available_until: AtomicU64,
    addresses: OnceLock<Vec<String>>,
    retirement: Mutex<Option<Retirement>>,
    /// Since when the new keepers of these have not proven that they have them.
    doubts: Mutex<HashMap<PolicyId, u64>>,
    /// Rung when somebody wants the node to retire.
    retirement_bell: Notify,
    #[cfg(feature = "signing")]
    nonces: crate::nonces::NonceStore,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// What deciding leads to.
enum Step {
    Answer(Box<Response>),
    Store(Box<Fragment>),
    Remove(PolicyId, Memory, Vec<u8>),
    Take(Box<Offer>),
    Note(Vec<Forwarded>),
    Retire(Retire),
    Submit(Box<SignedEntry>),
}

impl Step {
    fn answer(response: Response) -> Self {
        Self::Answer(Box::new(response))
    }
}

impl Node {
    /// Puts a node together.
    pub fn new(parts: Parts) -> Self {
        let gate = Gate::new(&parts.network, parts.secret.public());
        if let Some(requests) = &parts.requests {
            gate.recall(requests.recalled(), (parts.clock)());
        }
        let view = LedgerView::new(parts.ledger, parts.clock, LEASE);
        Self {
            gate,
            requests: parts.requests,
            limits: Limits::new(parts.max_fragments),
            audit: parts.audit,
            tally: Tally::default(),
            secret: parts.secret,
            network: parts.network,
            vault: parts.vault,
            view: Arc::new(view),
            max_fragments: parts.max_fragments,
            own_key: parts.own_key,
            available_until: AtomicU64::new(0),
            addresses: OnceLock::new(),
            retirement: Mutex::default(),
            doubts: Mutex::default(),
            retirement_bell: Notify::new(),
            #[cfg(feature = "signing")]
            nonces: crate::nonces::NonceStore::default(),
        }
    }

    /// The node's identity.
    pub fn secret(&self) -> &NodeSecret {
        &self.secret
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The node's key.
    pub fn key(&self) -> PublicKey {
        self.secret.public()
    }

    /// Its fragments.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Who asked for what.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// How often it has answered what.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether it serves; why not, if it does not.
    pub fn is_ready(&self) -> Result<(), &'static str> {
        let retired = self.retirement().is_some_and(|it| it.done);
        let over = self.available_until() <= self.view.now();
        if retired && over {
            Err("it has retired")
        } else if self.vault.is_closed() {
            Err("its store is closed: a new start opens it again")
        } else if self.vault.has_failed() {
            Err("its store could not be written last time")
        } else if self.view.head().is_none() {
            Err("the ledger is out of sight, or not what it was")
        } else if over {
            Err("it is not registered, or its time is over")
        } else {
            Ok(())
        }
    }

    /// What strangers may ask of it.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Its sight of the ledger.
    pub fn view(&self) -> &Arc<LedgerView> {
        &self.view
    }

    /// Its addresses, as it reports them. They are set once.
    pub fn set_addresses(&self, addresses: Vec<String>) {
        // A second setting is a mistake of the caller's that changes nothing.
        let _ = self.addresses.set(addresses);
    }

    /// Says until when it serves, Unix seconds: from then on it takes fragments.
    pub fn promise(&self, available_until: u64) {
        self.available_until
            .store(available_until, Ordering::Relaxed);
    }

    /// Until when it has promised to serve, Unix seconds; 0 as long as it has promised nothing.
    fn available_until(&self) -> u64 {
        let promised = self.available_until.load(Ordering::Relaxed);
        let leaving = self.retirement().map_or(u64::MAX, |it| it.until);
        promised.min(leaving)
    }

    /// Decides about a message. May block and calculates.
    fn consider(&self, message: &[u8], peer: Option<PeerKey>) -> Step {
        let incoming = match self.let_in(message, peer) {
            Ok(incoming) => incoming,
            Err(refusal) => return Step::answer(Response::Refused(refusal)),
        };
        let step = match incoming {
            Incoming::Query(Query::Status) => Ok(Step::answer(Response::Status(self.status()))),
            Incoming::Query(Query::LedgerRead { from, max }) => {
                self.read_ledger(from, max).map(Step::answer)
            }
            Incoming::Query(Query::LedgerSubmit { entry }) => self.consider_entry(&entry),
            Incoming::Command(Command::Arrange(arrange)) => {
                self.arrange(&arrange).map(Step::answer)
            }
            Incoming::Command(Command::StoreRekey(rekey)) => self.consider_rekey(&rekey, peer),
            Incoming::Command(Command::Reencrypt(request)) => {
                self.reencrypt(&request).map(Step::answer)
            }
            Incoming::Command(Command::RemoveRekey(remove)) => {
                self.consider_removal(&remove, message, peer)
            }
            Incoming::Command(Command::Canary(it)) => self.serve_canary(&it).map(Step::answer),
            Incoming::Command(Command::Audit(it)) => self.report(&it).map(Step::answer),
            Incoming::Command(Command::Handover(offer)) => self.consider_offer(&offer),
            Incoming::Command(Command::ForwardRemovals(it)) => self.consider_removals(&it),
            Incoming::Command(Command::Retire(wish)) => self.consider_retirement(wish),
            #[cfg(feature = "signing")]
            Incoming::Command(Command::SignCommit(it)) => self.sign_commit(&it).map(Step::answer),
            #[cfg(feature = "signing")]
            Incoming::Command(Command::SignShare(it)) => self.sign_share(&it).map(Step::answer),
            #[cfg(not(feature = "signing"))]
            Incoming::Command(Command::SignCommit(_) | Command::SignShare(_)) => {
                Err(Refusal::BadRequest)
            }
        };
        step.unwrap_or_else(|refusal| Step::answer(Response::Refused(refusal)))
    }

    /// Checks a message and its sender's share of the node's time.
    fn let_in(&self, message: &[u8], peer: Option<PeerKey>) -> Result<Incoming, Refusal> {
        let now = self.view.now();
        let admit = |arrival: Arrival<'_>| peer.map_or(Ok(()), |it| self.limits.admit(it, arrival));
        let opened = self.gate.open_admitted(message, now, admit)?;
        if let Incoming::Command(command) = &opened.incoming {
            self.limits.admit_author(command)?;
        }
        if let (Some(requests), Some(mark)) = (&self.requests, opened.mark) {
            requests.note(mark, || self.gate.marks());
        }
        Ok(opened.incoming)
    }

    fn status(&self) -> NodeStatus {
        NodeStatus {
            node: self.key(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: self.network.clone(),
            time: self.view.now(),
            available_until: self.available_until(),
            fragments: self.vault.held(),
            own_key: self.own_key,
            head: self.view.head(),
            addrs: self.addresses.get().cloned().unwrap_or_default(),
        }
    }
}

/// A node with the threads it works on: what the network hands requests to.
#[derive(Debug)]
pub struct Service {
    node: Arc<Node>,
    calculations: Workshop,
    writing: Writing,
}

const WAITING_CALCULATIONS: usize = 1024;

impl Service {
    /// Serves a node.
    pub fn new(node: Arc<Node>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            node,
            calculations: Workshop::new(cores, WAITING_CALCULATIONS),
            writing: Writing::default(),
        }
    }

    /// Answers a message of nobody in particular.
    pub async fn answer(&self, message: Vec<u8>) -> Response {
        self.answer_to(None, Zeroizing::new(message)).await
    }

    /// Answers a message of a peer. It may contain a key fragment.
    pub async fn answer_to(&self, peer: Option<PeerKey>, message: Zeroizing<Vec<u8>>) -> Response {
        let response = self.consider_and_do(peer, message).await;
        self.node.tally.count(&response);
        response
    }

    async fn consider_and_do(
        &self,
        peer: Option<PeerKey>,
        message: Zeroizing<Vec<u8>>,
    ) -> Response {
        let node = Arc::clone(&self.node);
        let step = match self
            .calculations
            .run(move || node.consider(&message, peer))
            .await
        {
            Ok(step) => step,
            Err(error) => return Response::Refused(work_refusal(error)),
        };
        let answer = match step {
            Step::Answer(response) => return *response,
            Step::Store(fragment) => self.node.store(&fragment).await,
            Step::Remove(policy, memory, request) => self.remove(policy, memory, request).await,
            Step::Take(offer) => self.take(*offer).await,
            Step::Note(removals) => self.node.note_removals(removals).await,
            Step::Retire(wish) => self.node.retire(wish).await,
            Step::Submit(entry) => self.writing.write(&self.node.view, *entry).await,
        };
        answer.unwrap_or_else(Response::Refused)
    }

    async fn remove(
        &self,
        policy: PolicyId,
        memory: Memory,
        request: Vec<u8>,
    ) -> Result<Response, Refusal> {
        let removal = self
            .node
            .vault
            .remove_as_asked(policy, self.node.view.now(), memory, request)
            .await
            .map_err(|e| store_refusal(&e))?;
        let node = Arc::clone(&self.node);
        // Signing is a calculation like any other.
        self.calculations
            .run(move || node.receipt(policy, removal))
            .await
            .map_err(work_refusal)
    }
}

impl Handler for Service {
    fn handle(&self, peer: PeerKey, request: Zeroizing<Vec<u8>>) -> BoxFuture<'_, Vec<u8>> {
        Box::pin(async move {
            // A message that takes longer has been given up by its sender.
            match tokio::time::timeout(ANSWER_TIMEOUT, self.answer_to(Some(peer), request)).await {
                Ok(response) => response.to_bytes(),
                Err(_) => self.busy(),
            }
        })
    }

    fn busy(&self) -> Vec<u8> {
        Response::Refused(Refusal::Busy).to_bytes()
    }
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(9);

fn work_refusal(error: WorkError) -> Refusal {
    match error {
        WorkError::Full => Refusal::Busy,
        WorkError::Failed => Refusal::Internal,
    }
}

fn store_refusal(error: &StoreError) -> Refusal {
    tracing::error!(%error, "the fragment store fails");
    Refusal::Internal
}
