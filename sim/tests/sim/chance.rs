//! Chance, all of it out of the seed: the same numbers as clients and nodes draw from.

use std::time::Duration;

use kms_ledger::machine;
use rand_core::Rng;

/// Whether something of this probability happens.
pub fn happens(probability: f64) -> bool {
    fraction() < probability
}

/// At least 0, less than 1.
pub fn fraction() -> f64 {
    f64::from(machine::rng().next_u32()) / (f64::from(u32::MAX) + 1.0)
}

/// Less than `end`.
pub fn below(end: usize) -> usize {
    let word = machine::rng().next_u32() as usize;
    word % end.max(1)
}

/// One of these.
pub fn one_of<T>(choices: &[T]) -> &T {
    &choices[below(choices.len())]
}

pub fn between(least: Duration, most: Duration) -> Duration {
    least + (most - least).mul_f64(fraction())
}

/// How long until the next of events that come at random, this far apart on average.
pub fn gap(mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - fraction()).ln())
}

pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    machine::rng().fill_bytes(&mut bytes);
    bytes
}
