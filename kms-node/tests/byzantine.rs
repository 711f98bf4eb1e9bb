//! Nodes that lie, among real processes that do not: who asks finds out, names them, and is served by the others.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "support/devnet.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod devnet;
#[path = "support/policy.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod policy;

use std::sync::Arc;
use std::time::Duration;

use devnet::{Devnet, NETWORK, now};
use futures::future::BoxFuture;
use kms_client::{Answer, Client, ClientError, KeyRequest, NetworkConfig, NodeAddress};
use kms_crypto::id::SchemeId;
use kms_crypto::key::{NodeSecret, PublicKey};
use kms_crypto::scheme::encapsulate;
use kms_ledger::{FileLedger, FileOptions, system_clock};
use kms_net::{Handler, NetClient, NetServer, PeerKey, ServerConfig};
use kms_node::audit::AuditLog;
use kms_node::daemon::upkeep;
use kms_node::keyfile::StorageKey;
use kms_node::node::{Node, Parts, Service};
use kms_node::store::{MemoryStore, Slots, Vault};
use kms_proto::codec::{self, Kind};
use kms_proto::message::Response;
use kms_proto::transport::{Transport, TransportError};
use parking_lot::Mutex;
use policy::{Policy, rng};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a liar makes of the answer to a request for re-encryption.
#[derive(Clone)]
enum Lie {
    Truth,
    /// One bit of it is wrong.
    Wrong,
    /// It is another one.
    Instead(Vec<u8>),
    /// It is no answer at all.
    Bytes(Vec<u8>),
    /// It does not come.
    Silence,
}

/// A node that knows all that a node knows, is in the ledger, and lies.
struct Liar {
    service: Service,
    lie: Mutex<Lie>,
}

impl Liar {
    async fn answer(&self, peer: PeerKey, request: Zeroizing<Vec<u8>>) -> Vec<u8> {
        let truth = self.service.answer_to(Some(peer), request).await;
        let Response::Reencrypted { mut fragments } = truth else {
            return truth.to_bytes();
        };
        let lie = self.lie.lock().clone();
        match lie {
            Lie::Truth => {}
            Lie::Wrong => {
                for fragment in fragments.iter_mut().flatten() {
                    let middle = fragment.len() / 2;
                    fragment[middle] ^= 1;
                }
            }
            Lie::Instead(other) => {
                for fragment in fragments.iter_mut().flatten() {
                    *fragment = ByteBuf::from(other.clone());
                }
            }
            Lie::Bytes(bytes) => return bytes,
            Lie::Silence => std::future::pending().await,
        }
        Response::Reencrypted { fragments }.to_bytes()
    }
}

impl Handler for Liar {
    fn handle(&self, peer: PeerKey, request: Zeroizing<Vec<u8>>) -> BoxFuture<'_, Vec<u8>> {
        Box::pin(self.answer(peer, request))
    }

    fn busy(&self) -> Vec<u8> {
        self.service.busy()
    }
}

struct Dishonest {
    liar: Arc<Liar>,
    server: NetServer,
    key: PublicKey,
}

impl Dishonest {
    async fn join(devnet: &Devnet) -> Self {
        let path = devnet.ledger.strip_prefix("file:").unwrap();
        let ledger = FileLedger::open_writer(path.as_ref(), FileOptions::new(NETWORK)).unwrap();
        let storage_key = StorageKey::from_bytes(&[1; 32]);
        let store = Box::new(MemoryStore::default());
        let node = Arc::new(Node::new(Parts {
            secret: NodeSecret::generate(&mut rng()),
            network: NETWORK.to_owned(),
            vault: Vault::open(store, Slots::in_memory(), &storage_key, now()).unwrap(),
            ledger: Arc::new(ledger),
            clock: system_clock(),
            max_fragments: 1000,
            own_key: true,
            audit: AuditLog::in_memory(),
            requests: None,
        }));
        let liar = Arc::new(Liar {
            service: Service::new(Arc::clone(&node)),
            lie: Mutex::new(Lie::Truth),
        });
        let config = ServerConfig {
            bootstrap: devnet.bootstrap.clone(),
            ..ServerConfig::new(NETWORK, vec!["/ip4/127.0.0.1/tcp/0".to_owned()])
        };
        let server = NetServer::start(config, node.secret(), Arc::<Liar>::clone(&liar)).await;
        let server = server.unwrap();
        upkeep::register(&node, server.addresses(), DAY)
            .await
            .unwrap();
        Self {
            liar,
            server,
            key: node.key(),
        }
    }

    fn address(&self) -> NodeAddress {
        NodeAddress {
            key: self.key,
            addrs: self.server.addresses().to_vec(),
        }
    }
}

/// Three honest nodes and three that are not.
struct World {
    devnet: Devnet,
    dishonest: Vec<Dishonest>,
    transport: NetClient,
}

impl World {
    async fn new() -> Self {
        let devnet = Devnet::start(3);
        let mut dishonest = Vec::new();
        for _ in 0..3 {
            dishonest.push(Dishonest::join(&devnet).await);
        }
        let transport = devnet.client();
        Self {
            devnet,
            dishonest,
            transport,
        }
    }

    /// So many honest nodes, and so many that are not.
    fn nodes(&self, honest: usize, dishonest: usize) -> Vec<NodeAddress> {
        let all = self.devnet.keys().into_iter().zip(&self.devnet.bootstrap);
        let all = all.map(|(key, address)| NodeAddress {
            key,
            addrs: vec![address.clone()],
        });
        let theirs = self.dishonest.iter().map(Dishonest::address);
        all.take(honest).chain(theirs.take(dishonest)).collect()
    }

    async fn ask(&self, node: &NodeAddress, message: Vec<u8>) -> Response {
        let patience = Duration::from_secs(20);
        let answer = self
            .transport
            .call(&node.key, &node.addrs, message, patience);
        Response::from_bytes(&answer.await.unwrap()).unwrap()
    }

    async fn grant(&self, policy: &Policy, nodes: &[NodeAddress]) {
        for (index, node) in nodes.iter().enumerate() {
            let stored = self.ask(node, policy.store(&node.key, index)).await;
            assert!(matches!(stored, Response::Stored { .. }), "{stored:?}");
        }
        let holders = nodes.iter().map(|it| it.key).collect();
        let granted = self.ask(&nodes[0], policy.grant(holders)).await;
        assert!(matches!(granted, Response::Submitted { .. }), "{granted:?}");
    }

    /// A node's true answer.
    async fn fragment(&self, policy: &Policy, node: &NodeAddress) -> Vec<u8> {
        match self.ask(node, policy.reencrypt(&node.key)).await {
            Response::Reencrypted { fragments } => fragments[0].clone().unwrap().into_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// A recipient's fresh client opens a key.
    async fn open(&self, policy: &Policy, nodes: Vec<NodeAddress>) -> Result<(), ClientError> {
        let config = NetworkConfig {
            ledger: self.devnet.ledger.clone(),
            bootstrap: self.devnet.bootstrap.clone(),
            ..NetworkConfig::default()
        };
        let request = KeyRequest {
            params: policy.params,
            threshold: policy.threshold,
            nodes,
            capsule: policy.capsule.clone(),
            context: policy.context,
        };
        let client = Client::connect(&config).await.unwrap();
        let secret = client.decrypt_key(&request, &policy.recipient).await?;
        assert!(secret == policy.secret, "another secret");
        Ok(())
    }
}

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
    let patience = Duration::from_secs(20);
    let answer = world
        .transport
        .call(&stranger, &addresses, request, patience);
    assert_eq!(answer.await, Err(TransportError::WrongPeer));
}
