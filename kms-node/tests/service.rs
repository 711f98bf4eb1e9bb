//! What a node answers, without a network: a real store, a ledger in memory, a clock that is turned by hand.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "service/bounds.rs"]
mod bounds;
#[path = "service/ledger.rs"]
mod ledger;
#[path = "service/owner.rs"]
mod owner;
#[path = "support/policy.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod policy;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use kms_crypto::id::PolicyId;
use kms_crypto::key::{IdentitySecret, NodeSecret, PublicKey};
use kms_ledger::{Clock, MemoryLedger};
use kms_node::audit::AuditLog;
use kms_node::keyfile::StorageKey;
use kms_node::node::{Node, Parts, Service};
use kms_node::requests::RequestLog;
use kms_node::store::{MemoryStore, RedbStore, Slots, Vault};
use kms_proto::ledger::{Head, Ledger, LedgerError, NodeRecord, PolicyState, Receipt, SignedEntry};
use kms_proto::message::{Query, Refusal, Response};
use parking_lot::Mutex;
use policy::{Policy, rng};

const NETWORK: &str = "test";
const START: u64 = 1_800_000_000;
const UNTIL: u64 = START + 1000;

/// A ledger that can be out of reach.
struct Distant {
    ledger: MemoryLedger,
    away: Mutex<bool>,
    /// How many records were read from it.
    read: AtomicUsize,
    /// Whether it takes its time to write.
    slow: AtomicBool,
    /// How many entries it was given.
    submitted: AtomicUsize,
}

impl Distant {
    fn reach(&self) -> Result<&MemoryLedger, LedgerError> {
        if *self.away.lock() {
            Err(LedgerError::Unavailable("away".into()))
        } else {
            Ok(&self.ledger)
        }
    }
}

impl Ledger for Distant {
    fn head(&self) -> Result<Head, LedgerError> {
        self.reach()?.head()
    }
    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        self.submitted.fetch_add(1, Ordering::Relaxed);
        while self.slow.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.reach()?.submit(entry)
    }
    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        self.reach()?.policy(id)
    }
    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.reach()?.nodes()
    }
    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        let records = self.reach()?.read(from, max)?;
        self.read.fetch_add(records.len(), Ordering::Relaxed);
        Ok(records)
    }
}

struct World {
    time: Arc<AtomicU64>,
    ledger: Arc<Distant>,
    nodes: Vec<(PublicKey, Service)>,
}

impl World {
    fn new(count: usize) -> Self {
        let time = Arc::new(AtomicU64::new(START));
        let ledger = MemoryLedger::new(NETWORK, Self::clock(&time));
        let mut world = Self {
            ledger: Arc::new(Distant {
                ledger,
                away: Mutex::new(false),
                read: AtomicUsize::new(0),
                slow: AtomicBool::new(false),
                submitted: AtomicUsize::new(0),
            }),
            time,
            nodes: Vec::new(),
        };
        for _ in 0..count {
            world.add(None, 100);
        }
        world
    }

    fn clock(time: &Arc<AtomicU64>) -> Clock {
        let time = Arc::clone(time);
        Arc::new(move || time.load(Ordering::Relaxed))
    }

    fn add(&mut self, dir: Option<&Path>, max_fragments: u64) {
        let secret = NodeSecret::generate(&mut rng());
        let key = StorageKey::from_bytes(&[7; 32]);
        let vault = match dir {
            None => Vault::open(
                Box::new(MemoryStore::default()),
                Slots::in_memory(),
                &key,
                START,
            ),
            Some(dir) => {
                let store = RedbStore::open(dir.join("rows")).unwrap();
                Vault::open(
                    Box::new(store),
                    Slots::open(&dir.join("keys")).unwrap(),
                    &key,
                    START,
                )
            }
        };
        let node = Node::new(Parts {
            secret,
            network: NETWORK.to_owned(),
            vault: vault.unwrap(),
            ledger: Arc::<Distant>::clone(&self.ledger),
            clock: Self::clock(&self.time),
            max_fragments,
            own_key: true,
            requests: None,
            audit: AuditLog::in_memory(),
        });
        node.promise(UNTIL);
        self.nodes.push((node.key(), Service::new(Arc::new(node))));
    }

    fn keys(&self) -> Vec<PublicKey> {
        self.nodes.iter().map(|(key, _)| *key).collect()
    }

    async fn ask(&self, node: usize, message: Vec<u8>) -> Response {
        self.nodes[node].1.answer(message).await
    }

    async fn refusal(&self, node: usize, message: Vec<u8>) -> Refusal {
        match self.ask(node, message).await {
            Response::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Stores every fragment of a policy and grants it.
    async fn grant(&self, policy: &Policy) {
        for (index, key) in self.keys().iter().enumerate() {
            let stored = self.ask(index, policy.store(key, index)).await;
            assert!(matches!(stored, Response::Stored { .. }), "{stored:?}");
        }
        let granted = self.ask(0, policy.grant(self.keys())).await;
        assert!(matches!(granted, Response::Submitted { .. }), "{granted:?}");
    }

    async fn reencrypt(&self, policy: &Policy, node: usize) -> Response {
        self.ask(node, policy.reencrypt(&self.nodes[node].0)).await
    }
}

fn policy(m: u8, n: u8) -> Policy {
    Policy::new(NETWORK, START, START + 500, m, n)
}

#[tokio::test]
async fn any_m_of_n_nodes_let_the_recipient_in_and_fewer_do_not() {
    let world = World::new(5);
    let policy = policy(3, 5);
    world.grant(&policy).await;
    let mut answers = Vec::new();
    for node in [4, 1, 3] {
        assert!(policy.open(&answers).is_none());
        answers.push(world.reencrypt(&policy, node).await);
    }
    assert!(policy.open(&answers).unwrap() == policy.secret);
}

#[tokio::test]
async fn who_speaks_a_later_minor_version_is_answered_in_ours_and_learns_what_is_not_known_here() {
    let world = World::new(1);
    let later = |mut message: Vec<u8>| {
        message[5] = 7;
        message
    };
    // What both know.
    let answer = world.ask(0, later(Query::Status.to_bytes())).await;
    assert!(matches!(answer, Response::Status(_)), "{answer:?}");
    assert_eq!(answer.to_bytes()[5], 0, "in the version of the node");
    // What the node does not know: a query, and a field of one.
    let queries: [&[u8]; 2] = [
        b"\x67weather",
        b"\xa1\x6bledger_read\xa3\x64from\x01\x63max\x18\x64\x65order\x01",
    ];
    for query in queries {
        let answer = world.ask(0, [b"KMSW\x01\x07\x01", query].concat()).await;
        assert_eq!(answer, Response::Refused(Refusal::BadRequest));
        assert_eq!(answer.to_bytes()[5], 0, "so that the asker sees why");
    }
}

#[tokio::test]
async fn a_fragment_without_a_grant_and_a_grant_without_a_fragment_are_of_no_use() {
    let world = World::new(2);
    let policy = policy(1, 1);
    let [holder, other] = [world.keys()[0], world.keys()[1]];
    assert_eq!(
        world.refusal(0, policy.reencrypt(&holder)).await,
        Refusal::UnknownPolicy
    );
    world.ask(0, policy.store(&holder, 0)).await;
    assert_eq!(
        world.refusal(0, policy.reencrypt(&holder)).await,
        Refusal::NotGranted
    );
    let stranger = IdentitySecret::generate(&mut rng());
    let nosy = policy.reencrypt_as(&holder, &stranger, vec![policy.capsule.to_bytes()]);
    assert_eq!(
        world.refusal(0, nosy).await,
        Refusal::UnknownPolicy,
        "what is kept is not for strangers to know"
    );
    world.ask(0, policy.grant(vec![other])).await;
    assert_eq!(
        world.refusal(0, policy.reencrypt(&holder)).await,
        Refusal::NotGranted,
        "granted to another node"
    );
    assert_eq!(
        world.refusal(1, policy.reencrypt(&other)).await,
        Refusal::UnknownPolicy
    );
}

#[tokio::test]
async fn a_revoked_policy_is_refused_at_once_and_its_fragment_can_be_removed_with_a_receipt() {
    let world = World::new(2);
    let policy = policy(1, 2);
    world.grant(&policy).await;
    assert!(matches!(
        world.reencrypt(&policy, 1).await,
        Response::Reencrypted { .. }
    ));
    world.ask(0, policy.revoke(2)).await;
    for node in 0..2 {
        let refusal = world
            .refusal(node, policy.reencrypt(&world.keys()[node]))
            .await;
        assert_eq!(
            refusal,
            Refusal::Revoked {
                at: START,
                epoch: 2
            }
        );
    }
    for node in 0..2 {
        let key = world.keys()[node];
        let Response::Removed(receipt) = world.ask(node, policy.remove(&key)).await else {
            panic!()
        };
        let receipt = receipt.verify().unwrap();
        assert_eq!(
            (receipt.node, receipt.policy, receipt.held),
            (key, policy.id(), true)
        );
    }
    let again = world.refusal(0, policy.store(&world.keys()[0], 0)).await;
    assert_eq!(
        again,
        Refusal::Revoked {
            at: START,
            epoch: 2
        }
    );
}

#[tokio::test]
async fn a_removed_fragment_stays_removed_even_if_the_ledger_knows_nothing() {
    let world = World::new(1);
    let policy = policy(1, 1);
    let key = world.keys()[0];
    let late = policy.store(&key, 0);
    world.ask(0, policy.store(&key, 0)).await;
    world.ask(0, policy.remove(&key)).await;
    assert_eq!(
        world.refusal(0, late).await,
        Refusal::Revoked {
            at: START,
            epoch: 0
        }
    );
}

#[tokio::test]
async fn an_expired_policy_is_refused_by_the_clock() {
    let world = World::new(1);
    let mut policy = policy(1, 1);
    world.grant(&policy).await;
    world.time.store(START + 500, Ordering::Relaxed);
    policy.now = START + 500;
    assert_eq!(
        world.refusal(0, policy.reencrypt(&world.keys()[0])).await,
        Refusal::Expired { at: START + 500 }
    );
    assert_eq!(
        world.refusal(0, policy.arrange(&world.keys()[0])).await,
        Refusal::Expired { at: START + 500 }
    );
}

#[tokio::test]
async fn a_fragment_that_is_not_the_policys_is_not_acknowledged() {
    let world = World::new(1);
    let key = world.keys()[0];
    let (policy, other) = (policy(1, 2), policy(1, 2));
    let foreign = policy.store_bytes(&key, 0, other.frags[0].to_bytes().to_vec());
    assert!(matches!(
        world.refusal(0, foreign).await,
        Refusal::BadFragment { .. }
    ));
    let mut altered = policy.frags[0].to_bytes().to_vec();
    *altered.last_mut().unwrap() ^= 1;
    for bytes in [altered, vec![], vec![0; 100]] {
        let refusal = world.refusal(0, policy.store_bytes(&key, 0, bytes)).await;
        assert!(
            matches!(refusal, Refusal::BadFragment { .. }),
            "{refusal:?}"
        );
    }
    assert_eq!(
        world.refusal(0, policy.reencrypt(&key)).await,
        Refusal::UnknownPolicy,
        "nothing was kept"
    );
}

#[tokio::test]
async fn only_the_recipient_is_served_and_each_request_once() {
    let world = World::new(2);
    let policy = policy(1, 2);
    world.grant(&policy).await;
    let key = world.keys()[0];
    let stranger = IdentitySecret::generate(&mut rng());
    let nosy = policy.reencrypt_as(&key, &stranger, vec![policy.capsule.to_bytes()]);
    assert_eq!(world.refusal(0, nosy).await, Refusal::UnknownPolicy);
    let request = policy.reencrypt(&key);
    assert!(matches!(
        world.ask(0, request.clone()).await,
        Response::Reencrypted { .. }
    ));
    assert!(
        matches!(
            world.refusal(0, request.clone()).await,
            Refusal::TooLate { .. }
        ),
        "a repetition"
    );
    assert_eq!(world.refusal(1, request).await, Refusal::NotForMe);
    world.time.store(START + 200, Ordering::Relaxed);
    assert!(matches!(
        world.refusal(0, policy.reencrypt(&key)).await,
        Refusal::TooLate { .. }
    ));
}

#[tokio::test]
async fn one_bad_capsule_does_not_spoil_the_others() {
    let world = World::new(1);
    let policy = policy(1, 1);
    world.grant(&policy).await;
    let capsules = vec![vec![1, 2, 3], policy.capsule.to_bytes()];
    let Response::Reencrypted { fragments } = world
        .ask(
            0,
            policy.reencrypt_as(&world.keys()[0], &policy.recipient, capsules),
        )
        .await
    else {
        panic!()
    };
    assert_eq!(fragments[0], Err(Refusal::BadRequest));
    assert!(fragments[1].is_ok());
}

#[tokio::test]
async fn garbage_is_answered_with_a_refusal() {
    let world = World::new(1);
    let valid = policy(1, 1).store(&world.keys()[0], 0);
    let torn = valid[..valid.len() - 1].to_vec();
    for message in [
        vec![],
        vec![0; 16 * 1024],
        b"KMSW\x01\x00\x02".to_vec(),
        vec![0x9f; 5000],
        torn,
    ] {
        assert_eq!(world.refusal(0, message).await, Refusal::BadRequest);
    }
    let bad_entry = Query::LedgerSubmit {
        entry: vec![1, 2, 3],
    }
    .to_bytes();
    assert_eq!(world.refusal(0, bad_entry).await, Refusal::BadRequest);
}

#[tokio::test]
async fn what_lies_in_a_nodes_files_shows_no_key_and_no_recipient() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(0);
    world.add(Some(dir.path()), 10);
    let policy = policy(1, 1);
    world.grant(&policy).await;
    let frag = policy.frags[0].to_bytes();
    let recipient = policy.params.recipient.to_bytes();
    for name in ["rows", "keys"] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        let parts = frag[6..].chunks_exact(32).chain([&recipient[1..]]);
        for part in parts {
            assert!(!bytes.windows(32).any(|window| window == part), "{name}");
        }
    }
}

#[tokio::test]
async fn a_request_is_done_once_even_if_the_node_was_restarted_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(1);
    let secret = NodeSecret::generate(&mut rng());
    let bytes = secret.to_bytes();
    let start = || {
        let vault = Vault::open(
            Box::new(MemoryStore::default()),
            Slots::in_memory(),
            &StorageKey::from_bytes(&[7; 32]),
            START,
        );
        let node = Node::new(Parts {
            secret: NodeSecret::from_bytes(&bytes).unwrap(),
            network: NETWORK.to_owned(),
            vault: vault.unwrap(),
            ledger: Arc::<Distant>::clone(&world.ledger),
            clock: World::clock(&world.time),
            max_fragments: 9,
            own_key: true,
            audit: AuditLog::in_memory(),
            requests: Some(RequestLog::open(&dir.path().join("requests"), START).unwrap()),
        });
        node.promise(UNTIL);
        Service::new(Arc::new(node))
    };
    let request = policy(1, 1).arrange(&secret.public());
    let first = start().answer(request.clone()).await;
    assert!(matches!(first, Response::Arranged(_)), "{first:?}");
    let again = start().answer(request).await;
    assert!(
        matches!(again, Response::Refused(Refusal::TooLate { .. })),
        "{again:?}"
    );
}
