//! A ledger whose entries count only after a while, as a chain's do: nodes say that they are at it.

use std::sync::Arc;
use std::time::Duration;

use kms_client::fake::Conduct;
use kms_client::{Client, ClientError};
use kms_crypto::id::PolicyId;
use kms_proto::ledger::{
    Entry, Head, Ledger, LedgerError, NodeRecord, PolicyState, Receipt, SignedEntry,
};

use super::Scene;

/// A ledger that usually takes so long.
struct Paced {
    ledger: Arc<dyn Ledger>,
    takes: Duration,
}

impl Ledger for Paced {
    fn head(&self) -> Result<Head, LedgerError> {
        self.ledger.head()
    }
    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        self.ledger.submit(entry)
    }
    fn policy(&self, policy: &PolicyId) -> Result<PolicyState, LedgerError> {
        self.ledger.policy(policy)
    }
    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.ledger.nodes()
    }
    fn read(&self, from: u64, count: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.ledger.read(from, count)
    }
    fn settles_within(&self, _: &Entry) -> Duration {
        self.takes
    }
}

const NODES: usize = 6;

fn scene(takes: Duration) -> Scene {
    let mut scene = Scene::new(NODES);
    scene.client = paced(&scene, takes);
    scene
}

fn paced(scene: &Scene, takes: Duration) -> Client {
    scene.network.client_with(|config| {
        let ledger = Arc::clone(&config.ledger);
        config.ledger = Arc::new(Paced { ledger, takes });
    })
}

fn all(scene: &Scene, conduct: &Conduct) {
    (0..NODES).for_each(|node| scene.network.set(node, conduct.clone()));
}

/// How many nodes were asked to write, which each of them would pay for.
fn payers(scene: &Scene) -> usize {
    (0..NODES)
        .map(|node| scene.network.node(node).entries())
        .sum()
}

#[tokio::test(start_paused = true)]
async fn a_grant_and_its_end_take_as_long_as_the_ledger_and_one_node_pays_for_each() {
    // A chain had a block every 12 seconds. A node gave up its answer after nine, the owner asked all others to write the same entry, and
    // was told that it was not recorded; a moment later it was.
    let usual = Duration::from_secs(48);
    let scene = scene(usual);
    all(&scene, &Conduct::Accepts(Some(usual)));
    let grant = scene.grant().await.unwrap();
    assert_eq!(payers(&scene), 1);
    scene.opens(&grant).await;
    let outcome = scene.revoke(&grant).await.unwrap();
    assert_eq!(outcome.removal.removed.len(), 5);
    assert_eq!(payers(&scene), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_accepts_and_never_writes_is_replaced_by_one_other() {
    let scene = scene(Duration::from_secs(12));
    let grant = scene.grant().await.unwrap();
    let paid = payers(&scene);
    all(&scene, &Conduct::Accepts(Some(Duration::from_secs(12))));
    let first = scene.network.index(&grant.nodes[0].key).unwrap();
    scene.network.set(first, Conduct::Accepts(None));
    scene.revoke(&grant).await.unwrap();
    assert_eq!(payers(&scene) - paid, 2);
}

#[tokio::test(start_paused = true)]
async fn when_all_accept_and_none_writes_the_end_comes_and_each_is_named() {
    let scene = scene(Duration::from_secs(12));
    all(&scene, &Conduct::Accepts(None));
    let begun = tokio::time::Instant::now();
    let error = scene.grant().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRecorded(_)), "{error:?}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_lost_after_it_has_accepted_need_not_be_replaced() {
    let scene = scene(Duration::from_secs(36));
    all(&scene, &Conduct::Accepts(Some(Duration::from_secs(40))));
    let network = Arc::clone(&scene.network);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        (0..NODES).for_each(|node| network.set(node, Conduct::Dead));
    });
    scene.grant().await.unwrap();
    assert_eq!(payers(&scene), 1);
}
