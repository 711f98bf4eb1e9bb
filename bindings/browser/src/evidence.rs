//! What the ledger's entries say of one policy, believed by nobody's word but their authors' (WIRE §8.3).
//!
//! A whole ledger is checked entry by entry, in its order; here somebody passes records on who may leave some out, and who
//! has not signed anything. So only what proves itself counts: the owner's grant, its end, and handovers by those who
//! keep fragments.

use kms_crypto::id::PolicyId;
use kms_crypto::key::PublicKey;
use kms_crypto::policy::revocation;
use kms_proto::ledger::{Entry, Grant, Handover, PolicyState, Record, Release};

/// What has been seen so far.
#[derive(Debug)]
pub struct Evidence {
    network: String,
    policy: PolicyId,
    grant: Option<Grant>,
    revoked: Option<(u64, u32)>,
}

impl Evidence {
    /// Nothing yet.
    #[must_use]
    pub fn new(network: &str, policy: PolicyId) -> Self {
        Self {
            network: network.to_owned(),
            policy,
            grant: None,
            revoked: None,
        }
    }

    /// Takes note of a record, if it is about the policy and proves itself. Anything else changes nothing.
    pub fn look_at(&mut self, record: &[u8]) {
        let Ok(record) = Record::from_bytes(record) else {
            return;
        };
        if !self.concerns(&record.entry.claim().entry) {
            return;
        }
        let Ok(entry) = record.entry.admit(&self.network) else {
            return;
        };
        match &entry.entry {
            Entry::Grant(it) => self.on_grant(it),
            Entry::Revoke(it) => self.on_end(record.time, it.epoch),
            Entry::Release(it) => self.on_release(it, record.time),
            Entry::Handover(it) => self.on_handover(it),
            Entry::RegisterNode(_) => {}
        }
    }

    /// What follows at a time, Unix seconds.
    #[must_use]
    pub fn state(&self, now: u64) -> PolicyState {
        match (&self.revoked, &self.grant) {
            (Some((at, epoch)), grant) => PolicyState::Revoked {
                at: *at,
                epoch: *epoch,
                grant: grant.clone(),
            },
            (None, None) => PolicyState::Unknown,
            (None, Some(grant)) if now >= grant.expiry => PolicyState::Expired {
                at: grant.expiry,
                grant: Some(grant.clone()),
            },
            (None, Some(grant)) => PolicyState::Live(grant.clone()),
        }
    }

    fn concerns(&self, entry: &Entry) -> bool {
        let policy = match entry {
            Entry::Grant(it) => it.policy(),
            Entry::Revoke(it) => it.policy(),
            Entry::Release(it) => it.policy,
            Entry::Handover(it) => it.policy,
            Entry::RegisterNode(_) => return false,
        };
        policy == self.policy
    }

    fn on_grant(&mut self, it: &Grant) {
        if self.grant.as_ref().is_none_or(|known| it.seq > known.seq) {
            self.grant = Some(it.clone());
        }
    }

    fn on_end(&mut self, at: u64, epoch: u32) {
        self.revoked = self.revoked.or(Some((at, epoch)));
    }

    fn on_release(&mut self, it: &Release, at: u64) {
        let sealed = self.grant.as_ref().and_then(|grant| grant.revocation);
        if sealed == Some(revocation(&it.secret, it.epoch)) {
            self.on_end(at, it.epoch);
        }
    }

    fn on_handover(&mut self, it: &Handover) {
        let nodes = self.grant.as_mut().map(|grant| &mut grant.nodes);
        let Some(nodes) = nodes.filter(|nodes| !nodes.contains(&it.to)) else {
            return;
        };
        let keeper: Option<&mut PublicKey> = nodes.get_mut(usize::from(it.index));
        if let Some(keeper) = keeper.filter(|keeper| **keeper == it.from) {
            *keeper = it.to;
        }
    }
}
