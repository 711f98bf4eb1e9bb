//! How much strangers may leave with a node: so much of one author, so much by way of one peer, and so much in all.
//!
//! Whoever asks has to be answered at once, whatever is left already: everything is counted as it comes and goes.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::PublicKey;
use kms_net::PeerKey;
use tokio::time::Instant;

/// A ledger key is of one policy alone; a few more are an owner who tries again.
const OF_ONE_KEY: usize = 8;
const OF_ONE_PEER: usize = 256;

/// What is left, one thing for each policy, and for how long it counts.
#[derive(Debug)]
pub(super) struct Quota {
    in_all: usize,
    counts_for: Duration,
    left: HashMap<PolicyId, Left>,
    /// The same, oldest first.
    by_age: BTreeSet<(Instant, PolicyId)>,
    of_key: HashMap<PublicKey, usize>,
    of_peer: HashMap<PeerKey, usize>,
}

#[derive(Debug)]
struct Left {
    key: PublicKey,
    peer: Option<PeerKey>,
    since: Instant,
}

impl Quota {
    pub(super) fn new(in_all: usize, counts_for: Duration) -> Self {
        Self {
            in_all,
            counts_for,
            left: HashMap::new(),
            by_age: BTreeSet::new(),
            of_key: HashMap::new(),
            of_peer: HashMap::new(),
        }
    }

    /// Counts what `key` leaves about `policy`, once. False, and not counted, if that is too much.
    pub(super) fn admit(
        &mut self,
        policy: PolicyId,
        key: PublicKey,
        peer: Option<PeerKey>,
        now: Instant,
    ) -> bool {
        self.forget_old(now);
        if self.left.contains_key(&policy) {
            return true;
        }
        let of_peer = peer.and_then(|it| self.of_peer.get(&it));
        let full = self.left.len() >= self.in_all
            || self.of_key.get(&key).is_some_and(|it| *it >= OF_ONE_KEY)
            || of_peer.is_some_and(|it| *it >= OF_ONE_PEER);
        if full {
            return false;
        }
        *self.of_key.entry(key).or_default() += 1;
        if let Some(peer) = peer {
            *self.of_peer.entry(peer).or_default() += 1;
        }
        self.by_age.insert((now, policy));
        let since = now;
        self.left.insert(policy, Left { key, peer, since });
        true
    }

    /// It counts no more.
    pub(super) fn settle(&mut self, policy: &PolicyId) {
        let Some(left) = self.left.remove(policy) else {
            return;
        };
        self.by_age.remove(&(left.since, *policy));
        count_down(&mut self.of_key, &left.key);
        if let Some(peer) = &left.peer {
            count_down(&mut self.of_peer, peer);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((since, policy)) = self.by_age.first().copied()
            && now.saturating_duration_since(since) >= self.counts_for
        {
            self.settle(&policy);
        }
    }
}

/// One less; none is not kept.
fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use kms_crypto::key::LedgerKey;

    #[test]
    fn what_counts_no_more_makes_room_by_itself_and_leaves_no_trace() {
        let hour = Duration::from_secs(3600);
        let start = Instant::now();
        let mut quota = Quota::new(1000, hour);
        let key = LedgerKey::generate(&mut rng()).public();
        let policy = |number: u8| PolicyId([number; 32]);
        for number in 0..8 {
            assert!(quota.admit(policy(number), key, None, start));
        }
        let later = start + hour;
        let almost = later.checked_sub(Duration::from_secs(1)).unwrap();
        assert!(!quota.admit(policy(8), key, None, almost));
        assert!(quota.admit(policy(8), key, None, later));
        quota.settle(&policy(8));
        assert!(quota.left.is_empty() && quota.by_age.is_empty() && quota.of_key.is_empty());
    }
}
