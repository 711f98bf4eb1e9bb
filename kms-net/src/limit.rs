//! How many requests there may be, of a peer or about a policy: a token bucket for each. Holds no clock.
//!
//! Strangers choose many of the keys, so a bucket that is new must cost no other one its place for long: there are two
//! generations, and when the young one is full the old one goes. Whoever has asked lately is in the young one.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::time::{Duration, Instant};

/// How many keys a generation has.
const GENERATION: usize = 4096;

/// Token buckets, one for each `K`.
#[derive(Debug)]
pub struct RateLimit<K> {
    burst: u32,
    refill: Duration,
    young: HashMap<K, Bucket>,
    old: HashMap<K, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    counted: Instant,
}

impl<K: Eq + Hash> RateLimit<K> {
    /// `burst` requests at once, then one each `refill`.
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self {
            burst,
            refill,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// Takes one token for `key`. False when there is none.
    pub fn admit(&mut self, key: K, now: Instant) -> bool {
        self.admit_all(key, 1, now)
    }

    /// Takes `count` tokens for `key`, or none and says false.
    pub fn admit_all(&mut self, key: K, count: u32, now: Instant) -> bool {
        let (burst, refill) = (self.burst, self.refill);
        let bucket = self.bucket(key, now);
        let elapsed = now.saturating_duration_since(bucket.counted);
        let earned = elapsed.as_nanos() / refill.as_nanos().max(1);
        if let Ok(earned @ 1..) = u32::try_from(earned.min(u128::from(burst))) {
            bucket.tokens = bucket.tokens.saturating_add(earned).min(burst);
            bucket.counted = now;
        }
        match bucket.tokens.checked_sub(count) {
            Some(left) => bucket.tokens = left,
            None => return false,
        }
        true
    }

    /// The bucket of `key`, which is then in the young generation; a full one if nothing is remembered of it.
    fn bucket(&mut self, key: K, now: Instant) -> &mut Bucket {
        if self.young.len() >= GENERATION && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        let known = self.old.remove(&key);
        let full = Bucket {
            tokens: self.burst,
            counted: now,
        };
        self.young.entry(key).or_insert(known.unwrap_or(full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut limit = RateLimit::new(3, Duration::from_millis(10));
        assert!((0..3).all(|_| limit.admit(1, start)));
        assert!(!limit.admit(1, start));
        assert!(limit.admit(2, start), "another peer has its own bucket");
        assert!(limit.admit(1, start + Duration::from_millis(10)));
        assert!(!limit.admit(1, start + Duration::from_millis(11)));
    }

    #[test]
    fn several_at_once_pass_all_or_none() {
        let start = Instant::now();
        let mut limit = RateLimit::new(3, Duration::from_millis(10));
        assert!(limit.admit_all(1, 2, start));
        assert!(!limit.admit_all(1, 2, start));
        assert!(limit.admit(1, start), "what did not pass took nothing");
    }

    #[test]
    fn a_full_table_keeps_out_nobody_and_forgets_nobody_who_is_at_it() {
        // With 4,096 keys in it that were in use, the table refused every other one, and before long those in it: a
        // stranger who made up policies made half of everybody's commands fail.
        let start = Instant::now();
        let mut limit = RateLimit::new(3, Duration::from_secs(1));
        let (honest, loud) = (usize::MAX, usize::MAX - 1);
        assert!(limit.admit(honest, start));
        for made_up in 0..10 * GENERATION {
            assert!(limit.admit(made_up, start), "one who is new");
            assert!(limit.young.len() + limit.old.len() <= 2 * GENERATION);
            let passed = limit.admit(loud, start);
            assert_eq!(passed, made_up < 3, "one who asks too often is known");
        }
        assert!(limit.admit(honest, start));
    }
}
