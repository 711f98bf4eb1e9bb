//! Fetching a label's secret: m nodes re-encrypt its capsule, the recipient puts their answers together (WIRE §5).
//!
//! Every answer's proof is checked, those of enough answers in one go, and one by one if they do not hold together. A node
//! that fails, lies or dawdles is replaced by another one; when m
//! answers are good nobody else is waited for. Which nodes may be asked is said by the ledger, not by the ticket.

use std::time::Duration;

use kms_crypto::error::DecodeError;
use kms_crypto::key::{IdentitySecret, LabelSecret};
use kms_crypto::policy::{PolicyParams, Threshold};
use kms_crypto::scheme::{Capsule, CapsuleFrag, LabelContext, Reader, VerifiedCapsuleFrag};
use kms_proto::CLOCK_SKEW_SECONDS;
use kms_proto::answer::Shortfall;
use kms_proto::gather::Splits;
use kms_proto::ledger::PolicyState;
use kms_proto::message::{Command, Reencrypt, Refusal, Response};
use serde_bytes::ByteBuf;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::drive::{self, Fault, Patience, Verdict};
use crate::error::{Answer, Answers, ClientError, Quorum, RequestError};
use crate::place::NodeAddress;

/// Which key to fetch.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// What the policy's id is made of.
    pub params: PolicyParams,
    /// How many nodes of how many.
    pub threshold: Threshold,
    /// Who holds fragments, as the ticket says. The ledger's list counts, if it can be read.
    pub nodes: Vec<NodeAddress>,
    /// The label's secret, encapsulated.
    pub capsule: Capsule,
    /// What the capsule is bound to.
    pub context: LabelContext,
}

impl KeyRequest {
    /// Reads the capsule as it stands in a header.
    pub fn parse_capsule(bytes: &[u8]) -> Result<Capsule, DecodeError> {
        Capsule::from_bytes(bytes)
    }
}

/// How long nodes may take to read what is read here, and this client what was written elsewhere, and how long is waited
/// before they are asked again.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(4);
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What the ledger says about a policy whose key is wanted.
enum Standing {
    Live {
        expiry: u64,
        nodes: Vec<NodeAddress>,
    },
    /// The ledger cannot be read; nodes read it themselves.
    NotKnown { nodes: Vec<NodeAddress> },
}

impl Client {
    /// Fetches the secret of a label from the nodes of a policy.
    pub async fn decrypt_key(
        &self,
        request: &KeyRequest,
        identity: &IdentitySecret,
    ) -> Result<LabelSecret, ClientError> {
        if identity.public() != request.params.recipient {
            return Err(RequestError::NotTheRecipient.into());
        }
        let deadline = self.deadline();
        let caught_up = deadline.min(Instant::now() + CATCHES_UP_WITHIN);
        let mut standing = self.standing_soon(request, deadline, caught_up).await?;
        let mut pause = FIRST_PAUSE;
        loop {
            let gathered = self.gather_key(request, identity, &standing, deadline);
            let error = match gathered.await {
                Err(error) => error,
                secret => return secret,
            };
            if let Some(moved) = self.moved(request, &standing, &error, deadline).await {
                standing = moved;
            } else if !are_behind(&standing, &error) || Instant::now() + pause >= caught_up {
                return Err(error);
            } else {
                sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
        }
    }

    async fn gather_key(
        &self,
        request: &KeyRequest,
        identity: &IdentitySecret,
        standing: &Standing,
        deadline: Instant,
    ) -> Result<LabelSecret, ClientError> {
        let (Standing::Live { nodes, .. } | Standing::NotKnown { nodes }) = standing;
        let nodes = self.healthy_first(nodes.clone());
        let patience = Patience {
            hedge: self.shared.config.hedge,
            deadline,
        };
        let need = usize::from(request.threshold.needed());
        let capsule = request.capsule.to_bytes();
        let ask =
            |index: usize| self.fragment(request, &capsule, identity, nodes.get(index), deadline);
        let mut splits = Splits::default();
        let mut reader = Reader::new(&request.params);
        let judge = |said| judge(request, &mut reader, &mut splits, said);
        let mut gathered = drive::gather(&nodes, need, patience, ask, judge).await?;
        gathered.sort_out(&nodes, &splits);
        self.note_health(&gathered.answers);
        if gathered.good.len() < need {
            return Err(verdict(request, standing, gathered.answers, self.now()));
        }
        let opened = reader.open(identity, &request.capsule, &gathered.good, &request.context);
        Ok(opened?)
    }

    /// Who has a ticket may read it before he reads the grant in the ledger: it is looked for again.
    async fn standing_soon(
        &self,
        request: &KeyRequest,
        deadline: Instant,
        caught_up: Instant,
    ) -> Result<Standing, ClientError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.standing(request, deadline).await {
                Err(ClientError::NotGranted) if Instant::now() + pause < caught_up => {
                    sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
                standing => return standing,
            }
        }
    }

    async fn standing(
        &self,
        request: &KeyRequest,
        deadline: Instant,
    ) -> Result<Standing, ClientError> {
        // A ledger that hangs leaves time for asking the nodes without it.
        let patient_until = deadline.min(Instant::now() + self.timeout() / 2);
        match self
            .policy_state_by(&request.params.id(), patient_until)
            .await
        {
            Ok(PolicyState::Live(grant)) => {
                let nodes = self
                    .locate(&grant.nodes, &request.nodes, patient_until)
                    .await;
                Ok(Standing::Live {
                    expiry: grant.expiry,
                    nodes,
                })
            }
            Ok(PolicyState::Revoked { at, .. }) => Err(ClientError::Revoked { at }),
            Ok(PolicyState::Expired { at, .. }) => Err(ClientError::Expired { at }),
            Ok(PolicyState::Unknown) => Err(ClientError::NotGranted),
            Err(error) => {
                tracing::warn!(%error, "the ledger cannot be read; the nodes are asked all the same");
                Ok(Standing::NotKnown {
                    nodes: request.nodes.clone(),
                })
            }
        }
    }

    /// Where the fragments are now, if a node has handed one over since the ledger was read.
    async fn moved(
        &self,
        request: &KeyRequest,
        before: &Standing,
        error: &ClientError,
        deadline: Instant,
    ) -> Option<Standing> {
        let (Standing::Live { nodes, .. }, ClientError::NoQuorum(quorum)) = (before, error) else {
            return None;
        };
        let gone = |it: &Answer| {
            let refusal = matches!(
                it,
                Answer::Refused(Refusal::NotGranted | Refusal::UnknownPolicy)
            );
            refusal || matches!(it, Answer::Failed(_))
        };
        if quorum.answers.count(gone) == 0 {
            return None;
        }
        self.forget_state(&request.params.id());
        let now = self.standing(request, deadline).await.ok()?;
        let Standing::Live { nodes: keepers, .. } = &now else {
            return None;
        };
        let known = |keeper: &NodeAddress| nodes.iter().any(|it| it.key == keeper.key);
        (!keepers.iter().all(known)).then_some(now)
    }

    /// One node's answer.
    async fn fragment(
        &self,
        request: &KeyRequest,
        capsule: &[u8],
        identity: &IdentitySecret,
        node: Option<&NodeAddress>,
        deadline: Instant,
    ) -> Result<CapsuleFrag, Fault> {
        let node = node.ok_or(Answer::NotAsked)?;
        let command = || {
            Command::Reencrypt(Reencrypt {
                recipient: identity.public(),
                policy: request.params.id(),
                capsules: vec![ByteBuf::from(capsule)],
            })
        };
        let refusal = match self.command(node, command, identity, deadline).await? {
            Response::Reencrypted { fragments } => match <[_; 1]>::try_from(fragments) {
                Ok([Ok(bytes)]) => {
                    let frag = CapsuleFrag::from_bytes(&bytes);
                    return Ok(frag.map_err(|_| Answer::Malformed)?);
                }
                Ok([Err(refusal)]) => refusal,
                Err(_) => return Err(Answer::Malformed.into()),
            },
            Response::Refused(refusal) => refusal,
            _ => return Err(Answer::Malformed.into()),
        };
        if let Refusal::Revoked { .. } = refusal {
            self.weigh_revocation(request, deadline).await?;
        }
        Err(Answer::Refused(refusal).into())
    }

    /// A node says that the policy is revoked. That ends the matter if the ledger, read again, says so, too: one lying
    /// node must not be able to lock a reader out. When the ledger cannot be read, all nodes are heard.
    async fn weigh_revocation(&self, request: &KeyRequest, deadline: Instant) -> Result<(), Fault> {
        let policy = request.params.id();
        match self.fresh_policy_state_by(&policy, deadline).await {
            Ok(PolicyState::Revoked { at, .. }) => Err(Fault::Final(ClientError::Revoked { at })),
            Ok(PolicyState::Expired { at, .. }) => Err(Fault::Final(ClientError::Expired { at })),
            Ok(PolicyState::Live(_) | PolicyState::Unknown) | Err(_) => Ok(()),
        }
    }
}

/// Checks the proofs of some answers, and what they are good for together with those before.
fn judge(
    request: &KeyRequest,
    reader: &mut Reader,
    splits: &mut Splits,
    said: Vec<(usize, CapsuleFrag)>,
) -> Vec<Verdict<VerifiedCapsuleFrag>> {
    let (from, frags): (Vec<usize>, Vec<CapsuleFrag>) = said.into_iter().unzip();
    let checked = reader.verify_all(frags, &request.capsule);
    let verdicts = from.into_iter().zip(checked).map(|(index, frag)| {
        let frag = frag.map_err(Answer::BadProof)?;
        // The owner signed the threshold into every fragment: one of another split opens nothing together with the rest.
        if frag.threshold() != request.threshold {
            return Err(Answer::Malformed);
        }
        let astray = splits.add(index, &frag).ok_or(Answer::Duplicate)?;
        Ok((frag, astray))
    });
    verdicts.collect()
}

/// Whether there would be enough answers if the nodes had read as far in the ledger as is read here: a grant was written,
/// or a fragment handed over, a moment ago. Whether others are slow or lie makes no difference.
fn are_behind(standing: &Standing, error: &ClientError) -> bool {
    use ClientError::{BadProofs, NoQuorum, Timeout};
    let (Standing::Live { .. }, NoQuorum(quorum) | BadProofs(quorum) | Timeout(quorum)) =
        (standing, error)
    else {
        return false;
    };
    let is_behind = |it: &Answer| *it == Answer::Refused(Refusal::NotGranted);
    let behind = quorum.answers.count(is_behind);
    behind > 0 && usize::from(quorum.good) + behind >= usize::from(quorum.needed)
}

/// Says in one word why there were too few good answers.
fn verdict(request: &KeyRequest, standing: &Standing, answers: Answers, now: u64) -> ClientError {
    if let Some(error) = over(request, &answers, standing, now) {
        return error;
    }
    let quorum = Quorum::of(request.threshold.needed(), answers);
    match quorum.shortfall() {
        Shortfall::BadProofs => ClientError::BadProofs(quorum),
        Shortfall::Timeout => ClientError::Timeout(quorum),
        Shortfall::NoQuorum => ClientError::NoQuorum(quorum),
    }
}

/// Whether nodes say that there is no access, and may be believed.
///
/// With the ledger at hand only its word counts; an expiry that is near may have come earlier by the nodes' clocks. Without
/// it, as many must say so as leave too few others to open anything: fewer could keep a reader out by a lie, and give him
/// a wrong reason.
fn over(
    request: &KeyRequest,
    answers: &Answers,
    standing: &Standing,
    now: u64,
) -> Option<ClientError> {
    let (mut revoked, mut expired, mut denied) = (Vec::new(), Vec::new(), 0);
    for it in &answers.0 {
        match it.answer {
            Answer::Refused(Refusal::Revoked { at, .. }) => revoked.push(at),
            Answer::Refused(Refusal::Expired { at }) => expired.push(at),
            Answer::Refused(Refusal::UnknownPolicy | Refusal::NotGranted) => denied += 1,
            _ => {}
        }
    }
    let (total, needed) = (request.threshold.total(), request.threshold.needed());
    let blocked = usize::from(total.saturating_sub(needed));
    match standing {
        Standing::Live { expiry, .. } => (!expired.is_empty()
            && *expiry <= now.saturating_add(CLOCK_SKEW_SECONDS))
        .then_some(ClientError::Expired { at: *expiry }),
        Standing::NotKnown { .. } if revoked.len() > blocked => {
            agreed(revoked, blocked).map(|at| ClientError::Revoked { at })
        }
        Standing::NotKnown { .. } if expired.len() > blocked => {
            agreed(expired, blocked).map(|at| ClientError::Expired { at })
        }
        Standing::NotKnown { .. } => (denied > blocked).then_some(ClientError::NotGranted),
    }
}

/// A time that no `liars` of the nodes could have made earlier than what an honest one says.
fn agreed(mut times: Vec<u64>, liars: usize) -> Option<u64> {
    times.sort_unstable();
    times.get(liars).copied()
}
