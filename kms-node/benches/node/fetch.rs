//! Fetching a key from m of n nodes: with more nodes, and with dead ones.

use std::time::Instant;

use kms_client::{Client, KeyRequest, NetworkConfig, NodeAddress};
use nix::sys::signal::{Signal, kill};

use crate::devnet::{Devnet, NETWORK, now};
use crate::policy::Policy;
use crate::{machine, percentile, row};

const TIMES: usize = 400;
/// Several, because a node answers only so often about one.
const POLICIES: usize = 8;
const NODES: u8 = 15;

pub(crate) async fn measure() {
    let devnet = Devnet::start(NODES);
    for (needed, total) in [(1, 1), (2, 3), (3, 5), (8, 15)] {
        let shared = Shared::new(&devnet, needed, total).await;
        let before = machine::seconds(Some(nix::unistd::getpid()));
        let mut took = shared.fetch().await;
        let used = machine::seconds(Some(nix::unistd::getpid())) - before;
        row(
            &format!("decrypt_key from {needed} of {total} nodes; ms, median and p99"),
            format!(
                "{:.1} and {:.1} ({:.1} ms of the client's processor)",
                percentile(&mut took, 50),
                percentile(&mut took, 99),
                1000.0 * used / TIMES as f64
            ),
            "",
        );
    }
    let shared = Shared::new(&devnet, 3, 5).await;
    let healthy = percentile(&mut shared.fetch().await, 99);
    for (signal, what) in [(Signal::SIGSTOP, "silent"), (Signal::SIGKILL, "dead")] {
        for number in [2, 4] {
            kill(devnet.pid(number), signal).unwrap();
        }
        let worse = percentile(&mut shared.fetch().await, 99);
        row(
            &format!("decrypt_key from 3 of 5, all alive and two {what}; p99 in ms"),
            format!("{healthy:.1} and {worse:.1}, {:.2} times", worse / healthy),
            if signal == Signal::SIGKILL {
                "≤ 1.5 times"
            } else {
                ""
            },
        );
    }
}

struct Shared {
    policies: Vec<Policy>,
    nodes: Vec<NodeAddress>,
    client: Client,
}

impl Shared {
    async fn new(devnet: &Devnet, needed: u8, total: u8) -> Self {
        let transport = devnet.client();
        let mut policies = Vec::new();
        for _ in 0..POLICIES {
            let policy = Policy::new(NETWORK, now(), now() + 3600, needed, total);
            let keys = devnet.keys();
            let holders = &keys[..usize::from(total)];
            for (index, key) in holders.iter().enumerate() {
                devnet
                    .ask(&transport, index, policy.store(key, index))
                    .await;
            }
            let granted = policy.grant(holders.to_vec());
            devnet.ask(&transport, 0, granted).await;
            policies.push(policy);
        }
        let all = devnet.keys().into_iter().zip(&devnet.bootstrap);
        let nodes = all.take(total.into()).map(|(key, address)| NodeAddress {
            key,
            addrs: vec![address.clone()],
        });
        let config = NetworkConfig {
            ledger: devnet.ledger.clone(),
            bootstrap: devnet.bootstrap.clone(),
            ..NetworkConfig::default()
        };
        let client = Client::connect(&config).await.unwrap();
        Self {
            policies,
            nodes: nodes.collect(),
            client,
        }
    }

    /// Fetches keys one after another; how long each took, in milliseconds.
    async fn fetch(&self) -> Vec<f64> {
        let mut took = Vec::new();
        for policy in self.policies.iter().cycle().take(TIMES) {
            let request = KeyRequest {
                params: policy.params,
                threshold: policy.threshold,
                nodes: self.nodes.clone(),
                capsule: policy.capsule.clone(),
                context: policy.context,
            };
            let started = Instant::now();
            let secret = self.client.decrypt_key(&request, &policy.recipient).await;
            assert!(secret.unwrap() == policy.secret);
            took.push(1000.0 * started.elapsed().as_secs_f64());
        }
        took
    }
}
