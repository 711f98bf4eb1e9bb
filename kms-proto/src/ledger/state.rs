//! What follows from the entries, and which may follow them (LEDGER §4).

use std::collections::{BTreeMap, HashMap};

use kms_crypto::{id::PolicyId, key::PublicKey};

use super::{
    Entry, EntryRefusal, EntryStatement, Grant, NodeRecord, PolicyState, RegisterNode, Revoke,
    VerifiedEntry,
};

/// All that the entries so far say. Two ledgers with the same entries have the same state.
#[derive(Clone, Debug, Default)]
pub struct State {
    policies: HashMap<PolicyId, Policy>,
    nodes: BTreeMap<PublicKey, NodeRecord>,
}

#[derive(Clone, Debug, Default)]
struct Policy {
    grant: Option<Grant>,
    revoked: Option<Revocation>,
}

#[derive(Clone, Copy, Debug)]
struct Revocation {
    at: u64,
    epoch: u32,
}

impl State {
    /// What is known of a policy at a time, Unix seconds.
    pub fn policy(&self, id: &PolicyId, now: u64) -> PolicyState {
        let Some(policy) = self.policies.get(id) else {
            return PolicyState::Unknown;
        };
        match (&policy.revoked, &policy.grant) {
            (Some(Revocation { at, epoch }), grant) => PolicyState::Revoked {
                at: *at,
                epoch: *epoch,
                grant: grant.clone(),
            },
            (None, Some(grant)) if now >= grant.expiry => PolicyState::Expired {
                at: grant.expiry,
                grant: grant.clone(),
            },
            (None, Some(grant)) => PolicyState::Live(grant.clone()),
            (None, None) => PolicyState::Unknown,
        }
    }

    /// All nodes, in the order of their keys.
    pub fn nodes(&self) -> Vec<NodeRecord> {
        self.nodes.values().cloned().collect()
    }

    /// One node.
    pub fn node(&self, key: &PublicKey) -> Option<&NodeRecord> {
        self.nodes.get(key)
    }

    /// Whether an entry may be appended at a time, Unix seconds.
    pub fn check(&self, entry: &VerifiedEntry, time: u64) -> Result<(), EntryRefusal> {
        match &entry.entry {
            Entry::RegisterNode(it) => self.check_node(it),
            Entry::Grant(it) => self.check_grant(it, time),
            Entry::Revoke(it) => self.check_revoke(it),
        }
    }

    /// Takes an entry in, if it may be.
    pub fn apply(&mut self, entry: &VerifiedEntry, time: u64) -> Result<(), EntryRefusal> {
        self.check(entry, time)?;
        match &entry.entry {
            Entry::RegisterNode(it) => {
                let record = NodeRecord {
                    key: it.key,
                    available_until: it.available_until,
                    addrs: it.addrs.clone(),
                    seq: it.seq,
                };
                self.nodes.insert(it.key, record);
            }
            Entry::Grant(it) => {
                self.policies.entry(it.policy()).or_default().grant = Some(it.clone())
            }
            Entry::Revoke(it) => {
                let policy = self.policies.entry(it.policy()).or_default();
                let at = policy.revoked.map_or(time, |earlier| earlier.at);
                policy.revoked = Some(Revocation {
                    at,
                    epoch: it.epoch,
                });
            }
        }
        Ok(())
    }

    fn check_node(&self, it: &RegisterNode) -> Result<(), EntryRefusal> {
        let Some(known) = self.nodes.get(&it.key) else {
            return Ok(());
        };
        if it.seq <= known.seq {
            return Err(EntryRefusal::Outnumbered { latest: known.seq });
        }
        if it.available_until < known.available_until {
            return Err(EntryRefusal::Shortened {
                until: known.available_until,
            });
        }
        Ok(())
    }

    fn check_grant(&self, it: &Grant, time: u64) -> Result<(), EntryRefusal> {
        let known = self.policies.get(&it.policy());
        if let Some(Revocation { at, .. }) = known.and_then(|policy| policy.revoked) {
            return Err(EntryRefusal::Revoked { at });
        }
        if let Some(grant) = known.and_then(|policy| policy.grant.as_ref())
            && it.seq <= grant.seq
        {
            return Err(EntryRefusal::Outnumbered {
                latest: grant.seq.into(),
            });
        }
        if it.expiry <= time {
            Err(EntryRefusal::AlreadyExpired)
        } else {
            Ok(())
        }
    }

    fn check_revoke(&self, it: &Revoke) -> Result<(), EntryRefusal> {
        match self
            .policies
            .get(&it.policy())
            .and_then(|policy| policy.revoked)
        {
            // The label may move on again; it never goes back.
            Some(Revocation { epoch, .. }) if it.epoch <= epoch => Err(EntryRefusal::Outnumbered {
                latest: epoch.into(),
            }),
            _ => Ok(()),
        }
    }
}

/// An entry is one and the same if its author and content are, whatever its signature's bytes.
pub(super) fn entry_hash(entry: &EntryStatement) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(b"kms/ledger-entry-id/1");
    hash.update(crate::codec::encode(entry));
    hash.finalize().into()
}
