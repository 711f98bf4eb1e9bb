//! One node: the real service over a disk that can fail, with the character it has.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kms_crypto::id::PolicyId;
use kms_crypto::key::{NodeSecret, PublicKey};
use kms_ledger::Clock;
use kms_node::audit::AuditLog;
use kms_node::daemon::{leaving, upkeep};
use kms_node::keyfile::StorageKey;
use kms_node::node::{Node, Parts, Service};
use kms_node::store::Vault;
use kms_proto::codec::{self, MAX_REQUEST_BYTES};
use kms_proto::ledger::{Entry, EntryStatement, RegisterNode};
use kms_proto::message::{Command, Response, Retire};
use kms_proto::signed::{Address, Signed, SignedRequest};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::chance;
use crate::conduct::Conduct;
use crate::disk::Disk;
use crate::ledger::Sight;
use crate::link::Link;
use crate::world::{NETWORK, World};

/// How long nodes promise to serve.
pub const LIFETIME: Duration = Duration::from_secs(400 * 86_400);

/// A node and its machine.
pub struct SimNode {
    pub key: PublicKey,
    pub conduct: Conduct,
    pub disk: Disk,
    pub sight: Arc<Sight>,
    secret: [u8; 32],
    clock: Clock,
    state: Mutex<State>,
    /// Since when nothing has happened to it.
    steady_since: Mutex<Instant>,
    on_island: Mutex<bool>,
}

enum State {
    /// Nobody has spoken to it yet: it has nothing to do, and is spared the doing.
    Asleep,
    Up(Running),
    Down,
    /// Left for good.
    Gone,
}

struct Running {
    node: Arc<Node>,
    service: Arc<Service>,
    upkeep: AbortHandle,
}

/// What comes of a request.
pub enum Reply {
    Bytes(Vec<u8>),
    Silence,
    /// Nobody is there.
    Absence,
}

impl SimNode {
    /// A node that has registered.
    pub fn new(world: &World, conduct: Conduct, clock: Clock, lag: Duration) -> Self {
        let secret = NodeSecret::generate(&mut kms_ledger::machine::rng());
        let node = Self {
            key: secret.public(),
            conduct,
            disk: Disk::default(),
            sight: Arc::new(Sight::new(&world.ledger, lag, conduct == Conduct::AllTalk)),
            secret: *secret.to_bytes(),
            clock,
            state: Mutex::new(State::Asleep),
            steady_since: Mutex::new(Instant::now()),
            on_island: Mutex::new(false),
        };
        let entry = Entry::RegisterNode(RegisterNode {
            key: node.key,
            available_until: world.now() + LIFETIME.as_secs(),
            addrs: node.addresses(),
            seq: 1,
        });
        let statement = EntryStatement {
            network: NETWORK.to_owned(),
            entry,
        };
        let signed = Signed::sign(statement, &secret, &mut kms_ledger::machine::rng());
        let signed = signed.expect("the node signs for itself");
        let taken = world.ledger.submit(signed.signed());
        taken.expect("the ledger takes registrations");
        node
    }

    fn addresses(&self) -> Vec<String> {
        vec![format!("/sim/{}", self.key)]
    }

    /// Does with a request what it does.
    pub async fn answer(&self, world: &World, request: Vec<u8>) -> Reply {
        if matches!(*self.state.lock(), State::Asleep) {
            self.boot();
        }
        let service = match &*self.state.lock() {
            State::Up(running) => Arc::clone(&running.service),
            _ => return Reply::Absence,
        };
        if let Some(reply) = self.conduct.instead_of_asking() {
            return reply;
        }
        let about = policy_asked(&request);
        let response = service.answer(request).await;
        if self.disk.has_failed() {
            self.crash();
            return Reply::Absence;
        }
        let response = match self.conduct {
            Conduct::Honest => {
                if let (Response::Reencrypted { fragments }, Some(policy)) = (&response, about) {
                    world.records.heard(fragments);
                    world.records.released(self, policy, &world.ledger);
                }
                response
            }
            dishonest => dishonest.twist(response, &world.records),
        };
        if self.conduct == Conduct::AllTalk {
            // It has said so. It has not said for how long.
            match &response {
                Response::Stored { policy, .. } => self.erase(policy),
                Response::Taken(receipt) => self.erase(&receipt.claim().policy),
                _ => {}
            }
        }
        Reply::Bytes(response.to_bytes())
    }

    fn erase(&self, policy: &PolicyId) {
        if let Some(node) = self.running() {
            let memory = kms_node::store::Memory::Short;
            let removed = node.vault().remove(*policy, (self.clock)(), memory);
            drop(removed.now_or_never().expect("nothing waits in here"));
        }
    }

    /// Starts it; whether it did: without the ledger no node starts.
    pub fn boot(&self) -> bool {
        let mut state = self.state.lock();
        if matches!(*state, State::Gone | State::Up(_)) {
            return true;
        }
        let (store, slots) = self.disk.open();
        let storage_key = StorageKey::from_bytes(&self.secret);
        let vault = Vault::open(store, slots, &storage_key, (self.clock)());
        let Ok(vault) = vault else {
            assert!(self.disk.has_failed(), "a store opens after every crash");
            self.disk.crash();
            *state = State::Down;
            return false;
        };
        let node = Arc::new(Node::new(Parts {
            secret: NodeSecret::from_bytes(&self.secret).expect("it was one before"),
            network: NETWORK.to_owned(),
            vault,
            ledger: Arc::<Sight>::clone(&self.sight),
            clock: Arc::clone(&self.clock),
            max_fragments: 100_000,
            own_key: true,
            requests: None,
            audit: AuditLog::in_memory(),
        }));
        let addresses = self.addresses();
        let recalled = node.recall_retirement();
        recalled.expect("its own note is readable");
        let registered = upkeep::register(&node, &addresses, LIFETIME);
        let registered = registered.now_or_never().expect("nothing waits in here");
        if registered.is_err() {
            *state = State::Down;
            return false;
        }
        let upkeep = tokio::spawn(upkeep::run(
            Arc::clone(&node),
            self.addresses(),
            LIFETIME,
            None,
        ));
        *state = State::Up(Running {
            service: Arc::new(Service::new(Arc::clone(&node))),
            node,
            upkeep: upkeep.abort_handle(),
        });
        *self.steady_since.lock() = Instant::now();
        true
    }

    /// Tells it to leave for good, and waits until it has: hands over what it has, however often it is interrupted.
    pub async fn retire(&self, world: &Arc<World>, line: &Arc<Link>) {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let Some(node) = self.running().filter(|_| !self.disk.has_failed()) else {
                continue;
            };
            let Some(state) = node.retirement() else {
                self.wish_to_retire(world).await;
                continue;
            };
            let addresses = self.addresses();
            let round = leaving::round(&node, &addresses, Arc::<Link>::clone(line), state);
            // Whoever crashes in a round does not end it.
            let round = async { round.await.unwrap_or(false) };
            let crashed = async {
                while self.is_up() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::select! {
                biased;
                () = crashed => {}
                done = round => if done && !self.disk.has_failed() {
                    return self.leave();
                },
            }
        }
    }

    async fn wish_to_retire(&self, world: &World) {
        let wish = Command::Retire(Retire {
            node: self.key,
            until: world.now(),
            to: None,
        });
        let secret = NodeSecret::from_bytes(&self.secret).expect("it was one before");
        let to = Address {
            network: NETWORK,
            node: self.key,
            deadline: world.now() + 30,
        };
        let request = wish.sign(&to, &secret, &mut kms_ledger::machine::rng());
        // Read off its state whether it took it.
        let _ = self.answer(world, request.expect("it asks itself")).await;
    }

    fn is_up(&self) -> bool {
        matches!(*self.state.lock(), State::Up(_)) && !self.disk.has_failed()
    }

    fn leave_state(&self, next: State) {
        let before = std::mem::replace(&mut *self.state.lock(), next);
        *self.steady_since.lock() = Instant::now();
        if let State::Up(running) = before {
            running.upkeep.abort();
        }
    }

    /// Pulls the plug.
    pub fn crash(&self) {
        if !self.is_gone() {
            self.leave_state(State::Down);
            self.disk.crash();
        }
    }

    /// Takes it away for good.
    pub fn leave(&self) {
        self.leave_state(State::Gone);
    }

    /// Brings it to the island, which neither people nor the ledger reach, or back.
    pub fn move_to_island(&self, there: bool) {
        *self.on_island.lock() = there;
        *self.steady_since.lock() = Instant::now();
        if there {
            self.sight.cut();
        } else {
            self.sight.mend();
        }
    }

    pub fn is_on_island(&self) -> bool {
        *self.on_island.lock()
    }

    pub fn is_gone(&self) -> bool {
        matches!(*self.state.lock(), State::Gone)
    }

    pub fn is_down(&self) -> bool {
        matches!(*self.state.lock(), State::Down)
    }

    /// Whether it is honest, and there for everybody without interruption since `then`.
    pub fn serves_since(&self, then: Instant) -> bool {
        let there = matches!(*self.state.lock(), State::Up(_) | State::Asleep);
        let steady = *self.steady_since.lock() <= then;
        self.conduct == Conduct::Honest && there && steady && !self.is_on_island()
    }

    pub fn running(&self) -> Option<Arc<Node>> {
        match &*self.state.lock() {
            State::Up(running) => Some(Arc::clone(&running.node)),
            _ => None,
        }
    }

    /// Which fragment of this policy it has, whole.
    pub fn kept(&self, policy: &PolicyId) -> Option<usize> {
        let fragment = self.running()?.vault().fragment(policy);
        fragment.ok()?.map(|it| it.index.into())
    }

    /// How many fragments it has.
    pub fn held(&self) -> u64 {
        self.running().map_or(0, |node| node.vault().held())
    }
}

/// The policy that a re-encryption is asked of.
fn policy_asked(request: &[u8]) -> Option<PolicyId> {
    let (_, body) = codec::open_envelope(request).ok()?;
    let signed: SignedRequest = codec::decode(body, MAX_REQUEST_BYTES).ok()?;
    match &signed.claim().command {
        Command::Reencrypt(it) => Some(it.policy),
        _ => None,
    }
}

/// How far a node's clock may be off.
pub fn skew() -> i64 {
    i64::try_from(chance::below(51)).expect("small") - 25
}
