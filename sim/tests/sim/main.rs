//! A network in one thread: real clients, real nodes, the real ledger's rules and real curves, under a clock, a network,
//! disks and characters that are made up. Everything follows from a seed.
//!
//! What is simulated is what the outside does: [`world`] has the time and the weather, [`link`] carries messages, [`disk`]
//! survives or does not, [`conduct`] lies. What decides is what decides in earnest: `kms_node::node::Service` with its
//! upkeep and its vault, and `kms_client::Client` with its machines.
//!
//! | variable | |
//! |---|---|
//! | `KMS_SIM_SEED` | only this seed, to look at it again |
//! | `KMS_SIM_SEEDS` | how many seeds |
//! | `KMS_SIM_RACES` | how many races |

#![allow(unreachable_pub, reason = "the modules of one test")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "small numbers of a test's own"
)]

mod chance;
mod churn;
mod conduct;
mod disk;
mod ledger;
mod link;
mod node;
mod people;
mod races;
mod records;
mod steps;
mod world;

use std::env;

use churn::{Plan, Tally};
use steps::Retry;
use world::Weather;

/// Of a variable, or else of the usual number.
fn setting(name: &str, usual: u64) -> u64 {
    env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

fn seeds(usual: u64) -> Vec<u64> {
    match env::var("KMS_SIM_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
    {
        Some(seed) => vec![seed],
        None => (0..setting("KMS_SIM_SEEDS", usual)).collect(),
    }
}

/// Lives through the plan with each seed, and says which one to look at again.
fn live_through_all(plan: Plan, seeds: &[u64]) -> Tally {
    let mut sum = Tally::default();
    for seed in seeds {
        let tally = churn::live_through(*seed, plan);
        println!("KMS_SIM_SEED={seed}: {tally}");
        for complaint in &tally.complaints {
            println!("    {complaint}");
        }
        sum.add(tally);
    }
    println!("{} seeds: {sum}", seeds.len());
    sum
}

#[test]
fn grants_survive_churn_liars_and_losses_and_open_whenever_enough_honest_nodes_are_in_reach() {
    let sum = live_through_all(Plan::HARD, &seeds(10));
    assert_eq!((sum.lost, sum.halves), (0, 0), "{sum}");
    assert!(sum.fair > 0 && sum.granted > 0, "{sum}");
    assert!(sum.opened * 10_000 >= sum.fair * 9_999, "{sum}");
    let others = sum
        .complaints
        .iter()
        .filter(|it| !it.starts_with("not opened"));
    assert_eq!(others.count(), 0, "{:?}", sum.complaints);
}

#[test]
fn a_network_in_which_every_other_node_is_dishonest_delays_and_substitutes_nothing() {
    // Whoever opens compares the secret with the one that was sealed.
    let plan = Plan {
        nodes: 200,
        churn: 0.0,
        dishonest: 0.5,
        grants: 30,
        opens: 100,
        revocations: 3,
        ..Plan::HARD
    };
    let sum = live_through_all(plan, &seeds(3));
    assert_eq!((sum.lost, sum.halves), (0, 0), "{sum}");
    assert!(sum.fair > 0 && sum.granted > 0, "{sum}");
    assert!(sum.complaints.is_empty(), "{:?}", sum.complaints);
}

#[test]
fn a_small_network_that_changes_hands_again_and_again_loses_no_grant() {
    // Nearly everybody keeps something, and five times as many come and go in an hour as there are.
    let plan = Plan {
        nodes: 60,
        churn: 5.0,
        dishonest: 0.0,
        revocations: 2,
        ..Plan::HARD
    };
    let sum = live_through_all(plan, &seeds(3));
    assert_eq!((sum.lost, sum.halves), (0, 0), "{sum}");
    assert!(sum.handovers > 20, "{sum}");
    assert!(sum.complaints.is_empty(), "{:?}", sum.complaints);
}

#[test]
fn thousands_of_nodes_are_no_different() {
    let plan = Plan {
        nodes: 4000,
        time: std::time::Duration::from_secs(600),
        grants: 5,
        opens: 20,
        revocations: 1,
        ..Plan::HARD
    };
    let sum = live_through_all(plan, &[1]);
    assert_eq!(
        (sum.lost, sum.halves, sum.opened),
        (0, 0, sum.fair),
        "{sum}"
    );
}

#[test]
fn no_fragment_is_given_out_two_seconds_after_a_revocation_or_later_than_a_lease() {
    let mut sum = races::Outcome::default();
    let wanted = setting("KMS_SIM_RACES", 1000) as usize;
    for seed in 0.. {
        if sum.races >= wanted {
            break;
        }
        let outcome = races::race(seed);
        for leak in &outcome.leaks {
            println!("KMS_SIM_SEED={seed}: {leak}");
        }
        sum.add(outcome);
    }
    println!("{} races: {:?}", sum.races, sum.releases);
    assert!(sum.leaks.is_empty(), "{:?}", sum.leaks);
    assert!(sum.releases.late > 0, "some were close");
}

/// With exactly m nodes in reach, an answer that was lost with its connection was the end.
#[test]
fn connections_that_break_keep_nobody_out_and_make_no_use_two() {
    for seed in seeds(5) {
        steps::opens_while_connections_break(seed);
    }
}

#[test]
fn an_owner_who_dies_at_any_step_leaves_a_whole_grant_or_none() {
    for retry in [Retry::Anew, Retry::Same] {
        let steps = (0..).take_while(|step| steps::owner_dies_granting(*step, retry));
        let steps = steps.count();
        assert!(
            steps >= 2 * 7,
            "{steps}: three arranged, three stored, one entry"
        );
    }
}

#[test]
fn an_owner_who_dies_at_any_step_of_revoking_can_do_it_again() {
    let steps = (0..)
        .take_while(|step| steps::owner_dies_revoking(*step))
        .count();
    assert!(steps >= 2 * 4, "{steps}: one entry, three removed");
}

#[test]
fn nodes_whose_power_fails_at_any_point_keep_what_they_acknowledged() {
    let points = (1..)
        .take_while(|operation| steps::node_dies(*operation))
        .count();
    assert!(
        points >= 4,
        "{points}: a key, its row, and both on the disk"
    );
}

#[test]
fn a_node_that_dies_at_any_step_of_handing_over_leaves_the_fragment_with_one_of_the_two() {
    let steps = (0..).take_while(|step| steps::leaver_dies(*step)).count();
    assert!(steps >= 2 * 2, "{steps}: offered, and offered again");
    let points = (1..).take_while(|operation| steps::power_fails_handing_over(*operation));
    assert!(points.count() >= 4, "taken, and erased");
}

#[test]
fn a_seed_is_lived_through_the_same_way_each_time() {
    let plan = Plan {
        nodes: 100,
        time: std::time::Duration::from_secs(300),
        churn: 3.0,
        dishonest: 0.2,
        weather: Weather::ROUGH,
        grants: 8,
        opens: 20,
        revocations: 2,
        ..Plan::HARD
    };
    let first = churn::live_through(7, plan);
    assert_eq!(first, churn::live_through(7, plan));
    assert_ne!(first.trace, churn::live_through(8, plan).trace);
}
