//! Nodes and the network between them.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// A small generator: the same numbers for the same seed, everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x0123_4567_89ab_cdef)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// How a node is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Nature {
    /// Answers well, soon.
    Honest,
    /// Answers well, late.
    Slow,
    /// Answers nonsense.
    Liar,
    /// Says no.
    Unwilling,
    /// Takes everything in and says nothing.
    BlackHole,
    /// Refuses connections.
    Dead,
    /// Agrees to everything and then says nothing.
    Fickle,
}

impl Nature {
    pub(crate) fn roll(dice: &mut Dice) -> Self {
        match dice.below(12) {
            0 => Self::Slow,
            1 => Self::Liar,
            2 => Self::Unwilling,
            3 => Self::BlackHole,
            4 => Self::Dead,
            5 => Self::Fickle,
            _ => Self::Honest,
        }
    }

    /// When its answer arrives, if ever.
    pub(crate) fn delay(self, dice: &mut Dice) -> Option<Duration> {
        match self {
            Self::Honest | Self::Liar | Self::Unwilling | Self::Fickle => Some(dice.millis(1, 150)),
            Self::Slow => Some(dice.millis(500, 20_000)),
            Self::Dead => Some(Duration::from_millis(1)),
            Self::BlackHole => None,
        }
    }
}

/// Things that will happen, soonest first.
pub(crate) struct Agenda<E> {
    events: BinaryHeap<Reverse<(Duration, usize, E)>>,
    count: usize,
}

impl<E: Ord> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self {
            events: BinaryHeap::new(),
            count: 0,
        }
    }

    pub(crate) fn add(&mut self, at: Duration, event: E) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    /// The next event, unless something has to be done before it.
    pub(crate) fn next_before(&mut self, wake_at: Option<Duration>) -> Option<(Duration, E)> {
        let at = self.events.peek().map(|Reverse((at, ..))| *at)?;
        if wake_at.is_some_and(|wake| wake <= at) {
            return None;
        }
        self.events.pop().map(|Reverse((at, _, event))| (at, event))
    }
}
