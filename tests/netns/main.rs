//! Grants on real node processes, each in a network namespace of its own: what they survive.
//!
//! `scripts/soak network` does the same with 30 nodes.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

mod attack;
mod namespace;
mod nodes;
mod people;
mod shared;

use std::time::{Duration, Instant};

use kms_client::{Answer, ClientError};

use crate::attack::Attack;
use crate::namespace::{Place, in_a_network_of_its_own};
use crate::nodes::Nodes;
use crate::shared::Shared;

/// The promise is an answer within 8 s; a loaded machine may need longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// Every choice of `count` out of `from`.
fn choices(from: &[usize], count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in from.iter().enumerate() {
        for mut rest in choices(&from[at + 1..], count - 1) {
            rest.push(*first);
            all.push(rest);
        }
    }
    all
}

fn numbers(nodes: &Nodes, shared: &Shared) -> Vec<usize> {
    let holders = shared.first_holders().iter();
    holders.map(|it| nodes.number(&it.key)).collect()
}

#[test]
fn any_holders_but_m_may_die_and_all_nodes_may_stop_for_a_while() {
    in_a_network_of_its_own(
        "any_holders_but_m_may_die_and_all_nodes_may_stop_for_a_while",
        || {
            let mut nodes = Nodes::start(nodes::count());
            let owner = nodes.client();
            let shared = Shared::grant(&owner, 3, 5);
            let others: Vec<_> = (0..8).map(|_| Shared::grant(&owner, 2, 4)).collect();
            let holders = numbers(&nodes, &shared);
            for dead in choices(&holders, 2) {
                dead.iter().for_each(|number| nodes.kill(*number));
                shared.opens(&nodes.client());
                others.iter().for_each(|it| it.opens(&owner));
                dead.iter().for_each(|number| nodes.restart(*number));
            }

            assert_eq!(shared.serving(&owner), 5);
            holders[..3].iter().for_each(|number| nodes.kill(*number));
            assert_eq!(shared.serving(&owner), 2);
            let started = Instant::now();
            let refused = shared.refused(&nodes.usual_client());
            assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
            let ClientError::NoQuorum(quorum) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!((quorum.needed, quorum.good), (3, 2));
            let dead = quorum
                .answers
                .0
                .iter()
                .filter(|it| it.answer != Answer::Good);
            let mut dead: Vec<_> = dead.map(|it| nodes.number(&it.node)).collect();
            dead.sort_unstable();
            let mut expected = holders[..3].to_vec();
            expected.sort_unstable();
            assert_eq!(dead, expected, "each one named");
            holders[..3].iter().for_each(|it| nodes.restart(*it));
            shared.opens(&owner);

            nodes.restart_all();
            let client = nodes.client();
            for it in others.iter().chain([&shared]) {
                it.opens(&client);
            }
            Shared::grant(&owner, 3, 5).opens(&client);
        },
    );
}

#[test]
fn every_first_holder_retires_one_after_another() {
    in_a_network_of_its_own("every_first_holder_retires_one_after_another", || {
        let count = nodes::count();
        // As many may leave as leave enough behind for what is handed over.
        let (needed, total) = if count < 12 { (2, 3) } else { (3, 5) };
        let mut nodes = Nodes::start(count);
        let owner = nodes.client();
        let shared = Shared::grant(&owner, needed, total);
        let others: Vec<_> = (0..6).map(|_| Shared::grant(&owner, 2, 4)).collect();
        for number in numbers(&nodes, &shared) {
            nodes.retire(number);
            let client = nodes.client();
            for it in others.iter().chain([&shared]) {
                it.opens(&client);
            }
        }
        assert_eq!(shared.serving(&owner), total);
        let now = shared.holders(&nodes.client());
        let first = shared.first_holders();
        assert!(first.iter().all(|it| !now.contains(&it.key)), "all new");
        nodes.restart_all();
        shared.opens(&nodes.client());
    });
}

#[test]
fn a_holder_whose_cable_is_pulled_is_done_without() {
    in_a_network_of_its_own("a_holder_whose_cable_is_pulled_is_done_without", || {
        let nodes = Nodes::start(nodes::count());
        let owner = nodes.client();
        let shared = Shared::grant(&owner, 3, 5);
        let holders = numbers(&nodes, &shared);
        // A client that is connected to them all, and one that knows nobody.
        let usual = nodes.usual_client();
        shared.opens(&owner);
        shared.opens(&usual);
        nodes.plug(holders[0], false);
        nodes.plug(holders[1], false);
        shared.opens(&owner);
        shared.opens(&nodes.client());

        nodes.plug(holders[2], false);
        for client in [&usual, &nodes.usual_client()] {
            let started = Instant::now();
            let refused = shared.refused(client);
            assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
            assert!(
                matches!(&refused, ClientError::Timeout(it) | ClientError::NoQuorum(it) if it.needed == 3),
                "{refused:?}"
            );
        }
        // One end of a connection does not notice at once that the other can be reached again.
        holders[..3].iter().for_each(|it| nodes.plug(*it, true));
        shared.opens(&nodes.client());
        kms_tests::eventually("the old client to get through again", DEADLINE * 2, || {
            shared.try_open(&usual).ok()
        });
    });
}

/// Connections that are opened and left, letters that drip in, floods, noise, frames without an end: all that somebody
/// can do from a machine of his own.
#[test]
fn a_stranger_keeps_nobody_out_and_fills_no_memory() {
    in_a_network_of_its_own("a_stranger_keeps_nobody_out_and_fills_no_memory", || {
        let nodes = Nodes::start(4);
        let owner = nodes.client();
        let shared = Shared::grant(&owner, 2, 3);
        shared.opens(&owner);
        let holders = numbers(&nodes, &shared);
        let memory = || holders.iter().map(|it| nodes.resident_kib(*it));
        let before: Vec<_> = memory().collect();
        let victims: Vec<_> = holders.iter().map(|it| nodes.victim(*it)).collect();
        let place = Place::new(200);
        // How long somebody who has not been there before waits for a key; many times where there is time.
        let times = if nodes::count() < 12 { 10 } else { 100 };
        let wait = || {
            let once = |_| {
                std::thread::sleep(Duration::from_millis(200));
                let (client, started) = (nodes.client(), Instant::now());
                shared.opens(&client);
                started.elapsed()
            };
            let mut took: Vec<_> = (0..times).map(once).collect();
            took.sort_unstable();
            (took[times / 2], took[times * 99 / 100])
        };
        let peace = wait();
        let attack = Attack::begin(&place, &victims);
        let war = wait();
        println!("opening takes, median and p99: {peace:.1?} in peace, {war:.1?} under attack");
        Shared::grant(&nodes.client(), 2, 3).opens(&owner);
        drop(attack);
        for (before, after) in before.into_iter().zip(memory()) {
            let grown = after.saturating_sub(before);
            assert!(grown < 32 * 1024, "a node has grown by {grown} KiB");
        }
    });
}
