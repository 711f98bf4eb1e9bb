//! How many requests there may be, of a peer or about a policy: a token bucket for each. Holds no clock.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How many peers are remembered; beyond it, the ones whose buckets are full again are forgotten.
const REMEMBERED: usize = 4096;

/// Token buckets, one for each `K`.
#[derive(Debug)]
pub struct RateLimit<K> {
    burst: u32,
    refill: Duration,
    buckets: HashMap<K, Bucket>,
}

#[derive(Debug)]
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
            buckets: HashMap::new(),
        }
    }

    /// Takes one token for `key`. False when there is none.
    pub fn admit(&mut self, key: K, now: Instant) -> bool {
        if self.buckets.len() >= REMEMBERED {
            let whole = self.refill.saturating_mul(self.burst);
            self.buckets
                .retain(|_, bucket| now.saturating_duration_since(bucket.counted) < whole);
            if self.buckets.len() >= REMEMBERED {
                return false;
            }
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket {
            tokens: self.burst,
            counted: now,
        });
        let elapsed = now.saturating_duration_since(bucket.counted);
        let earned = elapsed.as_nanos() / self.refill.as_nanos().max(1);
        if let Ok(earned @ 1..) = u32::try_from(earned.min(u128::from(self.burst))) {
            bucket.tokens = bucket.tokens.saturating_add(earned).min(self.burst);
            bucket.counted = now;
        }
        let admitted = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        admitted
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
    fn peers_in_any_number_take_bounded_memory() {
        let start = Instant::now();
        let mut limit = RateLimit::new(3, Duration::from_millis(10));
        for peer in 0..3 * REMEMBERED {
            limit.admit(peer, start);
        }
        assert!(limit.buckets.len() <= REMEMBERED);
        assert!(
            limit.admit(0, start + Duration::from_secs(1)),
            "and the quiet ones are forgotten"
        );
    }
}
