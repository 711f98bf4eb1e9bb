//! Fetching the secret of a label through a gateway: whom to ask what, and what to believe (WIRE §5, §8.3).
//!
//! A machine without socket or clock: [`Fetch::poll`] says which requests to make, [`Fetch::on_answer`] is told what came
//! back, until there is an outcome.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kms_crypto::format::Header;
use kms_crypto::id::LabelId;
use kms_crypto::key::{IdentitySecret, LabelSecret, PublicKey};
use kms_crypto::scheme::{Capsule, CapsuleFrag, LabelContext, Reader, VerifiedCapsuleFrag};
use kms_proto::answer::{Answer, Answers, NodeAnswer, Quorum};
use kms_proto::gather::{self, Gather, GatherOptions, GatherOutput, Splits};
use kms_proto::ledger::PolicyState;
use kms_proto::message::{Command, MAX_READ, Query, Reencrypt, Refusal, Response};
use kms_proto::signed::{Address, MAX_DEADLINE_SECONDS};
use kms_proto::ticket::{Ticket, TicketText};
use kms_proto::transport::TransportError;
use rand_core::CryptoRng;
use serde_bytes::ByteBuf;

use crate::evidence::Evidence;
use crate::failure::Failure;

/// A node that takes longer gets company.
const HEDGE: Duration = Duration::from_millis(500);
/// How long is waited before nodes that have not read the grant yet are asked again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// For how long they may be behind.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(4);

/// What is to be opened, and by whom.
pub struct Wanted {
    identity: Rc<IdentitySecret>,
    network: String,
    ticket: Ticket,
    capsule: Capsule,
    context: LabelContext,
}

/// A request to be made.
#[derive(Debug)]
pub struct Ask {
    /// Names its answer.
    pub id: u32,
    /// Whom to ask.
    pub node: PublicKey,
    /// The bytes.
    pub message: Vec<u8>,
}

/// A label's secret being fetched.
pub struct Fetch {
    wanted: Wanted,
    reader: Reader,
    gives_up_at: Duration,
    caught_up_at: Duration,
    pause: Duration,
    stage: Stage,
    under_way: BTreeMap<u32, Purpose>,
    next_id: u32,
    /// What came of the last round.
    quorum: Option<Quorum>,
    outcome: Option<Result<LabelSecret, Failure>>,
}

#[derive(Clone, Copy)]
enum Purpose {
    Fragment { round: u32, index: usize },
    Records,
}

enum Stage {
    Gathering(Round),
    Reading(Reading),
    Waiting {
        nodes: Vec<PublicKey>,
        until: Duration,
    },
    Over,
}

/// Nodes being asked for fragments.
struct Round {
    number: u32,
    nodes: Vec<PublicKey>,
    machine: Gather<usize, VerifiedCapsuleFrag, Answer>,
    splits: Splits,
    /// What has been said and not been judged.
    said: Vec<(usize, CapsuleFrag)>,
}

/// The ledger being read.
struct Reading {
    asked: Vec<PublicKey>,
    evidence: Evidence,
    from: u64,
    /// How many nodes have not answered.
    failed: usize,
}

impl Wanted {
    /// What `ticket` says can be opened of the file with this header. The first to be told when it is for somebody else.
    ///
    /// # Errors
    /// The ticket does not open, or is about another file, or not of `owner`.
    pub fn new(
        identity: Rc<IdentitySecret>,
        network: &str,
        header: &Header,
        ticket: &str,
        owner: Option<&PublicKey>,
    ) -> Result<Self, Failure> {
        let text = TicketText::parse(ticket)?;
        if owner.is_some_and(|owner| *owner != text.owner) {
            let why = "the ticket is another owner's than the one named";
            return Err(Failure::new("NOT_OWNER", why).with("owner", text.owner.to_string()));
        }
        if !kms_proto::is_network_name(network) {
            return Err(Failure::new("BAD_PARAMETER", "not a network's name"));
        }
        let ticket = text.open(&identity)?;
        let slot = header.labels().iter().find(|slot| slot.id == ticket.label);
        let slot =
            slot.ok_or_else(|| Failure::new("NOT_FOR_YOU", "this is not what was shared"))?;
        Ok(Self {
            identity,
            network: network.to_owned(),
            capsule: Capsule::from_bytes(&slot.capsule)?,
            context: slot.context(ticket.store),
            ticket,
        })
    }

    /// Who shares it.
    #[must_use]
    pub const fn owner(&self) -> PublicKey {
        self.ticket.owner
    }

    /// Its label.
    #[must_use]
    pub const fn label(&self) -> LabelId {
        self.ticket.label
    }

    /// Times are durations since 1970.
    ///
    /// # Errors
    /// The ticket makes no sense.
    pub fn fetch(self, now: Duration, timeout: Duration) -> Result<Fetch, Failure> {
        let gives_up_at = now.saturating_add(timeout);
        let nodes = self.ticket.nodes.iter().map(|it| it.key).collect();
        let needed = self.ticket.threshold()?.needed();
        Ok(Fetch {
            reader: Reader::new(&self.ticket.params),
            gives_up_at,
            caught_up_at: gives_up_at.min(now.saturating_add(CATCHES_UP_WITHIN)),
            pause: FIRST_PAUSE,
            stage: Stage::Gathering(Round::new(0, nodes, needed, gives_up_at)),
            under_way: BTreeMap::new(),
            next_id: 0,
            quorum: None,
            outcome: None,
            wanted: self,
        })
    }
}

impl Round {
    fn new(number: u32, nodes: Vec<PublicKey>, needed: u8, gives_up_at: Duration) -> Self {
        let options = GatherOptions {
            need: usize::from(needed),
            hedge_after: HEDGE,
            give_up_at: gives_up_at,
        };
        Self {
            number,
            machine: Gather::new(options, 0..nodes.len()),
            nodes,
            splits: Splits::default(),
            said: Vec::new(),
        }
    }

    fn answers(&self) -> Answers {
        let answer = |answer| match answer {
            gather::Answer::NotAsked => Answer::NotAsked,
            gather::Answer::Silent => Answer::Pending,
            gather::Answer::Good => Answer::Good,
            gather::Answer::Failed(why) => why,
        };
        let said = self.machine.answers().into_iter();
        let named = said.filter_map(|(index, said)| {
            self.nodes.get(index).map(|node| NodeAnswer {
                node: *node,
                answer: answer(said),
            })
        });
        let mut answers = Answers(named.collect());
        for node in self.splits.astray().filter_map(|it| self.nodes.get(it)) {
            let astray = answers.0.iter_mut().filter(|it| it.node == *node);
            astray.for_each(|it| it.answer = Answer::OtherSplit);
        }
        answers
    }
}

impl Fetch {
    /// What is wanted.
    #[must_use]
    pub const fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Which requests to make now. To be called at first, after every answer, and at [`Fetch::wake_at`].
    pub fn poll(&mut self, now: Duration, rng: &mut impl CryptoRng) -> Vec<Ask> {
        let mut asks = Vec::new();
        while self.step(now, rng, &mut asks) {}
        asks
    }

    /// When to poll again if nothing comes back before.
    #[must_use]
    pub fn wake_at(&self) -> Duration {
        match &self.stage {
            Stage::Gathering(round) => round.machine.wake_at().unwrap_or(self.gives_up_at),
            Stage::Waiting { until, .. } => (*until).min(self.gives_up_at),
            Stage::Reading(_) | Stage::Over => self.gives_up_at,
        }
    }

    /// What came of it, once.
    pub fn take_outcome(&mut self) -> Option<Result<LabelSecret, Failure>> {
        self.outcome.take()
    }

    /// Takes an answer in, or why there is none.
    pub fn on_answer(&mut self, id: u32, answer: Result<&[u8], TransportError>, now: Duration) {
        let Some(purpose) = self.under_way.remove(&id) else {
            return;
        };
        let answer = answer
            .map_err(Answer::Failed)
            .and_then(|bytes| Response::from_bytes(bytes).map_err(|_| Answer::Malformed));
        match (purpose, &mut self.stage) {
            (Purpose::Fragment { round, index }, Stage::Gathering(it)) if it.number == round => {
                match answer.and_then(fragment) {
                    Ok(frag) => {
                        it.machine.on_word(index, now);
                        it.said.push((index, frag));
                    }
                    Err(answer) if answer.is_broken() => it.machine.on_break(index, answer, now),
                    Err(answer) => it.machine.on_failure(index, answer),
                }
            }
            (Purpose::Records, Stage::Reading(it)) => it.on_answer(answer),
            _ => {}
        }
    }

    /// Does one thing; whether there may be another.
    fn step(&mut self, now: Duration, rng: &mut impl CryptoRng, asks: &mut Vec<Ask>) -> bool {
        match &mut self.stage {
            Stage::Gathering(round) => {
                let is_time = round.machine.wake_at().is_some_and(|at| now >= at);
                let waits = self.under_way.values().any(|it| matches!(it, Purpose::Fragment { round: number, .. } if *number == round.number));
                if is_time || !waits || round.said.len() >= round.machine.missing() {
                    self.judge();
                }
                self.gather(now, rng, asks)
            }
            Stage::Reading(reading) if now < self.gives_up_at && !reading.is_hopeless() => {
                self.read(now, asks)
            }
            Stage::Waiting { nodes, until } if now >= *until && now < self.gives_up_at => {
                let nodes = std::mem::take(nodes);
                self.begin(nodes);
                true
            }
            Stage::Waiting { until, .. } if now < *until => false,
            Stage::Reading(_) | Stage::Waiting { .. } => {
                self.fall_short();
                false
            }
            Stage::Over => false,
        }
    }

    /// Checks the proofs of what has been said, together.
    fn judge(&mut self) {
        let Stage::Gathering(round) = &mut self.stage else {
            return;
        };
        let (from, frags): (Vec<_>, Vec<_>) = std::mem::take(&mut round.said).into_iter().unzip();
        let checked = self.reader.verify_all(frags, &self.wanted.capsule);
        let needed = usize::from(self.wanted.ticket.needed);
        for (index, frag) in from.into_iter().zip(checked) {
            let judged = frag.map_err(Answer::BadProof).and_then(|frag| {
                // The owner signed the threshold into every fragment.
                if Ok(frag.threshold()) != self.wanted.ticket.threshold().map_err(|_| ()) {
                    return Err(Answer::Malformed);
                }
                let astray = round.splits.add(index, &frag).ok_or(Answer::Duplicate)?;
                Ok((frag, astray))
            });
            match judged {
                Ok((frag, astray)) => {
                    // Before the answer: with it there could seem to be enough.
                    round.machine.set_need(needed + astray);
                    round.machine.on_good(index, frag);
                }
                Err(answer) => round.machine.on_failure(index, answer),
            }
        }
    }

    fn gather(&mut self, now: Duration, rng: &mut impl CryptoRng, asks: &mut Vec<Ask>) -> bool {
        let Stage::Gathering(round) = &mut self.stage else {
            return false;
        };
        match round.machine.poll(now) {
            None => false,
            Some(GatherOutput::Ask(index)) => {
                let (number, node) = (round.number, round.nodes.get(index).copied());
                let signed =
                    node.and_then(|node| self.wanted.sign(node, now, self.gives_up_at, rng));
                if let (Some(node), Some(message)) = (node, signed) {
                    let purpose = Purpose::Fragment {
                        round: number,
                        index,
                    };
                    self.ask(node, message, purpose, asks);
                }
                true
            }
            Some(GatherOutput::Done) => {
                let stage = std::mem::replace(&mut self.stage, Stage::Over);
                if let Stage::Gathering(round) = stage {
                    self.open(round);
                }
                false
            }
            Some(GatherOutput::GiveUp) => {
                let quorum = Quorum::of(self.wanted.ticket.needed, round.answers());
                let mut asked = round.nodes.clone();
                // First those that speak at all: one of them passes the ledger on.
                let speaks = |it: &Answer| matches!(it, Answer::Good | Answer::Refused(_));
                let mute = |node: &PublicKey| {
                    let mut answers = quorum.answers.0.iter();
                    !answers.any(|it| it.node == *node && speaks(&it.answer))
                };
                asked.sort_by_cached_key(mute);
                self.quorum = Some(quorum);
                let policy = self.wanted.ticket.params.id();
                self.stage = Stage::Reading(Reading {
                    asked,
                    evidence: Evidence::new(&self.wanted.network, policy),
                    from: 1,
                    failed: 0,
                });
                true
            }
        }
    }

    fn open(&mut self, round: Round) {
        let splits = round.splits;
        let good = round.machine.into_good().into_iter().map(|(_, frag)| frag);
        let good: Vec<_> = good.filter(|frag| splits.are_most(frag)).collect();
        let it = &self.wanted;
        let secret = self
            .reader
            .open(&it.identity, &it.capsule, &good, &it.context);
        self.outcome = Some(secret.map_err(Failure::from));
    }

    fn ask(&mut self, node: PublicKey, message: Vec<u8>, purpose: Purpose, asks: &mut Vec<Ask>) {
        let id = self.next_id;
        self.next_id += 1;
        self.under_way.insert(id, purpose);
        asks.push(Ask { id, node, message });
    }

    fn read(&mut self, now: Duration, asks: &mut Vec<Ask>) -> bool {
        let is_reading = |it: &Purpose| matches!(it, Purpose::Records);
        if self.under_way.values().any(is_reading) {
            return false;
        }
        let Stage::Reading(reading) = &mut self.stage else {
            return false;
        };
        if reading.from < u64::MAX {
            let query = Query::LedgerRead {
                from: reading.from,
                max: MAX_READ,
            };
            let Some(node) = reading.asked.get(reading.failed).copied() else {
                return false;
            };
            self.ask(node, query.to_bytes(), Purpose::Records, asks);
            return false;
        }
        let asked = std::mem::take(&mut reading.asked);
        let state = reading.evidence.state(now.as_secs());
        self.conclude(state, asked, now);
        true
    }

    /// The ledger has been read.
    fn conclude(&mut self, state: PolicyState, asked: Vec<PublicKey>, now: Duration) {
        let denied = |it: &Answer| {
            matches!(
                it,
                Answer::Refused(Refusal::NotGranted | Refusal::UnknownPolicy)
            )
        };
        let quorum = self.quorum.as_ref();
        let denied = quorum.map_or(0, |it| it.answers.count(denied));
        let good = quorum.map_or(0, |it| usize::from(it.good));
        let needed = usize::from(self.wanted.ticket.needed);
        match state {
            PolicyState::Revoked { at, .. } => {
                let failure = Failure::new("REVOKED", "the owner withdrew the grant");
                self.end(failure.with("at", at));
            }
            PolicyState::Expired { at, .. } => {
                self.end(Failure::new("EXPIRED", "the grant is over").with("at", at));
            }
            PolicyState::Live(grant) if grant.nodes.iter().any(|it| !asked.contains(it)) => {
                self.begin(grant.nodes);
            }
            // They may read in a moment what was written a moment ago.
            PolicyState::Live(_) | PolicyState::Unknown
                if denied > 0
                    && good + denied >= needed
                    && now + self.pause < self.caught_up_at =>
            {
                self.stage = Stage::Waiting {
                    nodes: asked,
                    until: now + self.pause,
                };
                self.pause *= 2;
            }
            PolicyState::Unknown if denied > 0 => {
                self.end(Failure::new("NOT_GRANTED", "this was never granted"));
            }
            PolicyState::Live(_) | PolicyState::Unknown => self.fall_short(),
        }
    }

    fn begin(&mut self, nodes: Vec<PublicKey>) {
        let needed = self.wanted.ticket.needed;
        // No two rounds have one number.
        let round = Round::new(self.next_id, nodes, needed, self.gives_up_at);
        self.stage = Stage::Gathering(round);
    }

    fn fall_short(&mut self) {
        let needed = self.wanted.ticket.needed;
        let quorum = self.quorum.take();
        let quorum = quorum.unwrap_or_else(|| Quorum::of(needed, Answers::default()));
        self.end(Failure::of_quorum(&quorum));
    }

    fn end(&mut self, failure: Failure) {
        self.stage = Stage::Over;
        self.outcome = Some(Err(failure));
    }
}

impl Wanted {
    fn sign(
        &self,
        node: PublicKey,
        now: Duration,
        gives_up_at: Duration,
        rng: &mut impl CryptoRng,
    ) -> Option<Vec<u8>> {
        let left = gives_up_at.saturating_sub(now).as_secs() + 1;
        let to = Address {
            network: &self.network,
            node,
            deadline: now.as_secs() + left.min(MAX_DEADLINE_SECONDS),
        };
        let command = Command::Reencrypt(Reencrypt {
            recipient: self.identity.public(),
            policy: self.ticket.params.id(),
            capsules: vec![ByteBuf::from(self.capsule.to_bytes())],
        });
        command.sign(&to, &*self.identity, rng).ok()
    }
}

impl Reading {
    fn on_answer(&mut self, answer: Result<Response, Answer>) {
        let Ok(Response::Records(page)) = answer else {
            self.failed += 1;
            return;
        };
        for record in &page.records {
            self.evidence.look_at(record);
        }
        let next = self.from.saturating_add(page.records.len() as u64);
        let is_last = page.records.is_empty() || next > page.head.height;
        self.from = if is_last { u64::MAX } else { next };
    }

    /// Whether no node passes the ledger on.
    fn is_hopeless(&self) -> bool {
        self.failed >= self.asked.len()
    }
}

/// The fragment in a node's answer.
fn fragment(response: Response) -> Result<CapsuleFrag, Answer> {
    match response {
        Response::Reencrypted { fragments } => match <[_; 1]>::try_from(fragments) {
            Ok([Ok(bytes)]) => CapsuleFrag::from_bytes(&bytes).map_err(|_| Answer::Malformed),
            Ok([Err(refusal)]) => Err(Answer::Refused(refusal)),
            Err(_) => Err(Answer::Malformed),
        },
        Response::Refused(refusal) => Err(Answer::Refused(refusal)),
        _ => Err(Answer::Malformed),
    }
}
