//! What an owner learns.

use std::sync::atomic::Ordering;

use kms_crypto::key::IdentitySecret;
use kms_proto::message::{Refusal, Response};

use crate::policy::rng;
use crate::{START, World, policy};

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
