//! Drives the protocol machines of `kms-proto`: sends what they say, tells them what came back and what time it is.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kms_crypto::scheme::VerifiedCapsuleFrag;
use kms_proto::arrange::{Arrange, ArrangeOptions, ArrangeOutput};
use kms_proto::gather::{self, Gather, GatherOptions, GatherOutput, Splits};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{Answer, Answers, ClientError, NodeAnswer};
use crate::place::NodeAddress;

/// Why a question to one node gave nothing.
pub(crate) enum Fault {
    /// The node's own answer; others may do better.
    Node(Answer),
    /// Nothing that other nodes say can change the outcome.
    Final(ClientError),
}

impl From<Answer> for Fault {
    fn from(answer: Answer) -> Self {
        Self::Node(answer)
    }
}

/// What a question to several nodes gave.
pub(crate) struct Gathered<T> {
    pub(crate) good: Vec<T>,
    pub(crate) answers: Answers,
}

impl Gathered<VerifiedCapsuleFrag> {
    /// Leaves the answers of the most frequent split, and says what the others were.
    pub(crate) fn sort_out(&mut self, nodes: &[NodeAddress], splits: &Splits) {
        self.good.retain(|frag| splits.are_most(frag));
        for node in splits.astray().filter_map(|node| nodes.get(node)) {
            let answers = self.answers.0.iter_mut();
            for it in answers.filter(|it| it.node == node.key) {
                it.answer = Answer::OtherSplit;
            }
        }
    }
}

/// How long to be patient.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// A node that takes longer gets company.
    pub(crate) hedge: Duration,
    /// When it is over.
    pub(crate) deadline: Instant,
}

/// A verdict on an answer: what it is good for, and how many of the good answers up to this one do not go together with
/// the most of them; so many more are needed.
pub(crate) type Verdict<T> = Result<(T, usize), Answer>;

/// Asks `nodes` by their index until `need` of them have answered well. What they say is judged, together, when it may be
/// enough, or somebody else would have to be asked.
pub(crate) async fn gather<R, T, F: Future<Output = Result<R, Fault>>>(
    nodes: &[NodeAddress],
    need: usize,
    patience: Patience,
    ask: impl Fn(usize) -> F,
    mut judge: impl FnMut(Vec<(usize, R)>) -> Vec<Verdict<T>>,
) -> Result<Gathered<T>, ClientError> {
    let started = Instant::now();
    let give_up_at = patience.deadline.saturating_duration_since(started);
    let options = GatherOptions {
        need,
        hedge_after: patience.hedge,
        give_up_at,
    };
    let mut machine = Gather::new(options, 0..nodes.len());
    let mut running = FuturesUnordered::new();
    let begin = |index| {
        let answer = ask(index);
        async move { (index, answer.await) }
    };
    let mut said: Vec<(usize, R)> = Vec::new();
    'asking: loop {
        let is_time = machine.wake_at().is_some_and(|at| started.elapsed() >= at);
        let is_time = is_time || said.len() >= machine.missing() || running.is_empty();
        if is_time && !said.is_empty() {
            let from: Vec<usize> = said.iter().map(|(index, _)| *index).collect();
            let verdicts = judge(std::mem::take(&mut said));
            for (index, verdict) in from.into_iter().zip(verdicts) {
                match verdict {
                    Ok((good, astray)) => {
                        // Before the answer: with it there could seem to be enough.
                        machine.set_need(need + astray);
                        machine.on_good(index, good);
                    }
                    Err(answer) => machine.on_failure(index, answer),
                }
            }
        }
        while let Some(output) = machine.poll(started.elapsed()) {
            match output {
                GatherOutput::Ask(index) => running.push(begin(index)),
                GatherOutput::Done => {
                    let answers = answers(nodes, machine.answers());
                    let good = machine
                        .into_good()
                        .into_iter()
                        .map(|(_, good)| good)
                        .collect();
                    return Ok(Gathered { good, answers });
                }
                GatherOutput::GiveUp => break 'asking,
            }
        }
        let wake = started + machine.wake_at().unwrap_or(give_up_at);
        tokio::select! {
            // In this order, so that the same happens each time the same comes in.
            biased;
            Some((index, result)) = running.next() => {
                match result {
                    Ok(answer) => {
                        machine.on_word(index, started.elapsed());
                        said.push((index, answer));
                    }
                    Err(Fault::Node(answer)) if answer.is_broken() => {
                        machine.on_break(index, answer, started.elapsed());
                    }
                    Err(Fault::Node(answer)) => machine.on_failure(index, answer),
                    Err(Fault::Final(error)) => return Err(error),
                }
            }
            () = sleep_until(wake) => {}
        }
    }

    // There will not be enough. Nodes not asked yet are asked all the same, and a moment is given to those under way: what
    // went wrong is judged, and told, by what every node says.
    let mut words = machine.answers();
    running.extend(
        words
            .iter()
            .filter(|(_, it)| *it == gather::Answer::NotAsked)
            .map(|(index, _)| begin(*index)),
    );
    let patient_until = patience.deadline.min(Instant::now() + LAST_WORDS_WITHIN);
    // First what has been said, and was not judged because it would not have been enough.
    let mut unjudged: Vec<_> = said.into_iter().map(|(at, it)| (at, Ok(it))).collect();
    loop {
        let (index, result) = match unjudged.pop() {
            Some(known) => known,
            None => match timeout_at(patient_until, running.next()).await {
                Ok(Some(late)) => late,
                _ => break,
            },
        };
        let judged = result.and_then(|it| {
            let verdict = judge(vec![(index, it)]).pop();
            verdict
                .unwrap_or(Err(Answer::Malformed))
                .map_err(Fault::Node)
        });
        let word = match judged {
            Ok(_) => gather::Answer::Good,
            Err(Fault::Node(answer)) => gather::Answer::Failed(answer),
            Err(Fault::Final(error)) => return Err(error),
        };
        words
            .iter_mut()
            .filter(|(node, _)| *node == index)
            .for_each(|(_, it)| *it = word.clone());
    }
    let good = machine
        .into_good()
        .into_iter()
        .map(|(_, good)| good)
        .collect();
    Ok(Gathered {
        good,
        answers: answers(nodes, words),
    })
}

/// How long nodes may still speak when it is clear that there will not be enough good answers.
pub(crate) const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Where the fragments are, or why they are nowhere.
pub(crate) enum Placed {
    /// Who holds fragment 0, 1, …, as indices.
    All(Vec<usize>),
    /// Not all could be placed.
    NotAll(Answers),
}

/// What placing a fragment takes.
pub(crate) trait Placing {
    /// Asks whether the node would keep one.
    fn ask(&self, node: usize) -> impl Future<Output = Result<(), Answer>>;
    /// Sends it one.
    fn store(&self, node: usize, index: u8) -> impl Future<Output = Result<(), Answer>>;
    /// Begins to take back what it may have been sent.
    fn withdraw(&self, node: usize);
}

/// Places `options.count` fragments on nodes that answer, one on each.
pub(crate) async fn place(
    nodes: &[NodeAddress],
    options: ArrangeOptions,
    placing: &impl Placing,
) -> Placed {
    enum Step {
        Asked,
        Stored,
    }
    let started = Instant::now();
    let mut machine = Arrange::new(options, 0..nodes.len());
    let mut asking = FuturesUnordered::new();
    let mut storing = FuturesUnordered::new();
    loop {
        while let Some(output) = machine.poll(started.elapsed()) {
            match output {
                ArrangeOutput::Ask(node) => {
                    asking.push(async move { (node, placing.ask(node).await) })
                }
                ArrangeOutput::Store(node, index) => {
                    storing.push(async move { (node, placing.store(node, index).await) });
                }
                ArrangeOutput::Withdraw(node) => placing.withdraw(node),
                ArrangeOutput::Done => {
                    if let Some(holders) = machine.placed() {
                        return Placed::All(holders);
                    }
                }
                ArrangeOutput::GiveUp => return Placed::NotAll(answers(nodes, machine.answers())),
            }
        }
        let wake = started + machine.wake_at().unwrap_or(options.give_up_at);
        let (step, node, result) = tokio::select! {
            biased;
            Some((node, result)) = asking.next() => (Step::Asked, node, result),
            Some((node, result)) = storing.next() => (Step::Stored, node, result),
            () = sleep_until(wake) => continue,
        };
        match (step, result) {
            (Step::Asked, Ok(())) => machine.on_agreed(node),
            (Step::Stored, Ok(())) => machine.on_stored(node),
            (_, Err(answer)) => machine.on_failure(node, answer),
        }
    }
}

/// What each node has said, by its place.
pub(crate) fn answers(
    nodes: &[NodeAddress],
    answers: Vec<(usize, gather::Answer<Answer>)>,
) -> Answers {
    let answer = |answer| match answer {
        gather::Answer::NotAsked => Answer::NotAsked,
        gather::Answer::Silent => Answer::Pending,
        gather::Answer::Good => Answer::Good,
        gather::Answer::Failed(why) => why,
    };
    let named = |(index, said)| {
        nodes.get(index).map(|it: &NodeAddress| NodeAnswer {
            node: it.key,
            answer: answer(said),
        })
    };
    Answers(answers.into_iter().filter_map(named).collect())
}
