//! Leaving, with real stores and a network in memory: whatever breaks off, one of the two nodes has the fragment (WIRE §7).

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "support/policy.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod policy;
#[path = "handover/removals.rs"]
mod removals;
#[path = "handover/takers.rs"]
mod takers;

use std::collections::HashMap;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::{NodeSecret, PublicKey};
use kms_ledger::MemoryLedger;
use kms_node::audit::AuditLog;
use kms_node::daemon::leaving;
use kms_node::keyfile::StorageKey;
use kms_node::node::{Node, Parts, Retirement, Service};
use kms_node::retire::{Leaver, Round};
use kms_node::store::{RedbStore, Slots, Vault};
use kms_proto::ledger::{
    Entry, EntryStatement, Head, Ledger, LedgerError, NodeRecord, PolicyState, Receipt,
    RegisterNode, SignedEntry,
};
use kms_proto::message::{Refusal, Response};
use kms_proto::signed::Signed;
use kms_proto::transport::{BoxFuture, Transport, TransportError};
use parking_lot::Mutex;
use policy::{Policy, rng};
use tempfile::TempDir;

const NETWORK: &str = "test";
const START: u64 = 1_800_000_000;
const UNTIL: u64 = START + 1000;

/// The ledger, and where the leaving node is killed in the middle of writing into it.
struct Written {
    ledger: MemoryLedger,
    steps: Arc<Steps>,
}

impl Ledger for Written {
    fn head(&self) -> Result<Head, LedgerError> {
        self.ledger.head()
    }
    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        let gone = || LedgerError::Unavailable("killed".into());
        let moves = matches!(entry.claim().entry, Entry::Handover(_));
        if moves && self.steps.dies() {
            return Err(gone());
        }
        let receipt = self.ledger.submit(entry)?;
        if moves && self.steps.dies() {
            return Err(gone());
        }
        Ok(receipt)
    }
    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        self.ledger.policy(id)
    }
    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.ledger.nodes()
    }
    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.ledger.read(from, max)
    }
}

/// Counts what the leaving node does, and kills it at one of the steps.
#[derive(Default)]
struct Steps {
    done: AtomicUsize,
    fatal: AtomicUsize,
}

impl Steps {
    fn dies(&self) -> bool {
        self.done.fetch_add(1, Ordering::SeqCst) + 1 >= self.fatal.load(Ordering::SeqCst)
    }

    fn restart(&self, fatal: usize) {
        self.done.store(0, Ordering::SeqCst);
        self.fatal.store(fatal, Ordering::SeqCst);
    }
}

struct World {
    dir: TempDir,
    time: Arc<AtomicU64>,
    ledger: Arc<Written>,
    steps: Arc<Steps>,
    secrets: Vec<[u8; 32]>,
    services: Arc<Mutex<HashMap<PublicKey, Arc<Service>>>>,
    nodes: Vec<Option<Arc<Node>>>,
}

/// Hands requests to nodes; the process that calls may be killed before a request leaves and before its answer comes.
struct Wire {
    services: Arc<Mutex<HashMap<PublicKey, Arc<Service>>>>,
    steps: Arc<Steps>,
}

impl Transport for Wire {
    fn call<'a>(
        &'a self,
        node: &'a PublicKey,
        _: &'a [String],
        request: Vec<u8>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            if self.steps.dies() {
                return pending().await;
            }
            let service = self.services.lock().get(node).cloned();
            let service = service.ok_or(TransportError::Unreachable)?;
            let answer = service.answer(request).await;
            if self.steps.dies() {
                return pending().await;
            }
            Ok(answer.to_bytes())
        })
    }
}

impl World {
    fn new(count: usize) -> Self {
        let time = Arc::new(AtomicU64::new(START));
        let steps = Arc::new(Steps::default());
        steps.restart(usize::MAX);
        let clock = Arc::clone(&time);
        let clock = Arc::new(move || clock.load(Ordering::Relaxed));
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            ledger: Arc::new(Written {
                ledger: MemoryLedger::new(NETWORK, clock),
                steps: Arc::clone(&steps),
            }),
            time,
            steps,
            secrets: Vec::new(),
            services: Arc::default(),
            nodes: Vec::new(),
        };
        for number in 0..count {
            let secret = NodeSecret::generate(&mut rng());
            world.register(&secret, UNTIL, 1).unwrap();
            world.secrets.push(*secret.to_bytes());
            world.nodes.push(None);
            std::fs::create_dir(world.path(number)).unwrap();
            world.open(number);
        }
        world
    }

    fn register(&self, secret: &NodeSecret, until: u64, seq: u64) -> Result<Receipt, LedgerError> {
        let entry = Entry::RegisterNode(RegisterNode {
            key: secret.public(),
            available_until: until,
            addrs: Vec::new(),
            seq,
        });
        let network = NETWORK.to_owned();
        let entry = Signed::sign(EntryStatement { network, entry }, secret, &mut rng()).unwrap();
        self.ledger.submit(entry.signed())
    }

    fn path(&self, number: usize) -> PathBuf {
        self.dir.path().join(number.to_string())
    }

    fn key(&self, number: usize) -> PublicKey {
        self.secret(number).public()
    }

    fn keys(&self) -> Vec<PublicKey> {
        (0..self.secrets.len()).map(|it| self.key(it)).collect()
    }

    fn secret(&self, number: usize) -> NodeSecret {
        NodeSecret::from_bytes(&self.secrets[number]).unwrap()
    }

    fn vault(path: &Path) -> Vault {
        let store = RedbStore::open(path.join("rows")).unwrap();
        let slots = Slots::open(&path.join("keys")).unwrap();
        let key = StorageKey::from_bytes(&[7; 32]);
        Vault::open(Box::new(store), slots, &key, START).unwrap()
    }

    /// Starts a node on what is on its disk.
    fn open(&mut self, number: usize) {
        let time = Arc::clone(&self.time);
        let node = Arc::new(Node::new(Parts {
            secret: self.secret(number),
            network: NETWORK.to_owned(),
            vault: Self::vault(&self.path(number)),
            ledger: Arc::<Written>::clone(&self.ledger),
            clock: Arc::new(move || time.load(Ordering::Relaxed)),
            max_fragments: 100,
            own_key: true,
            requests: None,
            audit: AuditLog::in_memory(),
        }));
        node.recall_retirement().unwrap();
        node.promise(UNTIL);
        let service = Arc::new(Service::new(Arc::clone(&node)));
        self.services.lock().insert(node.key(), service);
        self.nodes[number] = Some(node);
    }

    /// Ends a node at once: what was not on the disk is gone.
    async fn close(&mut self, number: usize) {
        let key = self.key(number);
        self.services.lock().remove(&key);
        let node = self.nodes[number].take().unwrap();
        let weak = Arc::downgrade(&node);
        drop(node);
        // Threads that work for it may still hold it for a moment.
        while weak.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }

    fn node(&self, number: usize) -> &Arc<Node> {
        self.nodes[number].as_ref().unwrap()
    }

    async fn ask(&self, number: usize, message: Vec<u8>) -> Response {
        let service = Arc::clone(&self.services.lock()[&self.key(number)]);
        service.answer(message).await
    }

    /// Puts a policy's fragments on the first nodes, and grants it.
    async fn grant(&self, policy: &Policy) {
        let first: Vec<usize> = (0..policy.frags.len()).collect();
        self.grant_on(&first, policy).await;
    }

    async fn grant_on(&self, numbers: &[usize], policy: &Policy) {
        for (index, number) in numbers.iter().enumerate() {
            let stored = policy.store(&self.key(*number), index);
            let stored = self.ask(*number, stored).await;
            assert!(matches!(stored, Response::Stored { .. }), "{stored:?}");
        }
        let holders = numbers.iter().map(|number| self.key(*number)).collect();
        let granted = self.ask(0, policy.grant(holders)).await;
        assert!(matches!(granted, Response::Submitted { .. }), "{granted:?}");
    }

    fn keepers(&self, policy: &Policy) -> Vec<PublicKey> {
        match self.ledger.policy(&policy.id()).unwrap() {
            PolicyState::Live(grant) => grant.nodes,
            other => panic!("not live: {other:?}"),
        }
    }

    /// The recipient asks the nodes that the ledger names.
    async fn opens(&self, policy: &Policy) -> bool {
        let mut answers = Vec::new();
        for keeper in self.keepers(policy) {
            let number = self.keys().iter().position(|key| *key == keeper).unwrap();
            let answer = self.ask(number, policy.reencrypt(&keeper)).await;
            if matches!(answer, Response::Reencrypted { .. }) {
                answers.push(answer);
            }
        }
        answers.truncate(policy.threshold.needed().into());
        policy.open(&answers).is_some_and(|it| it == policy.secret)
    }

    /// The leaving node's work: one round, or as far as it comes before it is killed.
    async fn round(&self, number: usize, to: Option<PublicKey>) -> Option<Round> {
        let wire = Arc::new(Wire {
            services: Arc::clone(&self.services),
            steps: Arc::clone(&self.steps),
        });
        let leaver = Leaver::new(Arc::clone(self.node(number)), wire);
        let killed = async {
            while self.steps.done.load(Ordering::SeqCst) < self.steps.fatal.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            round = leaver.round(START, to) => Some(round.unwrap()),
            () = killed => None,
        }
    }

    /// The node is told to leave, and does one round.
    async fn leave(&self, number: usize, until: u64) -> Retirement {
        let node = self.node(number);
        let state = node.retirement().unwrap_or(Retirement {
            until,
            to: None,
            done: false,
            left: 0,
            trouble: String::new(),
            named_since: None,
        });
        node.note_retirement(state.clone()).await.unwrap();
        let wire = Arc::new(Wire {
            services: Arc::clone(&self.services),
            steps: Arc::clone(&self.steps),
        });
        leaving::round(node, &[], wire, state).await.unwrap();
        node.retirement().unwrap()
    }

    fn holds(&self, number: usize, policy: &Policy) -> bool {
        let vault = self.node(number).vault();
        vault.fragment(&policy.id()).unwrap().is_some()
    }
}

fn policy(m: u8, n: u8) -> Policy {
    Policy::new(NETWORK, START, START + 500, m, n)
}

#[tokio::test]
async fn every_first_keeper_leaves_and_the_recipient_still_reads() {
    let mut world = World::new(6);
    let policy = policy(2, 3);
    world.grant(&policy).await;
    for number in 0..3 {
        let round = world.round(number, None).await.unwrap();
        assert_eq!((round.handed_over, round.left), (1, 0));
        assert!(!world.holds(number, &policy));
        let secret = world.secret(number);
        world.register(&secret, START, 2).unwrap();
        assert!(world.opens(&policy).await);
        world.close(number).await;
    }
    let keepers = world.keepers(&policy);
    assert!(
        keepers.iter().all(|it| world.keys()[3..].contains(it)),
        "on the other three"
    );
    assert!(world.opens(&policy).await);
}

#[tokio::test]
async fn killed_at_any_step_one_of_the_two_has_the_fragment_and_the_next_start_goes_on() {
    // Two messages, two writings into the ledger, before and after each; one more for the whole.
    for fatal in 1..=8 {
        let mut world = World::new(2);
        let policy = policy(1, 1);
        world.grant(&policy).await;
        world.steps.restart(fatal);
        let round = world.round(0, None).await;
        let steps = world.steps.done.load(Ordering::SeqCst);
        world.steps.restart(usize::MAX);
        if fatal <= 6 {
            assert!(round.is_none_or(|it| it.handed_over == 0), "step {fatal}");
        }
        world.close(0).await;
        world.open(0);
        let (old, new) = (world.holds(0, &policy), world.holds(1, &policy));
        assert!(old || new, "killed at step {fatal} of {steps}: on neither");
        assert!(world.opens(&policy).await, "step {fatal}: nobody serves it");
        let round = world.round(0, None).await.unwrap();
        assert_eq!(round.left, 0, "step {fatal}: {round:?}");
        assert!(!world.holds(0, &policy) && world.holds(1, &policy));
        assert!(world.opens(&policy).await);
        assert_eq!(world.keepers(&policy), [world.key(1)]);
    }
}

#[tokio::test]
async fn the_other_side_killed_after_it_has_signed_has_it_on_its_disk() {
    let mut world = World::new(2);
    let policy = policy(1, 1);
    world.grant(&policy).await;
    // The answer to the offer is lost, and with it both processes.
    world.steps.restart(2);
    assert!(world.round(0, None).await.is_none());
    world.steps.restart(usize::MAX);
    world.close(1).await;
    world.open(1);
    assert!(world.holds(0, &policy) && world.holds(1, &policy));
    assert_eq!(world.round(0, None).await.unwrap().handed_over, 1);
    assert!(world.opens(&policy).await);
}

/// A node that left could never be stopped if the one that took over vanished between the entry in the ledger and the
/// second proof: nobody but that one could have named another keeper.
#[tokio::test]
async fn a_node_can_leave_though_the_one_that_took_over_has_vanished() {
    let mut world = World::new(2);
    let policy = Policy::new(NETWORK, START, START + 900, 1, 1);
    world.grant(&policy).await;
    // Struck down when the ledger names the other one.
    world.steps.restart(4);
    let round = world.round(0, None).await;
    assert!(round.is_none_or(|it| it.handed_over == 0));
    world.steps.restart(usize::MAX);
    world.close(0).await;
    world.open(0);
    world.close(1).await;
    assert_eq!(world.keepers(&policy), [world.key(1)]);

    let round = world.round(0, None).await.unwrap();
    assert_eq!((round.handed_over, round.left), (0, 1), "it may come back");
    assert!(world.holds(0, &policy));
    world.time.fetch_add(10 * 60, Ordering::Relaxed);
    let round = world.round(0, None).await.unwrap();
    assert_eq!((round.handed_over, round.left), (1, 0), "{round:?}");
    assert!(!world.holds(0, &policy));
}

/// What `retire --after` promises: the node stays until then for what ends before, and is registered no longer.
#[tokio::test]
async fn a_node_that_leaves_later_keeps_what_ends_before_that_and_registers_so() {
    let world = World::new(3);
    let (short, long) = (
        Policy::new(NETWORK, START, START + 200, 1, 1),
        Policy::new(NETWORK, START, START + 500, 1, 1),
    );
    world.grant(&short).await;
    world.grant(&long).await;
    let state = world.leave(0, START + 300).await;
    assert!(state.done, "{state:?}");
    assert!(world.holds(0, &short) && !world.holds(0, &long));
    assert!(world.opens(&short).await && world.opens(&long).await);
    let registered = world.ledger.nodes().unwrap();
    let mine = registered.iter().find(|it| it.key == world.key(0));
    assert_eq!(mine.unwrap().available_until, START + 300);
    // It takes nothing more that outlives that.
    let another = policy(1, 1);
    let answer = world.ask(0, another.store(&world.key(0), 0)).await;
    assert!(
        matches!(answer, Response::Refused(Refusal::Outlives { .. })),
        "{answer:?}"
    );
}

/// Whoever writes a grant may name any node in it: one that had nothing could never be told that it had left.
#[tokio::test]
async fn a_grant_that_names_a_node_without_asking_it_keeps_it_here_for_a_minute_only() {
    let world = World::new(2);
    let stranger = policy(1, 1);
    let granted = world.ask(1, stranger.grant(vec![world.key(0)])).await;
    assert!(matches!(granted, Response::Submitted { .. }), "{granted:?}");
    let state = world.leave(0, START).await;
    assert!(!state.done, "its fragment may be on its way");
    world.time.fetch_add(60, Ordering::Relaxed);
    let state = world.leave(0, START).await;
    assert!(
        state.done && state.trouble.contains("names this node"),
        "{state:?}"
    );
}
