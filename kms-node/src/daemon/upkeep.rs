//! What a node does unasked: follows the ledger, erases what is revoked or over, renews its registration.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kms_crypto::id::PolicyId;
use kms_proto::codec;
use kms_proto::ledger::{Entry, EntryStatement, LedgerError, PolicyState, RegisterNode};
use kms_proto::signed::Signed;

use crate::audit::KEPT_SECONDS;
use crate::node::Node;
use crate::retire::is_still_needed;
use crate::rng;
use crate::store::{Memory, Note, Row};
use crate::work::blocking;

/// How often the ledger is followed: a revocation erases within this time.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// How many times the ledger is followed between two sweeps over all fragments.
const FOLLOWS_PER_SWEEP: u64 = 60;
/// The same as a time, after which the registration is looked at again.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long a fragment may wait for its grant.
const UNGRANTED_SECONDS: u64 = 60 * 60;
/// How long a fragment is kept after its policy's end: the end may yet be moved.
const EXPIRED_SECONDS: u64 = 24 * 60 * 60;

/// Until when a node registers.
#[derive(Clone, Copy, Debug)]
pub enum Term {
    /// So long from now, renewed when half of it is over. A node that leaves keeps to what it has promised.
    Lifetime(Duration),
    /// Until this time and no longer: it has handed over what would outlive it.
    Until(u64),
}

/// Registers the node until at least half of its lifetime from now, and tells it what it has promised.
pub async fn register(
    node: &Arc<Node>,
    addresses: &[String],
    lifetime: Duration,
) -> Result<(), LedgerError> {
    register_for(node, addresses, Term::Lifetime(lifetime)).await
}

/// Registers the node, if what it has registered is not enough or not true any more, and tells it what it has promised.
pub async fn register_for(
    node: &Arc<Node>,
    addresses: &[String],
    term: Term,
) -> Result<(), LedgerError> {
    let (node, addresses) = (Arc::clone(node), addresses.to_vec());
    let registered = blocking(move || {
        let until = register_now(&node, &addresses, term)?;
        node.promise(until);
        Ok(())
    });
    registered
        .await
        .unwrap_or_else(|error| Err(LedgerError::Unavailable(Box::new(error))))
}

fn register_now(node: &Node, addresses: &[String], term: Term) -> Result<u64, LedgerError> {
    // Sets the head as well, by which the node tells the time.
    node.view().follow(node.view().look()?.height)?;
    let now = node.view().now();
    let known = node
        .view()
        .ledger()
        .nodes()?
        .into_iter()
        .find(|record| record.key == node.key());
    let promised = known.as_ref().map(|known| known.available_until);
    // What it has promised before holds while a new promise is on its way.
    if let Some(until) = promised {
        node.promise(until);
    }
    let until = match (term, node.retirement()) {
        (Term::Until(until), _) => until,
        (Term::Lifetime(_), Some(leaving)) if leaving.done => leaving.until,
        (Term::Lifetime(_), Some(leaving)) => promised.unwrap_or(leaving.until),
        (Term::Lifetime(lifetime), None) => {
            let enough = now.saturating_add(lifetime.as_secs() / 2);
            let promised = promised.unwrap_or(0);
            if promised >= enough {
                promised
            } else {
                now.saturating_add(lifetime.as_secs()).max(promised)
            }
        }
    };
    if known.as_ref().is_some_and(|known| known.addrs == addresses) && promised == Some(until) {
        return Ok(until);
    }
    let registration = RegisterNode {
        key: node.key(),
        available_until: until,
        addrs: addresses.to_vec(),
        seq: known.map_or(1, |known| known.seq.saturating_add(1)),
    };
    let until = registration.available_until;
    let statement = EntryStatement {
        network: node.network().to_owned(),
        entry: Entry::RegisterNode(registration),
    };
    let entry = Signed::sign(statement, node.secret(), &mut rng())
        .expect("the entry names this node's key");
    node.view().ledger().submit(entry.signed())?;
    Ok(until)
}

/// A registration that is under way.
pub type Registering = BoxFuture<'static, Result<(), LedgerError>>;

/// [`register`], to be gone on with by [`run`].
pub(super) fn begin_registration(
    node: &Arc<Node>,
    addresses: &[String],
    lifetime: Duration,
) -> Registering {
    let (node, addresses) = (Arc::clone(node), addresses.to_vec());
    Box::pin(async move { register(&node, &addresses, lifetime).await })
}

/// Looks after a node until it is dropped; `first` is a registration that has begun.
pub async fn run(
    node: Arc<Node>,
    addresses: Vec<String>,
    lifetime: Duration,
    first: Option<Registering>,
) {
    // A chain may take minutes to confirm a registration; a revocation must not wait for that.
    tokio::join!(
        keep_registered(&node, &addresses, lifetime, first),
        keep_clean(&node)
    );
}

async fn keep_registered(
    node: &Arc<Node>,
    addresses: &[String],
    lifetime: Duration,
    mut first: Option<Registering>,
) {
    loop {
        let registered = match first.take() {
            Some(begun) => begun.await,
            None => register(node, addresses, lifetime).await,
        };
        let pause = match registered {
            Ok(()) => SWEEP_INTERVAL,
            // It has left, and somebody names it all the same: at the next sweep again.
            Err(error) if is_still_needed(&error).is_some() => SWEEP_INTERVAL,
            Err(error) => {
                tracing::warn!(%error, "the registration could not be looked at or renewed");
                FOLLOW_INTERVAL
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn keep_clean(node: &Arc<Node>) {
    let mut interval = tokio::time::interval(FOLLOW_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut height = None;
    let mut round: u64 = 0;
    loop {
        interval.tick().await;
        if round.is_multiple_of(FOLLOWS_PER_SWEEP) {
            sweep(node).await;
        }
        let at = Arc::clone(node);
        // A second of it is what a power cut may take.
        let _ = blocking(move || at.audit().sync(at.view().now())).await;
        round = round.wrapping_add(1);
        height = follow(node, height).await.or(height);
    }
}

/// Takes note of what was appended since `after`; the first time, of the head alone: the sweep has seen the rest.
async fn follow(node: &Arc<Node>, after: Option<u64>) -> Option<u64> {
    let at = Arc::clone(node);
    let followed = blocking(move || {
        let after = match after {
            Some(after) => after,
            None => at.view().look()?.height,
        };
        let mut news = at.view().follow(after)?;
        news.revoked.retain(|policy| at.vault().holds(policy));
        Ok::<_, LedgerError>(news)
    });
    match followed.await {
        Ok(Ok(news)) => {
            node.limits().settle(&news.granted);
            for policy in news.revoked {
                erase(node, policy, "revoked", Memory::Long).await;
            }
            // A store that could not be written is tried again.
            if after != Some(news.head.height) || node.vault().has_failed() {
                let noted = node
                    .vault()
                    .set_note(Note::LedgerHead, codec::encode(&news.head))
                    .await;
                if let Err(error) = noted {
                    tracing::warn!(%error, "the ledger's head could not be noted");
                }
            }
            Some(news.head.height)
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the ledger cannot be followed");
            None
        }
        Err(_) => None,
    }
}

/// Erases every fragment that is of no use any more.
async fn sweep(node: &Arc<Node>) {
    let at = Arc::clone(node);
    let useless = blocking(move || {
        let rows = at.vault().rows().unwrap_or_default();
        rows.into_iter()
            .filter_map(|(policy, row)| Some((policy, uselessness(&at, &policy, &row)?)))
            .collect::<Vec<_>>()
    });
    for (policy, (why, memory)) in useless.await.unwrap_or_default() {
        erase(node, policy, why, memory).await;
    }
    let at = Arc::clone(node);
    let tended = blocking(move || {
        at.audit()
            .tend(|policy, last| is_forgotten(&at, policy, last))
    });
    if let Ok(Err(error)) = tended.await {
        tracing::warn!(%error, "entries of the audit log could not be forgotten");
    }
    if let Err(error) = node.vault().forget_removals(node.view().now()).await {
        tracing::warn!(%error, "old removals could not be forgotten");
    }
}

fn uselessness(node: &Node, policy: &PolicyId, row: &Row) -> Option<(&'static str, Memory)> {
    let now = node.view().now();
    let waited = now > row.stored_at.saturating_add(UNGRANTED_SECONDS);
    // A ledger that does not answer proves nothing.
    match node.view().policy(policy).ok()? {
        PolicyState::Revoked { .. } => Some(("revoked", Memory::Long)),
        PolicyState::Expired { at, .. } => {
            (now > at.saturating_add(EXPIRED_SECONDS)).then_some(("expired", Memory::Long))
        }
        PolicyState::Unknown => waited.then_some(("never granted", Memory::Short)),
        PolicyState::Live(grant) => (waited && !grant.nodes.contains(&node.key()))
            .then_some(("granted to other nodes", Memory::HandedOver)),
    }
}

/// Whether what was noted of a policy, the last of it at `last`, has been kept long enough.
fn is_forgotten(node: &Node, policy: &PolicyId, last: u64) -> bool {
    let now = node.view().now();
    let is_young = |since: u64, seconds: u64| now <= since.saturating_add(seconds);
    if is_young(last, UNGRANTED_SECONDS) || node.vault().holds(policy) {
        return false;
    }
    match node.view().policy(policy) {
        Ok(PolicyState::Revoked { at, .. } | PolicyState::Expired { at, .. }) => {
            !is_young(at.max(last), KEPT_SECONDS)
        }
        Ok(PolicyState::Unknown) => true,
        // Its owner may still ask. A ledger that does not answer proves nothing.
        Ok(PolicyState::Live(_)) | Err(_) => false,
    }
}

async fn erase(node: &Node, policy: PolicyId, why: &'static str, memory: Memory) {
    let now = node.view().now();
    let held = match node.vault().remove(policy, now, memory).await {
        Ok(removal) => removal.held,
        Err(error) => {
            tracing::error!(%error, ?policy, "a fragment could not be erased");
            return;
        }
    };
    node.limits().settle(&[policy]);
    if held {
        tracing::info!(?policy, why, "a fragment is erased");
    }
}
