//! What follows from the entries, and which may follow them (LEDGER §4).

mod index;
mod terms;

use std::collections::{BTreeMap, HashMap};

use kms_crypto::{id::PolicyId, key::PublicKey, policy::revocation};

use super::{
    Entry, EntryRefusal, EntryStatement, Grant, Handover, NodeRecord, PolicyState, RegisterNode,
    Release, VerifiedEntry,
};
use terms::{Keepers, Placed, Terms};

/// All that the entries so far say. Two ledgers with the same entries have the same state.
#[derive(Clone, Debug, Default)]
pub struct State {
    order: Order,
    policies: HashMap<PolicyId, Policy>,
    nodes: BTreeMap<PublicKey, NodeRecord>,
    /// The nodes that grants name: there are few of them, and many grants.
    keepers: Keepers,
}

/// Whether everybody sees the entries in one order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// There is one place where they stand, and heights mean the same to all.
    #[default]
    One,
    /// Everybody learns of them in an order of their own (LEDGER §5.5): where a fragment is, is counted by its moves.
    Own,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The height of its record.
    pub height: u64,
    /// The time of its record, Unix seconds.
    pub time: u64,
}

#[derive(Clone, Debug, Default)]
struct Policy {
    grant: Option<Box<Terms>>,
    revoked: Option<Revocation>,
    forgotten: Option<Forgotten>,
}

/// What is known of grants whose entries were left out (LEDGER §5.2.1): the last one's number and end.
#[derive(Clone, Copy, Debug)]
struct Forgotten {
    seq: u32,
    expiry: u64,
}

#[derive(Clone, Copy, Debug)]
struct Revocation {
    at: u64,
    epoch: u32,
}

impl State {
    /// No entries yet.
    pub fn new(order: Order) -> Self {
        Self {
            order,
            ..Self::default()
        }
    }

    /// Whether everybody sees the entries in one order.
    pub fn order(&self) -> Order {
        self.order
    }

    /// What a handover of a fragment has to say as `after` if it is signed when this was all there was; the head's
    /// height, where heights mean the same to all.
    pub fn mark(&self, policy: &PolicyId, index: u8, height: u64) -> u64 {
        let placed = |policy: &Policy| Some(policy.grant.as_ref()?.place(index)?.since);
        match self.order {
            Order::One => height,
            Order::Own => self
                .policies
                .get(policy)
                .and_then(placed)
                .unwrap_or_default(),
        }
    }

    /// What is known of a policy at a time, Unix seconds.
    pub fn policy(&self, id: &PolicyId, now: u64) -> PolicyState {
        let Some(policy) = self.policies.get(id) else {
            return PolicyState::Unknown;
        };
        let grant = policy
            .grant
            .as_deref()
            .and_then(|it| it.grant(&self.keepers));
        match (&policy.revoked, grant, &policy.forgotten) {
            (Some(Revocation { at, epoch }), grant, _) => PolicyState::Revoked {
                at: *at,
                epoch: *epoch,
                grant,
            },
            (None, Some(grant), _) if now >= grant.expiry => PolicyState::Expired {
                at: grant.expiry,
                grant: Some(grant),
            },
            (None, Some(grant), _) => PolicyState::Live(grant),
            (None, None, Some(Forgotten { expiry, .. })) => PolicyState::Expired {
                at: *expiry,
                grant: None,
            },
            (None, None, None) => PolicyState::Unknown,
        }
    }

    /// Takes note of a grant whose entry was left out; whether it may have been.
    pub(super) fn forget(&mut self, id: PolicyId, seq: u32, expiry: u64) -> bool {
        let policy = self.policies.entry(id).or_default();
        let first = policy.grant.is_none() && policy.revoked.is_none();
        let later = policy.forgotten.is_none_or(|known| known.seq < seq);
        policy.forgotten = Some(Forgotten { seq, expiry });
        first && later
    }

    /// Whether all grants of a policy so far were left out, and there were any.
    pub(super) fn has_forgotten(&self, id: &PolicyId) -> bool {
        self.policies
            .get(id)
            .is_some_and(|policy| policy.grant.is_none() && policy.forgotten.is_some())
    }

    /// All nodes, in the order of their keys.
    pub fn nodes(&self) -> Vec<NodeRecord> {
        self.nodes.values().cloned().collect()
    }

    /// One node.
    pub fn node(&self, key: &PublicKey) -> Option<&NodeRecord> {
        self.nodes.get(key)
    }

    /// Whether an entry may be appended at a place.
    pub fn check(&self, entry: &VerifiedEntry, place: Place) -> Result<(), EntryRefusal> {
        match &entry.entry {
            Entry::RegisterNode(it) => self.check_node(it, place.time),
            Entry::Grant(it) => self.check_grant(it, place.time),
            Entry::Revoke(it) => self.check_end(&it.policy(), it.epoch),
            Entry::Release(it) => self.check_release(it),
            Entry::Handover(it) => self.check_handover(it, place.time),
        }
    }

    /// Takes an entry in, if it may be.
    pub fn apply(&mut self, entry: &VerifiedEntry, place: Place) -> Result<(), EntryRefusal> {
        self.check(entry, place)?;
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
            Entry::Grant(it) => self.apply_grant(it, place.height),
            Entry::Revoke(it) => self.apply_end(it.policy(), it.epoch, place.time),
            Entry::Release(it) => self.apply_end(it.policy, it.epoch, place.time),
            Entry::Handover(it) => self.apply_handover(it, place.height),
        }
        Ok(())
    }

    fn apply_grant(&mut self, it: &Grant, height: u64) {
        let placed = match self.order {
            Order::One => height,
            Order::Own => first_count(it.seq),
        };
        let terms = Terms::new(it, placed, &mut self.keepers);
        let policy = self.policies.entry(it.policy()).or_default();
        policy.grant = Some(Box::new(terms));
    }

    fn apply_end(&mut self, id: PolicyId, epoch: u32, time: u64) {
        let policy = self.policies.entry(id).or_default();
        let at = policy.revoked.map_or(time, |earlier| earlier.at);
        policy.revoked = Some(Revocation { at, epoch });
    }

    fn apply_handover(&mut self, it: &Handover, height: u64) {
        let to = self.keepers.number(&it.to);
        let grant = self
            .policies
            .get_mut(&it.policy)
            .and_then(|policy| policy.grant.as_mut());
        if let Some(place) = grant.and_then(|grant| grant.place_mut(it.index)) {
            let since = match self.order {
                Order::One => height,
                // The next count, and never that of a later grant.
                Order::Own => it.after + u64::from(it.after & MOVES != MOVES),
            };
            *place = Placed { node: to, since };
        }
    }

    fn check_node(&self, it: &RegisterNode, time: u64) -> Result<(), EntryRefusal> {
        let Some(known) = self.nodes.get(&it.key) else {
            return Ok(());
        };
        if it.seq <= known.seq {
            return Err(EntryRefusal::Outnumbered { latest: known.seq });
        }
        if it.available_until >= known.available_until {
            return Ok(());
        }
        // All of them are looked at: nodes leave seldom.
        let Some(node) = self.keepers.find(&it.key) else {
            return Ok(());
        };
        let live = |policy: &Policy| {
            let grant = policy.grant.as_ref().filter(|_| policy.revoked.is_none())?;
            let outlives = grant.expiry > time && grant.expiry > it.available_until;
            (outlives && grant.has(node)).then_some(grant.expiry)
        };
        match self.policies.values().filter_map(live).max() {
            Some(until) => Err(EntryRefusal::Shortened { until }),
            None => Ok(()),
        }
    }

    fn check_handover(&self, it: &Handover, time: u64) -> Result<(), EntryRefusal> {
        let policy = self.policies.get(&it.policy);
        let policy = policy.ok_or(EntryRefusal::NotHolder)?;
        if let Some(Revocation { at, .. }) = policy.revoked {
            return Err(EntryRefusal::Revoked { at });
        }
        let from = self.keepers.find(&it.from);
        let (grant, latest) = policy
            .grant
            .as_deref()
            .and_then(|grant| Some((grant, grant.place(it.index)?)))
            .filter(|(_, place)| Some(place.node) == from)
            .map(|(grant, place)| (grant, place.since))
            .ok_or(EntryRefusal::NotHolder)?;
        if grant.expiry <= time {
            return Err(EntryRefusal::AlreadyExpired);
        }
        if self.order == Order::Own && it.after > first_count(grant.seq) | MOVES {
            // Of a grant that has not come here yet.
            return Err(EntryRefusal::NotHolder);
        }
        if it.after < latest {
            return Err(EntryRefusal::Outnumbered { latest });
        }
        let serves = |node: &NodeRecord| node.available_until >= grant.expiry;
        if !self.nodes.get(&it.to).is_some_and(serves) {
            return Err(EntryRefusal::Unserved);
        }
        match self.keepers.find(&it.to) {
            Some(to) if grant.has(to) => Err(EntryRefusal::BadThreshold),
            _ => Ok(()),
        }
    }

    fn check_grant(&self, it: &Grant, time: u64) -> Result<(), EntryRefusal> {
        let known = self.policies.get(&it.policy());
        if let Some(Revocation { at, .. }) = known.and_then(|policy| policy.revoked) {
            return Err(EntryRefusal::Revoked { at });
        }
        let grant = known.and_then(|policy| policy.grant.as_ref());
        let forgotten = known.and_then(|policy| policy.forgotten);
        let latest = grant.map(|it| it.seq).max(forgotten.map(|it| it.seq));
        if let Some(latest) = latest.filter(|latest| it.seq <= *latest) {
            return Err(EntryRefusal::Outnumbered {
                latest: latest.into(),
            });
        }
        if grant.is_some_and(|grant| it.revocation != grant.revocation) {
            return Err(EntryRefusal::NotTheSecret);
        }
        if it.expiry <= time {
            Err(EntryRefusal::AlreadyExpired)
        } else {
            Ok(())
        }
    }

    fn check_release(&self, it: &Release) -> Result<(), EntryRefusal> {
        let grant = self
            .policies
            .get(&it.policy)
            .and_then(|policy| policy.grant.as_ref());
        match grant.and_then(|grant| grant.revocation) {
            Some(sealed) if sealed == revocation(&it.secret, it.epoch) => {
                self.check_end(&it.policy, it.epoch)
            }
            _ => Err(EntryRefusal::NotTheSecret),
        }
    }

    fn check_end(&self, policy: &PolicyId, next: u32) -> Result<(), EntryRefusal> {
        match self.policies.get(policy).and_then(|policy| policy.revoked) {
            // The label may move on again; it never goes back.
            Some(Revocation { epoch, .. }) if next <= epoch => Err(EntryRefusal::Outnumbered {
                latest: epoch.into(),
            }),
            _ => Ok(()),
        }
    }
}

/// The part of a count in which moves are counted; the rest is the number of the grant.
const MOVES: u64 = 0xffff_ffff;

/// The count of a fragment that a grant has put where it is.
fn first_count(seq: u32) -> u64 {
    u64::from(seq) << 32
}

/// What names an entry: it is one and the same if its author and content are, whatever its signature's bytes.
pub fn entry_hash(entry: &EntryStatement) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(b"kms/ledger-entry-id/1");
    hash.update(crate::codec::encode(entry));
    hash.finalize().into()
}
