//! The one ledger, and how somebody sees it: a little late, or not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_ledger::{Clock, MemoryLedger};
use kms_proto::ledger::{
    Entry, Head, Ledger, LedgerError, NodeRecord, PolicyState, Receipt, SignedEntry,
};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The real rules over records in memory, and when each came to be.
pub struct SharedLedger {
    ledger: MemoryLedger,
    clock: Clock,
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    heads: Vec<(Instant, Head)>,
    policies: HashMap<PolicyId, Vec<(Instant, PolicyState)>>,
    revoked: HashMap<PolicyId, Instant>,
}

impl SharedLedger {
    pub fn new(network: &str, clock: Clock) -> Self {
        Self {
            ledger: MemoryLedger::new(network, Arc::clone(&clock)),
            clock,
            past: Mutex::default(),
        }
    }

    /// When a policy's revocation became final.
    pub fn revoked_at(&self, policy: &PolicyId) -> Option<Instant> {
        self.past.lock().revoked.get(policy).copied()
    }

    pub fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        let before = self.ledger.head()?.height;
        let receipt = self.ledger.submit(entry)?;
        let head = self.ledger.head()?;
        if head.height > before {
            let now = Instant::now();
            let mut past = self.past.lock();
            past.heads.push((now, head));
            let policy = match &entry.claim().entry {
                Entry::Grant(grant) => grant.policy(),
                Entry::Revoke(revoke) => {
                    past.revoked.entry(revoke.policy()).or_insert(now);
                    revoke.policy()
                }
                Entry::Release(release) => {
                    past.revoked.entry(release.policy).or_insert(now);
                    release.policy
                }
                Entry::Handover(handover) => handover.policy,
                Entry::RegisterNode(_) => return Ok(receipt),
            };
            let state = self.ledger.policy(&policy)?;
            past.policies.entry(policy).or_default().push((now, state));
        }
        Ok(receipt)
    }

    pub fn policy(&self, id: &PolicyId) -> PolicyState {
        self.ledger.policy(id).expect("memory answers")
    }

    fn policy_as_of(&self, id: &PolicyId, then: Instant) -> PolicyState {
        let past = self.past.lock();
        let known = past.policies.get(id).map_or(&[][..], Vec::as_slice);
        let last = known.iter().rev().find(|(at, _)| *at <= then);
        let time = (self.clock)();
        match last.map(|(_, state)| state.clone()) {
            None => PolicyState::Unknown,
            Some(PolicyState::Live(grant)) if grant.expiry <= time => PolicyState::Expired {
                at: grant.expiry,
                grant: Some(grant),
            },
            Some(state) => state,
        }
    }

    fn head_as_of(&self, then: Instant) -> Option<Head> {
        let past = self.past.lock();
        let seen = past.heads.partition_point(|(at, _)| *at <= then);
        seen.checked_sub(1).map(|index| past.heads[index].1)
    }
}

/// The ledger as one node or one client sees it.
pub struct Sight {
    pub ledger: Arc<SharedLedger>,
    /// How long it takes until a record is seen from here.
    pub lag: Duration,
    /// Says that it has written what it has not.
    pub lies: bool,
    contact: Mutex<Contact>,
}

/// Since when there is a connection to the ledger, or none.
#[derive(Clone, Copy, Debug)]
pub enum Contact {
    Since(Instant),
    LostAt(Instant),
}

impl Sight {
    pub fn new(ledger: &Arc<SharedLedger>, lag: Duration, lies: bool) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            lag,
            lies,
            contact: Mutex::new(Contact::Since(Instant::now())),
        }
    }

    pub fn contact(&self) -> Contact {
        *self.contact.lock()
    }

    pub fn cut(&self) {
        *self.contact.lock() = Contact::LostAt(Instant::now());
    }

    pub fn mend(&self) {
        *self.contact.lock() = Contact::Since(Instant::now());
    }

    fn then(&self) -> Result<Instant, LedgerError> {
        match self.contact() {
            Contact::Since(_) => Ok(Instant::now()
                .checked_sub(self.lag)
                .expect("time has begun")),
            Contact::LostAt(_) => Err(LedgerError::Unavailable("cut off".into())),
        }
    }
}

impl Ledger for Sight {
    fn head(&self) -> Result<Head, LedgerError> {
        let seen = self.ledger.head_as_of(self.then()?);
        Ok(seen.expect("nodes had registered before anything began"))
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        self.then()?;
        if self.lies {
            return Ok(Receipt { height: 1_000_000 });
        }
        self.ledger.submit(entry)
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        Ok(self.ledger.policy_as_of(id, self.then()?))
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.then()?;
        self.ledger.ledger.nodes()
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        let head = self.head()?.height;
        let left = usize::try_from(head.saturating_add(1).saturating_sub(from)).unwrap_or(0);
        self.ledger.ledger.read(from, max.min(left))
    }
}
