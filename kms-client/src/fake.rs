//! A network in memory for tests: nodes that do what real ones do, or what they should not.
//!
//! Everything is as in production but the transport, the stores and the clock: requests are signed, encoded, checked at a
//! gate, and answered from fragments that were verified. Behind the feature `test-util`.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kms_crypto::key::{NodeSecret, PublicKey};
use kms_ledger::{Clock, MemoryLedger, system_clock};
use kms_proto::ledger::{Entry, EntryStatement, Ledger, RegisterNode};
use kms_proto::message::{Refusal, Response};
use kms_proto::signed::Signed;
use kms_proto::transport::{BoxFuture, Transport, TransportError};
use parking_lot::Mutex;

use crate::client::{Client, ClientConfig, rng};

pub use node::FakeNode;

mod node;

/// What a fake node does.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Conduct {
    /// What it should.
    #[default]
    Honest,
    /// It is not there: connections are refused.
    Dead,
    /// It takes requests and never answers.
    Silent,
    /// It answers after so long.
    Slow(Duration),
    /// It closes the first connection of each request, as a node does that has been restarted.
    Restarted,
    /// It does what it should the first time, closes that connection before it has answered, refuses the next one, and is there
    /// again: as a node does that is started anew.
    Restarting,
    /// It does what it should and closes the first connection of each request before it has answered.
    HangsUp,
    /// Its re-encryptions are of another capsule.
    Liar,
    /// It passes this node's answer off as its own.
    Copycat(usize),
    /// It answers with noise.
    Garbage,
    /// Its ledger does not show the grant yet when it is asked first.
    Behind,
    /// It refuses everything.
    Refuses(Refusal),
    /// It says yes to everything that only needs a word, and does nothing: agrees to keep fragments and loses them,
    /// claims to have written into the ledger.
    AllTalk,
    /// It accepts entries, and writes them after so long, or never.
    Accepts(Option<Duration>),
}

/// Some nodes, their ledger and their clock.
pub struct FakeNetwork {
    nodes: Vec<Arc<FakeNode>>,
    ledger: Arc<MemoryLedger>,
    clock: Clock,
    ahead: Arc<AtomicU64>,
}

/// The name of every fake network.
pub const FAKE_NETWORK: &str = "fake";
/// How long fake nodes promise to serve, in seconds.
pub const SERVES: u64 = 400 * 86_400;

impl FakeNetwork {
    /// A network of `count` honest, registered nodes.
    #[must_use]
    pub fn new(count: usize) -> Arc<Self> {
        let ahead = Arc::new(AtomicU64::new(0));
        let clock: Clock = {
            let (machine, ahead) = (system_clock(), Arc::clone(&ahead));
            Arc::new(move || machine() + ahead.load(Ordering::SeqCst))
        };
        let ledger = Arc::new(MemoryLedger::new(FAKE_NETWORK, Arc::clone(&clock)));
        let shared: Arc<dyn Ledger> = Arc::<MemoryLedger>::clone(&ledger);
        let nodes = (0..count)
            .map(|_| Arc::new(FakeNode::new(Arc::clone(&shared), Arc::clone(&clock))))
            .collect();
        let network = Self {
            nodes,
            ledger,
            clock,
            ahead,
        };
        let until = (network.clock)() + SERVES;
        network
            .nodes
            .iter()
            .for_each(|node| network.register(node, until));
        Arc::new(network)
    }

    /// A client of this network that soon asks another node, so that tests are quick.
    #[must_use]
    pub fn client(self: &Arc<Self>) -> Client {
        self.client_with(|_| {})
    }

    /// A client with other settings.
    #[must_use]
    pub fn client_with(self: &Arc<Self>, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let ledger: Arc<dyn Ledger> = Arc::<MemoryLedger>::clone(&self.ledger);
        let transport: Arc<dyn Transport> = Arc::<Self>::clone(self);
        let mut config = ClientConfig::new(FAKE_NETWORK, ledger, transport);
        config.clock = Arc::clone(&self.clock);
        config.hedge = Duration::from_millis(50);
        change(&mut config);
        Client::new(config)
    }

    /// Tells a node how to behave from now on.
    pub fn set(&self, node: usize, conduct: Conduct) {
        *self.nodes[node].conduct.lock() = conduct;
    }

    /// A node.
    #[must_use]
    pub fn node(&self, index: usize) -> &FakeNode {
        &self.nodes[index]
    }

    /// The index of the node with this key.
    #[must_use]
    pub fn index(&self, key: &PublicKey) -> Option<usize> {
        self.nodes.iter().position(|node| node.key == *key)
    }

    /// How many fragments all nodes keep together.
    #[must_use]
    pub fn fragments(&self) -> usize {
        self.nodes.iter().map(|node| node.fragments()).sum()
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &MemoryLedger {
        &self.ledger
    }

    /// What time it is here.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.clock)()
    }

    /// Turns the clock of everybody on by `seconds`.
    pub fn pass(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Has a node promise to serve until `until`.
    fn register(&self, node: &FakeNode, until: u64) {
        let addrs = vec![format!("/memory/{}", node.key)];
        let entry = Entry::RegisterNode(RegisterNode {
            key: node.key,
            available_until: until,
            addrs,
            seq: 1,
        });
        let statement = EntryStatement {
            network: FAKE_NETWORK.to_owned(),
            entry,
        };
        let signed =
            Signed::sign(statement, &node.secret, &mut rng()).expect("the node signs for itself");
        self.ledger
            .submit(signed.signed())
            .expect("the ledger takes registrations");
    }

    async fn answer(&self, index: usize, request: &[u8]) -> Result<Vec<u8>, TransportError> {
        let node = &self.nodes[index];
        let conduct = node.conduct.lock().clone();
        match conduct {
            Conduct::Dead => return Err(TransportError::Unreachable),
            Conduct::Silent => pending().await,
            Conduct::Slow(delay) => tokio::time::sleep(delay).await,
            Conduct::Restarted if node.calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => {
                return Err(TransportError::Closed);
            }
            Conduct::HangsUp if node.calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => {
                drop(node.handle_with(request, None));
                return Err(TransportError::Closed);
            }
            Conduct::Restarting => match node.calls.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    drop(node.handle_with(request, None));
                    return Err(TransportError::Closed);
                }
                1 => return Err(TransportError::Unreachable),
                _ => {}
            },
            Conduct::Behind if node.calls.fetch_add(1, Ordering::SeqCst) == 0 => {
                return Ok(Response::Refused(Refusal::NotGranted).to_bytes());
            }
            Conduct::Garbage => return Ok(b"noise".to_vec()),
            Conduct::Refuses(refusal) => return Ok(Response::Refused(refusal).to_bytes()),
            Conduct::Copycat(other) => {
                return Ok(node
                    .handle_with(request, Some(&self.nodes[other]))
                    .to_bytes());
            }
            _ => {}
        }
        Ok(node.handle_with(request, None).to_bytes())
    }
}

impl Transport for FakeNetwork {
    fn call<'a>(
        &'a self,
        node: &'a PublicKey,
        _addrs: &'a [String],
        request: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let index = self.index(node).ok_or(TransportError::Unreachable)?;
            let answer = tokio::time::timeout(timeout, self.answer(index, &request)).await;
            answer.unwrap_or(Err(TransportError::Timeout))
        })
    }
}

/// A counter that tests read.
pub(crate) type Counter = AtomicUsize;
/// What a node keeps, by policy.
pub(crate) type Kept<T> = Mutex<HashMap<kms_crypto::id::PolicyId, T>>;

/// A node's secret, new.
pub(crate) fn new_secret() -> NodeSecret {
    NodeSecret::generate(&mut rng())
}
