//! The side that stays: takes what a leaving node hands over; and the wish to leave itself (WIRE §7).
//!
//! The leaving node is believed nothing: the ledger says who keeps what until when, the fragment is verified as if its
//! owner had sent it, and a forwarded removal carries its owner's signature.

use kms_crypto::id::PolicyId;
use kms_crypto::key::PublicKey;
use kms_crypto::scheme::KeyFrag;
use kms_proto::codec::{self, DecodeError};
use kms_proto::ledger::PolicyState;
use kms_proto::message::{
    ForwardRemovals, Handover, Parcel, Refusal, Response, Retire, Retiring, Taken,
    forwarded_removal,
};
use kms_proto::signed::Signed;
use serde::{Deserialize, Serialize};

use super::policy::other_kept;
use super::{Node, Service, Step, store_refusal, work_refusal};
use crate::rng;
use crate::store::{Fragment, Memory, Note, StoreError, Stored};

/// A fragment that another node wants to hand over, found good.
pub(super) struct Offer {
    fragment: Fragment,
    from: PublicKey,
    challenge: [u8; 32],
    /// It is kept already, and the ledger says so.
    known: bool,
}

/// A removal of its owner's that another node has passed on.
pub(super) struct Forwarded {
    policy: PolicyId,
    memory: Memory,
    request: Vec<u8>,
}

/// That a node leaves, or has left (NODE §3: the note `retiring`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Retirement {
    /// Until when it serves, Unix seconds.
    pub until: u64,
    /// The node that gets everything; none: the nearest that take it.
    pub to: Option<PublicKey>,
    /// Whether everything is handed over and the ledger knows.
    pub done: bool,
    /// How many fragments are left, as of the last try.
    #[serde(skip)]
    pub left: u64,
    /// Why the last try did not succeed.
    #[serde(skip)]
    pub trouble: String,
    /// Since when nothing is left here, and the ledger names the node for a policy all the same. Unix seconds.
    #[serde(skip)]
    pub named_since: Option<u64>,
}

impl Retirement {
    /// Reads the note.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_NOTE_BYTES)
    }
}

const MAX_NOTE_BYTES: usize = 256;

impl Node {
    /// Checks what another node wants to hand over.
    pub(super) fn consider_offer(&self, offer: &Handover) -> Result<Step, Refusal> {
        let policy = offer.params.id();
        let grant = self.view.live(&policy)?;
        let keeper = grant.nodes.get(usize::from(offer.index));
        let known = keeper == Some(&self.key());
        if !known && (keeper != Some(&offer.from) || grant.nodes.contains(&self.key())) {
            return Err(Refusal::NotGranted);
        }
        if !known {
            self.check_room(&policy, grant.expiry)?;
        }
        let bad = |why: String| Refusal::BadFragment { why };
        let parcel = self.parcel(&policy, offer.from, offer.index);
        let given = parcel
            .open(&offer.fragment, &self.secret)
            .map_err(|error| bad(error.to_string()))?;
        let kept = self.vault.fragment(&policy);
        let kept = kept.map_err(|error| store_refusal(&error))?;
        if known && kept.is_none() {
            return Err(Refusal::UnknownPolicy);
        }
        // The ledger counts on a fragment that is here, or may do so in a moment. No other one takes its place.
        if kept.is_some_and(|kept| kept.index != offer.index || kept.given != given) {
            return Err(other_kept());
        }
        let frag = KeyFrag::from_bytes(&given).map_err(|error| bad(error.to_string()))?;
        let frag = frag
            .verify(&offer.params)
            .map_err(|error| bad(error.to_string()))?;
        let threshold = frag.threshold();
        if (threshold.needed(), threshold.total()) != (grant.m, grant.n()) {
            return Err(bad(format!("the fragment is of a split {threshold}")));
        }
        if !frag.is_at(offer.index) {
            return Err(bad("the fragment has another index".to_owned()));
        }
        let fragment = Fragment {
            params: offer.params,
            expiry: grant.expiry,
            index: offer.index,
            frag: frag.to_bytes(),
            given,
        };
        Ok(Step::Take(Box::new(Offer {
            fragment,
            from: offer.from,
            challenge: offer.challenge,
            known,
        })))
    }

    fn parcel(&self, policy: &PolicyId, from: PublicKey, index: u8) -> Parcel<'_> {
        Parcel {
            network: &self.network,
            from,
            to: self.key(),
            policy: *policy,
            index,
        }
    }

    /// Signs that the fragment is here, as it is read back from the store.
    fn taken(&self, offer: &Offer) -> Result<Response, Refusal> {
        let policy = offer.fragment.params.id();
        let kept = self.vault.fragment(&policy);
        let kept = kept
            .map_err(|error| store_refusal(&error))?
            .ok_or(Refusal::Internal)?;
        let parcel = self.parcel(&policy, offer.from, kept.index);
        let statement = Taken {
            network: self.network.clone(),
            node: self.key(),
            from: offer.from,
            policy,
            index: kept.index,
            proof: parcel.proof(&offer.challenge, &kept.given),
            at: self.view.now(),
        };
        let receipt = Signed::sign(statement, &self.secret, &mut rng())
            .expect("the statement names this node's key");
        tracing::info!(?policy, from = %offer.from, "a fragment is taken over");
        Ok(Response::Taken(receipt.into_signed()))
    }

    /// Checks removals that another node passes on. Of what the ledger does not know nothing is to be remembered: nobody
    /// could hand it over.
    pub(super) fn consider_removals(&self, it: &ForwardRemovals) -> Result<Step, Refusal> {
        self.limits.admit_forwarded(it.from, it.removals.len())?;
        let registered = self.view.promise(&it.from);
        if registered.map_err(|_| Refusal::LedgerStale)?.is_none() {
            return Err(Refusal::NotGranted);
        }
        let forwarded = it.removals.iter().map(|request| {
            let policy =
                forwarded_removal(request, &self.network).map_err(|_| Refusal::BadRequest)?;
            let state = self.view.policy(&policy)?;
            let memory = match &state {
                // Taken back from a node that was too slow when the grant was made. This one has its place.
                PolicyState::Live(grant) if grant.nodes.contains(&self.key()) => return Ok(None),
                PolicyState::Unknown => return Ok(None),
                _ => match state.into_grant() {
                    Some(grant) => Memory::Until(grant.expiry),
                    None => Memory::Short,
                },
            };
            Ok(Some(Forwarded {
                policy,
                memory,
                request: request.to_vec(),
            }))
        });
        let forwarded: Vec<_> = forwarded.collect::<Result<_, Refusal>>()?;
        Ok(Step::Note(forwarded.into_iter().flatten().collect()))
    }

    pub(super) async fn note_removals(
        &self,
        removals: Vec<Forwarded>,
    ) -> Result<Response, Refusal> {
        let now = self.view.now();
        let noted = removals.into_iter().map(|it| {
            self.vault
                .remove_as_asked(it.policy, now, it.memory, it.request)
        });
        // All of them wait for the disk together.
        let noted = futures::future::try_join_all(noted).await;
        noted.map_err(|error| store_refusal(&error))?;
        Ok(Response::Noted)
    }

    /// Whether the node leaves, or has left.
    pub fn retirement(&self) -> Option<Retirement> {
        self.retirement.lock().clone()
    }

    /// Reads from the store whether the node was leaving. Blocks on the disk.
    pub fn recall_retirement(&self) -> Result<(), StoreError> {
        let note = self.vault.note(Note::Retiring)?;
        let known = note.and_then(|bytes| Retirement::from_bytes(&bytes).ok());
        *self.retirement.lock() = known;
        Ok(())
    }

    /// For how many seconds the new keeper of a fragment has been in doubt; from now on, if it was not.
    pub fn doubted_for(&self, policy: PolicyId) -> u64 {
        let now = self.view.now();
        let mut doubts = self.doubts.lock();
        now.saturating_sub(*doubts.entry(policy).or_insert(now))
    }

    /// The fragment is no concern of this node any more.
    pub fn doubt_no_more(&self, policy: &PolicyId) {
        self.doubts.lock().remove(policy);
    }

    /// Waits until somebody wants the node to leave.
    pub async fn told_to_retire(&self) {
        self.retirement_bell.notified().await;
    }

    pub(super) fn consider_retirement(&self, wish: Retire) -> Result<Step, Refusal> {
        // Signed by the node it names; addressed to this one.
        if wish.node == self.key() && wish.to != Some(wish.node) {
            Ok(Step::Retire(wish))
        } else {
            Err(Refusal::BadRequest)
        }
    }

    pub(super) async fn retire(&self, wish: Retire) -> Result<Response, Refusal> {
        let same = self
            .retirement()
            .filter(|it| it.until == wish.until && it.to == wish.to);
        let state = match same {
            Some(state) => state,
            None => {
                let state = Retirement {
                    until: wish.until,
                    to: wish.to,
                    done: false,
                    left: self.vault.held(),
                    trouble: String::new(),
                    named_since: None,
                };
                self.note_retirement(state.clone())
                    .await
                    .map_err(|error| store_refusal(&error))?;
                tracing::info!(until = wish.until, to = ?wish.to, "this node was told to retire");
                state
            }
        };
        if !state.done {
            self.retirement_bell.notify_one();
        }
        Ok(Response::Retiring(Retiring {
            until: state.until,
            left: state.left,
            done: state.done,
            trouble: state.trouble,
        }))
    }

    /// Sets how far the node is with leaving; durable when this returns.
    pub async fn note_retirement(&self, state: Retirement) -> Result<(), StoreError> {
        let unchanged = self
            .retirement()
            .is_some_and(|it| (it.until, it.to, it.done) == (state.until, state.to, state.done));
        if !unchanged {
            self.vault
                .set_note(Note::Retiring, codec::encode(&state))
                .await?;
        }
        *self.retirement.lock() = Some(state);
        Ok(())
    }
}

impl Service {
    pub(super) async fn take(&self, offer: Offer) -> Result<Response, Refusal> {
        if !offer.known {
            let stored = self.node.vault.put(&offer.fragment, self.node.view.now());
            match stored.await.map_err(|error| store_refusal(&error))? {
                Stored::Durable => {}
                Stored::RemovedBefore(tombstone) => {
                    return Err(Refusal::Revoked {
                        at: tombstone.at,
                        epoch: 0,
                    });
                }
                Stored::OtherKept => return Err(other_kept()),
            }
        }
        let node = std::sync::Arc::clone(&self.node);
        let signed = self.calculations.run(move || node.taken(&offer)).await;
        signed.map_err(work_refusal)?
    }
}
