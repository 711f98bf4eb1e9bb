//! Where a shared thing is, and which nodes serve it: what tickets and owner records have in common (SHARES §2).

use kms_crypto::key::PublicKey;
use serde::{Deserialize, Serialize};

use crate::ledger::NodeRecord;

/// Whether one file is shared or everything below a directory.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One file.
    File,
    /// A directory and all below it.
    Dir,
}

/// One step of the way from the root of a store to a shared thing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Step {
    /// The name as the owner sees it.
    #[serde(with = "serde_bytes")]
    pub plain: Vec<u8>,
    /// The name in the store.
    pub backing: String,
}

/// A node and where it was last known to listen.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NodeAddress {
    /// The node.
    pub key: PublicKey,
    /// Its addresses, as multiaddresses. The ledger may know newer ones.
    pub addrs: Vec<String>,
}

impl From<NodeRecord> for NodeAddress {
    fn from(record: NodeRecord) -> Self {
        Self {
            key: record.key,
            addrs: record.addrs,
        }
    }
}

/// The longest name of one step, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The largest number of steps.
pub const MAX_STEPS: usize = 1024;

/// Whether every step can be one, so that nothing outside of the store can be named.
pub fn is_path(path: &[Step]) -> bool {
    path.len() <= MAX_STEPS
        && path
            .iter()
            .all(|step| is_name(&step.plain) && is_name(step.backing.as_bytes()))
}

fn is_name(name: &[u8]) -> bool {
    let special = name.is_empty() || name == b"." || name == b"..";
    !special && name.len() <= MAX_NAME_BYTES && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Whether there are exactly `count` nodes and no two the same.
pub fn are_distinct(nodes: &[NodeAddress], count: u8) -> bool {
    let mut keys: Vec<_> = nodes.iter().map(|node| node.key.to_bytes()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len() == nodes.len() && nodes.len() == usize::from(count)
}
