//! A value that is encrypted, shared and opened without any filesystem.

use kms_client::sealed::{
    Owner, SealedError, decrypt, decrypt_own, encrypt, encrypt_with, generate_key,
};
use kms_client::{ClientError, GrantRequest, Kind, Ticket};
use kms_crypto::aead::Cipher;
use kms_crypto::format::file;
use kms_crypto::id::StoreId;
use kms_crypto::key::StoreKey;

use crate::{Scene, WEEK, rng, three_of_five};

#[tokio::test]
async fn a_value_is_opened_by_whom_it_is_shared_with_and_by_its_owner_alone() {
    let scene = Scene::new(5);
    let (alice, bob) = (generate_key(), &scene.bob);
    let key = StoreKey::generate(&mut rng());
    let owner = Owner {
        store: StoreId::random(&mut rng()),
        key: &key,
        identity: &alice,
    };
    let sealed = encrypt(b"launch friday", &owner).unwrap();
    assert_eq!(
        *decrypt_own(&sealed.bytes, &owner).unwrap(),
        b"launch friday"
    );

    let request = GrantRequest {
        delegating_key: &owner.delegating_key(&sealed.label),
        ledger_key: &key.ledger_key(&[1; 32]),
        recipient: bob.public(),
        salt: [1; 32],
        threshold: three_of_five(),
        expiry: scene.network.now() + WEEK,
        epoch: 1,
    };
    let grant = scene.client.grant(&request).await.unwrap();
    let mut ticket = Ticket {
        version: kms_client::ticket::TICKET_VERSION,
        owner: alice.public(),
        store: owner.store,
        label: sealed.label,
        kind: Kind::File,
        params: grant.params,
        needed: 3,
        total: 5,
        expiry: grant.expiry,
        nodes: grant.nodes,
        sequence: 1,
        path: Vec::new(),
        revoked: None,
    };
    let opened = scene
        .client
        .decrypt(&sealed.bytes, &ticket, bob)
        .await
        .unwrap();
    assert_eq!(*opened, b"launch friday");

    let eve = generate_key();
    let error = scene
        .client
        .decrypt(&sealed.bytes, &ticket, &eve)
        .await
        .unwrap_err();
    assert!(
        matches!(error, SealedError::Key(ClientError::BadRequest(_))),
        "{error:?}"
    );
    let mut altered = sealed.bytes.clone();
    *altered.last_mut().unwrap() ^= 1;
    let error = scene
        .client
        .decrypt(&altered, &ticket, bob)
        .await
        .unwrap_err();
    assert!(matches!(error, SealedError::File(_)), "{error:?}");
    // Said to be by somebody who did not sign it.
    ticket.owner = eve.public();
    let error = scene
        .client
        .decrypt(&sealed.bytes, &ticket, bob)
        .await
        .unwrap_err();
    assert!(matches!(error, SealedError::File(_)), "{error:?}");
    let other = Owner {
        identity: &eve,
        ..owner
    };
    assert!(decrypt_own(&sealed.bytes, &other).is_err());
    let error = decrypt(&sealed.bytes, &sealed.label, &scene.secret, &alice.public()).unwrap_err();
    assert!(matches!(error, SealedError::File(_)), "{error:?}");
}

#[test]
fn operations_can_run_on_any_thread_of_a_runtime() {
    fn is_send(_: impl Send) {}
    let scene = Scene::new(1);
    is_send(scene.client.policy_state(&scene_policy()));
    is_send(scene.grant());
}

fn scene_policy() -> kms_crypto::id::PolicyId {
    kms_crypto::id::PolicyId([0; 32])
}

#[test]
fn a_value_is_sealed_with_the_cipher_asked_for_and_says_which() {
    let (alice, key) = (generate_key(), StoreKey::generate(&mut rng()));
    let owner = Owner {
        store: StoreId::random(&mut rng()),
        key: &key,
        identity: &alice,
    };
    for cipher in Cipher::ALL {
        let sealed = encrypt_with(b"launch friday", &owner, cipher).unwrap();
        let header = file::inspect(&sealed.bytes).unwrap();
        assert_eq!(header.core().cipher, cipher);
        let opened = decrypt_own(&sealed.bytes, &owner).unwrap();
        assert_eq!(*opened, b"launch friday");
    }
}
