//! Revocations race requests for re-encryption, at nodes in contact with the ledger and at nodes cut off from it.

use std::sync::Arc;
use std::time::Duration;

use crate::chance;
use crate::people::Share;
use crate::records::Releases;
use crate::world::{Weather, World, run};

/// How many races one world has at a time.
const TOGETHER: usize = 50;
const NODES: usize = 30;
const READERS: usize = 4;

/// What came of some races.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub races: usize,
    pub releases: Releases,
    pub leaks: Vec<String>,
}

impl Outcome {
    pub fn add(&mut self, other: Self) {
        self.races += other.races;
        self.releases.all += other.releases.all;
        self.releases.late += other.releases.late;
        self.releases.cut_off += other.releases.cut_off;
        self.leaks.extend(other.leaks);
    }
}

/// One world with some races in it.
pub fn race(seed: u64) -> Outcome {
    run(seed, async {
        let world = World::new(NODES, 0.0, Weather::ROUGH).await;
        let races: Vec<_> = (0..TOGETHER)
            .map(|_| tokio::spawn(one_race(Arc::clone(&world))))
            .collect();
        let mut outcome = Outcome::default();
        for race in races {
            outcome.races += usize::from(race.await.expect("a race does not panic"));
        }
        outcome.releases = world.records.releases();
        outcome.leaks = world.records.leaks();
        outcome
    })
}

/// One of the share's holders loses the ledger for a while and is reached by everybody all the same.
async fn cut_one_off(world: Arc<World>, share: Arc<Share>) {
    let holders = share.holders(&world);
    if holders.is_empty() {
        return;
    }
    let node = Arc::clone(chance::one_of(&holders));
    node.sight.cut();
    let away = chance::between(Duration::from_secs(5), Duration::from_secs(100));
    tokio::time::sleep(away).await;
    node.sight.mend();
}

/// Whether it took place.
async fn one_race(world: Arc<World>) -> bool {
    let share = Share::new(&world, 1, 2);
    let owner = world.client().0;
    tokio::time::sleep(chance::between(Duration::ZERO, Duration::from_secs(30))).await;
    if share.grant(&owner).await.is_err() {
        return false;
    }
    // So that nodes have an answer of the ledger's on which they could go on.
    share.insist(&world).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let (world, share) = (Arc::clone(&world), Arc::clone(&share));
        // Most come about the time of the revocation; some come when a lease may be over.
        let span = *chance::one_of(&[1, 3, 5, 70]);
        let after = chance::between(Duration::ZERO, Duration::from_secs(span));
        readers.push(tokio::spawn(async move {
            tokio::time::sleep(after).await;
            share.insist(&world).await;
        }));
    }
    if chance::happens(0.2) {
        tokio::spawn(cut_one_off(Arc::clone(&world), Arc::clone(&share)));
    }
    tokio::time::sleep(chance::between(Duration::ZERO, Duration::from_secs(3))).await;
    let revoked = share.revoke(&owner).await.is_ok();
    for reader in readers {
        reader.await.expect("readers do not panic");
    }
    revoked
}
