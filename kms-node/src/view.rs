//! A node's sight of the ledger: asked at every re-encryption, never trusted when it is old (NODE §2).
//!
//! The ledger is asked each time. Only when it cannot be reached does an answer count that it gave within the lease; a
//! ledger that was shortened, forked or forged has no lease.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::PublicKey;
use kms_ledger::Clock;
use kms_proto::ledger::{Entry, Grant, Head, Ledger, LedgerError, PolicyState, Record};
use kms_proto::message::Refusal;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How old a node's view of the ledger may be.
pub const LEASE: Duration = Duration::from_secs(60);

/// How many answers are kept for the lease.
const KEPT: usize = 4096;
/// How many records are read at once when following.
const RECORDS_AT_ONCE: usize = 256;

/// The ledger as one node sees it.
pub struct LedgerView {
    ledger: Arc<dyn Ledger>,
    clock: Clock,
    lease: Duration,
    answers: Mutex<HashMap<PolicyId, (PolicyState, Instant)>>,
    head: Mutex<Option<(Head, Instant)>>,
    registrations: AtomicU64,
    /// The ledger was shortened, forked or forged when it was last followed: what it said before has no lease.
    distrusted: AtomicBool,
}

impl std::fmt::Debug for LedgerView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerView")
            .field("head", &self.head.lock())
            .finish_non_exhaustive()
    }
}

/// What the watcher of the ledger has found.
#[derive(Debug)]
pub struct News {
    /// The ledger's head.
    pub head: Head,
    /// Policies that were revoked since the last time.
    pub revoked: Vec<PolicyId>,
    /// Policies that were granted since the last time.
    pub granted: Vec<PolicyId>,
}

impl LedgerView {
    /// A view of `ledger`.
    pub fn new(ledger: Arc<dyn Ledger>, clock: Clock, lease: Duration) -> Self {
        Self {
            ledger,
            clock,
            lease,
            answers: Mutex::default(),
            head: Mutex::default(),
            registrations: AtomicU64::new(0),
            distrusted: AtomicBool::new(false),
        }
    }

    /// The ledger itself.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The time, Unix seconds: the later of the machine's clock and the ledger's last record.
    pub fn now(&self) -> u64 {
        let recorded = self.head.lock().map_or(0, |(head, _)| head.time);
        (self.clock)().max(recorded)
    }

    /// The ledger's head, unless it was last seen before the lease, or the ledger is not what it was.
    pub fn head(&self) -> Option<Head> {
        self.head
            .lock()
            .filter(|(_, seen)| seen.elapsed() <= self.lease)
            .filter(|_| !self.distrusted.load(Ordering::Relaxed))
            .map(|(head, _)| head)
    }

    /// What the ledger says of a policy. May block.
    pub fn policy(&self, id: &PolicyId) -> Result<PolicyState, Refusal> {
        let asked = Instant::now();
        match self.ledger.policy(id) {
            Ok(state) => {
                let mut answers = self.answers.lock();
                if answers.len() >= KEPT {
                    answers.retain(|_, (_, since)| since.elapsed() <= self.lease);
                }
                // Revoked is for good: an answer that was longer on its way does not hide it.
                let known = answers.get(id).map(|(state, _)| state);
                let revoked = matches!(known, Some(PolicyState::Revoked { .. }));
                if !revoked && (known.is_some() || answers.len() < KEPT) {
                    answers.insert(*id, (state.clone(), asked));
                }
                Ok(self.by_our_clock(state))
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger does not answer");
                let answers = self.answers.lock();
                let kept = answers
                    .get(id)
                    .filter(|(_, since)| is_absence(&error) && since.elapsed() <= self.lease);
                kept.map(|(state, _)| self.by_our_clock(state.clone()))
                    .ok_or(Refusal::LedgerStale)
            }
        }
    }

    /// The grant, if the policy lives; otherwise why not. May block.
    pub fn live(&self, id: &PolicyId) -> Result<Grant, Refusal> {
        match self.policy(id)? {
            PolicyState::Live(grant) => Ok(grant),
            PolicyState::Revoked { at, epoch, .. } => Err(Refusal::Revoked { at, epoch }),
            PolicyState::Expired { at, .. } => Err(Refusal::Expired { at }),
            PolicyState::Unknown => Err(Refusal::NotGranted),
        }
    }

    /// Until when `node` has promised to serve, by the ledger. May block.
    pub fn promise(&self, node: &PublicKey) -> Result<Option<u64>, LedgerError> {
        Ok(self
            .ledger
            .nodes()?
            .into_iter()
            .find(|record| record.key == *node)
            .map(|record| record.available_until))
    }

    /// How many registrations [`Self::follow`] has seen: as long as it is the same, so are the nodes.
    pub fn registrations(&self) -> u64 {
        self.registrations.load(Ordering::Relaxed)
    }

    /// Reads what was appended after record `after`. May block.
    pub fn follow(&self, after: u64) -> Result<News, LedgerError> {
        let news = self.read_after(after);
        self.note(&news);
        news
    }

    /// The ledger's head now. May block.
    pub fn look(&self) -> Result<Head, LedgerError> {
        let head = self.ledger.head();
        self.note(&head);
        head
    }

    fn note<T>(&self, seen: &Result<T, LedgerError>) {
        let distrusted = seen.as_ref().is_err_and(|error| !is_absence(error));
        self.distrusted.store(distrusted, Ordering::Relaxed);
    }

    fn read_after(&self, after: u64) -> Result<News, LedgerError> {
        let head = self.ledger.head()?;
        let (mut revoked, mut granted) = (Vec::new(), Vec::new());
        let mut next = after.saturating_add(1);
        while next <= head.height {
            let records = self.ledger.read(next, RECORDS_AT_ONCE)?;
            if records.is_empty() {
                break;
            }
            next = next.saturating_add(u64::try_from(records.len()).unwrap_or(u64::MAX));
            for record in records.iter().filter_map(|it| Record::from_bytes(it).ok()) {
                let entry = &record.entry.claim().entry;
                revoked.extend(entry.revoked().map(|(policy, _)| policy));
                match entry {
                    Entry::Grant(grant) => granted.push(grant.policy()),
                    Entry::RegisterNode(_) => {
                        self.registrations.fetch_add(1, Ordering::Relaxed);
                    }
                    Entry::Revoke(_) | Entry::Release(_) | Entry::Handover(_) => {}
                }
            }
        }
        *self.head.lock() = Some((head, Instant::now()));
        for policy in &revoked {
            self.answers.lock().remove(policy);
        }
        Ok(News {
            head,
            revoked,
            granted,
        })
    }

    fn by_our_clock(&self, state: PolicyState) -> PolicyState {
        match state {
            PolicyState::Live(grant) if self.now() >= grant.expiry => PolicyState::Expired {
                at: grant.expiry,
                grant: Some(grant),
            },
            state => state,
        }
    }
}

/// Whether the ledger only cannot be asked; what it said a moment ago is as true as before.
fn is_absence(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Unavailable(_) | LedgerError::Busy)
}
