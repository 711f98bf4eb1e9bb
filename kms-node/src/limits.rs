//! What strangers can make a node do: so many requests, so much that is kept and that nobody has granted (NODE §1.4).

mod quota;

use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::PublicKey;
use kms_net::{PeerKey, RateLimit};
use kms_proto::message::{Command, Query, Refusal};
use kms_proto::signed::Arrival;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::quota::Quota;

const PAIR_BURST: u32 = 128;
const PAIR_REFILL: Duration = Duration::from_millis(20);
const ENTRY_BURST: u32 = 64;
const ENTRY_REFILL: Duration = Duration::from_millis(100);
const POLICY_BURST: u32 = 256;
const POLICY_REFILL: Duration = Duration::from_millis(10);
/// Removals that one node passes on; each is a signature to check.
const FORWARDED_BURST: u32 = 128;
const FORWARDED_REFILL: Duration = Duration::from_millis(31);
/// The part of a node's room for fragments that wait for their grant, 1 divided by it; and that many removals of what
/// nobody knows.
const UNKNOWN_PART: u64 = 10;
/// After this time a fragment without a grant is erased, and a removal of what nobody knows forgotten.
const UNKNOWN_FOR: Duration = Duration::from_secs(60 * 60);

/// Counts what is asked, by whom, about what.
#[derive(Debug)]
pub struct Limits {
    pairs: Mutex<RateLimit<(PeerKey, PolicyId)>>,
    entries: Mutex<RateLimit<PeerKey>>,
    policies: Mutex<RateLimit<PolicyId>>,
    forwarded: Mutex<RateLimit<PublicKey>>,
    waiting: Mutex<Quota>,
    removed: Mutex<Quota>,
}

impl Limits {
    /// Limits of a node that keeps at most so many fragments.
    pub fn new(max_fragments: u64) -> Self {
        let part = (max_fragments / UNKNOWN_PART).max(1);
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        Self {
            pairs: Mutex::new(RateLimit::new(PAIR_BURST, PAIR_REFILL)),
            entries: Mutex::new(RateLimit::new(ENTRY_BURST, ENTRY_REFILL)),
            policies: Mutex::new(RateLimit::new(POLICY_BURST, POLICY_REFILL)),
            forwarded: Mutex::new(RateLimit::new(FORWARDED_BURST, FORWARDED_REFILL)),
            waiting: Mutex::new(Quota::new(part, UNKNOWN_FOR)),
            removed: Mutex::new(Quota::new(part, UNKNOWN_FOR)),
        }
    }

    /// Whether a peer may have a message looked at. Its author is not known yet.
    pub fn admit(&self, peer: PeerKey, arrival: Arrival<'_>) -> Result<(), Refusal> {
        let now = Instant::now().into_std();
        let admitted = match arrival {
            Arrival::Query(Query::LedgerSubmit { .. }) => self.entries.lock().admit(peer, now),
            Arrival::Query(_) => true,
            Arrival::Command(command) => command
                .policy()
                .is_none_or(|policy| self.pairs.lock().admit((peer, policy), now)),
        };
        if admitted { Ok(()) } else { Err(Refusal::Busy) }
    }

    /// Whether a command of a known author may be done.
    pub fn admit_author(&self, command: &Command) -> Result<(), Refusal> {
        let now = Instant::now().into_std();
        let policy = command.policy();
        if policy.is_none_or(|policy| self.policies.lock().admit(policy, now)) {
            Ok(())
        } else {
            Err(Refusal::Busy)
        }
    }

    /// Whether so many removals that `from` passes on, and has signed for, may be looked at.
    pub fn admit_forwarded(&self, from: PublicKey, count: usize) -> Result<(), Refusal> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let now = Instant::now().into_std();
        if self.forwarded.lock().admit_all(from, count, now) {
            Ok(())
        } else {
            Err(Refusal::Busy)
        }
    }

    /// Counts a fragment that is to be stored before its grant is in the ledger.
    pub fn wait_for_grant(
        &self,
        policy: PolicyId,
        ledger_key: PublicKey,
        peer: Option<PeerKey>,
    ) -> Result<(), Refusal> {
        let now = Instant::now();
        if self.waiting.lock().admit(policy, ledger_key, peer, now) {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    /// Counts a removal that is to be remembered, though there is no fragment and the ledger knows nothing of the policy.
    pub fn remove_unknown(
        &self,
        policy: PolicyId,
        ledger_key: PublicKey,
        peer: Option<PeerKey>,
    ) -> Result<(), Refusal> {
        let now = Instant::now();
        if self.removed.lock().admit(policy, ledger_key, peer, now) {
            Ok(())
        } else {
            Err(Refusal::Busy)
        }
    }

    /// These policies have been granted, or their fragments erased.
    pub fn settle(&self, policies: &[PolicyId]) {
        let (mut waiting, mut removed) = (self.waiting.lock(), self.removed.lock());
        for policy in policies {
            waiting.settle(policy);
            removed.settle(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use kms_crypto::key::LedgerKey;

    fn key() -> PublicKey {
        LedgerKey::generate(&mut rng()).public()
    }

    fn policy(number: u16) -> PolicyId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        PolicyId(id)
    }

    #[test]
    fn fragments_that_nobody_grants_are_bounded_for_each_author_and_in_total() {
        let limits = Limits::new(200);
        let one = key();
        for number in 0..8 {
            assert_eq!(limits.wait_for_grant(policy(number), one, None), Ok(()));
        }
        assert_eq!(
            limits.wait_for_grant(policy(3), one, None),
            Ok(()),
            "the same again"
        );
        assert_eq!(
            limits.wait_for_grant(policy(8), one, None),
            Err(Refusal::Full)
        );
        limits.settle(&[policy(0)]);
        assert_eq!(limits.wait_for_grant(policy(8), one, None), Ok(()));
        for number in 100..112 {
            assert_eq!(limits.wait_for_grant(policy(number), key(), None), Ok(()));
        }
        assert_eq!(
            limits.wait_for_grant(policy(200), key(), None),
            Err(Refusal::Full),
            "a tenth of 200"
        );
    }
}
