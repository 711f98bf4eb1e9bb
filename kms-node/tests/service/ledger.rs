//! Where a node looks at the ledger, and what passes through it.

use std::sync::atomic::Ordering;

use kms_crypto::key::NodeSecret;
use kms_proto::message::{Query, Refusal, Response};

use crate::policy::rng;
use crate::{World, policy};

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
