//! What its owner takes away stays away, whoever keeps it by then.

use kms_proto::codec::open_envelope;
use kms_proto::message::{Command, ForwardRemovals, Refusal, Response};
use kms_proto::signed::Address;
use serde_bytes::ByteBuf;

use crate::policy::{Policy, rng};
use crate::{NETWORK, START, World, policy};

#[tokio::test]
async fn what_owners_have_removed_stays_removed_at_the_node_that_takes_over() {
    let world = World::new(3);
    let (moves, removed) = (policy(1, 1), policy(1, 2));
    world.grant(&moves).await;
    // Its owner has the fragment of `removed` deleted at node 0; the ledger still says that it lives.
    world.grant(&removed).await;
    world.ask(0, removed.remove(&world.key(0))).await;
    let to = Some(world.key(2));
    let round = world.round(0, to).await.unwrap();
    assert_eq!(round.handed_over, 1, "{round:?}");
    let again = world.ask(2, removed.store(&world.key(2), 0)).await;
    assert!(
        matches!(again, Response::Refused(Refusal::Revoked { epoch: 0, .. })),
        "{again:?}"
    );
    let held = world.ask(0, moves.remove(&world.key(0))).await;
    let Response::Removed(receipt) = held else {
        panic!("{held:?}")
    };
    assert!(
        !receipt.claim().held,
        "who has handed it over does not sign for its deletion"
    );
}

#[tokio::test]
async fn a_policy_revoked_on_the_way_goes_nowhere() {
    let world = World::new(2);
    let policy = policy(1, 1);
    world.grant(&policy).await;
    // Killed between the receipt and the entry; meanwhile the owner revokes.
    world.steps.restart(3);
    world.round(0, None).await;
    world.steps.restart(usize::MAX);
    world.ask(1, policy.revoke(2)).await;
    let round = world.round(0, None).await.unwrap();
    assert_eq!((round.handed_over, round.left), (0, 0));
    for number in [0, 1] {
        let key = world.key(number);
        let answer = world.ask(number, policy.reencrypt(&key)).await;
        assert!(
            matches!(answer, Response::Refused(Refusal::Revoked { .. })),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_fragment_taken_back_from_a_slow_node_is_not_taken_back_from_the_one_in_its_place() {
    // While a policy was granted a node was too slow; the owner gave its fragment to another one and had the first remove
    // it. When the slow node left it passed the removal on to that other one, which erased what the ledger counts on.
    let world = World::new(4);
    let (policy, moves) = (policy(1, 1), policy(1, 1));
    let slow = world.key(3);
    world.ask(3, policy.store(&slow, 0)).await;
    world.ask(3, policy.remove(&slow)).await;
    world.grant_on(&[1], &policy).await;
    world.grant_on(&[3], &moves).await;
    let round = world.round(3, Some(world.key(1))).await.unwrap();
    assert_eq!(round.handed_over, 1, "{round:?}");
    assert!(world.holds(1, &policy) && world.opens(&policy).await);
    assert!(world.opens(&moves).await);
    // A node that the ledger does not name minds the owner's word.
    let to = Some(world.key(2));
    let later = crate::policy(1, 1);
    world.grant_on(&[3], &later).await;
    assert_eq!(world.round(3, to).await.unwrap().handed_over, 1);
    let stored = world.ask(2, policy.store(&world.key(2), 0)).await;
    assert!(
        matches!(stored, Response::Refused(Refusal::Revoked { epoch: 0, .. })),
        "{stored:?}"
    );
}

#[tokio::test]
async fn a_node_keeps_the_first_fragment_that_an_owner_sends_it() {
    let world = World::new(1);
    let policy = policy(1, 2);
    let key = world.key(0);
    for _ in 0..2 {
        let stored = world.ask(0, policy.store(&key, 0)).await;
        assert!(matches!(stored, Response::Stored { index: 0, .. }));
    }
    let other = world.ask(0, policy.store(&key, 1)).await;
    assert!(
        matches!(other, Response::Refused(Refusal::BadFragment { .. })),
        "{other:?}"
    );
    let kept = world.node(0).vault().fragment(&policy.id()).unwrap();
    assert_eq!(kept.map(|it| it.index), Some(0));
}

impl World {
    /// Node `from` passes removals on to node `to`.
    async fn pass_on(&self, from: usize, to: usize, removals: &[Vec<u8>]) -> Response {
        let bodies = removals.iter().map(|it| open_envelope(it).unwrap().1);
        let command = Command::ForwardRemovals(ForwardRemovals {
            from: self.key(from),
            removals: bodies.map(ByteBuf::from).collect(),
        });
        let address = Address {
            network: NETWORK,
            node: self.key(to),
            deadline: START + 30,
        };
        let signed = command.sign(&address, &self.secret(from), &mut rng());
        self.ask(to, signed.unwrap()).await
    }
}

#[tokio::test]
async fn a_node_that_passes_on_removals_without_end_is_told_to_wait_and_may_name_no_end_of_its_own()
{
    // A request had 32 signatures to be checked, and 200 of them a second were let in; what nobody knew was remembered,
    // and what somebody had granted to himself for ever was remembered for ever.
    let world = World::new(3);
    let (made_up, for_ever) = (policy(1, 1), Policy::new(NETWORK, START, u64::MAX, 1, 1));
    world.ask(0, for_ever.grant(vec![world.key(2)])).await;
    let removals = [
        made_up.remove(&world.key(0)),
        for_ever.remove(&world.key(0)),
    ];
    let noted = world.pass_on(0, 1, &removals).await;
    assert_eq!(noted, Response::Noted);
    let vault = world.node(1).vault();
    assert_eq!(vault.removal(&made_up.id()).unwrap(), None);
    let stone = vault.removal(&for_ever.id()).unwrap().unwrap();
    assert!(stone.until <= START + 400 * 24 * 60 * 60);

    let many = vec![removals[0].clone(); 32];
    let mut last = Response::Noted;
    for _ in 0..100 {
        last = world.pass_on(0, 1, &many).await;
    }
    assert_eq!(last, Response::Refused(Refusal::Busy));
    let other = world.pass_on(2, 1, &many).await;
    assert_eq!(other, Response::Noted, "another one is not made to wait");
}
