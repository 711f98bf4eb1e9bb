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

/// What a longer run starts from: the clock.
fn clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() << 20 ^ u64::from(now.subsec_nanos()) ^ u64::from(std::process::id())
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {value}")),
    )
}

/// Runs `case` with one seed after the other until all of them together have done enough; a case says how much it did.
///
/// Every day these are `everyday` things with the same seeds: what fails has to do with what was changed. With the
/// variable it is as many as it says, always other ones. `KMSFS_SEED` does one case alone.
pub(crate) fn cases(variable: &str, everyday: u64, case: impl Fn(u64) -> u64) {
    if let Some(seed) = number("KMSFS_SEED") {
        case(seed);
        return;
    }
    let (amount, first) = match number(variable) {
        Some(amount) => (amount, clock()),
        None => (everyday, 1),
    };
    println!("{variable}: {amount} from seed {first}");
    let mut seeds = Rng::new(first);
    let mut done = 0;
    while done < amount {
        let seed = seeds.next();
        let told = Told(variable, seed);
        let before = done;
        done += case(seed);
        std::mem::forget(told);
        if done * 100 / amount > before * 100 / amount {
            println!("{variable}: {done} done");
        }
    }
}

/// Says which seed was at work when a case panicked.
struct Told<'a>(&'a str, u64);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        println!("{}: this was KMSFS_SEED={}", self.0, self.1);
    }
}
