//! Granting: who gets a fragment, and what is left behind when it fails.

use std::collections::HashSet;

use kms_client::fake::{Conduct, SERVES};
use kms_client::{Answer, ClientError, Threshold};
use kms_proto::ledger::{Ledger, PolicyState};
use kms_proto::message::Refusal;
use kms_proto::placement::nearest_first;

use crate::{Scene, WEEK};

#[tokio::test]
async fn n_nodes_get_one_fragment_each_and_the_ledger_names_them_in_order() {
    let scene = Scene::new(8);
    let grant = scene.grant().await.unwrap();
    assert_eq!(
        scene
            .holders(&grant)
            .into_iter()
            .collect::<HashSet<_>>()
            .len(),
        5
    );
    assert_eq!(scene.network.fragments(), 5);
    match scene.network.ledger().policy(&grant.params.id()).unwrap() {
        PolicyState::Live(entry) => {
            assert_eq!(
                entry.nodes,
                grant.nodes.iter().map(|it| it.key).collect::<Vec<_>>()
            );
            assert_eq!((entry.m, entry.expiry), (3, grant.expiry));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_fragments_go_to_the_nodes_nearest_to_the_policy_as_the_ledger_stood() {
    let scene = Scene::new(20);
    let head = scene.network.ledger().head().unwrap().hash;
    let registered = scene.network.ledger().nodes().unwrap();
    let grant = scene.grant().await.unwrap();
    let order = nearest_first(&grant.params.id(), &head, registered, grant.expiry);
    let mut nearest: Vec<_> = order.iter().take(5).map(|it| it.key).collect();
    let mut holders: Vec<_> = grant.nodes.iter().map(|it| it.key).collect();
    nearest.sort_unstable();
    holders.sort_unstable();
    assert_eq!(holders, nearest);
}

#[tokio::test]
async fn nodes_that_do_not_answer_are_passed_over() {
    let scene = Scene::new(9);
    scene.network.set(0, Conduct::Dead);
    scene.network.set(1, Conduct::Silent);
    scene.network.set(2, Conduct::Garbage);
    scene.network.set(3, Conduct::Refuses(Refusal::Full));
    let grant = scene.grant().await.unwrap();
    let mut holders = scene.holders(&grant);
    holders.sort_unstable();
    assert_eq!(holders, [4, 5, 6, 7, 8]);
    scene.opens(&grant).await;
}

#[tokio::test]
async fn a_node_that_agrees_and_then_does_not_store_is_replaced() {
    let scene = Scene::new(6);
    scene.network.set(2, Conduct::AllTalk);
    let grant = scene.grant().await.unwrap();
    assert!(!scene.holders(&grant).contains(&2));
    scene.opens(&grant).await;
}

#[tokio::test]
async fn with_one_node_too_few_nothing_is_left_behind_and_each_node_is_reported() {
    let scene = Scene::new(5);
    scene.network.set(2, Conduct::AllTalk);
    match scene.grant().await.unwrap_err() {
        ClientError::NotStored { quorum, left } => {
            assert_eq!((quorum.needed, quorum.answers.0.len()), (5, 5));
            let full = Answer::Refused(Refusal::Full);
            let culprit = quorum
                .answers
                .0
                .iter()
                .find(|it| it.answer == full)
                .unwrap();
            assert_eq!(scene.network.index(&culprit.node), Some(2));
            assert!(left.is_empty(), "{left:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.network.fragments(), 0);
}

#[tokio::test]
async fn too_few_registered_nodes_are_said_at_once() {
    let scene = Scene::new(4);
    let error = scene.grant().await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::TooFewNodes {
                needed: 5,
                eligible: 4,
                registered: 4,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn nodes_that_leave_before_the_grant_ends_are_not_asked() {
    let scene = Scene::new(5);
    let error = scene
        .grant_for(Threshold::new(3, 5).unwrap(), SERVES + 60)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::TooFewNodes {
                needed: 5,
                eligible: 0,
                registered: 5,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_grant_that_is_over_already_is_refused() {
    let scene = Scene::new(5);
    let error = scene
        .grant_for(Threshold::new(3, 5).unwrap(), 0)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::BadRequest(_)), "{error:?}");
}

#[tokio::test]
async fn a_node_that_only_claims_to_have_written_into_the_ledger_is_not_believed() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    for index in 0..4 {
        scene.network.set(index, Conduct::AllTalk);
    }
    let outcome = scene.revoke(&grant).await.unwrap();
    assert_eq!(outcome.revocation.epoch, 2);
    assert!(matches!(
        scene.network.ledger().policy(&grant.params.id()).unwrap(),
        PolicyState::Revoked { .. }
    ));
}

#[tokio::test]
async fn the_same_policy_granted_twice_with_the_same_terms_is_one_grant() {
    let scene = Scene::new(5);
    let first = scene.grant().await.unwrap();
    scene.opens(&first).await;
    // Other terms are another grant, and need a policy of their own.
    let second = scene.grant_for(first.threshold, 2 * WEEK).await;
    assert!(matches!(second, Err(ClientError::Ledger(_))), "{second:?}");
    scene.opens(&first).await;
}

#[tokio::test]
async fn a_grant_that_is_asked_for_again_after_its_answer_was_lost_is_kept() {
    // An owner was struck down after her grant had come into the ledger. Her second try placed fragments of a new split
    // over the first ones, was told that the entry is there, and took all fragments back: the ledger named nodes that had
    // nothing, for good.
    let scene = Scene::new(5);
    let first = scene.grant().await.unwrap();
    let second = scene.grant().await.unwrap();
    assert_eq!((&second.nodes, second.expiry), (&first.nodes, first.expiry));
    assert_eq!(scene.network.fragments(), 5);
    scene.opens(&second).await;
}
