//! Signatures by m of n nodes: two rounds with each, one after the other (WIRE §5.1, SCHEMES §14).
//!
//! Every part is checked by itself, so that a node that gave a wrong one is known, and done without. The machine that says
//! whom to ask for what is [`kms_proto::signing`]; the share of a node is that of its place in the ledger's grant.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use kms_crypto::error::OpenError;
use kms_crypto::key::{IdentitySecret, LabelPublicKey};
use kms_crypto::policy::{PolicyParams, Threshold};
use kms_crypto::scheme::signing::{
    Ceremony, Commitment, SignatureShare, Split, VerifiedSplit, verify,
};
use kms_proto::message::{Command, MAX_SIGNED_BYTES, Refusal, Response, SignCommit, SignShare};
use kms_proto::signing::{Signing, SigningOptions, SigningOutput};
use serde_bytes::ByteBuf;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::Client;
use crate::drive::{self, Fault};
use crate::error::{Answer, ClientError, RequestError};
use crate::place::NodeAddress;
use crate::standing::{Asked, Pursuit};

pub use kms_crypto::scheme::signing::GroupSignature;

/// By which key to sign.
#[derive(Clone, Debug)]
pub struct SignRequest {
    /// What the policy's id is made of; its label key is the group key.
    pub params: PolicyParams,
    /// How many nodes of how many.
    pub threshold: Threshold,
    /// Who holds the shares, in their order, as far as known. The ledger's list counts, if it can be read.
    pub nodes: Vec<NodeAddress>,
}

/// What came of a question to one node.
enum Word {
    Committed(usize, Result<(Commitment, Split), Fault>),
    Share(usize, usize, Result<ByteBuf, Fault>),
}

/// How far a signature is.
struct State<'a> {
    machine: Signing<usize, Answer>,
    group: Group<'a>,
    attempts: Vec<Attempt>,
}

impl State<'_> {
    /// Judges what a node has said, and tells the machine.
    fn hear(&mut self, word: Word, now: Duration) -> Result<(), ClientError> {
        let machine = &mut self.machine;
        let (index, fault) = match word {
            Word::Committed(index, said) => {
                match said.and_then(|(it, split)| Ok(self.group.add(index, it, split)?)) {
                    Ok(()) => {
                        machine.on_committed(index, now);
                        return Ok(());
                    }
                    Err(fault) => (index, fault),
                }
            }
            Word::Share(index, number, said) => {
                match said.and_then(|part| Ok(self.attempts[number].add(index, &part)?)) {
                    Ok(()) => {
                        machine.on_share(index, number, now);
                        return Ok(());
                    }
                    Err(fault) => (index, fault),
                }
            }
        };
        match fault {
            Fault::Node(why @ Answer::Refused(Refusal::UnknownNonces)) => {
                machine.on_forgotten(index, why);
            }
            Fault::Node(answer) => machine.on_failure(index, answer),
            Fault::Final(error) => return Err(error),
        }
        Ok(())
    }
}

/// One try: who signs, and the parts that have come.
struct Attempt {
    ceremony: Ceremony,
    parts: Vec<(u8, SignatureShare)>,
}

impl Client {
    /// A signature of `message` by the group of a policy. It has been verified when this returns.
    pub async fn sign(
        &self,
        request: &SignRequest,
        identity: &IdentitySecret,
        message: &[u8],
    ) -> Result<GroupSignature, ClientError> {
        if identity.public() != request.params.recipient {
            return Err(RequestError::NotTheRecipient.into());
        }
        if message.len() > MAX_SIGNED_BYTES {
            let bytes = message.len();
            return Err(RequestError::TooLongToSign { bytes }.into());
        }
        let deadline = self.deadline();
        let asked = Asked {
            policy: request.params.id(),
            threshold: request.threshold,
            nodes: &request.nodes,
        };
        let mut pursuit = self.pursue(asked, deadline).await?;
        loop {
            let signed = self.sign_once(request, identity, message, &pursuit, deadline);
            match signed.await {
                Err(error) => self.again(&mut pursuit, error).await?,
                signature => return signature,
            }
        }
    }

    async fn sign_once(
        &self,
        request: &SignRequest,
        identity: &IdentitySecret,
        message: &[u8],
        pursuit: &Pursuit<'_>,
        deadline: Instant,
    ) -> Result<GroupSignature, ClientError> {
        let nodes = pursuit.nodes();
        let started = Instant::now();
        let give_up_at = deadline.saturating_duration_since(started);
        let options = SigningOptions {
            need: usize::from(request.threshold.needed()),
            hedge_after: self.shared.config.hedge,
            give_up_at,
        };
        let order = self.healthy_first(nodes.to_vec());
        let place = |it: &NodeAddress| nodes.iter().position(|node| node.key == it.key);
        let mut state = State {
            machine: Signing::new(options, order.iter().filter_map(place)),
            group: Group::new(request),
            attempts: Vec::new(),
        };
        let mut running: FuturesUnordered<BoxFuture<'_, Word>> = FuturesUnordered::new();
        loop {
            while let Some(output) = state.machine.poll(started.elapsed()) {
                match output {
                    SigningOutput::Commit(index) => {
                        let asked = self.commitment(request, identity, &nodes[index], deadline);
                        running.push(asked.map(move |it| Word::Committed(index, it)).boxed());
                    }
                    SigningOutput::Sign(number, members) => {
                        let signers = state.group.signers(&members)?;
                        let ask = SignShare {
                            recipient: identity.public(),
                            policy: request.params.id(),
                            message: message.to_vec(),
                            signers: signers.iter().map(encode).collect(),
                        };
                        for index in members {
                            let asked = self.part(ask.clone(), identity, &nodes[index], deadline);
                            let word = move |it| Word::Share(index, number, it);
                            running.push(asked.map(word).boxed());
                        }
                        let attempt = state.group.attempt(message, &signers)?;
                        state.attempts.push(attempt);
                    }
                    SigningOutput::Done(number) => {
                        self.note_health(&drive::answers(nodes, state.machine.answers()));
                        return state.group.finish(&state.attempts[number], message);
                    }
                    SigningOutput::GiveUp => {
                        // What went wrong is told by what every node says: a moment is given to those under way.
                        let until = deadline.min(Instant::now() + drive::LAST_WORDS_WITHIN);
                        while let Ok(Some(word)) = timeout_at(until, running.next()).await {
                            state.hear(word, started.elapsed())?;
                        }
                        let answers = drive::answers(nodes, state.machine.answers());
                        self.note_health(&answers);
                        return Err(pursuit.verdict(answers, self.now()));
                    }
                }
            }
            let wake = started + state.machine.wake_at().unwrap_or(give_up_at);
            let word = tokio::select! {
                // In this order, so that the same happens each time the same comes in.
                biased;
                Some(word) = running.next() => word,
                () = sleep_until(wake) => continue,
            };
            state.hear(word, started.elapsed())?;
        }
    }

    async fn commitment(
        &self,
        request: &SignRequest,
        identity: &IdentitySecret,
        node: &NodeAddress,
        deadline: Instant,
    ) -> Result<(Commitment, Split), Fault> {
        let policy = request.params.id();
        let command = || {
            Command::SignCommit(SignCommit {
                recipient: identity.public(),
                policy,
            })
        };
        match self.command(node, command, identity, deadline).await? {
            Response::Committed(it) => {
                let commitment = Commitment::from_bytes(&it.commitment);
                let split = Split::from_bytes(&it.split);
                let both = commitment.and_then(|commitment| Ok((commitment, split?)));
                Ok(both.map_err(|_| Answer::Malformed)?)
            }
            Response::Refused(refusal) => Err(self.weigh(&policy, refusal, deadline).await),
            _ => Err(Answer::Malformed.into()),
        }
    }

    async fn part(
        &self,
        ask: SignShare,
        identity: &IdentitySecret,
        node: &NodeAddress,
        deadline: Instant,
    ) -> Result<ByteBuf, Fault> {
        let command = || Command::SignShare(ask.clone());
        match self.command(node, command, identity, deadline).await? {
            Response::SignedShare { share } => Ok(share),
            Response::Refused(refusal) => Err(self.weigh(&ask.policy, refusal, deadline).await),
            _ => Err(Answer::Malformed.into()),
        }
    }
}

/// What is known of the nodes that sign.
struct Group<'a> {
    request: &'a SignRequest,
    /// The split, by the word of the first node that had it; its owner's signature has been checked.
    split: Option<VerifiedSplit>,
    /// Of each node, by its place, what it has committed itself to last.
    commitments: Vec<(usize, Commitment)>,
}

impl<'a> Group<'a> {
    const fn new(request: &'a SignRequest) -> Self {
        Self {
            request,
            split: None,
            commitments: Vec::new(),
        }
    }

    /// Checks what a node says of the split, and keeps its commitment.
    fn add(&mut self, index: usize, commitment: Commitment, split: Split) -> Result<(), Answer> {
        match &self.split {
            Some(known) if *known.split() == split => {}
            known => {
                let split = split.verify(&self.request.params);
                let split = split.map_err(Answer::BadProof)?;
                if split.split().threshold() != self.request.threshold {
                    return Err(Answer::Malformed);
                }
                if known.is_some() {
                    return Err(Answer::OtherSplit);
                }
                self.split = Some(split);
            }
        }
        self.commitments.retain(|(place, _)| *place != index);
        self.commitments.push((index, commitment));
        Ok(())
    }

    /// The commitments of these nodes, in their order. They are good for one try.
    fn signers(&mut self, members: &[usize]) -> Result<Vec<(u8, Commitment)>, ClientError> {
        let (mut used, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.commitments)
            .into_iter()
            .partition(|(place, _)| members.contains(place));
        self.commitments = left;
        used.sort_by_key(|(place, _)| *place);
        let signer = |(place, it)| Some((u8::try_from(place).ok()?, it));
        let signers = used.into_iter().map(signer).collect::<Option<_>>();
        signers.ok_or(ClientError::Open(OpenError::Inconsistent))
    }

    fn attempt(
        &self,
        message: &[u8],
        signers: &[(u8, Commitment)],
    ) -> Result<Attempt, ClientError> {
        let inconsistent = ClientError::Open(OpenError::Inconsistent);
        let Some(split) = &self.split else {
            return Err(inconsistent);
        };
        let ceremony = Ceremony::new(split, message, signers);
        Ok(Attempt {
            ceremony: ceremony.map_err(|_| inconsistent)?,
            parts: Vec::new(),
        })
    }

    /// The signature, verified as anybody would.
    fn finish(&self, attempt: &Attempt, message: &[u8]) -> Result<GroupSignature, ClientError> {
        let inconsistent = || ClientError::Open(OpenError::Inconsistent);
        let signature = attempt.ceremony.finish(&attempt.parts);
        let signature = signature.map_err(|_| inconsistent())?;
        let LabelPublicKey::Signing(key) = self.request.params.label_key else {
            return Err(inconsistent());
        };
        verify(&key, message, &signature).map_err(|_| inconsistent())?;
        Ok(signature)
    }
}

impl Attempt {
    fn add(&mut self, index: usize, part: &[u8]) -> Result<(), Answer> {
        let index = u8::try_from(index).map_err(|_| Answer::Malformed)?;
        let part = self.ceremony.check(index, part);
        self.parts.push((index, part.map_err(Answer::BadProof)?));
        Ok(())
    }
}

/// A signer as it stands in a request.
fn encode((index, commitment): &(u8, Commitment)) -> ByteBuf {
    ByteBuf::from([&[*index], commitment.as_bytes().as_slice()].concat())
}
