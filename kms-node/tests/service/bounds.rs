//! How much a node takes on, of whom.

use kms_proto::message::{Refusal, Response};

use crate::policy::Policy;
use crate::{NETWORK, START, UNTIL, World, policy};

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
