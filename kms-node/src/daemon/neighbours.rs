//! Who is in the node's routing table: whom the ledger names. Some of them are remembered for the next start (NODE §1.2, §4).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kms_net::Neighbours;
use tokio::time::Instant;

use super::replace_file;
use crate::node::Node;
use crate::work::blocking;

/// How often is looked whether the ledger has new nodes; looking costs nothing as long as it has none.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often those are left out whose time is over.
const REVIEW_INTERVAL: Duration = Duration::from_secs(60);

/// The addresses remembered by an earlier run. What is not there, or no text, is nothing to begin with.
pub(super) fn remembered(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Keeps table and file up to date until it is dropped.
pub(super) async fn run(node: Arc<Node>, neighbours: Neighbours, path: PathBuf) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut reviewed: Option<(u64, Instant)> = None;
    let mut written = remembered(&path);
    loop {
        interval.tick().await;
        let seen = node.view().registrations();
        let is_fresh = |(of, at): (u64, Instant)| of == seen && at.elapsed() < REVIEW_INTERVAL;
        if !reviewed.is_some_and(is_fresh) && review(&node, &neighbours).await {
            reviewed = Some((seen, Instant::now()));
        }
        // One who is alone keeps what was written before.
        let addresses = neighbours.addresses();
        if !addresses.is_empty() && addresses != written {
            if let Err(error) = replace_file(&path, &addresses.join("\n")) {
                tracing::warn!(%error, "the nodes met could not be remembered");
            }
            written = addresses;
        }
    }
}

/// Lets the nodes of the ledger into the table, and nobody else. Whether the ledger has answered.
async fn review(node: &Arc<Node>, neighbours: &Neighbours) -> bool {
    let at = Arc::clone(node);
    let records = blocking(move || at.view().ledger().nodes()).await;
    let records = match records {
        Ok(Ok(records)) => records,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the ledger's nodes cannot be read");
            return false;
        }
        Err(_) => return false,
    };
    let now = node.view().now();
    let serving = records.into_iter().filter(|it| it.available_until > now);
    neighbours.set_members(serving.map(|it| it.key).collect());
    true
}
