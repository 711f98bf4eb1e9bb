//! Placing n fragments on n nodes that answer, one on each (WIRE §6).
//!
//! A machine without socket or clock, driven like [`crate::gather`]. A node is first asked whether it
//! would keep a fragment; only one that agrees is sent any, and a fragment is sent to a second node
//! only after the first has refused it or been given up, which is then asked to delete it.

use std::time::Duration;

use crate::gather::Answer;

/// What to place.
#[derive(Clone, Copy, Debug)]
pub struct ArrangeOptions {
    /// How many fragments, each for a node of its own.
    pub count: u8,
    /// A node that has not said yes or no for so long is slow: another is asked beside it.
    pub hedge_after: Duration,
    /// A node that has not acknowledged its fragment for so long loses it to another.
    pub store_within: Duration,
    /// When to stop.
    pub give_up_at: Duration,
}

/// What the driver is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ArrangeOutput<N> {
    /// Ask this node whether it would.
    Ask(N),
    /// Send this node the fragment with this index.
    Store(N, u8),
    /// This node may hold a fragment that is not to stay there: ask it once to delete it.
    Withdraw(N),
    /// Every fragment is acknowledged; see [`Arrange::placed`].
    Done,
    /// Not every fragment can be placed; see [`Arrange::answers`].
    GiveUp,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Stage<F> {
    Queued,
    Asked {
        at: Duration,
        slow: bool,
    },
    Agreed,
    Storing {
        index: u8,
        at: Duration,
    },
    Stored {
        index: u8,
    },
    Failed(F),
    /// It did not acknowledge its fragment in time.
    GivenUp,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Open,
    /// Over; fragments already out are being withdrawn.
    GivingUp,
    Told,
}

/// Places fragments on nodes `N`; failures are of type `F`.
#[derive(Debug)]
pub struct Arrange<N, F> {
    options: ArrangeOptions,
    nodes: Vec<(N, Stage<F>)>,
    /// Fragments that are with nobody.
    free: Vec<u8>,
    withdraw: Vec<N>,
    end: End,
}

impl<N: Copy + Eq, F: Clone> Arrange<N, F> {
    /// Places on `candidates`, best first, each named once.
    pub fn new(options: ArrangeOptions, candidates: impl IntoIterator<Item = N>) -> Self {
        let mut nodes: Vec<(N, Stage<F>)> = Vec::new();
        for node in candidates {
            if nodes.iter().all(|(known, _)| *known != node) {
                nodes.push((node, Stage::Queued));
            }
        }
        let free = (0..options.count).rev().collect();
        Self {
            options,
            nodes,
            free,
            withdraw: Vec::new(),
            end: End::Open,
        }
    }

    /// What to do now. To be called until it says nothing, after every change and at [`Arrange::wake_at`].
    pub fn poll(&mut self, now: Duration) -> Option<ArrangeOutput<N>> {
        if self.end == End::Open {
            self.find_slow(now);
            if self.stored() == usize::from(self.options.count) {
                self.end = End::Told;
                return Some(ArrangeOutput::Done);
            }
            if self.reachable() < usize::from(self.options.count) || now >= self.options.give_up_at
            {
                self.give_up();
            } else if let Some(output) = self.store_next(now).or_else(|| self.ask_next(now)) {
                return Some(output);
            }
        }
        if let Some(node) = self.withdraw.pop() {
            return Some(ArrangeOutput::Withdraw(node));
        }
        if self.end == End::GivingUp {
            self.end = End::Told;
            return Some(ArrangeOutput::GiveUp);
        }
        None
    }

    /// A node agrees to keep a fragment.
    pub fn on_agreed(&mut self, from: N) {
        if let Some(stage @ Stage::Asked { .. }) = self.stage(from) {
            *stage = Stage::Agreed;
        }
    }

    /// A node acknowledges the fragment it was sent.
    pub fn on_stored(&mut self, from: N) {
        if let Some(stage) = self.stage(from)
            && let Stage::Storing { index, .. } = *stage
        {
            *stage = Stage::Stored { index };
        }
    }

    /// A node refuses, at either step, or could not be asked.
    pub fn on_failure(&mut self, from: N, why: F) {
        let Some(stage) = self.stage(from) else {
            return;
        };
        match *stage {
            Stage::Asked { .. } => *stage = Stage::Failed(why),
            Stage::Storing { index, .. } => {
                *stage = Stage::Failed(why);
                self.free.push(index);
                // The refusal may be a broken connection after the fragment had arrived.
                self.withdraw.push(from);
            }
            _ => {}
        }
    }

    /// When to poll again if nothing happens before.
    pub fn wake_at(&self) -> Option<Duration> {
        if self.end != End::Open {
            return None;
        }
        let times = self.nodes.iter().filter_map(|(_, stage)| match stage {
            Stage::Asked { at, slow: false } => Some(*at + self.options.hedge_after),
            Stage::Storing { at, .. } => Some(*at + self.options.store_within),
            _ => None,
        });
        Some(times.fold(self.options.give_up_at, Duration::min))
    }

    /// Who holds fragment 0, 1, …, once all are placed.
    pub fn placed(&self) -> Option<Vec<N>> {
        (0..self.options.count)
            .map(|wanted| {
                let holds =
                    |stage: &Stage<F>| matches!(stage, Stage::Stored { index } if *index == wanted);
                self.nodes
                    .iter()
                    .find(|(_, stage)| holds(stage))
                    .map(|(node, _)| *node)
            })
            .collect()
    }

    /// What every candidate has said so far.
    pub fn answers(&self) -> Vec<(N, Answer<F>)> {
        let answer = |stage: &Stage<F>| match stage {
            Stage::Queued => Answer::NotAsked,
            Stage::Asked { .. } | Stage::Storing { .. } | Stage::GivenUp => Answer::Silent,
            Stage::Agreed | Stage::Stored { .. } => Answer::Good,
            Stage::Failed(why) => Answer::Failed(why.clone()),
        };
        self.nodes
            .iter()
            .map(|(node, stage)| (*node, answer(stage)))
            .collect()
    }

    fn store_next(&mut self, now: Duration) -> Option<ArrangeOutput<N>> {
        let (node, stage) = self
            .nodes
            .iter_mut()
            .find(|(_, stage)| matches!(stage, Stage::Agreed))?;
        let index = self.free.pop()?;
        *stage = Stage::Storing { index, at: now };
        Some(ArrangeOutput::Store(*node, index))
    }

    fn ask_next(&mut self, now: Duration) -> Option<ArrangeOutput<N>> {
        let busy = self.count(|stage| match stage {
            Stage::Asked { slow, .. } => !slow,
            Stage::Agreed | Stage::Storing { .. } | Stage::Stored { .. } => true,
            Stage::Queued | Stage::Failed(_) | Stage::GivenUp => false,
        });
        if busy >= usize::from(self.options.count) {
            return None;
        }
        let (node, stage) = self
            .nodes
            .iter_mut()
            .find(|(_, stage)| matches!(stage, Stage::Queued))?;
        *stage = Stage::Asked {
            at: now,
            slow: false,
        };
        Some(ArrangeOutput::Ask(*node))
    }

    fn find_slow(&mut self, now: Duration) {
        for (node, stage) in &mut self.nodes {
            match stage {
                Stage::Asked { at, slow } => *slow |= now >= *at + self.options.hedge_after,
                Stage::Storing { index, at } if now >= *at + self.options.store_within => {
                    self.free.push(*index);
                    self.withdraw.push(*node);
                    *stage = Stage::GivenUp;
                }
                _ => {}
            }
        }
    }

    fn give_up(&mut self) {
        let out = self
            .nodes
            .iter()
            .filter(|(_, it)| matches!(it, Stage::Storing { .. } | Stage::Stored { .. }));
        self.withdraw.extend(out.map(|(node, _)| *node));
        self.end = End::GivingUp;
    }

    fn stored(&self) -> usize {
        self.count(|stage| matches!(stage, Stage::Stored { .. }))
    }

    fn reachable(&self) -> usize {
        self.count(|stage| !matches!(stage, Stage::Failed(_) | Stage::GivenUp))
    }

    fn count(&self, matches: impl Fn(&Stage<F>) -> bool) -> usize {
        self.nodes
            .iter()
            .filter(|(_, stage)| matches(stage))
            .count()
    }

    fn stage(&mut self, node: N) -> Option<&mut Stage<F>> {
        if self.end != End::Open {
            return None;
        }
        self.nodes
            .iter_mut()
            .find(|(known, _)| *known == node)
            .map(|(_, stage)| stage)
    }
}
