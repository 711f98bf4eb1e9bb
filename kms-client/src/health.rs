//! Which nodes have failed of late: these are asked last, so that a dead node costs its delay once and not at every open.

use std::collections::HashMap;
use std::time::Duration;

use kms_crypto::key::PublicKey;
use kms_proto::message::Refusal;
use parking_lot::Mutex;
use rand_core::Rng;
use tokio::time::Instant;

use crate::client::{Client, rng};
use crate::error::{Answer, Answers};
use crate::place::NodeAddress;

/// How long a failure counts.
const MEMORY: Duration = Duration::from_secs(30);
const MAX_NODES: usize = 4096;

/// The nodes that failed, and when they did last.
#[derive(Default)]
pub(crate) struct Health(Mutex<HashMap<PublicKey, Instant>>);

impl Client {
    /// The nodes in the order in which they are best asked: at random, so that all get their share of the work, those
    /// that failed of late at the end.
    pub(crate) fn healthy_first(&self, nodes: Vec<NodeAddress>) -> Vec<NodeAddress> {
        let failed = self.shared.health.0.lock();
        let has_failed = |node: &NodeAddress| {
            failed
                .get(&node.key)
                .is_some_and(|at| at.elapsed() < MEMORY)
        };
        let mut keyed: Vec<_> = nodes
            .into_iter()
            .map(|node| ((has_failed(&node), rng().next_u64()), node))
            .collect();
        keyed.sort_by_key(|(key, _)| *key);
        keyed.into_iter().map(|(_, node)| node).collect()
    }

    /// Remembers who failed and who does well again.
    pub(crate) fn note_health(&self, answers: &Answers) {
        let mut failed = self.shared.health.0.lock();
        if failed.len() >= MAX_NODES {
            failed.retain(|_, at| at.elapsed() < MEMORY);
        }
        for it in &answers.0 {
            match &it.answer {
                Answer::NotAsked => {}
                Answer::Good => drop(failed.remove(&it.node)),
                // Said about the policy, not about the node.
                Answer::Refused(Refusal::Revoked { .. } | Refusal::Expired { .. }) => {}
                _ if failed.len() < MAX_NODES => drop(failed.insert(it.node, Instant::now())),
                _ => {}
            }
        }
    }
}
