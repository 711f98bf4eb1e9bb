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
    let bare = bare();
    row(
        "re-encrypt, the library alone; per processor second",
        format!("{bare:.0}"),
        "",
    );
    let devnet = Devnet::start(1);
    let world = World::new(&devnet).await;
    for (capsules, requests, goal) in [(32, 384, "≥ 70 %"), (1, 3000, "")] {
        let before = machine::seconds(Some(devnet.pid(1)));
        let took = world.ask(capsules, requests).await;
        let used = machine::seconds(Some(devnet.pid(1))) - before;
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
    let (one, two) = (on_cores(1).await, on_cores(2).await);
    row(
        "32 capsules in a request, on one core and on two; per second",
        format!("{one:.0} and {two:.0}, {:.2} times", two / one),
        "≥ 1.8 times",
    );
}

/// How many re-encryptions the library does in a second of one processor.
fn bare() -> f64 {
    let policy = Policy::new(NETWORK, now(), now() + 3600, 1, 1);
    let fragment = KeyFrag::from_bytes(&policy.frags[0].to_bytes()).unwrap();
    let fragment = fragment.verify(&policy.params).unwrap();
    let fragment = VerifiedKeyFrag::from_bytes_trusted(&fragment.to_bytes()).unwrap();
    let capsules: Vec<_> = (0..64).map(|_| capsule(&policy)).collect();
    let (mut done, before) = (0_u32, machine::seconds(None));
    loop {
        for capsule in &capsules {
            let capsule = Capsule::from_bytes(capsule).unwrap();
            let answer = fragment.reencrypt(&mut rng(), &capsule).unwrap();
            std::hint::black_box(answer.to_bytes());
            done += 1;
        }
        let used = machine::seconds(None) - before;
        if used > 2.0 {
            return f64::from(done) / used;
        }
    }
}

fn capsule(policy: &Policy) -> Vec<u8> {
    let label = policy.label.public();
    let made = encapsulate(&mut rng(), SchemeId::SPLIT_ECIES, &label, &policy.context);
    made.unwrap().0.to_bytes()
}

async fn on_cores(count: usize) -> f64 {
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
    let took = world.ask(32, 768).await;
    32.0 * 768.0 / took
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

    /// Asks so many times, with so many capsules each time; how long it took, in seconds.
    async fn ask(&self, capsules: usize, requests: usize) -> f64 {
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
        let started = Instant::now();
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
        started.elapsed().as_secs_f64()
    }
}
