//! Fetching a key from m of n nodes of which all that can be spared lie.

use std::time::Instant;

use kms_proto::codec::{self, Kind};

use crate::devnet::{NETWORK, now};
use crate::liar::{Lie, World};
use crate::policy::Policy;
use crate::{percentile, row};

const TIMES: usize = 200;
/// Several, because a node answers only so often about one.
const POLICIES: usize = 8;

pub(crate) async fn measure() {
    let world = World::new().await;
    let nodes = world.nodes(3, 2);
    let mut policies = Vec::new();
    for _ in 0..POLICIES {
        let policy = Policy::new(NETWORK, now(), now() + 3600, 3, 5);
        world.grant(&policy, &nodes).await;
        policies.push(policy);
    }
    let other = world.fragment(&policies[0], &nodes[3]).await;
    let nested = [
        codec::encode_envelope(Kind::Response, &0_u8),
        vec![0x81; 60_000],
    ];
    let lies = [
        ("tell the truth", Lie::Truth),
        ("answer with one wrong bit", Lie::Wrong),
        ("repeat an old answer", Lie::Instead(other)),
        (
            "answer with 60 kB of nested lists",
            Lie::Bytes(nested.concat()),
        ),
        ("say nothing", Lie::Silence),
    ];
    let mut honest = f64::NAN;
    for (what, lie) in lies {
        let is_honest = matches!(lie, Lie::Truth);
        let is_silent = matches!(lie, Lie::Silence);
        for dishonest in &world.dishonest {
            *dishonest.liar.lie.lock() = lie.clone();
        }
        let mut took = Vec::new();
        for policy in policies.iter().cycle().take(TIMES) {
            let started = Instant::now();
            world.open(policy, nodes.clone()).await.unwrap();
            took.push(1000.0 * started.elapsed().as_secs_f64());
        }
        let (median, worst) = (percentile(&mut took, 50), percentile(&mut took, 99));
        if is_honest {
            honest = worst;
        }
        row(
            &format!(
                "a new client, decrypt_key from 3 of 5 nodes of which two {what}; ms, median and p99"
            ),
            format!("{median:.1} and {worst:.1}, {:.2} times", worst / honest),
            if is_honest || is_silent {
                ""
            } else {
                "≤ 2 times"
            },
        );
    }
}
