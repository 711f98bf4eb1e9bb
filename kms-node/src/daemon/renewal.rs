//! A storage key that other nodes keep is given to them anew when half of its time is over, or when too few of them are
//! left (NODE §4).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::keyfile::StorageKey;
use crate::keysource::network;
use crate::node::Node;

/// How often the policy's time is looked at.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often the nodes are looked at, unless the key is given away for less than a day; and the longest pause after a
/// failure.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(60 * 60);

/// Looks after the policy until it is dropped.
pub(super) async fn run(config: Config, node: Arc<Node>, key: Arc<StorageKey>) {
    let every = LOOKED_AT_EVERY.min(config.key_lifetime / 24).max(INTERVAL);
    let mut looked = Instant::now();
    let mut pause = INTERVAL;
    loop {
        tokio::time::sleep(pause).await;
        let looks = looked.elapsed() >= every;
        match network::renew(&config, node.secret(), &key, looks).await {
            Ok(()) => {
                pause = INTERVAL;
                if looks {
                    looked = Instant::now();
                }
            }
            // Each try may have made a policy: not too many of them.
            Err(error) => {
                tracing::error!(%error, "the storage key could not be given to other nodes anew");
                pause = (pause * 2).min(LOOKED_AT_EVERY);
            }
        }
    }
}
