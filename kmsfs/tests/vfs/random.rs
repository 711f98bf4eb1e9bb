//! Chance that can be had again: everything random in these tests comes from one number, which a failure tells.

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator (SplitMix64): the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True in so many cases of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.below(from.len());
        from.get(at)
    }
}

/// What this run starts from: `KMSFS_SEED`, or the clock.
pub(crate) fn seed() -> u64 {
    number("KMSFS_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs() << 20 ^ u64::from(now.subsec_nanos()) ^ u64::from(std::process::id())
    })
}

/// How much to do: the variable's number, or what is enough for every day.
pub(crate) fn amount(variable: &str, everyday: u64) -> u64 {
    number(variable).unwrap_or(everyday)
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {value}")),
    )
}

/// Runs `case` with seeds that follow from this run's until all of them together have done `amount`; a case says how
/// much it did. A run with a given `KMSFS_SEED` does that case alone.
pub(crate) fn cases(name: &str, amount: u64, case: impl Fn(u64) -> u64) {
    let first = seed();
    if number("KMSFS_SEED").is_some() {
        case(first);
        return;
    }
    println!("{name}: seeds from {first}");
    let mut seeds = Rng::new(first);
    let mut done = 0;
    while done < amount {
        let seed = seeds.next();
        let guard = Told(name, seed);
        done += case(seed);
        std::mem::forget(guard);
    }
}

/// Says which seed was at work when a case panicked.
struct Told<'a>(&'a str, u64);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        println!("{}: this was KMSFS_SEED={}", self.0, self.1);
    }
}
