//! Who is in whose table, by which addresses, and how a network is joined.

use std::sync::Arc;

use futures::StreamExt;
use kms_crypto::key::NodeSecret;
use kms_net::{NetServer, ServerConfig};
use kms_proto::transport::{Transport, TransportError};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, StreamProtocol, Swarm, identify, kad};

use crate::{Echo, NETWORK, Node, PATIENCE, ask, client, eventually, secret, start};

/// Whether a search that begins at `first` finds a node.
async fn is_found(first: &Node, node: &Node) -> Result<(), ()> {
    let client = client(first.addresses());
    let found = client.closest([7; 32], 20, PATIENCE).await.unwrap();
    let found = found.iter().any(|it| it.node == node.key);
    if found { Ok(()) } else { Err(()) }
}

#[tokio::test]
async fn only_nodes_of_the_ledger_are_in_a_table() {
    let first = start(34, vec![]).await;
    let second = start(35, first.addresses()).await;
    let third = start(36, first.addresses()).await;
    for node in [&second, &third] {
        eventually(|| is_found(&first, node)).await;
    }
    let neighbours = first.server.neighbours();
    neighbours.set_members([first.key, second.key].into());
    eventually(|| async {
        match is_found(&first, &third).await {
            Ok(()) => Err(()),
            Err(()) => Ok(()),
        }
    })
    .await;
    is_found(&first, &second).await.unwrap();

    // One that comes before its entry in the ledger waits for that at the door.
    let fourth = start(37, first.addresses()).await;
    assert!(ask(&client(vec![]), &fourth, b"up").await.is_ok());
    assert_eq!(is_found(&first, &fourth).await, Err(()));
    neighbours.set_members([first.key, second.key, fourth.key].into());
    eventually(|| is_found(&first, &fourth)).await;
}

/// An address of this machine by its name.
fn named(address: &str) -> String {
    address.replace("/ip4/127.0.0.1/", "/dns4/localhost/")
}

#[tokio::test]
async fn a_network_is_found_by_the_names_of_its_nodes() {
    let first = start(50, vec![]).await;
    let begin = vec![named(&first.addresses()[0])];
    let free = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let name = format!("/dns4/localhost/tcp/{port}");
    // This one knows of private addresses by the names alone.
    let config = ServerConfig {
        bootstrap: begin.clone(),
        external: vec![name.clone()],
        ..ServerConfig::new(NETWORK, vec![format!("/ip4/0.0.0.0/tcp/{port}")])
    };
    let echo = Arc::new(Echo::default());
    let second = NetServer::start(config, &secret(51), echo).await.unwrap();
    assert!(second.addresses()[0].starts_with(&name));
    let third = start(52, begin.clone()).await;
    eventually(|| async {
        let client = client(begin.clone());
        let found = client.closest([7; 32], 20, PATIENCE).await.unwrap();
        let of = |key| found.iter().find(|it| it.node == key);
        let (second, third) = (of(secret(51).public()), of(third.key));
        let (second, third) = (second.ok_or(0)?, third.ok_or(1)?);
        assert!(second.addresses.contains(&name), "{second:?}");
        assert!(third.addresses[0].starts_with("/ip4/127.0.0.1/"));
        let answer = client.call(&third.node, &[], b"hello".to_vec(), PATIENCE);
        answer.await.map_err(|_| 2)
    })
    .await;
}

/// A name was called wherever it led: a peer could have had everybody knock at doors in their own buildings.
#[tokio::test]
async fn a_name_that_somebody_else_gives_leads_into_no_private_network() {
    let node = start(53, vec![]).await;
    let by_name = vec![named(&node.addresses()[0])];
    let call = |bootstrap, addresses: Vec<String>| {
        let client = client(bootstrap);
        let node = node.key;
        async move {
            let asked = client.call(&node, &addresses, b"hello".to_vec(), PATIENCE);
            asked.await
        }
    };
    let refused = call(vec![], by_name.clone()).await;
    assert_eq!(refused, Err(TransportError::Unreachable));
    assert!(call(vec![], node.addresses()).await.is_ok());
    assert!(call(by_name.clone(), by_name).await.is_ok(), "our own name");
}

/// A peer that says it is a node, and speaks no more of its protocols than it has to.
#[derive(libp2p::swarm::NetworkBehaviour)]
struct Claimant {
    identify: identify::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
}

fn claimant(secret: &NodeSecret) -> Swarm<Claimant> {
    let mut bytes = secret.to_bytes();
    let key = libp2p::identity::secp256k1::SecretKey::try_from_bytes(&mut *bytes).unwrap();
    let key = libp2p::identity::Keypair::from(libp2p::identity::secp256k1::Keypair::from(key));
    let swarm = libp2p::SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default(),
            libp2p::noise::Config::new,
            libp2p::yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|key| {
            let family = format!("/kms/{NETWORK}/1");
            let identify = identify::Config::new_with_signed_peer_record(family, key);
            let protocol = StreamProtocol::try_from_owned(format!("/kms/{NETWORK}/kad/1"));
            let id = key.public().to_peer_id();
            let store = kad::store::MemoryStore::new(id);
            let config = kad::Config::new(protocol.unwrap());
            let mut kad = kad::Behaviour::with_config(id, store, config);
            kad.set_mode(Some(kad::Mode::Server));
            Claimant {
                identify: identify::Behaviour::new(identify),
                kad,
            }
        });
    swarm.unwrap().build()
}

impl Claimant {
    /// Seven addresses, of the many it claims to have beside the one that it listens on.
    fn addresses(round: u16) -> Vec<Multiaddr> {
        let ports = (0..7).map(|it| 2000 + 8 * round + it);
        let addresses = ports.map(|port| format!("/ip4/127.0.0.1/tcp/{port}"));
        addresses.map(|it| it.parse().unwrap()).collect()
    }
}

#[tokio::test]
async fn a_node_that_has_ever_new_addresses_is_known_by_eight() {
    // Each message with new ones added to those that were known, signed or not: after fifty of them no answer that named
    // the node could be read.
    let first = start(43, vec![]).await;
    let node: Multiaddr = first.addresses()[0].parse().unwrap();
    let secret = secret(44);
    let mut swarm = claimant(&secret);
    let claim = |swarm: &mut Swarm<Claimant>, round: u16| {
        let before: Vec<_> = swarm.external_addresses().cloned().collect();
        for address in &before {
            swarm.remove_external_address(address);
        }
        for address in Claimant::addresses(round) {
            swarm.add_external_address(address);
        }
    };
    // Only who answers is found.
    let here: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    swarm.listen_on(here).unwrap();
    let here = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    claim(&mut swarm, 0);
    swarm.dial(node.clone()).unwrap();
    let mut told = 0;
    while told < 9 {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(ClaimantEvent::Identify(
                identify::Event::Sent { peer_id, .. } | identify::Event::Pushed { peer_id, .. },
            )) if told < 8 => {
                told += 1;
                claim(&mut swarm, told);
                swarm.behaviour_mut().identify.push([peer_id]);
            }
            SwarmEvent::Behaviour(ClaimantEvent::Identify(identify::Event::Pushed {
                peer_id,
                ..
            })) => {
                told += 1;
                swarm.disconnect_peer_id(peer_id).unwrap();
            }
            _ => {}
        }
    }
    // The next connection's first message is signed.
    while !matches!(
        swarm.select_next_some().await,
        SwarmEvent::ConnectionClosed { .. }
    ) {}
    claim(&mut swarm, 100);
    swarm.dial(node).unwrap();
    let client = client(first.addresses());
    let is_known = eventually(|| async {
        let found = client.closest([7; 32], 20, PATIENCE).await.unwrap();
        let mut found = found.into_iter().filter(|it| it.node == secret.public());
        let mut known = found.next().ok_or_else(Vec::new)?.addresses;
        for address in &mut known {
            *address = address.split("/p2p/").next().unwrap().to_owned();
        }
        known.sort();
        let mut expected = Claimant::addresses(100);
        expected.push(here.clone());
        let mut expected: Vec<_> = expected.iter().map(Multiaddr::to_string).collect();
        expected.sort();
        if known == expected {
            Ok(())
        } else {
            Err(known)
        }
    });
    tokio::select! {
        () = is_known => {}
        () = async { loop { swarm.select_next_some().await; } } => {}
    }
}

#[tokio::test]
async fn a_node_joins_by_any_of_its_bootstrap_nodes_and_by_those_it_remembers() {
    let first = start(38, vec![]).await;
    let gone = format!(
        "/ip4/127.0.0.1/tcp/9/p2p/{}",
        kms_net::peer_id(&secret(42).public())
    );
    let second = start(39, [vec![gone.clone()], first.addresses()].concat()).await;
    eventually(|| is_found(&first, &second)).await;
    let remembered = eventually(|| async {
        let addresses = second.server.neighbours().addresses();
        if addresses.is_empty() {
            Err(())
        } else {
            Ok(addresses)
        }
    })
    .await;
    assert_eq!(remembered, first.addresses());

    let config = ServerConfig {
        remembered: ["nonsense".to_owned(), gone]
            .into_iter()
            .chain(remembered)
            .collect(),
        ..ServerConfig::new(NETWORK, vec!["/ip4/127.0.0.1/tcp/0".to_owned()])
    };
    let echo = Arc::new(Echo::default());
    let server = NetServer::start(config, &secret(41), Arc::<Echo>::clone(&echo))
        .await
        .unwrap();
    let third = Node {
        key: secret(41).public(),
        server,
        echo,
    };
    eventually(|| is_found(&first, &third)).await;
}
