//! Real swarms on loopback: calls, searches, refusals, and peers that misbehave.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "network/known.rs"]
mod known;
#[path = "network/strangers.rs"]
mod strangers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use kms_crypto::key::{NodeSecret, PublicKey};
use kms_net::{
    ClientConfig, Handler, NetClient, NetServer, PeerKey, REQUEST_LIMIT, RESPONSE_LIMIT,
    ServerConfig,
};
use kms_proto::transport::{Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

const NETWORK: &str = "test";
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers with what it was asked, and panics when asked to.
#[derive(Default)]
struct Echo {
    asked: AtomicUsize,
}

impl Handler for Echo {
    fn handle(&self, _: PeerKey, request: Zeroizing<Vec<u8>>) -> BoxFuture<'_, Vec<u8>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match request.as_slice() {
                b"panic" => panic!("as asked"),
                b"take your time" => {
                    tokio::time::sleep(Duration::from_millis(2500)).await;
                    b"here it is".to_vec()
                }
                b"big" => vec![7; RESPONSE_LIMIT],
                b"too big" => vec![7; RESPONSE_LIMIT + 1],
                _ => request.to_vec(),
            }
        })
    }

    fn busy(&self) -> Vec<u8> {
        b"busy".to_vec()
    }
}

struct Node {
    key: PublicKey,
    server: NetServer,
    echo: Arc<Echo>,
}

impl Node {
    fn addresses(&self) -> Vec<String> {
        self.server.addresses().to_vec()
    }
}

fn secret(seed: u8) -> NodeSecret {
    NodeSecret::from_bytes(&[seed; 32]).unwrap()
}

async fn start_on(network: &str, seed: u8, bootstrap: Vec<String>) -> Node {
    let secret = secret(seed);
    let echo = Arc::new(Echo::default());
    let listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    let config = ServerConfig {
        bootstrap,
        ..ServerConfig::new(network, listen)
    };
    let server = NetServer::start(config, &secret, Arc::<Echo>::clone(&echo))
        .await
        .unwrap();
    Node {
        key: secret.public(),
        server,
        echo,
    }
}

async fn start(seed: u8, bootstrap: Vec<String>) -> Node {
    start_on(NETWORK, seed, bootstrap).await
}

fn client(bootstrap: Vec<String>) -> NetClient {
    NetClient::start(&ClientConfig {
        network: NETWORK.to_owned(),
        bootstrap,
    })
    .unwrap()
}

async fn ask(client: &NetClient, node: &Node, request: &[u8]) -> Result<Vec<u8>, TransportError> {
    client
        .call(&node.key, &node.addresses(), request.to_vec(), PATIENCE)
        .await
}

#[tokio::test]
async fn a_call_reaches_the_node_and_its_answer_comes_back() {
    let node = start(1, vec![]).await;
    let client = client(vec![]);
    assert_eq!(ask(&client, &node, b"hello").await.unwrap(), b"hello");
    assert_eq!(
        ask(&client, &node, &[1; REQUEST_LIMIT])
            .await
            .unwrap()
            .len(),
        REQUEST_LIMIT
    );
    assert_eq!(
        ask(&client, &node, b"big").await.unwrap().len(),
        RESPONSE_LIMIT
    );
}

/// Stands between a client and a node, and counts how often what flows turns round.
async fn turnstile(node: &Node) -> (String, Arc<AtomicUsize>) {
    let behind = node.addresses()[0].clone();
    let port = behind.split('/').nth(4).unwrap().parse::<u16>().unwrap();
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", door.local_addr().unwrap().port());
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    tokio::spawn(async move {
        let (mut asker, _) = door.accept().await.unwrap();
        let mut node = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        let (mut there, mut back, mut was_there) = ([0; 4096], [0; 4096], false);
        loop {
            let is_there = tokio::select! {
                Ok(read @ 1..) = asker.read(&mut there) => {
                    node.write_all(&there[..read]).await.unwrap();
                    true
                }
                Ok(read @ 1..) = node.read(&mut back) => {
                    asker.write_all(&back[..read]).await.unwrap();
                    false
                }
                else => return,
            };
            if is_there != was_there {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            was_there = is_there;
        }
    });
    (address, turns)
}

#[tokio::test]
async fn what_is_asked_over_an_open_connection_takes_one_journey_there_and_one_back() {
    // It took two: the stream's protocol was agreed on before anything was asked.
    let node = start(41, vec![]).await;
    let client = client(vec![]);
    let (address, turns) = turnstile(&node).await;
    let call = || {
        client.call(
            &node.key,
            std::slice::from_ref(&address),
            b"hello".to_vec(),
            PATIENCE,
        )
    };
    call().await.unwrap();
    let mut least = usize::MAX;
    // Nodes also have something to say to each other of their own, now and then.
    for _ in 0..10 {
        let before = turns.load(Ordering::Relaxed);
        call().await.unwrap();
        least = least.min(turns.load(Ordering::Relaxed) - before);
    }
    assert!(least <= 2, "it turned round {least} times");
}

#[tokio::test]
async fn too_long_a_request_is_not_even_sent() {
    let node = start(2, vec![]).await;
    let client = client(vec![]);
    assert_eq!(
        ask(&client, &node, &[1; REQUEST_LIMIT + 1]).await,
        Err(TransportError::TooLarge)
    );
    assert_eq!(node.echo.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_handler_that_panics_takes_nothing_with_it() {
    let node = start(3, vec![]).await;
    let client = client(vec![]);
    assert_eq!(
        ask(&client, &node, b"panic").await,
        Err(TransportError::Closed)
    );
    assert_eq!(
        ask(&client, &node, b"too big").await,
        Err(TransportError::Closed)
    );
    assert_eq!(
        ask(&client, &node, b"still there?").await.unwrap(),
        b"still there?"
    );
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_answers_what_it_was_asked_and_takes_nothing_more() {
    // It let an answer take nine seconds, and hung up after two.
    let node = start(8, vec![]).await;
    let (asker, late) = (client(vec![]), client(vec![]));
    assert!(ask(&late, &node, b"in time").await.is_ok());
    let (key, addresses, echo) = (node.key, node.addresses(), Arc::clone(&node.echo));
    let call = |client: NetClient, request: &'static [u8]| {
        let addresses = addresses.clone();
        async move {
            client
                .call(&key, &addresses, request.to_vec(), PATIENCE)
                .await
        }
    };
    let asking = tokio::spawn(call(asker, b"take your time"));
    while echo.asked.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    let stopping = tokio::spawn(node.server.stop());
    // Until it has heard of the stop, it takes more.
    while call(late.clone(), b"too late").await.is_ok() {}
    assert!(!stopping.is_finished(), "it waits for its last answer");
    assert_eq!(asking.await.unwrap().unwrap(), b"here it is");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_node_is_found_without_its_address() {
    let first = start(4, vec![]).await;
    let second = start(5, first.addresses()).await;
    let third = start(6, first.addresses()).await;
    let client = client(first.addresses());
    for node in [&first, &second, &third] {
        let answer = eventually(|| client.call(&node.key, &[], b"hi".to_vec(), PATIENCE)).await;
        assert_eq!(answer, b"hi");
    }
    let wrong = vec!["/ip4/127.0.0.1/tcp/9".to_owned(), "nonsense".to_owned()];
    let fresh = self::client(first.addresses());
    let answer = fresh
        .call(&third.key, &wrong, b"moved".to_vec(), PATIENCE)
        .await;
    assert_eq!(
        answer.unwrap(),
        b"moved",
        "an outdated address is looked up again"
    );
}

#[tokio::test]
async fn a_node_is_called_as_soon_as_it_is_found_whoever_near_it_is_silent() {
    // A search used to go on until everybody near the node had answered, or for three seconds: of a hundred searches
    // among a hundred nodes, one or two met somebody who did not.
    let first = start(7, vec![]).await;
    let second = start(8, first.addresses()).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, id) = (
        silent.local_addr().unwrap().port(),
        libp2p::PeerId::random(),
    );
    let mut known = first.addresses();
    known.push(format!("/ip4/127.0.0.1/tcp/{port}/p2p/{id}"));
    // Less than a search may take.
    let patience = Duration::from_secs(2);
    let answer = eventually(|| {
        let client = client(known.clone());
        async move {
            client
                .call(&second.key, &[], b"hi".to_vec(), patience)
                .await
        }
    });
    assert_eq!(answer.await, b"hi");
}

#[tokio::test]
async fn the_closest_nodes_are_those_that_answer_in_the_order_of_distance() {
    let first = start(10, vec![]).await;
    let mut nodes = vec![
        start(11, first.addresses()).await,
        start(12, first.addresses()).await,
    ];
    nodes.push(start(13, first.addresses()).await);
    nodes.push(first);
    let client = client(nodes[3].addresses());
    let target = [0x5a; 32];
    let mut expected: Vec<_> = nodes.iter().map(|node| node.key).collect();
    expected.sort_by_key(|key| kms_net::distance(&target, key));
    let found = eventually(|| async {
        let found = client.closest(target, 4, PATIENCE).await.unwrap();
        if found.len() == 4 {
            Ok(found)
        } else {
            Err(found.len())
        }
    })
    .await;
    assert_eq!(
        found.iter().map(|found| found.node).collect::<Vec<_>>(),
        expected
    );
    assert!(found.iter().all(|found| !found.addresses.is_empty()));
    let two = client.closest(target, 2, PATIENCE).await.unwrap();
    assert_eq!(
        two.iter().map(|found| found.node).collect::<Vec<_>>(),
        expected[..2]
    );
}

/// Tables fill as connections are made; a search that came too early is made again.
async fn eventually<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(
    attempt: impl Fn() -> F,
) -> T {
    for _ in 0..600 {
        if let Ok(value) = attempt().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    attempt().await.unwrap()
}

#[tokio::test]
async fn a_dead_node_is_unreachable_at_once_and_a_returned_one_answers() {
    let node = start(20, vec![]).await;
    let client = client(vec![]);
    assert!(ask(&client, &node, b"alive").await.is_ok());
    let (key, addresses) = (node.key, node.addresses());
    node.server.stop().await;
    let gone = client
        .call(&key, &addresses, b"dead".to_vec(), PATIENCE)
        .await;
    assert!(
        matches!(
            gone,
            Err(TransportError::Unreachable | TransportError::Closed)
        ),
        "{gone:?}"
    );

    let address = addresses[0].split("/p2p/").next().unwrap().to_owned();
    let config = ServerConfig::new(NETWORK, vec![address]);
    let again = NetServer::start(config, &secret(20), Arc::new(Echo::default()))
        .await
        .unwrap();
    assert_eq!(
        again.addresses(),
        addresses,
        "the same key at the same address is the same node"
    );
    assert_eq!(
        client
            .call(&key, &addresses, b"back".to_vec(), PATIENCE)
            .await
            .unwrap(),
        b"back"
    );
}

#[tokio::test]
async fn a_node_that_was_restarted_unnoticed_is_called_over_a_new_connection() {
    let node = start(25, vec![]).await;
    let client = client(vec![]);
    assert!(ask(&client, &node, b"before").await.is_ok());
    let (key, addresses) = (node.key, node.addresses());
    node.server.stop().await;
    let address = addresses[0].split("/p2p/").next().unwrap().to_owned();
    let config = ServerConfig::new(NETWORK, vec![address]);
    let _again = NetServer::start(config, &secret(25), Arc::new(Echo::default()))
        .await
        .unwrap();
    for _ in 0..3 {
        let answer = client
            .call(&key, &addresses, b"after".to_vec(), PATIENCE)
            .await;
        assert_eq!(answer.unwrap(), b"after");
    }
}

#[tokio::test]
async fn another_node_at_the_address_is_not_taken_for_the_one_meant() {
    let node = start(30, vec![]).await;
    let client = client(vec![]);
    let address = node.addresses()[0]
        .split("/p2p/")
        .next()
        .unwrap()
        .to_owned();
    let other = secret(31).public();
    let answer = client
        .call(&other, &[address], b"who?".to_vec(), PATIENCE)
        .await;
    assert_eq!(answer, Err(TransportError::WrongPeer), "blamed");
    assert_eq!(node.echo.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_impostor_at_one_address_does_not_hide_the_node_at_another() {
    let (impostor, node) = (start(32, vec![]).await, start(33, vec![]).await);
    let bare = |node: &Node| {
        node.addresses()[0]
            .split("/p2p/")
            .next()
            .unwrap()
            .to_owned()
    };
    for addresses in [
        [bare(&impostor), bare(&node)],
        [bare(&node), bare(&impostor)],
    ] {
        let answer = client(vec![])
            .call(&node.key, &addresses, b"you!".to_vec(), PATIENCE)
            .await;
        assert_eq!(answer.unwrap(), b"you!");
    }
    assert_eq!(impostor.echo.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let config = ServerConfig::new(NETWORK, vec![address.clone()]);
    let error = NetServer::start(config, &secret(70), Arc::new(Echo::default()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}

#[test]
fn a_key_and_its_peer_id_are_the_same_thing() {
    let key = secret(80).public();
    let id = kms_net::peer_id(&key);
    assert!(id.starts_with("16Uiu2HA"));
    assert_eq!(kms_net::public_key(&id), Some(key));
    assert_eq!(
        kms_net::public_key("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"),
        None
    );
    assert_eq!(kms_net::public_key("nonsense"), None);
}
