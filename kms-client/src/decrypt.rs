//! Fetching a label's secret: m nodes re-encrypt its capsule, the recipient puts their answers together (WIRE §5).
//!
//! Every answer's proof is checked, those of enough answers in one go, and one by one if they do not hold together. A node
//! that fails, lies or dawdles is replaced by another one; when m
//! answers are good nobody else is waited for. Which nodes may be asked is said by the ledger, not by the ticket.

use kms_crypto::error::DecodeError;
use kms_crypto::key::{IdentitySecret, LabelSecret};
use kms_crypto::policy::{PolicyParams, Threshold};
use kms_crypto::scheme::{Capsule, CapsuleFrag, LabelContext, Reader, VerifiedCapsuleFrag};
use kms_proto::gather::Splits;
use kms_proto::message::{Command, Reencrypt, Response};
use serde_bytes::ByteBuf;
use tokio::time::Instant;

use crate::client::Client;
use crate::drive::{self, Fault, Patience, Verdict};
use crate::error::{Answer, ClientError, RequestError};
use crate::place::NodeAddress;
use crate::standing::{Asked, Pursuit};

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
        let asked = Asked {
            policy: request.params.id(),
            threshold: request.threshold,
            nodes: &request.nodes,
        };
        let deadline = self.deadline();
        let mut pursuit = self.pursue(asked, deadline).await?;
        loop {
            let gathered = self.gather_key(request, identity, &pursuit, deadline);
            match gathered.await {
                Err(error) => self.again(&mut pursuit, error).await?,
                secret => return secret,
            }
        }
    }

    async fn gather_key(
        &self,
        request: &KeyRequest,
        identity: &IdentitySecret,
        pursuit: &Pursuit<'_>,
        deadline: Instant,
    ) -> Result<LabelSecret, ClientError> {
        let nodes = self.healthy_first(pursuit.nodes().to_vec());
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
            return Err(pursuit.verdict(gathered.answers, self.now()));
        }
        let opened = reader.open(identity, &request.capsule, &gathered.good, &request.context);
        Ok(opened?)
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
        Err(self.weigh(&request.params.id(), refusal, deadline).await)
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
