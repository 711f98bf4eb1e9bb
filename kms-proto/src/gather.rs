//! Asking nodes until enough of them have answered well (WIRE §5).
//!
//! A machine without socket or clock: the driver sends what [`Gather::poll`] says, checks what comes
//! back, and reports it. Times are durations since any moment of the driver's choice.

use std::{collections::VecDeque, time::Duration};

/// What to gather.
#[derive(Clone, Copy, Debug)]
pub struct GatherOptions {
    /// How many good answers are needed.
    pub need: usize,
    /// A node that has not answered for so long is slow: another is asked beside it.
    pub hedge_after: Duration,
    /// When to stop.
    pub give_up_at: Duration,
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
    queue: VecDeque<N>,
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
            queue,
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
            let fresh = self.waiting.iter().filter(|it| !it.slow).count();
            let reachable = self.good.len() + self.waiting.len() + self.queue.len();
            if self.has_enough() || reachable < self.options.need || now >= self.options.give_up_at
            {
                self.end = End::Due;
            } else if self.good.len() + fresh < self.options.need {
                let node = self.queue.pop_front()?;
                self.waiting.push(Waiting {
                    node,
                    asked_at: now,
                    slow: false,
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

    /// A node answered well. From one not asked, heard before, or too late, it changes nothing.
    pub fn on_good(&mut self, from: N, answer: T) {
        if self.stop_waiting(from) {
            self.good.push((from, answer));
        }
    }

    /// A node answered badly or could not be asked.
    pub fn on_failure(&mut self, from: N, why: F) {
        if self.stop_waiting(from) {
            self.failed.push((from, why));
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
            .map(|it| it.asked_at + self.options.hedge_after);
        // With nobody left to ask, slowness makes no difference.
        let hedge = hedges.min().filter(|_| !self.queue.is_empty());
        Some(hedge.map_or(self.options.give_up_at, |at| {
            at.min(self.options.give_up_at)
        }))
    }

    /// What every candidate has said so far.
    pub fn answers(&self) -> Vec<(N, Answer<F>)> {
        let good = self.good.iter().map(|(node, _)| (*node, Answer::Good));
        let failed = self
            .failed
            .iter()
            .map(|(node, why)| (*node, Answer::Failed(why.clone())));
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

    fn find_slow(&mut self, now: Duration) {
        for it in &mut self.waiting {
            it.slow |= now >= it.asked_at + self.options.hedge_after;
        }
    }

    fn stop_waiting(&mut self, node: N) -> bool {
        if self.end != End::Open || self.has_enough() {
            return false;
        }
        match self.waiting.iter().position(|it| it.node == node) {
            Some(at) => {
                self.waiting.swap_remove(at);
                true
            }
            None => false,
        }
    }
}
