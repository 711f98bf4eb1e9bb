//! How the nodes of the ledger are, all asked at once: for `status`, `nodes` and `doctor`.

use kms_client::{NodeAddress, NodeStatus, blocking::Client};
use kms_crypto::key::PublicKey;
use serde_json::{Value, json};

/// One node of the ledger and what it said.
#[derive(Clone, Debug)]
pub struct NodeHealth {
    /// The node.
    pub key: PublicKey,
    /// Where the ledger says it is.
    pub addrs: Vec<String>,
    /// Until when it has promised to serve, Unix seconds.
    pub available_until: u64,
    /// What it said, or why it did not.
    pub answer: Result<NodeStatus, String>,
}

/// More are not asked.
const MAX_NODES: usize = 32;

/// Asks the nodes in the ledger; a ledger that cannot be read has its reason as the error.
pub fn ask_all(client: &Client) -> Result<Vec<NodeHealth>, String> {
    let records = client.nodes().map_err(|error| error.to_string())?;
    Ok(std::thread::scope(|scope| {
        let asked: Vec<_> = records
            .into_iter()
            .take(MAX_NODES)
            .map(|record| {
                let node = NodeAddress {
                    key: record.key,
                    addrs: record.addrs.clone(),
                };
                (record, scope.spawn(move || client.node_status(&node)))
            })
            .collect();
        asked
            .into_iter()
            .map(|(record, thread)| NodeHealth {
                key: record.key,
                addrs: record.addrs,
                available_until: record.available_until,
                answer: match thread.join() {
                    Ok(said) => said.map_err(|answer| answer.to_string()),
                    Err(_) => Err("was not asked".to_owned()),
                },
            })
            .collect()
    }))
}

impl NodeHealth {
    /// The same for programs (CLI 3.3).
    pub fn document(&self) -> Value {
        let status = self.answer.as_ref().ok();
        json!({
            "node": self.key.to_string(),
            "addrs": self.addrs,
            "available_until": self.available_until,
            "answers": status.is_some(),
            "answer": self.answer.as_ref().map_or_else(Clone::clone, |_| "ok".to_owned()),
            "version": status.map(|status| &status.version),
            "fragments": status.map(|status| status.fragments),
        })
    }
}
