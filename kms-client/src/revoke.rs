//! Revoking: the ledger is told first, then every node deletes its fragment and signs for it (WIRE §3, LEDGER §2).
//!
//! After the first step no honest node in contact with the ledger re-encrypts any more. The second one makes it so that
//! even later dishonesty finds nothing. A node that is away deletes when it sees the ledger again.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kms_crypto::id::PolicyId;
use kms_crypto::key::{LedgerKey, PublicKey};
use kms_crypto::policy::{PolicyParams, Threshold, revocation};
use kms_proto::ledger::{
    Cost, Entry, EntryRefusal, Grant, LedgerError, PolicyState, Release, Revoke,
};
use kms_proto::message::{Command, RemoveRekey, Removed, Response};
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::error::{Answer, Answers, ClientError, NodeAnswer, RequestError};
use crate::place::NodeAddress;

/// What to revoke.
pub struct RevokeRequest<'a> {
    /// The author of the policy.
    pub ledger_key: &'a LedgerKey,
    /// What the policy's id is made of.
    pub params: PolicyParams,
    /// How many nodes of how many.
    pub threshold: Threshold,
    /// Who holds fragments, as far as is known. The ledger may know better.
    pub nodes: &'a [NodeAddress],
    /// The label's new epoch.
    pub epoch: u32,
}

/// A revocation that the ledger shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The label's epoch from then on.
    pub epoch: u32,
    /// The height of an entry at or after which the ledger shows it.
    pub height: u64,
}

/// What came of a revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevokeOutcome {
    /// What the ledger shows.
    pub revocation: Revocation,
    /// The nodes' part.
    pub removal: Removal,
}

/// What the nodes did about their fragments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Removal {
    /// How many nodes of how many.
    pub threshold: Threshold,
    /// The nodes that signed for the deletion.
    pub removed: Vec<PublicKey>,
    /// What each node did.
    pub answers: Answers,
}

impl Removal {
    /// Whether the nodes that have not signed for the deletion are enough to re-encrypt, if they all were dishonest. Then
    /// the label needs a new delegating key.
    #[must_use]
    pub fn leaves_quorum(&self) -> bool {
        let left = usize::from(self.threshold.total()).saturating_sub(self.removed.len());
        left >= usize::from(self.threshold.needed())
    }
}

impl Client {
    /// Revokes a policy: [`Client::record_revocation`], then [`Client::remove_fragments`].
    pub async fn revoke(&self, request: &RevokeRequest<'_>) -> Result<RevokeOutcome, ClientError> {
        let revocation = self.record_revocation(request).await?;
        let removal = self.remove_fragments(request).await;
        Ok(RevokeOutcome {
            revocation,
            removal,
        })
    }

    /// Puts the revocation into the ledger; it counts from then on. A policy that is revoked already stays as it is.
    pub async fn record_revocation(
        &self,
        request: &RevokeRequest<'_>,
    ) -> Result<Revocation, ClientError> {
        let deadline = self.deadline();
        let params = &request.params;
        if request.ledger_key.public() != params.ledger_key {
            return Err(RequestError::NotTheAuthor.into());
        }
        let policy = params.id();
        // Of a ledger that stands at many places one may show what too few have: it is written again.
        if !self.writes_itself()
            && let PolicyState::Revoked { at, epoch, .. } =
                self.fresh_policy_state_by(&policy, deadline).await?
        {
            let height = self.height(deadline).await?;
            return Ok(Revocation { at, epoch, height });
        }
        let (nodes, _) = self.holders(request, deadline).await;
        let entry = self.revocation(request, deadline).await;
        let submitted = self
            .submit(&policy, entry, request.ledger_key, &nodes, deadline)
            .await;
        // The ledger may have taken longer than all else together.
        let deadline = self.deadline();
        let height = match submitted {
            // Of a later epoch, perhaps from another device.
            Err(ClientError::Ledger(LedgerError::Refused(EntryRefusal::Outnumbered {
                ..
            }))) => self.height(deadline).await?,
            submitted => submitted?,
        };
        match self.fresh_policy_state_by(&policy, deadline).await? {
            PolicyState::Revoked { at, epoch, .. } => Ok(Revocation { at, epoch, height }),
            // Submitting ends well only when the ledger shows the entry, and nothing undoes a revocation.
            _ => Err(ClientError::NotRecorded(Answers::default())),
        }
    }

    /// The entry that says so: the secret, which is less to write and to check than a signature, or else her signed word.
    async fn revocation(&self, request: &RevokeRequest<'_>, deadline: Instant) -> Entry {
        let params = &request.params;
        let release = match self.fresh_policy_state_by(&params.id(), deadline).await {
            // Where every place learns of entries in an order of its own, one may not have the grant yet.
            _ if self.writes_itself() => None,
            Ok(PolicyState::Revoked { .. }) | Err(_) => None,
            Ok(state) => state
                .into_grant()
                .and_then(|grant| release(&grant, request)),
        };
        release.map_or_else(
            || {
                Entry::Revoke(Revoke {
                    ledger_key: params.ledger_key,
                    inner: params.inner(),
                    epoch: request.epoch,
                })
            },
            Entry::Release,
        )
    }

    /// What it costs to put the revocation into the ledger, by itself; less where it goes together with others.
    pub async fn revocation_cost(
        &self,
        request: &RevokeRequest<'_>,
    ) -> Result<Option<Cost>, ClientError> {
        let deadline = self.deadline();
        let entry = self.revocation(request, deadline).await;
        let signed = self.sign_entry(entry, request.ledger_key)?;
        self.read_ledger(deadline, move |ledger| ledger.cost(&signed))
            .await
    }

    pub(crate) async fn height(&self, deadline: Instant) -> Result<u64, ClientError> {
        self.read_ledger(deadline, |ledger| Ok(ledger.head()?.height))
            .await
    }

    /// Has every node delete its fragment. May be repeated for the nodes that did not answer.
    pub async fn remove_fragments(&self, request: &RevokeRequest<'_>) -> Removal {
        let deadline = self.deadline();
        let (nodes, keepers) = self.holders(request, deadline).await;
        let mut asking: FuturesUnordered<_> = nodes
            .iter()
            .map(|node| async move {
                let removed =
                    timeout_at(deadline, self.remove_fragment(request, node, deadline)).await;
                let (answer, held) = match removed {
                    Ok(Ok(receipt)) => (Answer::Good, receipt.held),
                    Ok(Err(answer)) => (answer, false),
                    Err(_) => (Answer::Pending, false),
                };
                let answer = NodeAnswer {
                    node: node.key,
                    answer,
                };
                (answer, held)
            })
            .collect();
        let mut answers = Vec::with_capacity(nodes.len());
        let mut removed = Vec::with_capacity(nodes.len());
        while let Some((answer, held)) = asking.next().await {
            // One of those that keep fragments now has none any more; of another one only its word that it had one,
            // and has given it to nobody, says that a fragment is gone.
            let keeper = keepers.contains(&answer.node);
            if answer.answer == Answer::Good && (keeper || (keepers.is_empty() && held)) {
                removed.push(answer.node);
            }
            answers.push(answer);
        }
        Removal {
            threshold: request.threshold,
            removed,
            answers: Answers(answers),
        }
    }

    async fn remove_fragment(
        &self,
        request: &RevokeRequest<'_>,
        node: &NodeAddress,
        deadline: Instant,
    ) -> Result<Removed, Answer> {
        let params = &request.params;
        let command = || {
            Command::RemoveRekey(RemoveRekey {
                ledger_key: params.ledger_key,
                inner: params.inner(),
            })
        };
        match self
            .command(node, command, request.ledger_key, deadline)
            .await?
        {
            Response::Refused(refusal) => Err(Answer::Refused(refusal)),
            response => self
                .receipt(response, &node.key, &params.id())
                .ok_or(Answer::Malformed),
        }
    }

    /// The node's signed word that its fragment of `policy` is gone, if the response is that.
    pub(crate) fn receipt(
        &self,
        response: Response,
        node: &PublicKey,
        policy: &PolicyId,
    ) -> Option<Removed> {
        let Response::Removed(receipt) = response else {
            return None;
        };
        let claim = receipt.claim();
        let about_this =
            claim.node == *node && claim.policy == *policy && claim.network == self.network();
        let verified = about_this.then(|| receipt.verify().ok()).flatten()?;
        Some(verified.into_statement())
    }

    /// The nodes that may hold a fragment: those of the ledger's grant and those known before. Then the former alone.
    pub(crate) async fn holders(
        &self,
        request: &RevokeRequest<'_>,
        deadline: Instant,
    ) -> (Vec<NodeAddress>, Vec<PublicKey>) {
        let policy = request.params.id();
        let state = self.fresh_policy_state_by(&policy, deadline).await;
        let grant = state.ok().and_then(PolicyState::into_grant);
        let keepers: Vec<PublicKey> = grant.map(|it| it.nodes).unwrap_or_default();
        let mut keys = keepers.clone();
        for node in request.nodes {
            if !keys.contains(&node.key) {
                keys.push(node.key);
            }
        }
        (self.locate(&keys, request.nodes, deadline).await, keepers)
    }
}

/// How far back the epoch may lie for which a grant was sealed.
const EPOCHS_BACK: u32 = 4096;

/// The secret that a grant was sealed with, if it is the one that follows from the ledger key. For which epoch it was sealed
/// is found by trying: for the one after the label's own at that time.
fn release(grant: &Grant, request: &RevokeRequest<'_>) -> Option<Release> {
    let secret = request.ledger_key.revocation_secret();
    let sealed = grant.revocation?;
    let epochs = (request.epoch.saturating_sub(EPOCHS_BACK)..=request.epoch).rev();
    let epoch = epochs
        .into_iter()
        .find(|it| revocation(&secret, *it) == sealed)?;
    Some(Release {
        policy: request.params.id(),
        epoch,
        secret: *secret,
    })
}
