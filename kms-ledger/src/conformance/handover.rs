//! Fragments that move, and nodes that leave (LEDGER §4).

use std::sync::Arc;

use kms_crypto::key::{NodeSecret, PublicKey};
use kms_proto::ledger::{Entry, EntryRefusal, Grant, Handover, Ledger, PolicyState, SignedEntry};

use super::{Author, START, TestClock, policy, refusal, registration, rng, signed, submit};

fn nodes<const N: usize>() -> [NodeSecret; N] {
    std::array::from_fn(|_| NodeSecret::generate(&mut rng()))
}

impl Author {
    /// A grant to these nodes, any of which opens.
    pub fn grant_on(&self, nodes: &[&NodeSecret], expiry: u64) -> SignedEntry {
        self.grant_to(Grant {
            ledger_key: self.key.public(),
            inner: self.inner,
            expiry,
            m: 1,
            nodes: nodes.iter().map(|node| node.public()).collect(),
            seq: 1,
            revocation: None,
        })
    }

    /// A fragment's way from one node to another.
    pub fn handover(
        &self,
        index: u8,
        from: &NodeSecret,
        to: &NodeSecret,
        after: u64,
    ) -> SignedEntry {
        let handover = Handover {
            from: from.public(),
            to: to.public(),
            policy: self.policy(),
            index,
            after,
        };
        signed(Entry::Handover(handover), from)
    }
}

fn keepers(ledger: &Arc<dyn Ledger>, author: &Author) -> Vec<PublicKey> {
    match policy(ledger, author) {
        PolicyState::Live(grant) => grant.nodes,
        other => panic!("not live: {other:?}"),
    }
}

pub(super) fn check_a_fragment_moves_as_its_keeper_says(
    ledger: &Arc<dyn Ledger>,
    clock: &TestClock,
) {
    let author = Author::new();
    let [a, b, c, d] = &nodes();
    let refused = |entry: &SignedEntry| refusal(ledger.submit(entry));
    submit(ledger, &registration(a, 1, START + 100, &[]));
    assert_eq!(
        refused(&author.handover(0, a, c, 0)),
        EntryRefusal::NotHolder,
        "nothing is granted yet"
    );
    let mark = || ledger.mark(&author.policy(), 0).expect("answered");
    submit(ledger, &author.grant_on(&[a, b], START + 100));
    let granted = mark();
    assert_eq!(
        refused(&author.handover(0, a, c, granted)),
        EntryRefusal::Unserved
    );
    submit(ledger, &registration(c, 1, START + 99, &[]));
    assert_eq!(
        refused(&author.handover(0, a, c, granted)),
        EntryRefusal::Unserved,
        "it would leave before the policy ends"
    );
    submit(ledger, &registration(c, 2, START + 100, &[]));
    submit(ledger, &registration(b, 1, START + 100, &[]));
    assert_eq!(
        refused(&author.handover(1, a, c, granted)),
        EntryRefusal::NotHolder,
        "that is another's fragment"
    );
    assert_eq!(
        refused(&author.handover(2, a, c, granted)),
        EntryRefusal::NotHolder
    );
    assert_eq!(
        refused(&author.handover(0, a, b, granted)),
        EntryRefusal::BadThreshold,
        "nobody keeps two"
    );
    let first = author.handover(0, a, c, granted);
    let moved = submit(ledger, &first);
    assert_eq!(keepers(ledger, &author), [c.public(), b.public()]);
    assert_eq!(submit(ledger, &first), moved, "repeating is harmless");
    // Back again; then the first entry, under another signature or not, moves nothing.
    submit(ledger, &author.handover(0, c, a, mark()));
    let back = mark();
    assert_eq!(submit(ledger, &first), moved);
    assert_eq!(keepers(ledger, &author), [a.public(), b.public()]);
    submit(ledger, &registration(d, 1, START + 100, &[]));
    assert_eq!(
        refused(&author.handover(0, a, d, granted)),
        EntryRefusal::Outnumbered { latest: back },
        "one that was signed and kept back does not count for a later stay"
    );
    clock.set(START + 100);
    assert_eq!(
        refused(&author.handover(0, a, d, back)),
        EntryRefusal::AlreadyExpired
    );
    clock.set(START);
    submit(ledger, &author.revoke(2));
    assert!(matches!(
        refused(&author.handover(0, a, d, back)),
        EntryRefusal::Revoked { .. }
    ));
}

pub(super) fn check_a_node_leaves_when_nothing_outlives_it(
    ledger: &Arc<dyn Ledger>,
    clock: &TestClock,
) {
    let (moved, revoked, short) = (Author::new(), Author::new(), Author::new());
    let [a, b] = &nodes();
    submit(ledger, &registration(a, 1, START + 500, &[]));
    submit(ledger, &registration(b, 1, START + 500, &[]));
    submit(ledger, &moved.grant_on(&[a], START + 300));
    submit(ledger, &revoked.grant_on(&[a], START + 400));
    submit(ledger, &short.grant_on(&[a], START + 50));
    let leave = |seq, until| ledger.submit(&registration(a, seq, until, &[]));
    assert_eq!(
        refusal(leave(2, START + 299)),
        EntryRefusal::Shortened { until: START + 400 }
    );
    submit(ledger, &revoked.revoke(2));
    assert_eq!(
        refusal(leave(2, START + 299)),
        EntryRefusal::Shortened { until: START + 300 }
    );
    leave(2, START + 300).expect("nothing ends later");
    let mark = ledger.mark(&moved.policy(), 0).expect("answered");
    submit(ledger, &moved.handover(0, a, b, mark));
    assert_eq!(
        refusal(leave(3, START + 10)),
        EntryRefusal::Shortened { until: START + 50 }
    );
    clock.set(START + 50);
    leave(3, START + 10).expect("the last one is over");
    let later = Author::new();
    submit(ledger, &later.grant_on(&[b], START + 90));
    let known = ledger.nodes().expect("answered");
    let known = known.iter().find(|it| it.key == a.public());
    assert_eq!(known.expect("registered").available_until, START + 10);
}
