//! Asking nodes until enough of them have answered well (WIRE §5).
//!
//! A machine without socket or clock: the driver sends what [`Gather::poll`] says, checks what comes
//! back, and reports it. Times are durations since any moment of the driver's choice.

mod splits;

use std::{collections::VecDeque, time::Duration};

pub use splits::Splits;

/// What to gather.
#[derive(Clone, Copy, Debug)]
pub struct GatherOptions {
    /// How many good answers are needed.
    pub need: usize,
    /// A node that has not answered for so long is slow: another is asked beside it. Sooner, once others have shown how
    /// long an answer takes.
    pub hedge_after: Duration,
    /// When to stop.
    pub give_up_at: Duration,
}

/// A node whose connection broke is asked again after so long: it may be starting anew.
pub const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// So many times as long as the slowest of the others is far longer.
const FAR_LONGER: u32 = 3;
/// Answers on one machine take a millisecond or ten, as it happens: that makes nobody slow.
const SOONEST: Duration = Duration::from_millis(20);

/// How long nodes take, and who is slow by that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    usual: Duration,
    /// How long the slowest word so far has taken.
    slowest: Option<Duration>,
}

impl Pace {
    /// As long as nobody has spoken, `usual` is long.
    pub(crate) const fn new(usual: Duration) -> Self {
        Self {
            usual,
            slowest: None,
        }
    }

    /// Somebody has taken so long.
    pub(crate) fn heard(&mut self, took: Duration) {
        self.slowest = self.slowest.max(Some(took));
    }

    /// After so long a node is slow.
    pub(crate) fn limit(&self) -> Duration {
        let by_pace = |took: Duration| took.saturating_mul(FAR_LONGER).max(SOONEST);
        let usual = self.usual;
        self.slowest.map_or(usual, |took| usual.min(by_pace(took)))
    }
}

/// What the driver is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GatherOutput<N> {
    /// Ask this node.
    Ask(N),
    /// There is enough; see [`Gather::into_good`].
    Done,
    /// There will not be enough; see [`Gather::answers`].
    GiveUp,
}

/// What one candidate has said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer<F> {
    /// Nothing: there was no need to ask.
    NotAsked,
    /// Nothing, though it was asked.
    Silent,
    /// What was wanted.
    Good,
    /// Something else.
    Failed(F),
}

/// Gathers good answers `T` of nodes `N`; failures are of type `F`.
#[derive(Debug)]
pub struct Gather<N, T, F> {
    options: GatherOptions,
    pace: Pace,
    queue: VecDeque<N>,
    /// Whose connection broke once: asked again when nobody else is left to be asked.
    broken: Vec<Broken<N, F>>,
    waiting: Vec<Waiting<N>>,
    good: Vec<(N, T)>,
    failed: Vec<(N, F)>,
    end: End,
}

#[derive(Debug)]
struct Waiting<N> {
    node: N,
    asked_at: Duration,
    slow: bool,
    /// For the second time.
    again: bool,
}

#[derive(Debug)]
struct Broken<N, F> {
    node: N,
    why: F,
    /// When it may be asked again.
    at: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Open,
    /// Over; the driver has yet to be told.
    Due,
    Told,
}

impl<N: Copy + Eq, T, F: Clone> Gather<N, T, F> {
    /// Gathers from `candidates`, best first, each named once.
    pub fn new(options: GatherOptions, candidates: impl IntoIterator<Item = N>) -> Self {
        let mut queue = VecDeque::new();
        for node in candidates {
            if !queue.contains(&node) {
                queue.push_back(node);
            }
        }
        Self {
            options,
            pace: Pace::new(options.hedge_after),
            queue,
            broken: Vec::new(),
            waiting: Vec::new(),
            good: Vec::new(),
            failed: Vec::new(),
            end: End::Open,
        }
    }

    /// What to do now. To be called until it says nothing, after every change and at [`Gather::wake_at`].
    pub fn poll(&mut self, now: Duration) -> Option<GatherOutput<N>> {
        if self.end == End::Open {
            self.find_slow(now);
            let reachable =
                self.good.len() + self.waiting.len() + self.queue.len() + self.broken.len();
            if self.has_enough() || reachable < self.options.need || now >= self.options.give_up_at
            {
                self.end = End::Due;
            } else if self.wants_more() {
                let (node, again) = self.next_to_ask(now)?;
                self.waiting.push(Waiting {
                    node,
                    asked_at: now,
                    slow: false,
                    again,
                });
                return Some(GatherOutput::Ask(node));
            }
        }
        if self.end != End::Due {
            return None;
        }
        self.end = End::Told;
        Some(if self.has_enough() {
            GatherOutput::Done
        } else {
            GatherOutput::GiveUp
        })
    }

    /// A node has said something that is still to be judged: who takes far longer is slow.
    pub fn on_word(&mut self, from: N, now: Duration) {
        if let Some(it) = self.waiting.iter().find(|it| it.node == from) {
            self.pace.heard(now.saturating_sub(it.asked_at));
        }
    }

    /// A node answered well. From one not asked, heard before, or too late, it changes nothing.
    pub fn on_good(&mut self, from: N, answer: T) {
        if self.stop_waiting(from).is_some() {
            self.good.push((from, answer));
        }
    }

    /// A node answered badly or could not be asked.
    pub fn on_failure(&mut self, from: N, why: F) {
        if self.stop_waiting(from).is_some() {
            self.failed.push((from, why));
        }
    }

    /// The connection to a node broke before its answer was there: its answer may be lost. It is no liar, and is asked once
    /// more if otherwise there would be too few.
    pub fn on_break(&mut self, from: N, why: F, now: Duration) {
        match self.stop_waiting(from) {
            Some(asked) if !asked.again => self.broken.push(Broken {
                node: from,
                why,
                at: now + AGAIN_AFTER,
            }),
            Some(_) => self.failed.push((from, why)),
            None => {}
        }
    }

    /// Sets how many good answers are needed: more than at first when some turn out not to go together.
    pub fn set_need(&mut self, need: usize) {
        if self.end == End::Open {
            self.options.need = need;
        }
    }

    /// When to poll again if nothing happens before.
    pub fn wake_at(&self) -> Option<Duration> {
        if self.end != End::Open {
            return None;
        }
        let hedges = self
            .waiting
            .iter()
            .filter(|it| !it.slow)
            .map(|it| it.asked_at + self.pace.limit());
        // With nobody left to ask, slowness makes no difference.
        let others = !self.queue.is_empty() || !self.broken.is_empty();
        let hedge = hedges.min().filter(|_| others);
        let again = self.broken.iter().map(|it| it.at).min();
        let again = again.filter(|_| self.queue.is_empty() && self.wants_more());
        let end = self.options.give_up_at;
        Some(
            [hedge, again]
                .into_iter()
                .flatten()
                .fold(end, Duration::min),
        )
    }

    /// What every candidate has said so far.
    pub fn answers(&self) -> Vec<(N, Answer<F>)> {
        let good = self.good.iter().map(|(node, _)| (*node, Answer::Good));
        let broken = self.broken.iter().map(|it| (it.node, &it.why));
        let failed = self.failed.iter().map(|(node, why)| (*node, why));
        let failed = failed.chain(broken);
        let failed = failed.map(|(node, why)| (node, Answer::Failed(why.clone())));
        let silent = self.waiting.iter().map(|it| (it.node, Answer::Silent));
        let not_asked = self.queue.iter().map(|node| (*node, Answer::NotAsked));
        good.chain(failed).chain(silent).chain(not_asked).collect()
    }

    /// How many good answers are missing.
    pub fn missing(&self) -> usize {
        self.options.need.saturating_sub(self.good.len())
    }

    /// How many good answers there are.
    pub fn good_count(&self) -> usize {
        self.good.len()
    }

    /// The good answers, in the order in which they came.
    pub fn into_good(self) -> Vec<(N, T)> {
        self.good
    }

    fn has_enough(&self) -> bool {
        self.good.len() >= self.options.need
    }

    /// Whether there would be too few if those that are slow never answered.
    fn wants_more(&self) -> bool {
        let fresh = self.waiting.iter().filter(|it| !it.slow).count();
        self.good.len() + fresh < self.options.need
    }

    /// Whom to ask next, and whether it was asked before.
    fn next_to_ask(&mut self, now: Duration) -> Option<(N, bool)> {
        if let Some(node) = self.queue.pop_front() {
            return Some((node, false));
        }
        let due = self.broken.iter().position(|it| it.at <= now)?;
        Some((self.broken.remove(due).node, true))
    }

    fn find_slow(&mut self, now: Duration) {
        let hedge_after = self.pace.limit();
        for it in &mut self.waiting {
            it.slow |= now >= it.asked_at + hedge_after;
        }
    }

    fn stop_waiting(&mut self, node: N) -> Option<Waiting<N>> {
        if self.end != End::Open || self.has_enough() {
            return None;
        }
        let at = self.waiting.iter().position(|it| it.node == node)?;
        Some(self.waiting.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_node_is_slow_by_the_pace_of_those_that_have_answered() {
        // Somebody who met two silent nodes for the first time waited 300 ms for each, where the others answer within ten.
        let options = GatherOptions {
            need: 3,
            hedge_after: at(300),
            give_up_at: at(8000),
        };
        let mut machine: Gather<u8, (), ()> = Gather::new(options, 0..5);
        let asked = |machine: &mut Gather<u8, (), ()>, now| {
            std::iter::from_fn(|| machine.poll(now)).collect::<Vec<_>>()
        };
        let ask = |nodes: &[u8]| {
            nodes
                .iter()
                .map(|it| GatherOutput::Ask(*it))
                .collect::<Vec<_>>()
        };
        assert_eq!(asked(&mut machine, at(0)), ask(&[0, 1, 2]));
        assert_eq!(machine.wake_at(), Some(at(300)), "nobody knows better");
        machine.on_word(0, at(10));
        assert_eq!(machine.wake_at(), Some(at(30)));
        machine.on_good(0, ());
        assert_eq!(asked(&mut machine, at(30)), ask(&[3, 4]));
        // Who is slow may answer all the same.
        machine.on_word(1, at(40));
        machine.on_good(1, ());
        machine.on_good(3, ());
        assert_eq!(asked(&mut machine, at(41)), [GatherOutput::Done]);
    }

    /// With exactly m nodes in reach, one answer that was lost with its connection was the end.
    #[test]
    fn a_node_whose_connection_broke_is_asked_once_more_if_there_is_nobody_else() {
        let options = GatherOptions {
            need: 2,
            hedge_after: at(300),
            give_up_at: at(8000),
        };
        let asked = |machine: &mut Gather<u8, (), &str>, now| {
            std::iter::from_fn(|| machine.poll(now)).collect::<Vec<_>>()
        };
        let machine = || {
            let mut machine: Gather<u8, (), &str> = Gather::new(options, 0..3);
            asked(&mut machine, at(0));
            machine.on_break(0, "broke", at(10));
            assert_eq!(asked(&mut machine, at(10)), [GatherOutput::Ask(2)]);
            machine
        };
        // Another one does.
        let mut enough = machine();
        enough.on_good(1, ());
        enough.on_good(2, ());
        assert_eq!(asked(&mut enough, at(2000)), [GatherOutput::Done]);

        let mut too_few = machine();
        too_few.on_failure(2, "refuses");
        assert_eq!(asked(&mut too_few, at(300)), []);
        assert_eq!(too_few.wake_at(), Some(at(1010)));
        assert_eq!(asked(&mut too_few, at(1009)), []);
        assert!(too_few.answers().contains(&(0, Answer::Failed("broke"))));
        assert_eq!(asked(&mut too_few, at(1010)), [GatherOutput::Ask(0)]);
        too_few.on_good(1, ());
        let mut twice = too_few;
        twice.on_break(0, "broke again", at(1020));
        assert_eq!(asked(&mut twice, at(1020)), [GatherOutput::GiveUp]);
        assert!(
            twice
                .answers()
                .contains(&(0, Answer::Failed("broke again")))
        );

        // Who is silent is not waited for either.
        let mut silent = machine();
        silent.on_good(1, ());
        assert_eq!(silent.wake_at(), Some(at(310)));
        assert_eq!(asked(&mut silent, at(310)), []);
        assert_eq!(silent.wake_at(), Some(at(1010)));
        assert_eq!(asked(&mut silent, at(1010)), [GatherOutput::Ask(0)]);
        silent.on_good(0, ());
        assert_eq!(asked(&mut silent, at(1020)), [GatherOutput::Done]);
    }
}
