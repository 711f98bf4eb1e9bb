//! Signatures by m of n nodes: real processes of which some are killed, nodes that lie, and what one node answers to whom.

#![cfg(feature = "signing")]
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "support/devnet.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod devnet;
#[path = "support/liar.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod liar;
#[path = "support/policy.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod policy;
#[path = "support/signers.rs"]
#[allow(unreachable_pub, reason = "it is shared by no other test")]
mod signers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use data_encoding::BASE64;
use devnet::{Devnet, NETWORK, Single, now};
use kms_client::call::{Wiped, call};
use kms_client::home::Home;
use kms_client::params::Params;
use kms_client::{Answer, ClientError, Code, Keyring, NodeAddress, Session, SessionConfig};
use kms_crypto::error::FragError;
use kms_crypto::identity::PassphraseParams;
use kms_crypto::key::{IdentitySecret, NodeSecret, PublicKey};
use kms_crypto::scheme::signing::verify;
use kms_ledger::MemoryLedger;
use kms_node::audit::AuditLog;
use kms_node::keyfile::StorageKey;
use kms_node::node::{Node, Parts, Service};
use kms_node::store::{MemoryStore, Slots, Vault};
use kms_proto::message::{Refusal, Response};
use liar::{Lie, World};
use nix::sys::signal::{Signal, kill};
use policy::rng;
use serde_json::{Value, json};
use signers::{MESSAGE, Signers, client};

fn addresses(devnet: &Devnet) -> Vec<NodeAddress> {
    let all = devnet.keys().into_iter().zip(&devnet.bootstrap);
    all.map(|(key, address)| NodeAddress {
        key,
        addrs: vec![address.clone()],
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_five_processes_sign_whichever_two_are_killed_and_two_do_not_until_the_owner_ends_it()
 {
    let devnet = Devnet::start(5);
    let client = client(&devnet).await;
    let signers = Signers::new(NETWORK, now() + 3600, 3, 5);
    let grant = client.grant(&signers.grant_request()).await.unwrap();
    let request = signers.request(&grant.nodes);
    let sign = || client.sign(&request, &signers.owner, MESSAGE);
    verify(&signers.group(), MESSAGE, &sign().await.unwrap()).unwrap();

    for number in [2, 4] {
        kill(devnet.pid(number), Signal::SIGKILL).unwrap();
    }
    verify(&signers.group(), MESSAGE, &sign().await.unwrap()).unwrap();
    kill(devnet.pid(5), Signal::SIGKILL).unwrap();
    let hurried = client.within(Duration::from_secs(20));
    let failed = hurried.sign(&request, &signers.owner, MESSAGE).await;
    let Err(ClientError::NoQuorum(quorum) | ClientError::Timeout(quorum)) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!((quorum.needed, quorum.good), (3, 2));

    // A share survives its process.
    let _back = devnet.restart(2);
    verify(&signers.group(), MESSAGE, &sign().await.unwrap()).unwrap();

    let ended = client
        .revoke(&signers.revoke_request(&grant.nodes))
        .await
        .unwrap();
    assert!(ended.removal.removed.len() >= 3, "{ended:?}");
    let refused = sign().await;
    assert!(
        matches!(refused, Err(ClientError::Revoked { .. })),
        "{refused:?}"
    );
    let net = devnet.client();
    let node = devnet.keys()[0];
    let refused = devnet
        .ask(&net, 0, signers.commit(&node, &signers.owner))
        .await;
    assert!(
        matches!(refused, Response::Refused(Refusal::Revoked { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_between_the_rounds_has_no_nonces_to_use_again() {
    let devnet = Devnet::start(3);
    let net = devnet.client();
    let client = client(&devnet).await;
    let signers = Signers::new(NETWORK, now() + 3600, 2, 3);
    let grant = client.grant(&signers.grant_request()).await.unwrap();
    // The devnet's order is not the grant's.
    let place = |index: usize| {
        let key = grant.nodes[index].key;
        (key, devnet.keys().iter().position(|it| *it == key).unwrap())
    };
    let (zero, one) = (place(0), place(1));
    let mut committed = Vec::new();
    for (index, (key, at)) in [(0, zero), (1, one)] {
        let answer = devnet
            .ask(&net, at, signers.commit(&key, &signers.owner))
            .await;
        committed.push(signers.signer(index, answer));
    }
    let share =
        |to: &PublicKey, message: &[u8]| signers.share(to, &signers.owner, message, &committed);

    kill(devnet.pid(one.1 + 1), Signal::SIGKILL).unwrap();
    let back: Single = devnet.restart(one.1 + 1);
    let forgotten = devnet.ask(&net, one.1, share(&one.0, MESSAGE)).await;
    assert_eq!(forgotten, Response::Refused(Refusal::UnknownNonces));

    let signed = devnet.ask(&net, zero.1, share(&zero.0, MESSAGE)).await;
    assert!(matches!(signed, Response::SignedShare { .. }), "{signed:?}");
    for message in [MESSAGE, b"pay somebody else"] {
        let again = devnet.ask(&net, zero.1, share(&zero.0, message)).await;
        assert_eq!(again, Response::Refused(Refusal::UnknownNonces));
    }
    // With new ones all goes on.
    let signed = client
        .sign(&signers.request(&grant.nodes), &signers.owner, MESSAGE)
        .await;
    verify(&signers.group(), MESSAGE, &signed.unwrap()).unwrap();
    drop(back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_signs_at_the_node_that_it_was_handed_over_to() {
    let devnet = Devnet::start(4);
    let client = client(&devnet).await;
    let signers = Signers::new(NETWORK, now() + 7 * 24 * 3600, 3, 3);
    let grant = client.grant(&signers.grant_request()).await.unwrap();
    let request = signers.request(&grant.nodes);
    let sign = || client.sign(&request, &signers.owner, MESSAGE);
    verify(&signers.group(), MESSAGE, &sign().await.unwrap()).unwrap();
    let leaves = grant.nodes[1].key;
    let number = devnet.keys().iter().position(|key| *key == leaves).unwrap() + 1;
    devnet.retire(number);
    kill(devnet.pid(number), Signal::SIGKILL).unwrap();
    // All three are needed, and one of them was not there when the key was made.
    verify(&signers.group(), MESSAGE, &sign().await.unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_is_named_and_replaced_by_an_honest_node() {
    let world = World::new().await;
    let client = client(&world.devnet).await;
    let liar = &world.dishonest[0];
    let honest = addresses(&world.devnet);
    let among = |count: usize| -> Vec<PublicKey> {
        let honest = honest.iter().take(count).map(|it| it.key);
        honest.chain([liar.key]).collect()
    };
    // Three honest nodes are enough for the one, and two are too few for the other.
    let (many, few) = (among(3), among(2));
    let (mostly, hardly) = (
        Signers::new(NETWORK, now() + 3600, 3, 4),
        Signers::new(NETWORK, now() + 3600, 3, 3),
    );
    let many = client
        .grant_among(&mostly.grant_request(), |it| many.contains(it))
        .await;
    let few = client
        .grant_among(&hardly.grant_request(), |it| few.contains(it))
        .await;
    let (many, few) = (many.unwrap().nodes, few.unwrap().nodes);
    for lie in [
        Lie::Wrong,
        Lie::Bytes(vec![0x9b; 3000]),
        Lie::Instead(vec![7; 32]),
    ] {
        *liar.liar.lie.lock() = lie.clone();
        let signed = client
            .sign(&mostly.request(&many), &mostly.owner, MESSAGE)
            .await;
        verify(&mostly.group(), MESSAGE, &signed.unwrap()).unwrap();

        let failed = client
            .sign(&hardly.request(&few), &hardly.owner, MESSAGE)
            .await;
        let Err(ClientError::BadProofs(quorum)) = failed else {
            panic!("{failed:?}");
        };
        for it in quorum.answers.0 {
            let named = matches!(
                it.answer,
                Answer::BadProof(FragError::SignatureShare) | Answer::Malformed
            );
            assert_eq!(named, it.node == liar.key, "{:?}", it.answer);
        }
    }
    *liar.liar.lie.lock() = Lie::Silence;
    let signed = client
        .sign(&mostly.request(&many), &mostly.owner, MESSAGE)
        .await;
    verify(&mostly.group(), MESSAGE, &signed.unwrap()).unwrap();
}

/// One node without a network, and a clock that is turned by hand.
struct Alone {
    service: Service,
    key: PublicKey,
    clock: Arc<AtomicU64>,
}

const START: u64 = 1_800_000_000;

impl Alone {
    fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let time = Arc::clone(&clock);
        let now: kms_ledger::Clock = Arc::new(move || time.load(Ordering::Relaxed));
        let store = Box::new(MemoryStore::default());
        let key = StorageKey::from_bytes(&[7; 32]);
        let node = Node::new(Parts {
            secret: NodeSecret::generate(&mut rng()),
            network: NETWORK.to_owned(),
            vault: Vault::open(store, Slots::in_memory(), &key, START).unwrap(),
            ledger: Arc::new(MemoryLedger::new(NETWORK, Arc::clone(&now))),
            clock: now,
            max_fragments: 100,
            own_key: true,
            requests: None,
            audit: AuditLog::in_memory(),
        });
        node.promise(START + 10_000);
        Self {
            key: node.key(),
            service: Service::new(Arc::new(node)),
            clock,
        }
    }

    async fn ask(&self, message: Vec<u8>) -> Response {
        self.service.answer(message).await
    }

    /// Keeps the first share of a key whose other holder does not exist.
    async fn granted(&self) -> Signers {
        let mut signers = Signers::new(NETWORK, START + 1000, 2, 2);
        signers.now = START;
        let stored = self
            .ask(signers.store(&self.key, 0, &signers.fragment(0)))
            .await;
        assert!(matches!(stored, Response::Stored { .. }), "{stored:?}");
        let nobody = NodeSecret::generate(&mut rng()).public();
        let granted = self.ask(signers.grant(vec![self.key, nobody])).await;
        assert!(matches!(granted, Response::Submitted { .. }), "{granted:?}");
        signers
    }
}

#[tokio::test]
async fn a_node_signs_for_the_owner_alone_while_the_policy_lives() {
    let node = Alone::new();
    let signers = node.granted().await;
    let stranger = IdentitySecret::generate(&mut rng());
    let committed = node.ask(signers.commit(&node.key, &signers.owner)).await;
    let own = signers.signer(0, committed);
    let other = signers.somebody(1);
    let both = vec![own, other];
    for message in [
        signers.commit(&node.key, &stranger),
        signers.share(&node.key, &stranger, MESSAGE, &both),
    ] {
        let refused = node.ask(message).await;
        assert_eq!(refused, Response::Refused(Refusal::UnknownPolicy));
    }
    // The stranger has used nothing up.
    let signed = node
        .ask(signers.share(&node.key, &signers.owner, MESSAGE, &both))
        .await;
    assert!(matches!(signed, Response::SignedShare { .. }), "{signed:?}");

    let committed = node.ask(signers.commit(&node.key, &signers.owner)).await;
    let both = vec![signers.signer(0, committed), both[1].clone()];
    node.clock.store(START + 1000, Ordering::Relaxed);
    let late = signers.later(1000);
    for message in [
        late.commit(&node.key, &late.owner),
        late.share(&node.key, &late.owner, MESSAGE, &both),
    ] {
        let refused = node.ask(message).await;
        assert_eq!(
            refused,
            Response::Refused(Refusal::Expired { at: START + 1000 })
        );
    }
}

#[tokio::test]
async fn what_is_not_the_second_round_of_m_signers_is_refused_and_harms_nobody() {
    let node = Alone::new();
    let signers = node.granted().await;
    let bad = Response::Refused(Refusal::BadRequest);
    let own = || async {
        let committed = node.ask(signers.commit(&node.key, &signers.owner)).await;
        signers.signer(0, committed)
    };
    let other = signers.somebody(1);
    let ask = |list: Vec<Vec<u8>>, message: &[u8]| {
        node.ask(signers.share(&node.key, &signers.owner, message, &list))
    };
    let mine = own().await;
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("alone", vec![mine.clone()]),
        ("none", vec![]),
        ("not in order", vec![other.clone(), mine.clone()]),
        ("one twice", vec![mine.clone(), mine.clone()]),
        ("too short", vec![mine.clone(), other[..66].to_vec()]),
        ("too long", vec![mine.clone(), [&other[..], &[0]].concat()]),
        ("without it", vec![other.clone(), signers.somebody(2)]),
        (
            "no point",
            vec![mine.clone(), [&[1][..], &[5; 66]].concat()],
        ),
        (
            "identity",
            vec![mine.clone(), [&[1][..], &[0; 66]].concat()],
        ),
    ];
    for (what, list) in cases {
        assert_eq!(ask(list, MESSAGE).await, bad, "{what}");
    }
    let both = vec![mine.clone(), other.clone()];
    assert_eq!(ask(both.clone(), &[0; 8193]).await, bad);
    let unknown = Response::Refused(Refusal::UnknownNonces);
    for bit in [0, 100, 300, 500] {
        // Its own commitment with one bit turned is none of its own.
        let mut turned = mine.clone();
        turned[1 + bit / 8] ^= 1 << (bit % 8);
        let answer = ask(vec![turned, other.clone()], MESSAGE).await;
        assert!(answer == unknown || answer == bad, "{answer:?}");
    }
    // None of this has cost the nonces, and a set that only the share can judge does.
    let signed = ask(both.clone(), &[0; 8192]).await;
    assert!(matches!(signed, Response::SignedShare { .. }), "{signed:?}");
    assert_eq!(ask(both, MESSAGE).await, unknown, "once");
    let three = vec![own().await, other.clone(), signers.somebody(2)];
    let nobody = vec![own().await, signers.somebody(200)];
    for (list, then) in [
        (three.clone(), &three[..2]),
        (nobody.clone(), &[nobody[0].clone(), other]),
    ] {
        assert_eq!(ask(list, MESSAGE).await, bad);
        assert_eq!(ask(then.to_vec(), MESSAGE).await, unknown);
    }
}

#[tokio::test]
async fn a_share_with_one_wrong_bit_or_under_another_index_is_not_kept() {
    let node = Alone::new();
    let mut signers = Signers::new(NETWORK, START + 1000, 2, 2);
    signers.now = START;
    let good = signers.fragment(0);
    let bad = |answer| matches!(answer, Response::Refused(Refusal::BadFragment { .. }));
    // Every bit is tried where shares are read; here one of each field.
    for at in [0, 1, 2, 5, 6, 7, 38, 39, 40, 41, 74, 107, good.len() - 1] {
        let mut wrong = good.clone();
        wrong[at] ^= 1;
        assert!(
            bad(node.ask(signers.store(&node.key, 0, &wrong)).await),
            "byte {at}"
        );
    }
    assert!(bad(node.ask(signers.store(&node.key, 1, &good)).await));
    let stored = node.ask(signers.store(&node.key, 0, &good)).await;
    assert!(
        matches!(stored, Response::Stored { index: 0, .. }),
        "{stored:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_makes_a_key_signs_and_ends_it_by_the_names_of_the_operations() {
    let devnet = Devnet::start(3);
    let home = tempfile::tempdir().unwrap();
    let cheap = PassphraseParams {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };
    let keyring = Keyring::new(Home::under(home.path())).with_params(cheap);
    let me = keyring.generate_key("default", "correct horse").unwrap();
    let config = SessionConfig::new(keyring, Some(client(&devnet).await));
    let session = Session::open(config, me.secret).unwrap();
    let call = async |operation: &str, params: Value| {
        let Value::Object(params) = params else {
            panic!("parameters are a map")
        };
        let session = || Ok(session.clone());
        call(operation, Params::new(params), &session, Wiped).await
    };
    let message = BASE64.encode(MESSAGE);

    let crowd = call("generate_signing_key", json!({"threshold": "1/3"})).await;
    assert_eq!(crowd.err().unwrap().code(), Code::BadParameter);
    let made = call("generate_signing_key", json!({"threshold": "2/3"})).await;
    let made = made.unwrap().document;
    let policy = made["policy"].as_str().unwrap();
    assert_eq!(made["nodes"].as_array().unwrap().len(), 3);

    let sign = || call("sign", json!({"policy": policy, "message": &message}));
    let (_, signature) = sign().await.unwrap().bytes.unwrap();
    for (message, valid) in [(&message, true), (&BASE64.encode(b"pay"), false)] {
        let signature = BASE64.encode(&signature);
        let key = &made["key"];
        let verified = json!({"key": key, "message": message, "signature": signature});
        let verified = call("verify", verified).await.unwrap().document;
        assert_eq!(verified, json!({"valid": valid}));
    }
    let keys = call("signing_keys", json!({})).await.unwrap().document;
    assert_eq!(keys["keys"], json!([&made]));
    let grants = call("list_grants", json!({})).await.unwrap().document;
    assert_eq!(grants["grants"], json!([]), "nothing that can be opened");
    let used = call("audit", json!({"policy": policy})).await.unwrap();
    let uses = |it: &Value| it["entries"].as_array().unwrap().len();
    let nodes = used.document["nodes"].as_array().unwrap().clone();
    assert_eq!(nodes.iter().map(uses).sum::<usize>(), 2, "{nodes:?}");

    let ended = call("revoke_signing_key", json!({"policy": policy})).await;
    assert_eq!(ended.unwrap().document["removed"], json!(3));
    assert_eq!(sign().await.err().unwrap().code(), Code::Revoked);
    let again = call("revoke_signing_key", json!({"policy": policy})).await;
    assert_eq!(again.err().unwrap().code(), Code::NotFound);
}
