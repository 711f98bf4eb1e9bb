//! What a node answers, without a network: a real store, a ledger in memory, a clock that is turned by hand.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

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
async fn a_node_promises_no_more_than_it_can_keep() {
    let mut world = World::new(1);
    world.add(None, 1);
    let key = world.keys()[0];
    assert!(matches!(
        world.ask(0, policy(1, 1).arrange(&key)).await,
        Response::Arranged(_)
    ));
    let long = Policy::new(NETWORK, START, UNTIL + 1, 1, 1);
    assert_eq!(
        world.refusal(0, long.arrange(&key)).await,
        Refusal::Outlives {
            available_until: UNTIL
        }
    );
    assert_eq!(
        world.refusal(0, long.store(&key, 0)).await,
        Refusal::Outlives {
            available_until: UNTIL
        }
    );
    let small = world.keys()[1];
    assert!(matches!(
        world.ask(1, policy(1, 1).store(&small, 0)).await,
        Response::Stored { .. }
    ));
    assert_eq!(
        world.refusal(1, policy(1, 1).arrange(&small)).await,
        Refusal::Full
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
async fn a_node_that_has_lost_sight_of_the_ledger_refuses_what_it_has_not_just_asked() {
    let world = World::new(1);
    let (asked, not_asked) = (policy(1, 1), policy(1, 1));
    world.grant(&asked).await;
    world.grant(&not_asked).await;
    world.reencrypt(&asked, 0).await;
    *world.ledger.away.lock() = true;
    assert!(
        matches!(
            world.reencrypt(&asked, 0).await,
            Response::Reencrypted { .. }
        ),
        "within the lease"
    );
    let fresh = policy(1, 1);
    assert_eq!(
        world.refusal(0, fresh.arrange(&world.keys()[0])).await,
        Refusal::LedgerStale
    );
    assert_eq!(
        world.refusal(0, fresh.grant(world.keys())).await,
        Refusal::LedgerStale
    );
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
async fn the_ledger_is_read_through_a_node_in_pieces_that_fit() {
    let world = World::new(1);
    for _ in 0..100 {
        world.ask(0, policy(1, 1).grant(world.keys())).await;
    }
    // Fifteen nodes make a record too large for a hundred of them to fit into one answer.
    for _ in 0..100 {
        let nodes: Vec<_> = (0..15)
            .map(|_| NodeSecret::generate(&mut rng()).public())
            .collect();
        world.ask(0, policy(1, 15).grant(nodes)).await;
    }
    world.ledger.read.store(0, Ordering::Relaxed);
    let mut read = 0;
    while read < 200 {
        let message = Query::LedgerRead {
            from: read + 1,
            max: 1024,
        }
        .to_bytes();
        let response = world.ask(0, message).await;
        assert!(response.to_bytes().len() <= kms_proto::codec::MAX_RESPONSE_BYTES);
        let Response::Records(records) = response else {
            panic!()
        };
        assert!(!records.records.is_empty());
        assert_eq!(records.head.height, 200);
        read += u64::try_from(records.records.len()).unwrap();
        let looked_at = world.ledger.read.swap(0, Ordering::Relaxed);
        assert!(
            looked_at <= records.records.len() + 16,
            "{looked_at} records read: anybody may ask for this"
        );
    }
    assert_eq!(read, 200);
    let few = Query::LedgerRead { from: 5, max: 3 }.to_bytes();
    let Response::Records(few) = world.ask(0, few).await else {
        panic!()
    };
    assert_eq!(few.records.len(), 3);
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

#[tokio::test]
async fn one_policy_cannot_keep_a_node_busy_alone() {
    let world = World::new(1);
    let (loud, quiet) = (policy(1, 1), policy(1, 1));
    let key = world.keys()[0];
    let mut refused = 0;
    for _ in 0..400 {
        let answer = world.ask(0, loud.arrange(&key)).await;
        refused += usize::from(answer == Response::Refused(Refusal::Busy));
    }
    assert!(refused > 0, "nothing was refused");
    let answer = world.ask(0, quiet.arrange(&key)).await;
    assert!(matches!(answer, Response::Arranged(_)), "{answer:?}");
}

#[tokio::test]
async fn fragments_that_are_never_granted_fill_a_tenth_of_the_room_at_most() {
    let world = World::new(1);
    let key = world.keys()[0];
    // The node keeps 100 at most.
    for _ in 0..10 {
        let stored = world.ask(0, policy(1, 1).store(&key, 0)).await;
        assert!(matches!(stored, Response::Stored { .. }), "{stored:?}");
    }
    let more = policy(1, 1);
    assert_eq!(world.refusal(0, more.store(&key, 0)).await, Refusal::Full);
    world.ask(0, more.grant(vec![key])).await;
    let stored = world.ask(0, more.store(&key, 0)).await;
    assert!(matches!(stored, Response::Stored { .. }), "{stored:?}");
}

#[tokio::test]
async fn an_owner_learns_who_asked_and_a_stranger_leaves_no_trace() {
    let world = World::new(1);
    let mut policy = policy(1, 1);
    world.grant(&policy).await;
    let key = world.keys()[0];
    let stranger = IdentitySecret::generate(&mut rng());
    world
        .ask(0, policy.reencrypt_as(&key, &stranger, vec![vec![1]]))
        .await;
    world.reencrypt(&policy, 0).await;
    world.ask(0, policy.revoke(2)).await;
    world.reencrypt(&policy, 0).await;
    let Response::Audited(report) = world.ask(0, policy.audit(&key)).await else {
        panic!("no report")
    };
    let report = report.verify().unwrap();
    let entries = report.entries_after(&[0; 32]).unwrap().entries;
    let told: Vec<_> = entries
        .iter()
        .map(|it| (it.recipient, it.outcome.as_str(), it.capsules))
        .collect();
    let bob = policy.recipient.public();
    assert_eq!(told, [(bob, "ok", 1), (bob, "revoked", 1)]);
    assert_eq!((report.total, report.node), (2, key));
    // Long after the end of a policy nobody knows any more whether it was used, and nobody says that it was not.
    let mut never_used = self::policy(1, 1);
    world.grant(&never_used).await;
    world.ask(0, never_used.revoke(2)).await;
    let soon = world.ask(0, never_used.audit(&key)).await;
    assert!(matches!(soon, Response::Audited(_)), "{soon:?}");
    let later = START + 91 * 24 * 60 * 60;
    world.time.store(later, Ordering::Relaxed);
    (policy.now, never_used.now) = (later, later);
    let late = world.refusal(0, never_used.audit(&key)).await;
    assert!(matches!(late, Refusal::Revoked { .. }), "{late:?}");
    let late = world.ask(0, policy.audit(&key)).await;
    assert!(matches!(late, Response::Audited(_)), "{late:?}");
}

#[tokio::test]
async fn an_owner_learns_whether_a_node_would_serve_and_no_entry_is_made() {
    let world = World::new(2);
    let policy = policy(2, 2);
    world.grant(&policy).await;
    let (first, second) = (world.nodes[0].0, world.nodes[1].0);
    let answers = [
        world.ask(0, policy.canary(&first)).await,
        world.ask(1, policy.canary(&second)).await,
    ];
    assert!(policy.open(&answers).is_some_and(|it| it == policy.secret));
    let report = world.ask(0, policy.audit(&first)).await;
    let Response::Audited(report) = report else {
        panic!("{report:?}");
    };
    assert_eq!(report.verify().unwrap().total, 0);
    // A stranger's policies have other ids.
    let stranger = self::policy(2, 2);
    let refused = world.refusal(0, stranger.canary(&first)).await;
    assert_eq!(refused, Refusal::UnknownPolicy);

    world.ask(0, policy.remove(&first)).await;
    let refused = world.refusal(0, policy.canary(&first)).await;
    assert_eq!(refused, Refusal::UnknownPolicy);
    world.ask(0, policy.revoke(2)).await;
    let refused = world.refusal(1, policy.canary(&second)).await;
    assert!(matches!(refused, Refusal::Revoked { epoch: 2, .. }));
}

#[tokio::test]
async fn removals_of_what_nobody_knows_are_remembered_in_bounded_number() {
    // Each was kept for an hour, with its request: strangers filled the disk, and once a minute the memory with all of it.
    let world = World::new(1);
    let key = world.keys()[0];
    let (held, granted) = (policy(1, 1), policy(1, 1));
    world.grant(&held).await;
    // The node keeps 100 at most; a tenth of that may be made up.
    for _ in 0..10 {
        let made_up = policy(1, 1);
        for _ in 0..2 {
            let removed = world.ask(0, made_up.remove(&key)).await;
            assert!(matches!(removed, Response::Removed(_)), "{removed:?}");
        }
    }
    for _ in 0..3 {
        let refused = world.refusal(0, policy(1, 1).remove(&key)).await;
        assert_eq!(refused, Refusal::Busy);
    }
    let removed = world.ask(0, held.remove(&key)).await;
    let Response::Removed(receipt) = removed else {
        panic!("{removed:?}");
    };
    assert!(receipt.claim().held, "who has something here is heard");
    world.ask(0, granted.grant(vec![key])).await;
    let removed = world.ask(0, granted.remove(&key)).await;
    assert!(matches!(removed, Response::Removed(_)), "{removed:?}");
}

#[tokio::test]
async fn an_entry_that_is_on_its_way_is_sent_once_however_often_it_is_asked_for() {
    let world = World::new(1);
    let policy = policy(1, 1);
    let grant = policy.grant(world.keys());
    world.ledger.slow.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(world.ask(0, grant.clone()).await, Response::Accepted);
    }
    world.ledger.slow.store(false, Ordering::SeqCst);
    let written = loop {
        match world.ask(0, grant.clone()).await {
            Response::Accepted => {}
            other => break other,
        }
    };
    assert_eq!(written, Response::Submitted { height: 1 });
    assert_eq!(world.ledger.submitted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn whoever_was_told_that_an_entry_is_on_its_way_hears_why_it_did_not_arrive() {
    let world = World::new(1);
    let policy = policy(1, 1);
    world.ask(0, policy.revoke(2)).await;
    let (before, grant) = (
        world.ledger.submitted.load(Ordering::Relaxed),
        policy.grant(world.keys()),
    );
    world.ledger.slow.store(true, Ordering::SeqCst);
    assert_eq!(world.ask(0, grant.clone()).await, Response::Accepted);
    world.ledger.slow.store(false, Ordering::SeqCst);
    let refusal = loop {
        match world.ask(0, grant.clone()).await {
            Response::Accepted => {}
            Response::Refused(refusal) => break refusal,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(refusal, Refusal::Ledger(_)), "{refusal:?}");
    assert_eq!(world.ledger.submitted.load(Ordering::Relaxed), before + 1);
}
