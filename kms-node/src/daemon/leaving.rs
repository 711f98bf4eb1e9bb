//! Leaving: rounds of handing over until nothing is left, then a registration that says so (WIRE §7).

use std::sync::Arc;
use std::time::Duration;

use kms_net::{ClientConfig, NetClient};
use kms_proto::transport::Transport;

use super::upkeep;
use crate::node::{Node, Retirement};
use crate::retire::{Leaver, is_still_needed};

/// The pause after a round that left something; doubled each time, up to the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So long the ledger may name a node that has nothing, and is waited for: what was just written may not be everywhere.
const NAMED_FOR_SECONDS: u64 = 60;

/// Waits until the node is told to leave, and makes it leave; until it is dropped.
pub(super) async fn run(node: Arc<Node>, addresses: Vec<String>, bootstrap: Vec<String>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(state) = node.retirement().filter(|state| !state.done) else {
            node.told_to_retire().await;
            pause = FIRST_PAUSE;
            continue;
        };
        match round_on_network(&node, &addresses, &bootstrap, state).await {
            Ok(true) => {}
            Ok(false) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                    // Another wish, or somebody who asks how far it is.
                    () = node.told_to_retire() => tokio::time::sleep(FIRST_PAUSE).await,
                }
            }
            Err(error) => {
                tracing::error!(%error, "this node cannot leave");
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn round_on_network(
    node: &Arc<Node>,
    addresses: &[String],
    bootstrap: &[String],
    state: Retirement,
) -> Result<bool, Failure> {
    let client = NetClient::start(&ClientConfig {
        network: node.network().to_owned(),
        bootstrap: bootstrap.to_vec(),
    })?;
    round(node, addresses, Arc::new(client), state).await
}

/// One round; whether that was all.
pub async fn round(
    node: &Arc<Node>,
    addresses: &[String],
    transport: Arc<dyn Transport>,
    mut state: Retirement,
) -> Result<bool, Failure> {
    let leaver = Leaver::new(Arc::clone(node), transport);
    let round = leaver.round(state.until, state.to).await?;
    state.left = round.left;
    state.trouble = round
        .trouble
        .map(|error| error.to_string())
        .unwrap_or_default();
    if round.left == 0 {
        let before = state.clone();
        state.done = true;
        let registered = upkeep::register_for(node, addresses, upkeep::Term::Until(state.until));
        if let Err(error) = registered.await {
            let now = node.view().now();
            state = before;
            match is_still_needed(&error) {
                Some(until) => {
                    let since = *state.named_since.get_or_insert(now);
                    // Whoever grants may name whom he likes; that must not keep anybody here.
                    state.done = now >= since.saturating_add(NAMED_FOR_SECONDS);
                    state.trouble = format!(
                        "the ledger names this node for a policy until {until}, and its fragment is not here"
                    );
                }
                None => state.trouble = error.to_string(),
            }
        } else {
            state.named_since = None;
        }
    }
    // A newer wish is not overwritten with the outcome of an older one.
    let current = node.retirement();
    let is_current = current.is_some_and(|it| (it.until, it.to) == (state.until, state.to));
    let done = state.done && is_current;
    if is_current {
        if done {
            tracing::info!(
                until = state.until,
                but = state.trouble,
                "everything is handed over"
            );
        }
        node.note_retirement(state).await?;
    }
    Ok(done)
}
