//! Nodes that lie, among real processes that do not: who asks finds out, names them, and is served by the others.

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

use std::time::Duration;

use devnet::{NETWORK, now};
use kms_client::{Answer, ClientError};
use kms_crypto::id::SchemeId;
use kms_crypto::key::NodeSecret;
use kms_crypto::scheme::encapsulate;
use kms_proto::codec::{self, Kind};
use kms_proto::transport::{Transport, TransportError};
use liar::{Lie, World};
use policy::{Policy, rng};

/// A list in a list in a list, in an honest envelope.
fn nested() -> Vec<u8> {
    let mut message = codec::encode_envelope(Kind::Response, &0_u8);
    message.pop();
    message.extend([0x81; 60_000]);
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_liars_say_they_are_named_and_m_honest_nodes_open() {
    let world = World::new().await;
    let policy = |_: u8| Policy::new(NETWORK, now(), now() + 3600, 3, 5);
    let (mostly, hardly) = (policy(1), policy(2));
    // The honest are enough for the one and too few for the other.
    let (many, few) = (world.nodes(3, 2), world.nodes(2, 3));
    world.grant(&mostly, &many).await;
    world.grant(&hardly, &few).await;
    world.open(&mostly, many.clone()).await.unwrap();
    world.open(&hardly, few.clone()).await.unwrap();

    let others = mostly.sibling(3, 5);
    world.grant(&others, &many).await;
    // Of the same policy, for an earlier capsule of the label.
    let label = hardly.label.public();
    let (capsule, _) =
        encapsulate(&mut rng(), SchemeId::SPLIT_ECIES, &label, &hardly.context).unwrap();
    let mut earlier = hardly.twin();
    earlier.capsule = capsule;
    let liar = &few[2];
    let stale = world.fragment(&earlier, liar).await;
    let somebody_elses = world.fragment(&hardly, &few[0]).await;
    let other_policys = world.fragment(&others, &many[3]).await;
    let huge = vec![0xa1; 1 << 20];
    let lies = [
        ("wrong", Lie::Wrong),
        ("stale", Lie::Instead(stale)),
        ("somebody else's", Lie::Instead(somebody_elses)),
        ("another policy's", Lie::Instead(other_policys)),
        ("no fragment", Lie::Instead(b"nonsense".to_vec())),
        ("nested", Lie::Bytes(nested())),
        ("noise", Lie::Bytes(vec![0x9b; 3000])),
        ("empty", Lie::Bytes(Vec::new())),
        ("oversized", Lie::Bytes(huge)),
        ("silent", Lie::Silence),
    ];
    let liars: Vec<_> = world.dishonest.iter().map(|it| it.key).collect();
    for (what, lie) in lies {
        for it in &world.dishonest {
            *it.liar.lie.lock() = lie.clone();
        }
        if let Err(error) = world.open(&mostly, many.clone()).await {
            panic!("{what}: {error}");
        }
        let error = world.open(&hardly, few.clone()).await.unwrap_err();
        let (ClientError::BadProofs(quorum)
        | ClientError::NoQuorum(quorum)
        | ClientError::Timeout(quorum)) = error
        else {
            panic!("{what}: {error}");
        };
        assert_eq!((quorum.needed, quorum.good), (3, 2), "{what}");
        for it in quorum.answers.0 {
            // Of two that say the same one has copied, and who came first is believed.
            if what == "somebody else's" && it.node == few[0].key {
                continue;
            }
            let is_liar = liars.contains(&it.node);
            let may_seem_good = is_liar && what == "somebody else's";
            assert!(
                may_seem_good || is_liar == (it.answer != Answer::Good),
                "{what}: {:?}",
                it.answer
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_pretends_to_be_another_is_found_out_before_it_is_asked() {
    let world = World::new().await;
    let policy = Policy::new(NETWORK, now(), now() + 3600, 3, 3);
    let nodes = world.nodes(3, 0);
    world.grant(&policy, &nodes).await;
    // What a ticket that was tampered with, or a neighbour in Kademlia, may say.
    let mut misled = nodes.clone();
    let impostor = world.dishonest[0].server.addresses()[0].clone();
    let (bare, _) = impostor.rsplit_once("/p2p/").unwrap();
    for node in &mut misled {
        node.addrs.insert(0, bare.to_owned());
    }
    world.open(&policy, misled.clone()).await.unwrap();
    let stranger = NodeSecret::generate(&mut rng()).public();
    let (request, addresses) = (policy.reencrypt(&stranger), [bare.to_owned()]);
    let patience = Duration::from_secs(60);
    let answer = world
        .transport
        .call(&stranger, &addresses, request, patience);
    assert_eq!(answer.await, Err(TransportError::WrongPeer));
}
