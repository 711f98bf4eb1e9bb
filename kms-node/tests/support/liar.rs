//! Nodes that lie, beside real processes that do not.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kms_client::{Client, ClientError, KeyRequest, NetworkConfig, NodeAddress};
use kms_crypto::key::{NodeSecret, PublicKey};
use kms_ledger::{FileLedger, FileOptions, system_clock};
use kms_net::{Handler, NetClient, NetServer, PeerKey, ServerConfig};
use kms_node::audit::AuditLog;
use kms_node::daemon::upkeep;
use kms_node::keyfile::StorageKey;
use kms_node::node::{Node, Parts, Service};
use kms_node::store::{MemoryStore, Slots, Vault};
use kms_proto::message::Response;
use kms_proto::transport::Transport;
use parking_lot::Mutex;
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use crate::devnet::{Devnet, NETWORK, now};
use crate::policy::{Policy, rng};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a liar makes of the answer to a request for re-encryption.
#[derive(Clone)]
pub enum Lie {
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
pub struct Liar {
    service: Service,
    pub lie: Mutex<Lie>,
}

impl Liar {
    async fn answer(&self, peer: PeerKey, request: Zeroizing<Vec<u8>>) -> Vec<u8> {
        let truth = self.service.answer_to(Some(peer), request).await;
        let lie = self.lie.lock().clone();
        let mut fragments = match truth {
            Response::Reencrypted { fragments } => fragments,
            Response::SignedShare { share } => return self.lie_about(share, lie).await.to_bytes(),
            truth => return truth.to_bytes(),
        };
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

    /// The same of its part of a signature.
    async fn lie_about(&self, mut share: ByteBuf, lie: Lie) -> Response {
        match lie {
            Lie::Truth => {}
            Lie::Wrong => share[16] ^= 1,
            Lie::Instead(other) => share = ByteBuf::from(other),
            Lie::Bytes(_) => return Response::Noted,
            Lie::Silence => std::future::pending().await,
        }
        Response::SignedShare { share }
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

/// Its server.
pub struct Dishonest {
    pub liar: Arc<Liar>,
    pub server: NetServer,
    pub key: PublicKey,
}

impl Dishonest {
    pub async fn join(devnet: &Devnet) -> Self {
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

    pub fn address(&self) -> NodeAddress {
        NodeAddress {
            key: self.key,
            addrs: self.server.addresses().to_vec(),
        }
    }
}

/// Three honest nodes and three that are not.
pub struct World {
    pub devnet: Devnet,
    pub dishonest: Vec<Dishonest>,
    pub transport: NetClient,
}

impl World {
    pub async fn new() -> Self {
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
    pub fn nodes(&self, honest: usize, dishonest: usize) -> Vec<NodeAddress> {
        let all = self.devnet.keys().into_iter().zip(&self.devnet.bootstrap);
        let all = all.map(|(key, address)| NodeAddress {
            key,
            addrs: vec![address.clone()],
        });
        let theirs = self.dishonest.iter().map(Dishonest::address);
        all.take(honest).chain(theirs.take(dishonest)).collect()
    }

    pub async fn ask(&self, node: &NodeAddress, message: Vec<u8>) -> Response {
        let patience = Duration::from_secs(60);
        let answer = self
            .transport
            .call(&node.key, &node.addrs, message, patience);
        Response::from_bytes(&answer.await.unwrap()).unwrap()
    }

    pub async fn grant(&self, policy: &Policy, nodes: &[NodeAddress]) {
        for (index, node) in nodes.iter().enumerate() {
            let stored = self.ask(node, policy.store(&node.key, index)).await;
            assert!(matches!(stored, Response::Stored { .. }), "{stored:?}");
        }
        let holders = nodes.iter().map(|it| it.key).collect();
        let granted = self.ask(&nodes[0], policy.grant(holders)).await;
        assert!(matches!(granted, Response::Submitted { .. }), "{granted:?}");
    }

    /// A node's true answer.
    pub async fn fragment(&self, policy: &Policy, node: &NodeAddress) -> Vec<u8> {
        match self.ask(node, policy.reencrypt(&node.key)).await {
            Response::Reencrypted { fragments } => fragments[0].clone().unwrap().into_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// A recipient's fresh client opens a key.
    pub async fn open(&self, policy: &Policy, nodes: Vec<NodeAddress>) -> Result<(), ClientError> {
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
