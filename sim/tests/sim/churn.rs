//! Nodes come and go, lie, and messages are late: what was granted stays granted, and opens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kms_proto::ledger::PolicyState;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::chance;
use crate::conduct::Conduct;
use crate::link::Link;
use crate::node::SimNode;
use crate::people::{Share, some_time};
use crate::world::{Weather, World, run};

/// What happens in how much time.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub nodes: usize,
    pub time: Duration,
    /// How many of the nodes come or go in an hour.
    pub churn: f64,
    pub dishonest: f64,
    pub weather: Weather,
    pub threshold: (u8, u8),
    pub grants: usize,
    pub opens: usize,
    pub revocations: usize,
}

impl Plan {
    pub const HARD: Self = Self {
        nodes: 1000,
        time: Duration::from_secs(1800),
        churn: 0.30,
        dishonest: 0.10,
        weather: Weather::ROUGH,
        threshold: (3, 5),
        grants: 20,
        opens: 200,
        revocations: 4,
    };
}

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    pub granted: usize,
    /// Grants that were not acknowledged.
    pub refused: usize,
    /// Acknowledged grants of which a fragment or the entry is gone.
    pub lost: usize,
    /// Grants that were not acknowledged and are there by half.
    pub halves: usize,
    /// Opens with enough honest holders in reach all the time, and how many of them succeeded.
    pub fair: usize,
    pub opened: usize,
    /// Opens with fewer, and how many of them succeeded all the same.
    pub unfair: usize,
    pub lucky: usize,
    pub revoked: usize,
    pub crashes: usize,
    pub departures: usize,
    /// How many of them had fragments to hand over.
    pub handovers: usize,
    /// What was given out, or kept from somebody, and should not have been.
    pub complaints: Vec<String>,
    /// A hash over all that happened.
    pub trace: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.granted, other.granted),
            (&mut self.refused, other.refused),
            (&mut self.lost, other.lost),
            (&mut self.halves, other.halves),
            (&mut self.fair, other.fair),
            (&mut self.opened, other.opened),
            (&mut self.unfair, other.unfair),
            (&mut self.lucky, other.lucky),
            (&mut self.revoked, other.revoked),
            (&mut self.crashes, other.crashes),
            (&mut self.departures, other.departures),
            (&mut self.handovers, other.handovers),
        ] {
            *sum += more;
        }
        self.complaints.extend(other.complaints);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} granted ({} not acknowledged), {} lost, {} halves; opened {} of {} (with too few honest holders in \
             reach {} of {}); {} revoked; {} crashes, {} left for good, {} of them handing over; {} complaints",
            self.granted,
            self.refused,
            self.lost,
            self.halves,
            self.opened,
            self.fair,
            self.lucky,
            self.unfair,
            self.revoked,
            self.crashes,
            self.departures,
            self.handovers,
            self.complaints.len(),
        )
    }
}

struct Story {
    world: Arc<World>,
    plan: Plan,
    tally: Mutex<Tally>,
    live: Mutex<Vec<Arc<Share>>>,
    unacknowledged: Mutex<Vec<Arc<Share>>>,
    revoked: Mutex<Vec<Arc<Share>>>,
    leaving: Mutex<Vec<Arc<SimNode>>>,
}

/// How long a node may take to leave when all is well again: ten minutes if whoever has taken its last fragment says so
/// and does not have it (WIRE §7.2), and a little for the rest. Three hundred seconds were too few for one seed in fifty.
const LEAVES_WITHIN: Duration = Duration::from_secs(900);

/// Lives through a plan.
pub fn live_through(seed: u64, plan: Plan) -> Tally {
    run(seed, async move {
        let story = Arc::new(Story {
            world: World::new(plan.nodes, plan.dishonest, plan.weather).await,
            plan,
            tally: Mutex::default(),
            live: Mutex::default(),
            unacknowledged: Mutex::default(),
            revoked: Mutex::default(),
            leaving: Mutex::default(),
        });
        let mut people = Vec::new();
        for _ in 0..plan.grants {
            people.push(tokio::spawn(Arc::clone(&story).grants()));
        }
        for _ in 0..plan.opens {
            people.push(tokio::spawn(Arc::clone(&story).opens()));
        }
        for _ in 0..plan.revocations {
            people.push(tokio::spawn(Arc::clone(&story).revokes()));
        }
        let trouble = [
            tokio::spawn(Arc::clone(&story).comes_and_goes()),
            tokio::spawn(Arc::clone(&story).drifts_off()),
        ];
        for person in people {
            person.await.expect("people do not panic");
        }
        trouble.iter().for_each(JoinHandle::abort);
        story.world.heal().await;
        story.await_departures().await;
        story.judge().await;
        let mut tally = story.tally.lock().clone();
        tally.complaints.extend(story.world.records.leaks());
        tally.trace = story.world.trace();
        tally
    })
}

impl Story {
    fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.tally.lock());
    }

    fn complain(&self, what: String) {
        self.tally.lock().complaints.push(what);
    }

    async fn grants(self: Arc<Self>) {
        // Early enough to be used.
        some_time(self.plan.time / 2).await;
        let (owner, _line) = self.world.client();
        let (needed, total) = self.plan.threshold;
        let share = Share::new(&self.world, needed, total);
        match share.grant(&owner).await {
            Ok(_) => {
                self.count(|it| it.granted += 1);
                self.live.lock().push(share);
            }
            Err(_) => {
                self.count(|it| it.refused += 1);
                self.unacknowledged.lock().push(Arc::clone(&share));
                share.take_back(&self.world).await;
            }
        }
    }

    async fn opens(self: Arc<Self>) {
        some_time(self.plan.time).await;
        let share = {
            let live = self.live.lock();
            if live.is_empty() {
                return;
            }
            Arc::clone(chance::one_of(&live))
        };
        self.open_once(&share).await;
    }

    async fn open_once(&self, share: &Arc<Share>) {
        let (reader, _line) = self.world.client();
        let (began, holders) = (Instant::now(), share.holders(&self.world));
        let opened = share.open(&reader).await;
        if self.world.ledger.revoked_at(&share.policy()).is_some() {
            return;
        }
        // Those who were named when it began, and were there for everybody all the time.
        let holders = holders.iter().filter(|node| node.serves_since(began));
        let holders = holders.count();
        let fair = holders >= usize::from(share.threshold.needed());
        self.count(|it| match (fair, &opened) {
            (true, Ok(())) => (it.fair, it.opened) = (it.fair + 1, it.opened + 1),
            (true, Err(_)) => it.fair += 1,
            (false, Ok(())) => (it.unfair, it.lucky) = (it.unfair + 1, it.lucky + 1),
            (false, Err(_)) => it.unfair += 1,
        });
        if let (true, Err(error)) = (fair, opened) {
            let took = began.elapsed();
            self.complain(format!(
                "not opened with {holders} honest holders in reach, after {took:?}: {error}"
            ));
        }
    }

    async fn revokes(self: Arc<Self>) {
        tokio::time::sleep(self.plan.time / 2).await;
        some_time(self.plan.time / 2).await;
        let share = {
            let mut live = self.live.lock();
            if live.is_empty() {
                return;
            }
            let chosen = chance::below(live.len());
            live.swap_remove(chosen)
        };
        let (owner, _line) = self.world.client();
        match share.revoke(&owner).await {
            Ok(_) => {
                self.count(|it| it.revoked += 1);
                self.revoked.lock().push(share);
            }
            Err(_) => self.unacknowledged.lock().push(share),
        }
    }

    async fn comes_and_goes(self: Arc<Self>) {
        let each_hour = self.plan.churn * self.plan.nodes as f64;
        let mean = Duration::from_secs_f64(3600.0 / each_hour.max(1e-9));
        loop {
            tokio::time::sleep(chance::gap(mean)).await;
            let nodes = self.world.nodes();
            let node = Arc::clone(chance::one_of(&nodes));
            if node.is_gone() || node.is_down() {
                continue;
            }
            if chance::happens(0.4) {
                self.count(|it| it.departures += 1);
                if node.held() == 0 || node.conduct != Conduct::Honest {
                    node.leave();
                } else {
                    self.count(|it| it.handovers += 1);
                    let world = Arc::clone(&self.world);
                    self.leaving.lock().push(Arc::clone(&node));
                    tokio::spawn(async move {
                        let line = Arc::new(Link::of_node(&world, node.key));
                        node.retire(&world, &line).await;
                    });
                }
                self.world.add_node();
                continue;
            }
            self.count(|it| it.crashes += 1);
            if chance::happens(0.5) {
                // Some machines go down in the middle of something.
                node.disk.fail_after(1 + chance::below(8) as u32);
            } else {
                node.crash();
            }
            let away = chance::between(Duration::from_secs(5), Duration::from_secs(600));
            tokio::spawn(async move {
                tokio::time::sleep(away).await;
                node.disk.secure();
                if node.disk.has_failed() {
                    node.crash();
                }
                while !node.boot() {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            });
        }
    }

    /// Now and then a part of the nodes is out of everybody's reach.
    async fn drifts_off(self: Arc<Self>) {
        loop {
            tokio::time::sleep(chance::gap(Duration::from_secs(400))).await;
            let nodes = self.world.nodes();
            let gone = nodes
                .into_iter()
                .filter(|node| !node.is_gone() && chance::happens(0.1));
            let gone: Vec<_> = gone.collect();
            gone.iter().for_each(|node| node.move_to_island(true));
            tokio::time::sleep(chance::between(
                Duration::from_secs(5),
                Duration::from_secs(180),
            ))
            .await;
            gone.iter().for_each(|node| node.move_to_island(false));
        }
    }

    /// Whoever wants to leave must be able to.
    async fn await_departures(&self) {
        let leaving = self.leaving.lock().clone();
        let latest = Instant::now() + LEAVES_WITHIN;
        for node in leaving {
            while !node.is_gone() && Instant::now() < latest {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            if !node.is_gone() {
                let state = node.running().and_then(|node| node.retirement());
                self.complain(format!("a node cannot leave: {state:?}"));
            }
        }
    }

    /// Looks at everything when the storm is over.
    async fn judge(&self) {
        let live = self.live.lock().clone();
        for share in live {
            if !share.is_whole(&self.world) {
                self.count(|it| it.lost += 1);
            }
            self.open_once(&share).await;
        }
        let unacknowledged = self.unacknowledged.lock().clone();
        for share in unacknowledged {
            let live = matches!(
                self.world.ledger.policy(&share.policy()),
                PolicyState::Live(_)
            );
            if live && !share.is_whole(&self.world) {
                self.count(|it| it.halves += 1);
            }
        }
        let revoked = self.revoked.lock().clone();
        for share in revoked {
            let (reader, _line) = self.world.client();
            if share.open(&reader).await.is_ok() {
                self.complain("a revoked grant opens".to_owned());
            }
            let policy = share.policy();
            let nodes = self.world.nodes();
            let honest = nodes.iter().filter(|node| node.conduct == Conduct::Honest);
            if honest.filter(|node| node.kept(&policy).is_some()).count() > 0 {
                self.complain("a fragment of a revoked grant is still kept".to_owned());
            }
        }
    }
}
