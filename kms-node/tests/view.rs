//! A node's sight of the ledger when answers overtake each other.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "support/policy.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod policy;

use std::sync::Arc;
use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::NodeSecret;
use kms_ledger::{Clock, MemoryLedger};
use kms_node::view::LedgerView;
use kms_proto::codec;
use kms_proto::ledger::{Head, Ledger, LedgerError, NodeRecord, PolicyState, Receipt, SignedEntry};
use kms_proto::message::Query;
use parking_lot::Mutex;
use policy::{Policy, rng};

const NOW: u64 = 1_800_000_000;

type Event = Box<dyn FnOnce() + Send>;

/// A ledger whose answer about a policy can be held up by something that happens meanwhile.
struct Slow {
    ledger: MemoryLedger,
    meanwhile: Mutex<Option<Event>>,
    away: Mutex<bool>,
}

impl Ledger for Slow {
    fn head(&self) -> Result<Head, LedgerError> {
        self.ledger.head()
    }
    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        self.ledger.submit(entry)
    }
    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        if *self.away.lock() {
            return Err(LedgerError::Unavailable("away".into()));
        }
        let answer = self.ledger.policy(id);
        let event = self.meanwhile.lock().take();
        if let Some(event) = event {
            event();
        }
        answer
    }
    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.ledger.nodes()
    }
    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.ledger.read(from, max)
    }
}

fn entry(message: &[u8]) -> SignedEntry {
    let query = codec::decode_envelope(codec::Kind::Query, message).unwrap();
    let Query::LedgerSubmit { entry } = query else {
        panic!()
    };
    SignedEntry::from_bytes(&entry).unwrap()
}

#[test]
fn a_revocation_once_seen_is_not_hidden_by_an_answer_that_was_longer_on_its_way() {
    let clock: Clock = Arc::new(|| NOW);
    let ledger = Arc::new(Slow {
        ledger: MemoryLedger::new("test", Arc::clone(&clock)),
        meanwhile: Mutex::new(None),
        away: Mutex::new(false),
    });
    let policy = Policy::new("test", NOW, NOW + 500, 1, 1);
    let node = NodeSecret::generate(&mut rng()).public();
    ledger.submit(&entry(&policy.grant(vec![node]))).unwrap();
    let view = Arc::new(LedgerView::new(
        Arc::<Slow>::clone(&ledger),
        clock,
        Duration::from_secs(60),
    ));
    *ledger.meanwhile.lock() = Some(Box::new({
        let (view, ledger, id) = (Arc::clone(&view), Arc::clone(&ledger), policy.id());
        let revoke = entry(&policy.revoke(2));
        move || {
            ledger.submit(&revoke).unwrap();
            assert!(matches!(view.policy(&id), Ok(PolicyState::Revoked { .. })));
        }
    }));
    let late = view.policy(&policy.id());
    assert!(matches!(late, Ok(PolicyState::Live(_))), "asked before it");
    *ledger.away.lock() = true;
    let kept = view.policy(&policy.id());
    assert!(matches!(kept, Ok(PolicyState::Revoked { .. })), "{kept:?}");
}
