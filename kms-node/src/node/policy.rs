//! Policies at a node: promising, storing, re-encrypting, removing (WIRE §3.2).

use kms_crypto::id::PolicyId;
use kms_crypto::kdf;
use kms_crypto::key::PublicKey;
use kms_crypto::scheme::{Capsule, KeyFrag, VerifiedKeyFrag};
use kms_net::PeerKey;
use kms_proto::codec;
use kms_proto::ledger::PolicyState;
use kms_proto::message::{
    Arrange, Arranged, Audit, Audited, Canary, MAX_REMOVAL_BYTES, Reencrypt, Refusal, RemoveRekey,
    Removed, Response, StoreRekey,
};
use kms_proto::signed::Signed;
use serde_bytes::ByteBuf;

use super::{Node, Step, store_refusal};
use crate::audit::{AuditNote, KEPT_SECONDS};
use crate::rng;
use crate::store::{Fragment, Memory, Removal, Stored};

impl Node {
    /// Says whether a fragment would be taken. Promises nothing it could not keep, keeps no note of it.
    pub(super) fn arrange(&self, arrange: &Arrange) -> Result<Response, Refusal> {
        let policy = arrange.policy();
        self.check_room(&policy, arrange.expiry)?;
        Ok(Response::Arranged(Arranged {
            policy,
            available_until: self.available_until(),
        }))
    }

    /// Whether a policy could have a fragment here until `expiry`.
    pub(super) fn check_room(&self, policy: &PolicyId, expiry: u64) -> Result<(), Refusal> {
        let available_until = self.available_until();
        if expiry > available_until {
            return Err(Refusal::Outlives { available_until });
        }
        if expiry <= self.view.now() {
            return Err(Refusal::Expired { at: expiry });
        }
        if let PolicyState::Revoked { at, epoch, .. } = self.view.policy(policy)? {
            return Err(Refusal::Revoked { at, epoch });
        }
        if let Some(tombstone) = self
            .vault
            .removal(policy)
            .map_err(|error| store_refusal(&error))?
        {
            return Err(Refusal::Revoked {
                at: tombstone.at,
                epoch: 0,
            });
        }
        if self.vault.held() >= self.max_fragments && !self.vault.holds(policy) {
            Err(Refusal::Full)
        } else {
            Ok(())
        }
    }

    /// Checks a fragment against the parameters its policy id follows from.
    pub(super) fn consider_rekey(
        &self,
        rekey: &StoreRekey,
        peer: Option<PeerKey>,
    ) -> Result<Step, Refusal> {
        let params = rekey.params;
        let policy = params.id();
        self.check_room(&policy, rekey.expiry)?;
        if matches!(self.view.policy(&policy)?, PolicyState::Unknown) {
            self.limits
                .wait_for_grant(policy, params.ledger_key, peer)?;
        }
        let checked = Self::check_fragment(rekey);
        if checked.is_err() {
            self.limits.settle(&[policy]);
        }
        checked
    }

    /// Verifies a fragment: the part that calculates.
    fn check_fragment(rekey: &StoreRekey) -> Result<Step, Refusal> {
        let params = rekey.params;
        let bad = |why: String| Refusal::BadFragment { why };
        let frag =
            KeyFrag::from_bytes(rekey.fragment.expose()).map_err(|error| bad(error.to_string()))?;
        let frag = frag
            .verify(&params)
            .map_err(|error| bad(error.to_string()))?;
        let threshold = frag.threshold();
        if (threshold.needed(), threshold.total()) != (rekey.m, rekey.n) {
            return Err(bad(format!("the fragment is of a split {threshold}")));
        }
        if !frag.is_at(rekey.index) {
            return Err(bad("the fragment has another index".to_owned()));
        }
        Ok(Step::Store(Box::new(Fragment {
            params,
            expiry: rekey.expiry,
            index: rekey.index,
            frag: frag.to_bytes(),
            given: zeroize::Zeroizing::new(rekey.fragment.expose().to_vec()),
        })))
    }

    pub(super) async fn store(&self, fragment: &Fragment) -> Result<Response, Refusal> {
        let policy = fragment.params.id();
        match self
            .vault
            .put(fragment, self.view.now())
            .await
            .map_err(|error| store_refusal(&error))?
        {
            Stored::Durable => {
                tracing::info!(?policy, expiry = fragment.expiry, "a fragment is kept");
                Ok(Response::Stored {
                    policy,
                    index: fragment.index,
                })
            }
            Stored::RemovedBefore(tombstone) => Err(Refusal::Revoked {
                at: tombstone.at,
                epoch: 0,
            }),
            Stored::OtherKept => Err(other_kept()),
        }
    }

    /// Sees how long a removal, which its owner has signed, is to be remembered. That of something that is not here, and
    /// that the ledger knows nothing of, is counted: anybody can make such. May block.
    pub(super) fn consider_removal(
        &self,
        remove: &RemoveRekey,
        message: &[u8],
        peer: Option<PeerKey>,
    ) -> Result<Step, Refusal> {
        let policy = remove.policy();
        let (known, memory) = match self.view.policy(&policy) {
            Ok(PolicyState::Unknown) => (false, Memory::Short),
            Ok(_) => (true, Memory::Long),
            Err(_) => (false, Memory::Long),
        };
        let removal = self.vault.removal(&policy);
        let is_old = removal.map_err(|error| store_refusal(&error))?.is_some();
        if !known && !is_old && !self.vault.holds(&policy) {
            self.limits
                .remove_unknown(policy, remove.ledger_key, peer)?;
        }
        // Received, read and checked: it is there. What is longer than any honest one is not kept.
        let request = codec::open_envelope(message).map_or(&[][..], |(_, body)| body);
        let request = Some(request).filter(|it| it.len() <= MAX_REMOVAL_BYTES);
        Ok(Step::Remove(
            policy,
            memory,
            request.unwrap_or_default().to_vec(),
        ))
    }

    /// Re-encrypts, if the ledger says that the policy lives, for its recipient; notes that he asked.
    pub(super) fn reencrypt(&self, request: &Reencrypt) -> Result<Response, Refusal> {
        let held = self.held_for(&request.policy, &request.recipient)?;
        let his = held.is_ok();
        let answer = self.reencrypt_by(&request.policy, held, &request.capsules);
        if his {
            let capsules: Vec<&[u8]> = request.capsules.iter().map(|it| it.as_slice()).collect();
            let content = kdf::hash("kms/node-audit-request/1", &capsules);
            let asked = (request.capsules.len(), Some(content));
            self.note_use(&request.policy, &request.recipient, &answer, asked);
        }
        answer
    }

    /// The fragment of a policy for its recipient. Somebody else's policy looks like none: it is not for strangers to know
    /// what is kept here.
    pub(super) fn held_for(
        &self,
        policy: &PolicyId,
        asks: &PublicKey,
    ) -> Result<Result<Fragment, Refusal>, Refusal> {
        let held = self.vault.fragment(policy);
        let held = held.map_err(|error| store_refusal(&error))?;
        let his = held.filter(|it| it.params.recipient == *asks);
        Ok(his.ok_or(Refusal::UnknownPolicy))
    }

    /// Notes what the recipient of a policy has asked for: how many capsules, and a hash of them.
    pub(super) fn note_use(
        &self,
        policy: &PolicyId,
        recipient: &PublicKey,
        answer: &Result<Response, Refusal>,
        (capsules, content): (usize, Option<[u8; 32]>),
    ) {
        let note = AuditNote {
            at: self.view.now(),
            recipient: *recipient,
            outcome: answer.as_ref().map_or_else(Refusal::name, |_| "ok"),
            capsules,
            content,
        };
        self.audit.note(policy, &note);
    }

    /// Does for a policy's owner what would be done for its recipient.
    pub(super) fn serve_canary(&self, request: &Canary) -> Result<Response, Refusal> {
        let policy = request.policy();
        let held = self.vault.fragment(&policy);
        let held = held.map_err(|error| store_refusal(&error))?;
        let capsules = std::slice::from_ref(&request.capsule);
        self.reencrypt_by(&policy, held.ok_or(Refusal::UnknownPolicy), capsules)
    }

    fn reencrypt_by(
        &self,
        policy: &PolicyId,
        held: Result<Fragment, Refusal>,
        capsules: &[ByteBuf],
    ) -> Result<Response, Refusal> {
        let frag = self.served(policy, held)?;
        let one = |capsule: &ByteBuf| {
            let capsule = Capsule::from_bytes(capsule).map_err(|_| Refusal::BadRequest)?;
            let answer = frag
                .reencrypt(&mut rng(), &capsule)
                .map_err(|_| Refusal::BadRequest)?;
            Ok(ByteBuf::from(answer.to_bytes()))
        };
        let fragments = capsules.iter().map(one).collect();
        tracing::debug!(?policy, capsules = capsules.len(), "re-encrypted");
        Ok(Response::Reencrypted { fragments })
    }

    /// The fragment of a policy that lives and is served here.
    pub(super) fn served(
        &self,
        policy: &PolicyId,
        held: Result<Fragment, Refusal>,
    ) -> Result<VerifiedKeyFrag, Refusal> {
        let grant = match self.view.live(policy) {
            // Tells who asks which half is missing: the grant, or both.
            Err(Refusal::NotGranted) => return Err(held.err().unwrap_or(Refusal::NotGranted)),
            grant => grant?,
        };
        if !grant.nodes.contains(&self.key()) {
            return Err(Refusal::NotGranted);
        }
        VerifiedKeyFrag::from_bytes_trusted(&held?.frag).map_err(|error| {
            tracing::error!(?policy, %error, "a stored fragment does not parse");
            Refusal::Internal
        })
    }

    /// What was asked about a policy, for its owner.
    pub(super) fn report(&self, asked: &Audit) -> Result<Response, Refusal> {
        let policy = asked.policy();
        let extract = self.audit.extract(&policy, asked.from).map_err(|error| {
            tracing::error!(%error, "the audit log cannot be read");
            Refusal::Internal
        })?;
        if extract.total == 0 {
            self.refuse_forgotten(&policy)?;
        }
        let statement = Audited {
            network: self.network.clone(),
            node: self.key(),
            policy,
            at: self.view.now(),
            from: asked.from,
            total: extract.total,
            first: extract.first,
            lost: extract.lost,
            prev: extract.prev,
            entries: extract.entries.into_iter().map(ByteBuf::from).collect(),
        };
        let report = Signed::sign(statement, &self.secret, &mut rng())
            .expect("the statement names this node's key");
        Ok(Response::Audited(report.into_signed()))
    }

    /// Of a policy that ended long ago nothing is known any more: to say that nobody used it would be a lie.
    fn refuse_forgotten(&self, policy: &PolicyId) -> Result<(), Refusal> {
        let now = self.view.now();
        let is_long_ago = |at: u64| now > at.saturating_add(KEPT_SECONDS);
        match self.view.policy(policy) {
            Ok(PolicyState::Revoked { at, epoch, .. }) if is_long_ago(at) => {
                Err(Refusal::Revoked { at, epoch })
            }
            Ok(PolicyState::Expired { at, .. }) if is_long_ago(at) => Err(Refusal::Expired { at }),
            _ => Ok(()),
        }
    }

    /// Signs for a removal.
    pub(super) fn receipt(&self, policy: PolicyId, removal: Removal) -> Response {
        tracing::info!(?policy, held = removal.held, "a fragment is removed");
        let statement = Removed {
            network: self.network.clone(),
            node: self.key(),
            policy,
            held: removal.held,
            at: removal.at,
        };
        let receipt = Signed::sign(statement, &self.secret, &mut rng())
            .expect("the statement names this node's key");
        Response::Removed(receipt.into_signed())
    }
}

/// There is one fragment of a policy, and it stays: the ledger may count on it.
pub(super) fn other_kept() -> Refusal {
    Refusal::BadFragment {
        why: "another one of this policy is kept".to_owned(),
    }
}
