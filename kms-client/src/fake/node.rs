//! One fake node: what a real one does with a request, without disk and socket.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_crypto::id::{LabelId, PolicyId, StoreId};
use kms_crypto::key::{NodeSecret, PublicKey};
use kms_crypto::policy::PolicyParams;
use kms_crypto::scheme::{Capsule, KeyFrag, LabelContext, VerifiedKeyFrag, encapsulate};
use kms_ledger::Clock;
use kms_proto::ledger::{Ledger, LedgerError, PolicyState, SignedEntry};
use kms_proto::message::{
    Arranged, Canary, Command, NodeStatus, Query, Records, Reencrypt, Refusal, Removed, Response,
    StoreRekey,
};
use kms_proto::signed::{Gate, Incoming, Signed};
use parking_lot::Mutex;
use serde_bytes::ByteBuf;

use super::{Conduct, Counter, FAKE_NETWORK, Kept, SERVES, new_secret};
use crate::client::rng;

/// A node in memory.
pub struct FakeNode {
    pub(super) key: PublicKey,
    pub(super) secret: NodeSecret,
    pub(super) conduct: Mutex<Conduct>,
    pub(super) calls: Counter,
    asked: Counter,
    entries: Counter,
    accepted: Mutex<Vec<SignedEntry>>,
    gate: Gate,
    ledger: Arc<dyn Ledger>,
    clock: Clock,
    kept: Kept<Fragment>,
}

struct Fragment {
    params: PolicyParams,
    frag: VerifiedKeyFrag,
}

impl FakeNode {
    pub(super) fn new(ledger: Arc<dyn Ledger>, clock: Clock) -> Self {
        let secret = new_secret();
        let key = secret.public();
        Self {
            key,
            secret,
            conduct: Mutex::default(),
            calls: Counter::default(),
            asked: Counter::default(),
            entries: Counter::default(),
            accepted: Mutex::default(),
            gate: Gate::new(FAKE_NETWORK, key),
            ledger,
            clock,
            kept: Kept::default(),
        }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// How many fragments it keeps.
    #[must_use]
    pub fn fragments(&self) -> usize {
        self.kept.lock().len()
    }

    /// How many re-encryptions it was asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// How many entries it was asked to write, each counted once.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries.load(Ordering::SeqCst)
    }

    /// Puts a fragment there, in place of what there is: what owners that went wrong have left behind.
    ///
    /// # Panics
    /// It is not of this policy.
    pub fn keep(&self, params: PolicyParams, frag: KeyFrag) {
        let frag = frag.verify(&params).expect("of this policy");
        let fragment = Fragment { params, frag };
        self.kept.lock().insert(params.id(), fragment);
    }

    /// The response to a request; from `source`'s fragments where it is not an honest node.
    pub(super) fn handle_with(&self, request: &[u8], source: Option<&Self>) -> Response {
        let outcome = match self.gate.open(request, (self.clock)()) {
            Ok(Incoming::Query(query)) => self.query(query),
            Ok(Incoming::Command(Command::Arrange(it))) => Ok(Response::Arranged(Arranged {
                policy: it.policy(),
                available_until: (self.clock)() + SERVES,
            })),
            Ok(Incoming::Command(Command::StoreRekey(it))) => self.store(it),
            Ok(Incoming::Command(Command::Reencrypt(it))) => {
                self.reencrypt(&it, source.unwrap_or(self))
            }
            Ok(Incoming::Command(Command::Canary(it))) => self.canary(&it),
            Ok(Incoming::Command(Command::RemoveRekey(it))) => Ok(self.remove(it.policy())),
            // Fake nodes stay for ever.
            Ok(Incoming::Command(_)) => Err(Refusal::BadRequest),
            Err(refusal) => Err(refusal),
        };
        outcome.unwrap_or_else(Response::Refused)
    }

    fn all_talk(&self) -> bool {
        *self.conduct.lock() == Conduct::AllTalk
    }

    fn query(&self, query: Query) -> Result<Response, Refusal> {
        match query {
            Query::Status => Ok(Response::Status(NodeStatus {
                node: self.key,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                network: FAKE_NETWORK.to_owned(),
                time: (self.clock)(),
                available_until: (self.clock)() + SERVES,
                fragments: self.fragments().try_into().unwrap_or(u64::MAX),
                own_key: true,
                head: self.ledger.head().ok(),
                addrs: Vec::new(),
            })),
            Query::LedgerSubmit { .. } if self.all_talk() => {
                Ok(Response::Submitted { height: 1_000_000 })
            }
            Query::LedgerSubmit { entry } => {
                let entry = SignedEntry::from_bytes(&entry).map_err(|_| Refusal::BadRequest)?;
                if !self.is_written_now(&entry) {
                    return Ok(Response::Accepted);
                }
                match self.ledger.submit(&entry) {
                    Ok(receipt) => Ok(Response::Submitted {
                        height: receipt.height,
                    }),
                    Err(LedgerError::Refused(refusal)) => Err(Refusal::Ledger(refusal)),
                    Err(_) => Err(Refusal::Internal),
                }
            }
            Query::LedgerRead { from, max } => self.read(from, max),
        }
    }

    /// Whether it is written while the asker waits; otherwise it is written later, or never.
    fn is_written_now(&self, entry: &SignedEntry) -> bool {
        let mut accepted = self.accepted.lock();
        if accepted.contains(entry) {
            return false;
        }
        self.entries.fetch_add(1, Ordering::SeqCst);
        let Conduct::Accepts(after) = *self.conduct.lock() else {
            return true;
        };
        accepted.push(entry.clone());
        if let Some(after) = after {
            let (ledger, entry) = (Arc::clone(&self.ledger), entry.clone());
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                drop(ledger.submit(&entry));
            });
        }
        false
    }

    fn read(&self, from: u64, max: u32) -> Result<Response, Refusal> {
        let max = usize::try_from(max).map_err(|_| Refusal::BadRequest)?;
        let read = self.ledger.read(from.max(1), max);
        let (Ok(head), Ok(records)) = (self.ledger.head(), read) else {
            return Err(Refusal::LedgerStale);
        };
        let records = records.into_iter().map(ByteBuf::from).collect();
        Ok(Response::Records(Records { head, records }))
    }

    fn store(&self, it: StoreRekey) -> Result<Response, Refusal> {
        let unsound = |why: String| Refusal::BadFragment { why };
        let policy = it.params.id();
        let frag = KeyFrag::from_bytes(it.fragment.expose())
            .map_err(|error| unsound(error.to_string()))?;
        let frag = frag
            .verify(&it.params)
            .map_err(|error| unsound(error.to_string()))?;
        if self.all_talk() {
            return Err(Refusal::Full);
        }
        self.kept.lock().insert(
            policy,
            Fragment {
                params: it.params,
                frag,
            },
        );
        Ok(Response::Stored {
            policy,
            index: it.index,
        })
    }

    fn reencrypt(&self, it: &Reencrypt, source: &Self) -> Result<Response, Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self
            .ledger
            .policy(&it.policy)
            .map_err(|_| Refusal::LedgerStale)?
        {
            PolicyState::Live(_) => {}
            PolicyState::Revoked { at, epoch, .. } => return Err(Refusal::Revoked { at, epoch }),
            PolicyState::Expired { at, .. } => return Err(Refusal::Expired { at }),
            PolicyState::Unknown => return Err(Refusal::NotGranted),
        }
        let kept = source.kept.lock();
        let fragment = kept.get(&it.policy).ok_or(Refusal::UnknownPolicy)?;
        if fragment.params.recipient != it.recipient {
            return Err(Refusal::UnknownPolicy);
        }
        let fragments = it
            .capsules
            .iter()
            .map(|capsule| self.reencrypt_one(fragment, capsule))
            .collect();
        Ok(Response::Reencrypted { fragments })
    }

    /// On trial for the owner: what the recipient would get.
    fn canary(&self, it: &Canary) -> Result<Response, Refusal> {
        let policy = it.policy();
        let recipient = self.kept.lock().get(&policy).map(|it| it.params.recipient);
        let trial = Reencrypt {
            recipient: recipient.ok_or(Refusal::UnknownPolicy)?,
            policy,
            capsules: vec![it.capsule.clone()],
        };
        self.reencrypt(&trial, self)
    }

    fn reencrypt_one(&self, fragment: &Fragment, capsule: &[u8]) -> Result<ByteBuf, Refusal> {
        let mut capsule = Capsule::from_bytes(capsule).map_err(|_| Refusal::BadRequest)?;
        if *self.conduct.lock() == Conduct::Liar {
            let context = LabelContext {
                store: StoreId([0; 16]),
                label: LabelId([0; 16]),
                epoch: 0,
            };
            let other = encapsulate(
                &mut rng(),
                fragment.params.scheme(),
                &fragment.params.label_key,
                &context,
            );
            (capsule, _) = other.map_err(|_| Refusal::Internal)?;
        }
        let frag = fragment
            .frag
            .reencrypt(&mut rng(), &capsule)
            .map_err(|_| Refusal::BadRequest)?;
        Ok(ByteBuf::from(frag.to_bytes()))
    }

    fn remove(&self, policy: PolicyId) -> Response {
        let held = self.kept.lock().remove(&policy).is_some();
        let claim = Removed {
            network: FAKE_NETWORK.to_owned(),
            node: self.key,
            policy,
            held,
            at: (self.clock)(),
        };
        let signed =
            Signed::sign(claim, &self.secret, &mut rng()).expect("the node signs for itself");
        Response::Removed(signed.into_signed())
    }
}
