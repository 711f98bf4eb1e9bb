//! Asking every node of a policy what it would do, for a person who wants to know why something does not open.
//!
//! Opening ends with the first answer that settles the matter, and when the ledger settles it no node is asked. Here all
//! are asked at once and each one's answer is told. What comes of it decides nothing: proofs are not even looked at.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kms_crypto::key::IdentitySecret;
use kms_proto::message::{Command, Reencrypt, Response};
use serde_bytes::ByteBuf;
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::decrypt::KeyRequest;
use crate::error::{Answer, Answers, NodeAnswer};
use crate::place::NodeAddress;

impl Client {
    /// What each of the nodes named in the request says to it now.
    pub async fn survey(&self, request: &KeyRequest, identity: &IdentitySecret) -> Answers {
        let deadline = self.deadline();
        let keys: Vec<_> = request.nodes.iter().map(|node| node.key).collect();
        let nodes = self.locate(&keys, &request.nodes, deadline).await;
        let mut asking: FuturesUnordered<_> = nodes
            .iter()
            .map(|node| async move {
                let asked = self.would_answer(request, identity, node, deadline);
                let answer = match timeout_at(deadline, asked).await {
                    Ok(answer) => answer,
                    Err(_) => Answer::Pending,
                };
                NodeAnswer {
                    node: node.key,
                    answer,
                }
            })
            .collect();
        let mut answers = Vec::with_capacity(nodes.len());
        while let Some(answer) = asking.next().await {
            answers.push(answer);
        }
        Answers(answers)
    }

    async fn would_answer(
        &self,
        request: &KeyRequest,
        identity: &IdentitySecret,
        node: &NodeAddress,
        deadline: Instant,
    ) -> Answer {
        let capsule = request.capsule.to_bytes();
        let command = || {
            Command::Reencrypt(Reencrypt {
                recipient: identity.public(),
                policy: request.params.id(),
                capsules: vec![ByteBuf::from(capsule.as_slice())],
            })
        };
        match self.command(node, command, identity, deadline).await {
            Ok(Response::Reencrypted { fragments }) => match fragments.into_iter().next() {
                Some(Ok(_)) => Answer::Good,
                Some(Err(refusal)) => Answer::Refused(refusal),
                None => Answer::Malformed,
            },
            Ok(Response::Refused(refusal)) => Answer::Refused(refusal),
            Ok(_) => Answer::Malformed,
            Err(answer) => answer,
        }
    }
}
