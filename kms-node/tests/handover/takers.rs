//! Which node takes over.

use crate::{START, World, policy};

#[tokio::test]
async fn nobody_gets_a_second_fragment_and_without_anybody_left_it_stays() {
    let world = World::new(3);
    let policy = policy(2, 3);
    world.grant(&policy).await;
    let round = world.round(0, None).await.unwrap();
    assert_eq!((round.handed_over, round.left), (0, 1));
    let why = round.trouble.unwrap().to_string();
    assert!(why.contains("no other registered node"), "{why}");
    assert!(world.opens(&policy).await && world.holds(0, &policy));
}

#[tokio::test]
async fn it_goes_to_the_node_that_was_named_or_nowhere() {
    let mut world = World::new(4);
    let policy = policy(1, 1);
    world.grant(&policy).await;
    let named = world.key(2);
    assert_eq!(world.round(0, Some(named)).await.unwrap().handed_over, 1);
    assert_eq!(world.keepers(&policy), [named]);
    world.close(3).await;
    let round = world.round(2, Some(world.key(3))).await.unwrap();
    assert_eq!(round.left, 1);
    assert!(world.holds(2, &policy), "it is away");
}

#[tokio::test]
async fn a_node_that_is_away_or_refuses_is_passed_over() {
    let mut world = World::new(4);
    let policy = policy(1, 1);
    world.grant(&policy).await;
    world.close(1).await;
    world.node(2).promise(START + 499);
    assert_eq!(world.round(0, None).await.unwrap().handed_over, 1);
    assert_eq!(world.keepers(&policy), [world.key(3)]);
}

#[tokio::test]
async fn two_that_leave_do_not_hand_two_fragments_of_a_policy_to_the_same_node() {
    // Two nodes left at once and had each offered the third one a fragment of the same policy before the ledger named
    // anybody. The second offer took the place of the first; then the ledger named the third node for the index that it
    // no longer had, and that fragment was nowhere.
    let world = World::new(4);
    let policy = policy(2, 2);
    world.grant(&policy).await;
    let to = Some(world.key(2));
    // Stopped between the receipt and the entry.
    world.steps.restart(3);
    assert!(world.round(0, to).await.is_none_or(|it| it.left == 1));
    world.steps.restart(usize::MAX);
    assert!(world.holds(2, &policy), "the first one is taken");
    let second = world.round(1, to).await.unwrap();
    assert_eq!((second.handed_over, second.left), (0, 1));
    let why = second.trouble.unwrap().to_string();
    assert!(why.contains("another one of this policy is kept"), "{why}");
    assert!(world.holds(1, &policy), "what was refused is still there");
    assert_eq!(world.round(0, to).await.unwrap().handed_over, 1);
    assert_eq!(world.keepers(&policy), [world.key(2), world.key(1)]);
    assert!(world.opens(&policy).await);
    assert_eq!(world.round(1, None).await.unwrap().handed_over, 1);
    assert_eq!(world.keepers(&policy), [world.key(2), world.key(3)]);
    assert!(world.opens(&policy).await);
}
