//! What every kind of ledger has to do alike (LEDGER §4, §5). Behind the feature `test-util`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use kms_crypto::{
    id::PolicyId,
    key::{LedgerKey, NodeSecret, PublicKey},
    policy::revocation,
};
use kms_proto::{
    ledger::{
        Chain, Entry, EntryRefusal, EntryStatement, Grant, Ledger, LedgerError, PolicyState,
        RegisterNode, Release, Revoke, SignedEntry, genesis_hash,
    },
    signed::{Signed, Signer},
};
use rand_core::{Rng, UnwrapErr};

use crate::Clock;

mod handover;

use handover::{
    check_a_fragment_moves_as_its_keeper_says, check_a_node_leaves_when_nothing_outlives_it,
};

/// The network of every ledger under test.
pub const NETWORK: &str = "conformance";
/// What a [`TestClock`] says at first.
pub const START: u64 = 1_800_000_000;

/// A clock that is turned by hand.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }
}

impl TestClock {
    /// Sets it.
    pub fn set(&self, time: u64) {
        self.0.store(time, Ordering::SeqCst);
    }

    /// As a ledger takes it.
    pub fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || time.load(Ordering::SeqCst))
    }
}

/// An entry, signed by its author for [`NETWORK`].
pub fn signed(entry: Entry, key: &impl Signer) -> SignedEntry {
    signed_for(NETWORK, entry, key)
}

fn signed_for(network: &str, entry: Entry, key: &impl Signer) -> SignedEntry {
    let statement = EntryStatement {
        network: network.to_owned(),
        entry,
    };
    Signed::sign(statement, key, &mut rng())
        .expect("the author signs")
        .into_signed()
}

fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

/// A policy and what its author can say about it.
pub struct Author {
    key: LedgerKey,
    inner: [u8; 32],
}

impl Default for Author {
    fn default() -> Self {
        Self::new()
    }
}

impl Author {
    /// The author of a new policy.
    pub fn new() -> Self {
        let mut inner = [0; 32];
        rng().fill_bytes(&mut inner);
        Self {
            key: LedgerKey::generate(&mut rng()),
            inner,
        }
    }

    /// The policy.
    pub fn policy(&self) -> PolicyId {
        kms_crypto::policy::policy_id(&self.key.public(), &self.inner)
    }

    /// A grant to three nodes, 2 of which open.
    pub fn grant(&self, seq: u32, expiry: u64) -> SignedEntry {
        let nodes: Vec<PublicKey> = (0..3)
            .map(|_| NodeSecret::generate(&mut rng()).public())
            .collect();
        self.grant_to(Grant {
            ledger_key: self.key.public(),
            inner: self.inner,
            expiry,
            m: 2,
            nodes,
            seq,
            revocation: None,
        })
    }

    /// The same, sealed with the author's secret for an epoch of the label.
    pub fn sealed_grant(&self, seq: u32, expiry: u64, epoch: u32) -> SignedEntry {
        let Entry::Grant(grant) = self.grant(seq, expiry).claim().entry.clone() else {
            unreachable!("a grant is a grant");
        };
        self.grant_to(Grant {
            revocation: Some(revocation(&self.key.revocation_secret(), epoch)),
            ..grant
        })
    }

    /// What anybody can write who was given the author's secret.
    pub fn release(&self, epoch: u32) -> SignedEntry {
        let statement = EntryStatement {
            network: NETWORK.to_owned(),
            entry: Entry::Release(Release {
                policy: self.policy(),
                epoch,
                secret: *self.key.revocation_secret(),
            }),
        };
        Signed::unsigned(statement)
            .expect("nobody signs it")
            .into_signed()
    }

    fn grant_to(&self, grant: Grant) -> SignedEntry {
        signed(Entry::Grant(grant), &self.key)
    }

    /// A revocation.
    pub fn revoke(&self, epoch: u32) -> SignedEntry {
        signed(
            Entry::Revoke(Revoke {
                ledger_key: self.key.public(),
                inner: self.inner,
                epoch,
            }),
            &self.key,
        )
    }
}

/// A node's registration.
pub fn registration(
    key: &NodeSecret,
    seq: u64,
    available_until: u64,
    addrs: &[&str],
) -> SignedEntry {
    let addrs = addrs.iter().map(|addr| (*addr).to_owned()).collect();
    signed(
        Entry::RegisterNode(RegisterNode {
            key: key.public(),
            available_until,
            addrs,
            seq,
        }),
        key,
    )
}

type Check = fn(&Arc<dyn Ledger>, &TestClock);

fn refusal(result: Result<kms_proto::ledger::Receipt, LedgerError>) -> EntryRefusal {
    match result {
        Err(LedgerError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Runs every check on ledgers made by `make`, each of them empty and of network [`NETWORK`].
///
/// # Panics
/// When a ledger does not conform.
pub fn check_ledger(make: &mut dyn FnMut(Clock) -> Arc<dyn Ledger>) {
    let checks: &[Check] = &[
        check_empty,
        check_a_grant_lives_until_its_expiry,
        check_a_revocation_is_for_good,
        check_a_revocation_may_come_before_its_grant,
        check_a_revocation_goes_on_to_later_epochs_only,
        check_a_grant_is_replaced_by_a_later_one_only,
        check_whoever_has_the_secret_revokes,
        check_nobody_speaks_for_another,
        check_impossible_grants_are_refused,
        check_nodes_register_with_rising_numbers,
        check_a_fragment_moves_as_its_keeper_says,
        check_a_node_leaves_when_nothing_outlives_it,
        check_repeating_is_harmless,
        check_time_never_goes_back,
        check_the_records_rebuild_the_state,
        check_many_submit_at_once,
    ];
    for check in checks {
        let clock = TestClock::default();
        check(&make(clock.clock()), &clock);
    }
}

fn submit(ledger: &Arc<dyn Ledger>, entry: &SignedEntry) -> u64 {
    ledger.submit(entry).expect("accepted").height
}

fn policy(ledger: &Arc<dyn Ledger>, author: &Author) -> PolicyState {
    ledger.policy(&author.policy()).expect("answered")
}

fn check_empty(ledger: &Arc<dyn Ledger>, _: &TestClock) {
    let head = ledger.head().expect("answered");
    assert_eq!(
        (head.height, head.hash, head.time),
        (0, genesis_hash(NETWORK), 0)
    );
    assert_eq!(policy(ledger, &Author::new()), PolicyState::Unknown);
    assert!(ledger.nodes().expect("answered").is_empty());
    assert!(ledger.read(1, 10).expect("answered").is_empty());
}

fn check_a_grant_lives_until_its_expiry(ledger: &Arc<dyn Ledger>, clock: &TestClock) {
    let author = Author::new();
    submit(ledger, &author.grant(1, START + 100));
    assert!(
        matches!(policy(ledger, &author), PolicyState::Live(grant) if grant.n() == 3 && grant.m == 2)
    );
    clock.set(START + 99);
    assert!(matches!(policy(ledger, &author), PolicyState::Live(_)));
    clock.set(START + 100);
    assert!(
        matches!(policy(ledger, &author), PolicyState::Expired { at, .. } if at == START + 100)
    );
    assert_eq!(
        refusal(ledger.submit(&author.grant(2, START + 100))),
        EntryRefusal::AlreadyExpired
    );
    submit(ledger, &author.grant(2, START + 200));
    assert!(matches!(policy(ledger, &author), PolicyState::Live(_)));
}

fn check_a_revocation_is_for_good(ledger: &Arc<dyn Ledger>, clock: &TestClock) {
    let author = Author::new();
    submit(ledger, &author.grant(1, START + 100));
    clock.set(START + 5);
    submit(ledger, &author.revoke(2));
    let at = START + 5;
    assert_eq!(
        refusal(ledger.submit(&author.grant(2, START + 900))),
        EntryRefusal::Revoked { at }
    );
    // Revoked tells more than expired.
    clock.set(START + 1000);
    let PolicyState::Revoked {
        at: told,
        epoch: 2,
        grant: Some(grant),
    } = policy(ledger, &author)
    else {
        panic!("not revoked");
    };
    assert_eq!((told, grant.expiry), (at, START + 100));
}

fn check_a_revocation_may_come_before_its_grant(ledger: &Arc<dyn Ledger>, _: &TestClock) {
    let author = Author::new();
    submit(ledger, &author.revoke(7));
    assert_eq!(
        refusal(ledger.submit(&author.grant(1, START + 100))),
        EntryRefusal::Revoked { at: START }
    );
    assert_eq!(
        policy(ledger, &author),
        PolicyState::Revoked {
            at: START,
            epoch: 7,
            grant: None
        }
    );
}

fn check_a_revocation_goes_on_to_later_epochs_only(ledger: &Arc<dyn Ledger>, clock: &TestClock) {
    let author = Author::new();
    submit(ledger, &author.revoke(7));
    clock.set(START + 10);
    assert_eq!(
        refusal(ledger.submit(&author.revoke(6))),
        EntryRefusal::Outnumbered { latest: 7 }
    );
    submit(ledger, &author.revoke(8));
    assert_eq!(
        policy(ledger, &author),
        PolicyState::Revoked {
            at: START,
            epoch: 8,
            grant: None
        }
    );
}

fn check_a_grant_is_replaced_by_a_later_one_only(ledger: &Arc<dyn Ledger>, _: &TestClock) {
    let author = Author::new();
    let first = author.grant(5, START + 100);
    submit(ledger, &first);
    for seq in [0, 4, 5] {
        let refused = refusal(ledger.submit(&author.grant(seq, START + 50)));
        assert_eq!(refused, EntryRefusal::Outnumbered { latest: 5 });
    }
    submit(ledger, &author.grant(6, START + 200));
    // A replay of the first one changes nothing.
    submit(ledger, &first);
    assert!(
        matches!(policy(ledger, &author), PolicyState::Live(grant) if grant.expiry == START + 200)
    );
}

fn check_whoever_has_the_secret_revokes(ledger: &Arc<dyn Ledger>, _: &TestClock) {
    let author = Author::new();
    assert_eq!(
        refusal(ledger.submit(&author.release(2))),
        EntryRefusal::NotTheSecret,
        "of nothing"
    );
    submit(ledger, &author.sealed_grant(1, START + 100, 2));
    // Another policy's secret, another epoch than the one it is for, and somebody's signature where nobody signs.
    let mut other = author.release(2).claim().clone();
    if let Entry::Release(release) = &mut other.entry {
        release.secret[0] ^= 1;
    }
    let other = Signed::unsigned(other).expect("nobody signs it");
    for wrong in [&other.into_signed(), &author.release(3)] {
        assert_eq!(refusal(ledger.submit(wrong)), EntryRefusal::NotTheSecret);
    }
    let mut touched = author.release(2).to_bytes();
    *touched.last_mut().expect("not empty") += 1;
    let touched = SignedEntry::from_bytes(&touched).expect("it parses");
    assert_eq!(refusal(ledger.submit(&touched)), EntryRefusal::BadSignature);
    assert_eq!(
        refusal(ledger.submit(&author.grant(2, START + 100))),
        EntryRefusal::NotTheSecret,
        "the author cannot take back what she has given out"
    );
    submit(ledger, &author.sealed_grant(3, START + 200, 2));
    assert!(matches!(policy(ledger, &author), PolicyState::Live(_)));
    let receipt = submit(ledger, &author.release(2));
    assert_eq!(submit(ledger, &author.release(2)), receipt, "repeated");
    let revoked = |epoch| matches!(policy(ledger, &author), PolicyState::Revoked { epoch: now, .. } if now == epoch);
    assert!(revoked(2));
    let again = ledger.submit(&author.sealed_grant(4, START + 300, 2));
    assert!(matches!(refusal(again), EntryRefusal::Revoked { .. }));
    // The label moves on as the author says; what was sealed without a secret is opened by none.
    submit(ledger, &author.revoke(3));
    assert!(revoked(3));
    let plain = Author::new();
    submit(ledger, &plain.grant(1, START + 100));
    assert_eq!(
        refusal(ledger.submit(&plain.release(2))),
        EntryRefusal::NotTheSecret
    );
}

fn check_nobody_speaks_for_another(ledger: &Arc<dyn Ledger>, _: &TestClock) {
    let author = Author::new();
    submit(ledger, &author.grant(1, START + 100));
    // The same label and recipient under another key is another policy.
    let other = Author {
        key: LedgerKey::generate(&mut rng()),
        inner: author.inner,
    };
    submit(ledger, &other.revoke(9));
    assert!(matches!(policy(ledger, &author), PolicyState::Live(_)));
    // With the author's name and somebody's signature it is nothing.
    let mut forged = author.revoke(9).to_bytes();
    *forged.last_mut().expect("not empty") ^= 1;
    let forged = SignedEntry::from_bytes(&forged).expect("it parses");
    assert_eq!(refusal(ledger.submit(&forged)), EntryRefusal::BadSignature);
    // Neither is what was said in another network.
    let revoke = Revoke {
        ledger_key: author.key.public(),
        inner: author.inner,
        epoch: 9,
    };
    let elsewhere = signed_for("elsewhere", Entry::Revoke(revoke), &author.key);
    assert_eq!(
        refusal(ledger.submit(&elsewhere)),
        EntryRefusal::OtherNetwork
    );
    assert!(matches!(policy(ledger, &author), PolicyState::Live(_)));
}

fn check_impossible_grants_are_refused(ledger: &Arc<dyn Ledger>, _: &TestClock) {
    let author = Author::new();
    let node = || NodeSecret::generate(&mut rng()).public();
    let twice = node();
    for (m, nodes) in [
        (0, vec![node()]),
        (2, vec![node()]),
        (1, vec![]),
        (1, vec![twice, twice]),
    ] {
        let grant = Grant {
            ledger_key: author.key.public(),
            inner: author.inner,
            expiry: START + 100,
            m,
            nodes,
            seq: 1,
            revocation: None,
        };
        assert_eq!(
            refusal(ledger.submit(&author.grant_to(grant))),
            EntryRefusal::BadThreshold
        );
    }
    assert_eq!(
        refusal(ledger.submit(&author.grant(1, START))),
        EntryRefusal::AlreadyExpired
    );
    assert_eq!(policy(ledger, &author), PolicyState::Unknown);
}

fn check_nodes_register_with_rising_numbers(ledger: &Arc<dyn Ledger>, _: &TestClock) {
    let (one, two) = (
        NodeSecret::generate(&mut rng()),
        NodeSecret::generate(&mut rng()),
    );
    submit(
        ledger,
        &registration(&one, 1, START + 100, &["/ip4/192.0.2.1/tcp/1"]),
    );
    submit(ledger, &registration(&two, 9, START + 300, &[]));
    let old = registration(&one, 1, START + 150, &["/ip4/192.0.2.9/tcp/9"]);
    assert_eq!(
        refusal(ledger.submit(&old)),
        EntryRefusal::Outnumbered { latest: 1 }
    );
    submit(
        ledger,
        &registration(&one, 2, START + 100, &["/ip4/192.0.2.2/tcp/2"]),
    );
    for addrs in [&["x"; 9][..], &[""], &["y".repeat(257).as_str()]] {
        let refused = refusal(ledger.submit(&registration(&one, 3, START + 100, addrs)));
        assert_eq!(refused, EntryRefusal::BadAddresses);
    }
    let nodes = ledger.nodes().expect("answered");
    let mut keys = [one.public(), two.public()];
    keys.sort();
    assert_eq!(nodes.iter().map(|node| node.key).collect::<Vec<_>>(), keys);
    let known = nodes
        .iter()
        .find(|node| node.key == one.public())
        .expect("registered");
    assert_eq!((known.seq, known.available_until), (2, START + 100));
    assert_eq!(known.addrs, ["/ip4/192.0.2.2/tcp/2"]);
}

fn check_repeating_is_harmless(ledger: &Arc<dyn Ledger>, _: &TestClock) {
    let author = Author::new();
    let (grant, revoke) = (author.grant(1, START + 100), author.revoke(2));
    assert_eq!((submit(ledger, &grant), submit(ledger, &revoke)), (1, 2));
    // Signed again the signature differs, the entry does not.
    assert_eq!(
        (submit(ledger, &grant), submit(ledger, &author.revoke(2))),
        (1, 2)
    );
    assert_eq!(ledger.head().expect("answered").height, 2);
}

fn check_time_never_goes_back(ledger: &Arc<dyn Ledger>, clock: &TestClock) {
    let author = Author::new();
    clock.set(START + 100);
    submit(ledger, &Author::new().grant(1, START + 500));
    clock.set(START - 1000);
    assert_eq!(
        refusal(ledger.submit(&author.grant(1, START + 50))),
        EntryRefusal::AlreadyExpired
    );
    // Far ahead of this clock by now: still this process's own ledger.
    clock.set(START + 80);
    submit(ledger, &author.grant(1, START + 101));
    assert_eq!(ledger.head().expect("answered").time, START + 100);
}

fn check_the_records_rebuild_the_state(ledger: &Arc<dyn Ledger>, clock: &TestClock) {
    let (author, node) = (Author::new(), NodeSecret::generate(&mut rng()));
    submit(
        ledger,
        &registration(&node, 1, START + 100, &["/ip4/192.0.2.1/tcp/1"]),
    );
    submit(ledger, &author.grant(1, START + 100));
    clock.set(START + 7);
    submit(ledger, &author.revoke(2));
    let mut chain = Chain::new(NETWORK);
    for height in 1..=3 {
        let records = ledger.read(height, 1).expect("answered");
        chain.accept(&records.concat(), START + 7).expect("follows");
    }
    let head = ledger.head().expect("answered");
    assert_eq!(chain.head(), head);
    assert_eq!(
        chain.policy(&author.policy(), START + 7),
        policy(ledger, &author)
    );
    assert_eq!(chain.nodes(), ledger.nodes().expect("answered"));
    let count = |from, max| ledger.read(from, max).expect("answered").len();
    assert_eq!(
        [
            count(0, 9),
            count(1, 9),
            count(2, 1),
            count(3, 9),
            count(4, 9),
            count(1, 0)
        ],
        [3, 3, 1, 1, 0, 0]
    );
    assert_eq!(count(u64::MAX, usize::MAX), 0);
}

fn check_many_submit_at_once(ledger: &Arc<dyn Ledger>, _: &TestClock) {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let ledger = Arc::clone(ledger);
            thread::spawn(move || {
                let authors: Vec<_> = (0..5).map(|_| Author::new()).collect();
                authors
                    .iter()
                    .map(|author| submit(&ledger, &author.grant(1, START + 100)))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut heights: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("no panic"))
        .collect();
    heights.sort_unstable();
    assert_eq!(heights, (1..=20).collect::<Vec<_>>());
}
