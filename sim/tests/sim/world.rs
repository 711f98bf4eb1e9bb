//! The world: its clock, its nodes, its weather.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::{Arc, Once};
use std::time::Duration;

use kms_client::{Client, ClientConfig};
use kms_crypto::key::PublicKey;
use kms_ledger::{Clock, machine};
use kms_proto::ledger::Ledger;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::chance;
use crate::conduct::Conduct;
use crate::ledger::{SharedLedger, Sight};
use crate::link::Link;
use crate::node::{SimNode, skew};
use crate::records::Records;

pub const NETWORK: &str = "sim";
const EPOCH: u64 = 1_800_000_000;

/// How the network is today.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Shortest and longest time of a message, one way.
    pub delay: (Duration, Duration),
    /// How many packets are lost. Under a reliable stream that shows as waiting for their repetition.
    pub loss: f64,
    /// How many messages a connection breaks under.
    pub breaks: f64,
}

impl Weather {
    pub const CALM: Self = Self {
        delay: (Duration::from_millis(5), Duration::from_millis(50)),
        loss: 0.0,
        breaks: 0.0,
    };
    pub const ROUGH: Self = Self {
        delay: (Duration::from_millis(5), Duration::from_millis(150)),
        loss: 0.05,
        breaks: 0.005,
    };
}

pub struct World {
    pub ledger: Arc<SharedLedger>,
    pub weather: Weather,
    pub records: Records,
    dishonest: f64,
    started: Instant,
    nodes: Mutex<Vec<Arc<SimNode>>>,
    by_key: Mutex<HashMap<PublicKey, Arc<SimNode>>>,
    trace: Mutex<std::hash::DefaultHasher>,
}

impl World {
    /// Nodes that have registered; this share of them is dishonest.
    pub async fn new(count: usize, dishonest: f64, weather: Weather) -> Arc<Self> {
        let started = Instant::now();
        let clock: Clock = Arc::new(move || EPOCH + started.elapsed().as_secs());
        let world = Arc::new(Self {
            ledger: Arc::new(SharedLedger::new(NETWORK, clock)),
            weather,
            records: Records::default(),
            dishonest,
            started,
            nodes: Mutex::default(),
            by_key: Mutex::default(),
            trace: Mutex::default(),
        });
        for _ in 0..count {
            world.add_node();
        }
        // Until everybody sees them.
        tokio::time::sleep(Duration::from_secs(2)).await;
        world
    }

    /// The true time, Unix seconds.
    pub fn now(&self) -> u64 {
        EPOCH + self.started.elapsed().as_secs()
    }

    pub fn add_node(&self) {
        let (started, skew) = (self.started, skew());
        let clock: Clock =
            Arc::new(move || (EPOCH + started.elapsed().as_secs()).saturating_add_signed(skew));
        let lag = chance::between(Duration::ZERO, Duration::from_secs(1));
        let conduct = Conduct::random(self.dishonest);
        let node = Arc::new(SimNode::new(self, conduct, clock, lag));
        self.by_key.lock().insert(node.key, Arc::clone(&node));
        self.nodes.lock().push(node);
    }

    pub fn node(&self, key: &PublicKey) -> Option<Arc<SimNode>> {
        self.by_key.lock().get(key).cloned()
    }

    pub fn nodes(&self) -> Vec<Arc<SimNode>> {
        self.nodes.lock().clone()
    }

    /// A person's client, and the line it speaks over.
    pub fn client(self: &Arc<Self>) -> (Client, Arc<Link>) {
        let lag = chance::between(Duration::ZERO, Duration::from_millis(500));
        let sight: Arc<dyn Ledger> = Arc::new(Sight::new(&self.ledger, lag, false));
        let link = Arc::new(Link::new(self));
        let mut config = ClientConfig::new(NETWORK, sight, Arc::<Link>::clone(&link));
        let started = self.started;
        config.clock = Arc::new(move || EPOCH + started.elapsed().as_secs());
        (Client::new(config), link)
    }

    /// Lets a message travel; whether it arrives.
    pub async fn travel(&self) -> bool {
        let Weather {
            delay,
            loss,
            breaks,
        } = self.weather;
        let mut takes = chance::between(delay.0, delay.1);
        let mut repeat_after = FIRST_REPETITION;
        let mut arrives = !chance::happens(breaks);
        for tries in 1.. {
            if !chance::happens(loss) {
                break;
            }
            takes += repeat_after;
            repeat_after *= 2;
            if tries == REPETITIONS {
                arrives = false;
                break;
            }
        }
        tokio::time::sleep(takes).await;
        arrives
    }

    /// Takes note of something that happened, so that two runs can be compared.
    pub fn note(&self, what: &[u8]) {
        let mut trace = self.trace.lock();
        trace.write_u128(self.started.elapsed().as_nanos());
        trace.write(what);
    }

    /// A hash over everything that happened.
    pub fn trace(&self) -> u64 {
        self.trace.lock().finish()
    }

    /// Everybody who is away and not gone comes back, and time is given to get well.
    pub async fn heal(&self) {
        for node in self.nodes() {
            if node.is_on_island() {
                node.move_to_island(false);
            }
            node.disk.secure();
            if node.disk.has_failed() {
                node.crash();
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        for node in self.nodes().iter().filter(|node| node.is_down()) {
            assert!(node.boot(), "a node starts when the ledger is there");
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// As TCP does it.
const FIRST_REPETITION: Duration = Duration::from_millis(200);
const REPETITIONS: u32 = 6;

/// Runs a world of its own to its end. Everything follows from the seed.
pub fn run<T>(seed: u64, life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads");
    watch_for_panics();
    let simulated = machine::simulate(seed);
    let result = runtime.block_on(life);
    drop(runtime);
    drop(simulated);
    assert!(!PANICKED.take(), "KMS_SIM_SEED={seed}: something panicked");
    result
}

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// A task that panics ends quietly; here it must not.
fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.set(true);
            usual(panic);
        }));
    });
}
