//! How often somebody may ask: a bucket for each address, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many addresses are remembered; with more, those that have been quiet are forgotten, and then new ones wait.
const MAX_ADDRESSES: usize = 16_384;
/// A bucket holds what flows into it in so many seconds.
const BURST_SECONDS: u32 = 10;

/// Lets so many requests a second through for each address, and more of them for a moment.
pub(super) struct Rate {
    /// How long one request takes to flow in.
    every: Duration,
    /// When each address's bucket will be full again.
    full_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            every: Duration::from_secs(1) / per_second.max(1),
            full_at: Mutex::default(),
        }
    }

    /// Whether one more request from this address is let through.
    pub(super) fn admits(&self, from: IpAddr, now: Instant) -> bool {
        let from = household(from);
        let mut full_at = self.full_at.lock();
        if full_at.len() >= MAX_ADDRESSES && !full_at.contains_key(&from) {
            full_at.retain(|_, at| *at > now);
            if full_at.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let at = full_at.entry(from).or_insert(now);
        let next = (*at).max(now) + self.every;
        let fits = next.duration_since(now) <= Duration::from_secs(BURST_SECONDS.into());
        if fits {
            *at = next;
        }
        fits
    }
}

/// Whoever has one address of IPv6 has all of its network.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_often_waits_and_nobody_else_does() {
        let rate = Rate::new(2);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|it| it.parse::<IpAddr>().unwrap());
        let now = Instant::now();
        let burst = (0..100).filter(|_| rate.admits(one, now)).count();
        assert_eq!(burst, 20, "ten seconds' worth");
        assert!(rate.admits(other, now));
        let later = now + Duration::from_millis(501);
        assert!(rate.admits(one, later));
        assert!(!rate.admits(one, later));
    }

    #[test]
    fn all_addresses_of_a_network_of_ipv6_are_one() {
        let rate = Rate::new(1);
        let now = Instant::now();
        let through = (0..100u16).filter(|n| {
            let from = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, *n, *n, *n, *n);
            rate.admits(IpAddr::V6(from), now)
        });
        assert_eq!(through.count(), 10);
    }

    #[test]
    fn memory_is_bounded_and_free_again_when_addresses_are_quiet() {
        let rate = Rate::new(1);
        let now = Instant::now();
        let address = |n: u32| IpAddr::V4(n.into());
        for n in 0..u32::try_from(MAX_ADDRESSES).unwrap() {
            assert!(rate.admits(address(n), now));
        }
        assert!(!rate.admits(address(u32::MAX), now));
        assert!(rate.admits(address(u32::MAX), now + Duration::from_secs(2)));
        assert_eq!(rate.full_at.lock().len(), 1);
    }
}
