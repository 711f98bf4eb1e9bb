//! Somebody is struck down at each step of granting and revoking: the owner, or one of the nodes.

use std::sync::Arc;
use std::time::Duration;

use kms_client::{Client, ClientError};
use kms_proto::ledger::PolicyState;
use kms_proto::message::AuditEntry;

use crate::link::Link;
use crate::people::Share;
use crate::world::{Weather, World, run};

const NODES: usize = 6;

async fn world() -> Arc<World> {
    World::new(NODES, 0.0, Weather::CALM).await
}

/// Does something until it is done or its owner is struck down.
async fn until_death<T>(line: &Link, deed: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = deed => Some(done),
        () = line.died() => None,
    }
}

/// Opens again and again with exactly as many nodes as are needed, while connections break.
pub fn opens_while_connections_break(seed: u64) {
    const OPENS: u64 = 40;
    run(seed, async {
        let weather = Weather {
            breaks: 0.06,
            ..Weather::CALM
        };
        let world = World::new(3, 0.0, weather).await;
        let share = Share::new(&world, 3, 3);
        let (owner, _line) = world.client();
        while share.grant(&owner).await.is_err() {}
        // Until the slowest clock has passed the time of the grant, by which it is held back.
        tokio::time::sleep(Duration::from_secs(60)).await;
        for number in 0..OPENS {
            let opened = opens(&world, &share).await;
            assert!(opened.is_ok(), "KMS_SIM_SEED={seed}, {number}: {opened:?}");
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        // Whatever was asked twice is one use.
        for node in world.nodes() {
            let node = node.running().expect("nobody has left");
            node.audit().finish();
            let told = node.audit().extract(&share.policy(), 0).expect("kept");
            let told = told.entries.iter();
            let told = told.map(|it| AuditEntry::from_bytes(it).expect("sound").before + 1);
            assert_eq!(told.sum::<u64>(), OPENS, "KMS_SIM_SEED={seed}");
        }
    });
}

async fn opens(world: &Arc<World>, share: &Share) -> Result<(), ClientError> {
    // Until everybody sees what was written.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (reader, _line): (Client, _) = world.client();
    share.open(&reader).await
}

/// How an owner goes on after a restart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// As kmsfs does: what was not acknowledged is taken back, and granted by a policy of its own.
    Anew,
    /// The very same request.
    Same,
}

/// The owner dies at `step` of granting; false if there were fewer steps.
pub fn owner_dies_granting(step: usize, retry: Retry) -> bool {
    run(step as u64, async {
        let world = world().await;
        let share = Share::new(&world, 2, 3);
        let (owner, line) = world.client();
        line.die_at(step);
        let acknowledged = until_death(&line, share.grant(&owner)).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        match (&acknowledged, world.ledger.policy(&share.policy())) {
            (_, PolicyState::Live(_)) => {
                assert!(share.is_whole(&world), "step {step}: half a grant");
                opens(&world, &share)
                    .await
                    .expect("a grant that is there opens");
            }
            (None, PolicyState::Unknown) => {
                let refused = opens(&world, &share).await;
                assert!(
                    matches!(refused, Err(ClientError::NotGranted)),
                    "step {step}: {refused:?}"
                );
            }
            other => panic!("step {step}: {other:?}"),
        }
        let mut share = share;
        if acknowledged.is_none() {
            if retry == Retry::Anew {
                let again = Arc::new(share.again());
                share.take_back(&world).await;
                share = again;
            }
            let (owner, _line) = world.client();
            share.grant(&owner).await.expect("the second try is made");
            assert!(
                share.is_whole(&world),
                "step {step}: half a grant after the second try"
            );
            opens(&world, &share).await.expect("and opens");
        }
        // What lies about without a grant goes away by itself.
        tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
        let kept = world.nodes().iter().map(|node| node.held()).sum::<u64>();
        assert_eq!(kept, 3, "step {step}: each fragment once");
        opens(&world, &share).await.expect("and goes on opening");
        acknowledged.is_none()
    })
}

/// The owner dies at `step` of revoking; false if there were fewer steps.
pub fn owner_dies_revoking(step: usize) -> bool {
    run(step as u64, async {
        let world = world().await;
        let share = Share::new(&world, 2, 3);
        share.grant(&world.client().0).await.expect("granted");
        let (owner, line) = world.client();
        line.die_at(step);
        let acknowledged = until_death(&line, share.revoke(&owner)).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        match world.ledger.policy(&share.policy()) {
            PolicyState::Live(_) => {
                assert!(
                    acknowledged.is_none(),
                    "step {step}: acknowledged and not there"
                );
                opens(&world, &share)
                    .await
                    .expect("not revoked is not revoked");
            }
            PolicyState::Revoked { .. } => {
                let refused = opens(&world, &share).await;
                assert!(
                    matches!(refused, Err(ClientError::Revoked { .. })),
                    "step {step}: {refused:?}"
                );
            }
            other => panic!("step {step}: {other:?}"),
        }
        let (owner, _line) = world.client();
        share.revoke(&owner).await.expect("the second try is made");
        let kept = world.nodes().iter().map(|node| node.held()).sum::<u64>();
        assert_eq!(kept, 0, "step {step}: all fragments are gone");
        assert_eq!(world.records.leaks(), [""; 0]);
        acknowledged.is_none()
    })
}

/// The power of a node fails at an operation of its disk, while a grant is made and then revoked. False if there were
/// fewer operations.
pub fn node_dies(operation: u32) -> bool {
    run(u64::from(operation), async {
        let world = world().await;
        let share = Share::new(&world, 2, 3);
        // All have been started: starting is not what is looked at.
        for node in world.nodes() {
            assert!(node.boot());
            node.disk.fail_after(operation);
        }
        let (owner, _line) = world.client();
        // The power of all fails at the same point: the worst there is.
        let granted = share.grant(&owner).await.is_ok();
        let failed = world
            .nodes()
            .iter()
            .any(|node| node.disk.has_failed() || node.is_down());
        world.heal().await;
        let live = matches!(world.ledger.policy(&share.policy()), PolicyState::Live(_));
        assert!(
            live || !granted,
            "operation {operation}: acknowledged and not there"
        );
        if live {
            assert!(
                share.is_whole(&world),
                "operation {operation}: half a grant"
            );
            opens(&world, &share)
                .await
                .expect("a grant that is there opens");
        }
        for node in world.nodes() {
            node.disk.fail_after(operation);
        }
        let revoked = share.revoke(&owner).await.is_ok();
        world.heal().await;
        if revoked {
            assert!(opens(&world, &share).await.is_err(), "revoked");
            let policy = share.policy();
            let kept = world.nodes().iter().any(|it| it.kept(&policy).is_some());
            assert!(!kept, "operation {operation}: a revoked fragment is kept");
        }
        assert_eq!(world.records.leaks(), [""; 0]);
        failed
    })
}

/// A node that leaves is struck down at `step` of handing over; false if there were fewer steps.
pub fn leaver_dies(step: usize) -> bool {
    run(step as u64, async {
        let world = world().await;
        let share = Share::new(&world, 2, 3);
        share.grant(&world.client().0).await.expect("granted");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leaver = Arc::clone(&share.holders(&world)[0]);
        let line = Arc::new(Link::of_node(&world, leaver.key));
        line.die_at(step);
        let left = until_death(&line, leaver.retire(&world, &line)).await;
        if left.is_none() {
            leaver.crash();
            tokio::time::sleep(Duration::from_secs(10)).await;
            world.heal().await;
            assert!(share.is_whole(&world), "step {step}: a fragment is nowhere");
            opens(&world, &share).await.expect("it opens in between");
            let line = Arc::new(Link::of_node(&world, leaver.key));
            leaver.retire(&world, &line).await;
        }
        has_moved(&world, &share).await;
        left.is_none()
    })
}

/// The power of all nodes fails at an operation of their disks while one hands over. False if there were fewer.
pub fn power_fails_handing_over(operation: u32) -> bool {
    run(u64::from(operation), async {
        let world = world().await;
        let share = Share::new(&world, 2, 3);
        share.grant(&world.client().0).await.expect("granted");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leaver = Arc::clone(&share.holders(&world)[0]);
        for node in world.nodes() {
            assert!(node.boot());
            node.disk.fail_after(operation);
        }
        let line = Arc::new(Link::of_node(&world, leaver.key));
        let leaving = {
            let (world, leaver) = (Arc::clone(&world), Arc::clone(&leaver));
            tokio::spawn(async move { leaver.retire(&world, &line).await })
        };
        tokio::time::sleep(Duration::from_secs(30)).await;
        let nodes = world.nodes();
        let failed = nodes
            .iter()
            .any(|node| node.disk.has_failed() || node.is_down());
        world.heal().await;
        assert!(
            share.is_whole(&world),
            "operation {operation}: a fragment is nowhere"
        );
        leaving.await.expect("leaving does not panic");
        has_moved(&world, &share).await;
        failed
    })
}

/// What holds when a holder has left.
async fn has_moved(world: &Arc<World>, share: &Share) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(share.is_whole(world), "the new holder has the fragment");
    let holders = share.holders(world);
    assert!(
        holders.iter().all(|node| !node.is_gone()),
        "nobody who left is named"
    );
    opens(world, share).await.expect("and it opens");
}
