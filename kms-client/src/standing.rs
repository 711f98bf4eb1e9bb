//! Who serves a policy, as the ledger says, and what to make of it when too few of them do.
//!
//! The ledger's word counts. Nodes may be behind it by a moment, and a fragment may have been handed over since it was read:
//! then everything is asked again.

use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::policy::Threshold;
use kms_proto::CLOCK_SKEW_SECONDS;
use kms_proto::answer::Shortfall;
use kms_proto::ledger::PolicyState;
use kms_proto::message::Refusal;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::drive::Fault;
use crate::error::{Answer, Answers, ClientError, Quorum};
use crate::place::NodeAddress;

/// How long nodes may take to read what is read here, and this client what was written elsewhere, and how long is waited
/// before they are asked again.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(4);
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Which policy's nodes are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) policy: PolicyId,
    pub(crate) threshold: Threshold,
    /// Who holds fragments, by what was known before. The ledger's list counts, if it can be read.
    pub(crate) nodes: &'a [NodeAddress],
}

/// What the ledger says about a policy whose nodes are wanted.
enum Standing {
    Live {
        expiry: u64,
        nodes: Vec<NodeAddress>,
    },
    /// The ledger cannot be read; nodes read it themselves.
    NotKnown { nodes: Vec<NodeAddress> },
}

/// An operation that needs the nodes of a policy, and is tried again as long as that may help.
pub(crate) struct Pursuit<'a> {
    asked: Asked<'a>,
    standing: Standing,
    deadline: Instant,
    caught_up: Instant,
    pause: Duration,
}

impl Pursuit<'_> {
    /// Who holds fragment 0, 1, ….
    pub(crate) fn nodes(&self) -> &[NodeAddress] {
        let (Standing::Live { nodes, .. } | Standing::NotKnown { nodes }) = &self.standing;
        nodes
    }

    /// Says in one word why there were too few good answers.
    pub(crate) fn verdict(&self, answers: Answers, now: u64) -> ClientError {
        verdict(&self.asked, &self.standing, answers, now)
    }
}

impl Client {
    /// Looks a policy's nodes up.
    pub(crate) async fn pursue<'a>(
        &self,
        asked: Asked<'a>,
        deadline: Instant,
    ) -> Result<Pursuit<'a>, ClientError> {
        let caught_up = deadline.min(Instant::now() + CATCHES_UP_WITHIN);
        Ok(Pursuit {
            standing: self.standing_soon(&asked, deadline, caught_up).await?,
            asked,
            deadline,
            caught_up,
            pause: FIRST_PAUSE,
        })
    }

    /// After a failure: looks again, or waits a moment. The failure itself if neither can help.
    pub(crate) async fn again(
        &self,
        pursuit: &mut Pursuit<'_>,
        error: ClientError,
    ) -> Result<(), ClientError> {
        let Pursuit {
            asked,
            standing,
            deadline,
            ..
        } = &*pursuit;
        if let Some(moved) = self.moved(asked, standing, &error, *deadline).await {
            pursuit.standing = moved;
        } else if !are_behind(standing, &error)
            || Instant::now() + pursuit.pause >= pursuit.caught_up
        {
            return Err(error);
        } else {
            sleep(pursuit.pause).await;
            pursuit.pause = pursuit.pause.saturating_mul(2);
        }
        Ok(())
    }

    /// Who has a ticket may read it before he reads the grant in the ledger: it is looked for again.
    async fn standing_soon(
        &self,
        asked: &Asked<'_>,
        deadline: Instant,
        caught_up: Instant,
    ) -> Result<Standing, ClientError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.standing(asked, deadline).await {
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
        asked: &Asked<'_>,
        deadline: Instant,
    ) -> Result<Standing, ClientError> {
        // A ledger that hangs leaves time for asking the nodes without it.
        let patient_until = deadline.min(Instant::now() + self.timeout() / 2);
        match self.policy_state_by(&asked.policy, patient_until).await {
            Ok(PolicyState::Live(grant)) => {
                let nodes = self.locate(&grant.nodes, asked.nodes, patient_until).await;
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
                    nodes: asked.nodes.to_vec(),
                })
            }
        }
    }

    /// Where the fragments are now, if a node has handed one over since the ledger was read.
    async fn moved(
        &self,
        asked: &Asked<'_>,
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
        self.forget_state(&asked.policy);
        let now = self.standing(asked, deadline).await.ok()?;
        let Standing::Live { nodes: keepers, .. } = &now else {
            return None;
        };
        let known = |keeper: &NodeAddress| nodes.iter().any(|it| it.key == keeper.key);
        (!keepers.iter().all(known)).then_some(now)
    }

    /// What a node's refusal is worth. That a policy is revoked ends the matter if the ledger, read again, says so, too: one
    /// lying node must not be able to lock a reader out. When the ledger cannot be read, all nodes are heard.
    pub(crate) async fn weigh(
        &self,
        policy: &PolicyId,
        refusal: Refusal,
        deadline: Instant,
    ) -> Fault {
        if let Refusal::Revoked { .. } = refusal {
            match self.fresh_policy_state_by(policy, deadline).await {
                Ok(PolicyState::Revoked { at, .. }) => {
                    return Fault::Final(ClientError::Revoked { at });
                }
                Ok(PolicyState::Expired { at, .. }) => {
                    return Fault::Final(ClientError::Expired { at });
                }
                Ok(PolicyState::Live(_) | PolicyState::Unknown) | Err(_) => {}
            }
        }
        Fault::Node(Answer::Refused(refusal))
    }
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
fn verdict(asked: &Asked<'_>, standing: &Standing, answers: Answers, now: u64) -> ClientError {
    if let Some(error) = over(asked, &answers, standing, now) {
        return error;
    }
    let quorum = Quorum::of(asked.threshold.needed(), answers);
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
    asked: &Asked<'_>,
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
    let (total, needed) = (asked.threshold.total(), asked.threshold.needed());
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
