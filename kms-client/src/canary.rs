//! How many nodes of a policy would serve its recipient right now, for its owner (WIRE §3.2, `canary`).
//!
//! The owner makes a capsule for the label and throws its secret away; every node is to re-encrypt it, and the proofs are
//! checked as the recipient would check them.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::scheme::{Capsule, CapsuleFrag, LabelContext, VerifiedCapsuleFrag, encapsulate};
use kms_proto::gather::Splits;
use kms_proto::ledger::PolicyState;
use kms_proto::message::{Canary, Command, Response};
use serde_bytes::ByteBuf;
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, rng};
use crate::drive::Gathered;
use crate::error::{Answer, Answers, ClientError, NodeAnswer, Quorum, RequestError};
use crate::place::NodeAddress;
use crate::revoke::RevokeRequest;

impl Client {
    /// Asks every node of a live policy for a re-encryption on trial. In the answer, `good` nodes serve, and go together;
    /// the recipient opens as long as they are at least `needed`.
    pub async fn policy_health(&self, request: &RevokeRequest<'_>) -> Result<Quorum, ClientError> {
        let deadline = self.deadline();
        let params = &request.params;
        let keepers = match self.fresh_policy_state_by(&params.id(), deadline).await? {
            PolicyState::Live(grant) => grant.nodes,
            PolicyState::Revoked { at, .. } => return Err(ClientError::Revoked { at }),
            PolicyState::Expired { at, .. } => return Err(ClientError::Expired { at }),
            PolicyState::Unknown => return Err(ClientError::NotGranted),
        };
        // It is opened by nobody, so it is bound to nothing.
        let nothing = LabelContext {
            store: StoreId([0; 16]),
            label: LabelId([0; 16]),
            epoch: 0,
        };
        let made = encapsulate(&mut rng(), params.scheme(), &params.label_key, &nothing);
        let (capsule, _) = made.map_err(RequestError::Split)?;
        let nodes = self.locate(&keepers, request.nodes, deadline).await;
        let capsule = &capsule;
        let mut asking: FuturesUnordered<_> = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| async move {
                let asked = self.canary(request, node, capsule, deadline);
                let answer = timeout_at(deadline, asked).await;
                (index, answer.unwrap_or(Err(Answer::Pending)))
            })
            .collect();
        let mut splits = Splits::default();
        let mut gathered = Gathered {
            good: Vec::new(),
            answers: Answers(Vec::with_capacity(nodes.len())),
        };
        while let Some((index, answer)) = asking.next().await {
            let judged = answer.and_then(|frag| {
                splits
                    .add(index, &frag)
                    .map(|_| frag)
                    .ok_or(Answer::Duplicate)
            });
            let answer = match judged {
                Ok(frag) => {
                    gathered.good.push(frag);
                    Answer::Good
                }
                Err(answer) => answer,
            };
            if let Some(node) = nodes.get(index).map(|it| it.key) {
                gathered.answers.0.push(NodeAnswer { node, answer });
            }
        }
        gathered.sort_out(&nodes, &splits);
        Ok(Quorum {
            needed: request.threshold.needed(),
            good: u8::try_from(gathered.good.len()).unwrap_or(u8::MAX),
            answers: gathered.answers,
        })
    }

    async fn canary(
        &self,
        request: &RevokeRequest<'_>,
        node: &NodeAddress,
        capsule: &Capsule,
        deadline: Instant,
    ) -> Result<VerifiedCapsuleFrag, Answer> {
        let params = &request.params;
        let command = || {
            Command::Canary(Canary {
                ledger_key: params.ledger_key,
                inner: params.inner(),
                capsule: ByteBuf::from(capsule.to_bytes()),
            })
        };
        let asked = self.command(node, command, request.ledger_key, deadline);
        let fragments = match asked.await? {
            Response::Reencrypted { fragments } => fragments,
            Response::Refused(refusal) => return Err(Answer::Refused(refusal)),
            _ => return Err(Answer::Malformed),
        };
        let [fragment] = <[_; 1]>::try_from(fragments).map_err(|_| Answer::Malformed)?;
        let bytes = fragment.map_err(Answer::Refused)?;
        let frag = CapsuleFrag::from_bytes(&bytes).map_err(|_| Answer::Malformed)?;
        let frag = frag.verify(capsule, params).map_err(Answer::BadProof)?;
        if frag.threshold() == request.threshold {
            Ok(frag)
        } else {
            Err(Answer::Malformed)
        }
    }
}
