//! A storage key that other nodes keep is given to them anew when half of its time is over (NODE §4).

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::keyfile::StorageKey;
use crate::keysource::network;
use crate::node::Node;

const INTERVAL: Duration = Duration::from_secs(60);

/// Looks after the policy until it is dropped.
pub(super) async fn run(config: Config, node: Arc<Node>, key: Arc<StorageKey>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        if let Err(error) = network::renew(&config, node.secret(), &key).await {
            tracing::error!(%error, "the policy about the storage key cannot be renewed");
        }
    }
}
