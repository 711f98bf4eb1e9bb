//! Nonces that were drawn for signatures and not used yet (SCHEMES §14.3).
//!
//! Two signatures with one nonce give a share away. So nonces are here and nowhere else: in memory, for a minute, and whoever
//! takes them has the only ones. What a process has drawn ends with it.

use std::collections::VecDeque;
use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::scheme::signing::{Commitment, Nonces};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long nonces may be used.
const LIFETIME: Duration = Duration::from_secs(60);
/// Beyond so many of one policy the oldest go: its recipient has forgotten them, or is several.
const MAX_OF_POLICY: usize = 16;
/// Beyond so many in all none are drawn.
const MAX_IN_ALL: usize = 4096;

/// They, oldest first.
#[derive(Debug, Default)]
pub(crate) struct NonceStore(Mutex<VecDeque<Open>>);

#[derive(Debug)]
struct Open {
    policy: PolicyId,
    commitment: Commitment,
    nonces: Nonces,
    since: Instant,
}

impl NonceStore {
    /// Keeps what was drawn. Says no when there is no room.
    pub(crate) fn keep(
        &self,
        policy: PolicyId,
        commitment: Commitment,
        nonces: Nonces,
        now: Instant,
    ) -> bool {
        let mut all = self.0.lock();
        drop_old(&mut all, now);
        let of_policy = |it: &Open| it.policy == policy;
        if all.iter().filter(|it| of_policy(it)).count() >= MAX_OF_POLICY
            && let Some(oldest) = all.iter().position(of_policy)
        {
            all.remove(oldest);
        }
        if all.len() >= MAX_IN_ALL {
            return false;
        }
        all.push_back(Open {
            policy,
            commitment,
            nonces,
            since: now,
        });
        true
    }

    /// Hands out the nonces of a commitment, for good.
    pub(crate) fn take(
        &self,
        policy: &PolicyId,
        commitment: &Commitment,
        now: Instant,
    ) -> Option<Nonces> {
        let mut all = self.0.lock();
        drop_old(&mut all, now);
        let is_it = |it: &Open| it.policy == *policy && it.commitment == *commitment;
        let place = all.iter().position(is_it)?;
        all.remove(place).map(|it| it.nonces)
    }
}

fn drop_old(all: &mut VecDeque<Open>, now: Instant) {
    let is_young = |it: &Open| now.saturating_duration_since(it.since) < LIFETIME;
    let young = all.iter().position(is_young);
    all.drain(..young.unwrap_or(all.len()));
}

#[cfg(test)]
mod tests {
    use kms_crypto::id::SchemeId;
    use kms_crypto::key::{DelegatingKey, IdentitySecret, LedgerKey};
    use kms_crypto::policy::{PolicyParams, Threshold};
    use kms_crypto::scheme::VerifiedKeyFrag;
    use kms_crypto::scheme::signing;

    use super::*;
    use crate::rng;

    const ONE: PolicyId = PolicyId([1; 32]);
    const OTHER: PolicyId = PolicyId([2; 32]);

    fn share() -> signing::VerifiedKeyFrag {
        let key = DelegatingKey::generate_for(SchemeId::SIGNING, &mut rng()).unwrap();
        let signer = LedgerKey::generate(&mut rng());
        let owner = IdentitySecret::generate(&mut rng()).public();
        let policy = PolicyParams::new(signer.public(), key.public(), owner, [0; 32]);
        let threshold = Threshold::new(2, 2).unwrap();
        let frags = key.split(&mut rng(), &policy, &signer, threshold).unwrap();
        match frags.into_iter().next().unwrap().verify(&policy) {
            Ok(VerifiedKeyFrag::Signing(share)) => share,
            _ => panic!("a share that was dealt is refused"),
        }
    }

    #[test]
    fn nonces_are_given_out_once_for_their_policy_within_a_minute() {
        let (share, store, now) = (share(), NonceStore::default(), Instant::now());
        let draw = || {
            let (nonces, commitment) = share.commit(&mut rng());
            assert!(store.keep(ONE, commitment, nonces, now));
            commitment
        };
        let first = draw();
        assert!(store.take(&OTHER, &first, now).is_none());
        assert!(store.take(&ONE, &first, now).is_some());
        assert!(store.take(&ONE, &first, now).is_none(), "once");
        let late = draw();
        assert!(store.take(&ONE, &late, now + LIFETIME).is_none());
        assert!(store.0.lock().is_empty(), "what is old is gone");
    }

    #[test]
    fn nobody_fills_the_memory_or_pushes_out_the_nonces_of_others() {
        let (share, store, now) = (share(), NonceStore::default(), Instant::now());
        let draw = |policy| {
            let (nonces, commitment) = share.commit(&mut rng());
            (store.keep(policy, commitment, nonces, now), commitment)
        };
        let (_, of_other) = draw(OTHER);
        let (_, first) = draw(ONE);
        for _ in 0..MAX_OF_POLICY {
            assert!(draw(ONE).0);
        }
        assert_eq!(store.0.lock().len(), 1 + MAX_OF_POLICY);
        assert!(
            store.take(&ONE, &first, now).is_none(),
            "the oldest has gone"
        );
        assert!(store.take(&OTHER, &of_other, now).is_some());
    }
}
