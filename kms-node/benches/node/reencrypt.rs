//! Re-encryption by one node, asked over TCP, beside the library alone.

use std::time::Instant;

use futures::StreamExt;
use kms_crypto::id::SchemeId;
use kms_crypto::scheme::{Capsule, KeyFrag, VerifiedKeyFrag, encapsulate};
use kms_net::NetClient;
use kms_proto::message::Response;
use kms_proto::transport::Transport;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::devnet::{Devnet, NETWORK, PATIENCE, now};
use crate::policy::{Policy, rng};
use crate::{machine, row};

/// Few enough for what a node lets a peer ask, and a peer about a policy, at once.
const PEERS: usize = 8;
const POLICIES: usize = 16;
const AT_ONCE: usize = 64;

pub(crate) async fn measure() {
    let alone = Alone::new();
    let bare = alone.per_processor_second();
    row(
        "re-encrypt, the library alone; per processor second",
        format!("{bare:.0}"),
        "",
    );
    let devnet = Devnet::start(1);
    let world = World::new(&devnet).await;
    for (capsules, requests, goal) in [(32, 384, "≥ 70 %"), (1, 3000, "")] {
        let node = Some(devnet.pid(1));
        let (took, used) = world
            .ask(capsules, requests, || machine::seconds(node))
            .await;
        let done = (capsules * requests) as f64;
        row(
            &format!(
                "the same by a node over TCP, {capsules} capsules in a request; per processor second"
            ),
            format!(
                "{:.0}, {:.0} % of the library",
                done / used,
                100.0 * done / used / bare
            ),
            goal,
        );
        row("the same; per second", format!("{:.0}", done / took), "");
    }
    drop(world);
    drop(devnet);
    let (one, two) = (alone.on_threads(1), alone.on_threads(2));
    row(
        "the library alone, on one thread and on two: what this machine's second core is worth; per second",
        format!("{one:.0} and {two:.0}, {:.2} times", two / one),
        "",
    );
    let (one, two) = (on_cores(1).await, on_cores(2).await);
    row(
        "32 capsules in a request, on one core and on two; per second",
        format!(
            "{:.0} and {:.0}, {:.2} times (who asks uses {:.2} and {:.2} cores)",
            one.rate,
            two.rate,
            two.rate / one.rate,
            one.asker,
            two.asker
        ),
        "≥ 1.8 times",
    );
}

/// The library without a node.
struct Alone {
    fragment: VerifiedKeyFrag,
    capsules: Vec<Vec<u8>>,
}

impl Alone {
    fn new() -> Self {
        let policy = Policy::new(NETWORK, now(), now() + 3600, 1, 1);
        let fragment = KeyFrag::from_bytes(&policy.frags[0].to_bytes()).unwrap();
        let fragment = fragment.verify(&policy.params).unwrap();
        Self {
            fragment: VerifiedKeyFrag::from_bytes_trusted(&fragment.to_bytes()).unwrap(),
            capsules: (0..64).map(|_| capsule(&policy)).collect(),
        }
    }

    /// Re-encrypts every capsule once.
    fn all(&self) -> f64 {
        for capsule in &self.capsules {
            let capsule = Capsule::from_bytes(capsule).unwrap();
            let answer = self.fragment.reencrypt(&mut rng(), &capsule).unwrap();
            std::hint::black_box(answer.to_bytes());
        }
        self.capsules.len() as f64
    }

    /// How many it does in a second of one processor.
    fn per_processor_second(&self) -> f64 {
        let (mut done, before) = (0.0, machine::seconds(None));
        loop {
            done += self.all();
            let used = machine::seconds(None) - before;
            if used > 2.0 {
                return done / used;
            }
        }
    }

    /// How many so many threads do together in a second.
    fn on_threads(&self, threads: usize) -> f64 {
        let started = Instant::now();
        let one = || {
            let mut done = 0.0;
            while started.elapsed().as_secs() < 3 {
                done += self.all();
            }
            done
        };
        let done: f64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        done / started.elapsed().as_secs_f64()
    }
}

fn capsule(policy: &Policy) -> Vec<u8> {
    let label = policy.label.public();
    let made = encapsulate(&mut rng(), SchemeId::SPLIT_ECIES, &label, &policy.context);
    made.unwrap().0.to_bytes()
}

/// What a node on some cores does.
struct OnCores {
    /// Re-encryptions in a second.
    rate: f64,
    /// Cores that asking alone took.
    asker: f64,
}

async fn on_cores(count: usize) -> OnCores {
    // Before it starts: it counts the processors it may use.
    let restrict = |count| {
        let mut cores = CpuSet::new();
        (0..count).for_each(|core| cores.set(core).unwrap());
        sched_setaffinity(Pid::from_raw(0), &cores)
    };
    // This thread alone, and what it starts.
    let devnet = std::thread::spawn(move || {
        restrict(count).unwrap();
        Devnet::start(1)
    });
    let devnet = devnet.join().unwrap();
    let world = World::new(&devnet).await;
    let this = Some(nix::unistd::getpid());
    let (took, used) = world.ask(32, 768, || machine::seconds(this)).await;
    OnCores {
        rate: 32.0 * 768.0 / took,
        asker: used / took,
    }
}

/// Peers and policies of one node.
struct World {
    clients: Vec<NetClient>,
    policies: Vec<Policy>,
    node: kms_crypto::key::PublicKey,
    addresses: Vec<String>,
}

impl World {
    async fn new(devnet: &Devnet) -> Self {
        let (node, addresses) = (devnet.keys()[0], devnet.bootstrap.clone());
        let world = Self {
            clients: (0..PEERS).map(|_| devnet.client()).collect(),
            policies: (0..POLICIES)
                .map(|_| Policy::new(NETWORK, now(), now() + 3600, 1, 1))
                .collect(),
            node,
            addresses,
        };
        for (policy, client) in world.policies.iter().zip(world.clients.iter().cycle()) {
            for message in [policy.store(&node, 0), policy.grant(vec![node])] {
                let answer = client
                    .call(&node, &world.addresses, message, PATIENCE)
                    .await;
                let answer = Response::from_bytes(&answer.unwrap()).unwrap();
                assert!(!matches!(answer, Response::Refused(_)), "{answer:?}");
            }
        }
        world
    }

    /// Asks so many times, with so many capsules each time; how long it took, in seconds, and what `used` grew by.
    async fn ask(&self, capsules: usize, requests: usize, used: impl Fn() -> f64) -> (f64, f64) {
        let asked = (0..requests).map(|number| {
            let policy = &self.policies[number % POLICIES];
            let capsules = (0..capsules).map(|_| policy.capsule.to_bytes()).collect();
            let client = &self.clients[number / POLICIES % PEERS];
            (
                client,
                policy.reencrypt_as(&self.node, &policy.recipient, capsules),
            )
        });
        // Signed before the clock runs.
        let asked: Vec<_> = asked.collect();
        let (started, before) = (Instant::now(), used());
        futures::stream::iter(asked)
            .map(|(client, message)| client.call(&self.node, &self.addresses, message, PATIENCE))
            .buffer_unordered(AT_ONCE)
            .for_each(|answer| async {
                let answer = Response::from_bytes(&answer.unwrap()).unwrap();
                let Response::Reencrypted { fragments } = answer else {
                    panic!("{answer:?}");
                };
                assert!(fragments.iter().all(Result::is_ok));
            })
            .await;
        (started.elapsed().as_secs_f64(), used() - before)
    }
}
