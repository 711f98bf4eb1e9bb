//! Finding a node's address by its key, among a hundred nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use kms_crypto::key::NodeSecret;
use kms_net::{ClientConfig, Handler, NetClient, NetServer, PeerKey, ServerConfig};
use kms_proto::transport::Transport;
use zeroize::Zeroizing;

use crate::policy::rng;
use crate::{machine, percentile, row};

struct Echo;

impl Handler for Echo {
    fn handle(&self, _: PeerKey, request: Zeroizing<Vec<u8>>) -> BoxFuture<'_, Vec<u8>> {
        Box::pin(async move { request.to_vec() })
    }

    fn busy(&self) -> Vec<u8> {
        Vec::new()
    }
}

const NODES: usize = 100;
const PATIENCE: Duration = Duration::from_secs(20);

/// Tables fill: every node looks round when it has met the first ones, and all of them do so on the cores of this machine.
async fn settled() {
    let used = || machine::seconds(Some(nix::unistd::getpid()));
    for _ in 0..60 {
        let before = used();
        tokio::time::sleep(Duration::from_secs(2)).await;
        if used() - before < 0.2 {
            return;
        }
    }
}

pub(crate) async fn measure() {
    let mut nodes: Vec<(kms_crypto::key::PublicKey, NetServer)> = Vec::new();
    let mut bootstrap = Vec::new();
    for _ in 0..NODES {
        let secret = NodeSecret::generate(&mut rng());
        let config = ServerConfig {
            bootstrap: bootstrap.clone(),
            // Of the process, and a hundred nodes in one use more than a node is allowed: they let nobody in any more.
            max_memory_bytes: 4 << 30,
            ..ServerConfig::new("bench", vec!["/ip4/127.0.0.1/tcp/0".to_owned()])
        };
        let server = NetServer::start(config, &secret, Arc::new(Echo))
            .await
            .unwrap();
        if bootstrap.len() < 2 {
            bootstrap.extend(server.addresses().to_vec());
        }
        nodes.push((secret.public(), server));
    }
    settled().await;
    let kib = machine::resident_kib();
    row(
        "memory of 100 nodes that know each other, the whole process; MiB",
        format!("{:.0}", kib / 1024.0),
        "",
    );
    let mut took = Vec::new();
    let mut missed = 0;
    for (key, _) in nodes.iter().skip(2) {
        let client = NetClient::start(&ClientConfig {
            network: "bench".to_owned(),
            bootstrap: bootstrap.clone(),
        });
        let (client, started) = (client.unwrap(), Instant::now());
        match client.call(key, &[], b"found".to_vec(), PATIENCE).await {
            Ok(_) => took.push(1000.0 * started.elapsed().as_secs_f64()),
            Err(_) => missed += 1,
        }
    }
    row(
        "a client that knows two of 100 nodes finds another one and asks it; ms, median and p99",
        format!(
            "{:.0} and {:.0}; {missed} not found",
            percentile(&mut took, 50),
            percentile(&mut took, 99)
        ),
        "",
    );
}
