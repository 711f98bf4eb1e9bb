//! Revoking: the ledger first, then every node.

use kms_client::fake::Conduct;
use kms_client::{ClientError, RevokeRequest};
use kms_proto::ledger::{Entry, Ledger, PolicyState, Record};

use crate::Scene;

#[tokio::test]
async fn a_revoked_grant_opens_nothing_and_every_node_signs_for_the_deletion() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    scene.opens(&grant).await;
    let outcome = scene.revoke(&grant).await.unwrap();
    assert_eq!(outcome.removal.removed.len(), 5);
    assert!(!outcome.removal.leaves_quorum());
    assert_eq!(scene.network.fragments(), 0);
    let error = scene.refused(&grant).await;
    assert!(
        matches!(error, ClientError::Revoked { at } if at == outcome.revocation.at),
        "{error:?}"
    );
}

#[tokio::test]
async fn another_client_with_a_cached_view_is_told_by_the_nodes() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    let reader = scene.network.client();
    let request = scene.key_request(&grant);
    reader.decrypt_key(&request, &scene.bob).await.unwrap();
    scene.revoke(&grant).await.unwrap();
    // Within the second for which the reader trusts what it has read of the ledger.
    let error = reader
        .decrypt_key(&request, &scene.bob)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ClientError::Revoked { .. }), "{error:?}");
}

#[tokio::test]
async fn nodes_that_are_away_do_not_stop_a_revocation() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    for index in 0..4 {
        scene.network.set(index, Conduct::Dead);
    }
    let outcome = scene.revoke(&grant).await.unwrap();
    assert_eq!(outcome.removal.removed.len(), 1);
    assert!(
        outcome.removal.leaves_quorum(),
        "four fragments may still be somewhere"
    );
    assert_eq!(outcome.removal.answers.0.len(), 5);
    let error = scene.refused(&grant).await;
    assert!(matches!(error, ClientError::Revoked { .. }), "{error:?}");
}

#[tokio::test]
async fn with_no_node_to_write_the_ledger_the_revocation_fails_and_says_so() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    for index in 0..5 {
        scene.network.set(index, Conduct::Dead);
    }
    let error = scene.revoke(&grant).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::NotRecorded(answers) if answers.0.len() == 5),
        "{error:?}"
    );
    assert!(matches!(
        scene.network.ledger().policy(&grant.params.id()).unwrap(),
        PolicyState::Live(_)
    ));
}

#[tokio::test]
async fn revoking_twice_changes_nothing() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    let first = scene.revoke(&grant).await.unwrap();
    let second = scene.revoke(&grant).await.unwrap();
    assert_eq!(first.revocation.at, second.revocation.at);
    assert_eq!(second.removal.removed.len(), 5);
}

/// The store's key and the grant's record are all that another device of the owner has; no account, no key of the first one.
#[tokio::test]
async fn a_revocation_shows_the_secret_that_follows_from_the_policys_key() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    scene.revoke(&grant).await.unwrap();
    let ledger = scene.network.ledger();
    let last = ledger.read(ledger.head().unwrap().height, 1).unwrap();
    let record = Record::from_bytes(&last[0]).unwrap();
    let Entry::Release(release) = &record.entry.claim().entry else {
        panic!("{record:?}");
    };
    let ledger_key = scene.store_key.ledger_key(&grant.params.salt);
    assert_eq!(release.policy, grant.params.id());
    assert_eq!(release.secret, *ledger_key.revocation_secret());
    assert_eq!(release.epoch, 2);
}

/// Others were revoked meanwhile and the label is at epoch 9: the grant was sealed for epoch 2.
#[tokio::test]
async fn a_grant_of_an_earlier_epoch_is_revoked_by_its_secret_too() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    let request = RevokeRequest {
        ledger_key: &scene.store_key.ledger_key(&scene.salt),
        params: grant.params,
        threshold: grant.threshold,
        nodes: &grant.nodes,
        epoch: 9,
    };
    let revocation = scene.client.record_revocation(&request).await.unwrap();
    assert_eq!(revocation.epoch, 2);
    scene.refused(&grant).await;
}

#[tokio::test]
async fn only_the_author_revokes() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    let request = RevokeRequest {
        ledger_key: &scene.store_key.ledger_key(&[9; 32]),
        params: grant.params,
        threshold: grant.threshold,
        nodes: &grant.nodes,
        epoch: 2,
    };
    let error = scene.client.revoke(&request).await.unwrap_err();
    assert!(matches!(error, ClientError::BadRequest(_)), "{error:?}");
    scene.opens(&grant).await;
}

#[tokio::test]
async fn what_was_prepared_and_never_granted_can_be_revoked() {
    let scene = Scene::new(5);
    let grant = scene.grant().await.unwrap();
    let salt = [3; 32];
    let ledger_key = scene.store_key.ledger_key(&salt);
    let mut params = grant.params;
    params.ledger_key = ledger_key.public();
    params.salt = salt;
    let request = RevokeRequest {
        ledger_key: &ledger_key,
        params,
        threshold: grant.threshold,
        nodes: &[],
        epoch: 2,
    };
    let revocation = scene.client.record_revocation(&request).await.unwrap();
    assert_eq!(revocation.epoch, 2);
}
