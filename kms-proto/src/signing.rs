//! Asking m nodes for a signature in two rounds, until one try has come to its end (WIRE §5.1).
//!
//! A machine without socket or clock, driven like [`crate::gather`]. A try that somebody spoils or holds up is not repaired:
//! others, and those who have done their part, begin another one with new nonces beside it. Whichever is complete first
//! counts, so that f nodes that lie or dawdle cost f tries at most.

use std::time::Duration;

use crate::gather::{Answer, Pace};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct SigningOptions {
    /// m: how many nodes sign.
    pub need: usize,
    /// A node that has not answered for so long is slow, and is done without as long as there are others. Sooner, once
    /// others have shown how long an answer takes.
    pub hedge_after: Duration,
    /// When to stop.
    pub give_up_at: Duration,
}

/// What the driver is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SigningOutput<N> {
    /// Ask this node for nonces.
    Commit(N),
    /// Ask these nodes, whose nonces are there, for their part: the try with this number.
    Sign(usize, Vec<N>),
    /// All parts of the try with this number are there.
    Done(usize),
    /// There will be no signature; see [`Signing::answers`].
    GiveUp,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// It owes nothing.
    Free,
    Committing {
        at: Duration,
    },
    /// Its nonces are there, and not used.
    Committed,
    Signing {
        attempt: usize,
        at: Duration,
    },
    Failed,
}

#[derive(Debug)]
struct Member<N, F> {
    node: N,
    stage: Stage,
    /// It has taken too long once, or still does.
    slow: bool,
    /// It has done something that it should.
    good: bool,
    /// What it did wrong last; for good if it has failed.
    fault: Option<F>,
}

/// One set of signers.
#[derive(Debug)]
struct Attempt {
    /// Whose part is missing, by their places.
    missing: Vec<usize>,
    /// Nothing will come of it.
    spoilt: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Open,
    Told,
}

/// Asks nodes `N`; failures are of type `F`.
#[derive(Debug)]
pub struct Signing<N, F> {
    options: SigningOptions,
    pace: Pace,
    members: Vec<Member<N, F>>,
    attempts: Vec<Attempt>,
    end: End,
}

impl<N: Copy + Eq, F: Clone> Signing<N, F> {
    /// Asks `candidates`, best first, each named once.
    pub fn new(options: SigningOptions, candidates: impl IntoIterator<Item = N>) -> Self {
        let mut members: Vec<Member<N, F>> = Vec::new();
        for node in candidates {
            if members.iter().all(|known| known.node != node) {
                members.push(Member {
                    node,
                    stage: Stage::Free,
                    slow: false,
                    good: false,
                    fault: None,
                });
            }
        }
        Self {
            options,
            pace: Pace::new(options.hedge_after),
            members,
            attempts: Vec::new(),
            end: End::Open,
        }
    }

    /// What to do now. To be called until it says nothing, after every change and at [`Signing::wake_at`].
    pub fn poll(&mut self, now: Duration) -> Option<SigningOutput<N>> {
        if self.end == End::Told {
            return None;
        }
        let complete = |it: &Attempt| it.missing.is_empty() && !it.spoilt;
        if let Some(number) = self.attempts.iter().position(complete) {
            self.end = End::Told;
            return Some(SigningOutput::Done(number));
        }
        let able = self.count(|it| it.stage != Stage::Failed);
        if able < self.options.need || now >= self.options.give_up_at {
            self.end = End::Told;
            return Some(SigningOutput::GiveUp);
        }
        self.find_slow(now);
        if self.is_promising() {
            return None;
        }
        let committed = self.count(|it| it.stage == Stage::Committed);
        if committed >= self.options.need {
            return Some(self.begin(now));
        }
        let coming = self.count(|it| matches!(it.stage, Stage::Committing { .. }) && !it.slow);
        if committed + coming >= self.options.need {
            return None;
        }
        let free = self.members.iter_mut().filter(|it| it.stage == Stage::Free);
        let next = free.min_by_key(|it| it.slow)?;
        next.stage = Stage::Committing { at: now };
        Some(SigningOutput::Commit(next.node))
    }

    /// A node has drawn nonces.
    pub fn on_committed(&mut self, from: N, now: Duration) {
        if let Some(place) = self.place(from)
            && let Stage::Committing { at } = self.members[place].stage
        {
            self.pace.heard(now.saturating_sub(at));
            self.members[place].stage = Stage::Committed;
            self.members[place].good = true;
        }
    }

    /// A node has given its part of a try, and the part is right.
    pub fn on_share(&mut self, from: N, attempt: usize, now: Duration) {
        if let Some(place) = self.place(from)
            && let Stage::Signing { attempt: its, at } = self.members[place].stage
            && its == attempt
        {
            self.pace.heard(now.saturating_sub(at));
            self.members[place].stage = Stage::Free;
            self.members[place].good = true;
            self.attempts[attempt].missing.retain(|it| *it != place);
        }
    }

    /// A node says that its nonces are gone. It was restarted, maybe: it may draw others, once.
    pub fn on_forgotten(&mut self, from: N, why: F) {
        let Some(place) = self.place(from) else {
            return;
        };
        let before = self.members[place].fault.is_some();
        self.on_failure(from, why);
        if !before && self.end == End::Open {
            self.members[place].stage = Stage::Free;
            self.members[place].slow = true;
        }
    }

    /// A node refuses, lies, or could not be asked: it is asked nothing more.
    pub fn on_failure(&mut self, from: N, why: F) {
        let Some(place) = self.place(from) else {
            return;
        };
        match self.members[place].stage {
            Stage::Committing { .. } => {}
            Stage::Signing { attempt, .. } => self.attempts[attempt].spoilt = true,
            _ => return,
        }
        self.members[place].stage = Stage::Failed;
        self.members[place].fault = Some(why);
    }

    /// When to poll again if nothing happens before.
    pub fn wake_at(&self) -> Option<Duration> {
        if self.end != End::Open {
            return None;
        }
        let limit = self.pace.limit();
        let hedges = self.members.iter().filter(|it| !it.slow);
        let hedges = hedges.filter_map(|it| it.stage.since().map(|at| at + limit));
        Some(hedges.fold(self.options.give_up_at, Duration::min))
    }

    /// What every candidate has said so far.
    pub fn answers(&self) -> Vec<(N, Answer<F>)> {
        let answer = |it: &Member<N, F>| match (it.stage, &it.fault) {
            (Stage::Failed, Some(why)) => Answer::Failed(why.clone()),
            (Stage::Committing { .. } | Stage::Signing { .. }, _) => Answer::Silent,
            (_, Some(why)) if !it.good => Answer::Failed(why.clone()),
            _ if it.good => Answer::Good,
            _ => Answer::NotAsked,
        };
        let all = self.members.iter();
        all.map(|it| (it.node, answer(it))).collect()
    }

    fn begin(&mut self, now: Duration) -> SigningOutput<N> {
        let attempt = self.attempts.len();
        let ready = self.members.iter().enumerate();
        let ready = ready.filter(|(_, it)| it.stage == Stage::Committed);
        let mut ready: Vec<usize> = ready.map(|(place, _)| place).collect();
        // Those that were slow come last, if more than enough have committed.
        ready.sort_by_key(|place| self.members[*place].slow);
        ready.truncate(self.options.need);
        for place in &ready {
            self.members[*place].stage = Stage::Signing { attempt, at: now };
            self.members[*place].slow = false;
        }
        let nodes = ready.iter().map(|it| self.members[*it].node).collect();
        self.attempts.push(Attempt {
            missing: ready,
            spoilt: false,
        });
        SigningOutput::Sign(attempt, nodes)
    }

    /// Whether a try goes on that nobody spoils or holds up.
    fn is_promising(&self) -> bool {
        let in_time = |it: &Attempt| it.missing.iter().all(|place| !self.members[*place].slow);
        self.attempts.iter().any(|it| !it.spoilt && in_time(it))
    }

    fn find_slow(&mut self, now: Duration) {
        let limit = self.pace.limit();
        for it in &mut self.members {
            it.slow |= it.stage.since().is_some_and(|at| now >= at + limit);
        }
    }

    fn count(&self, matches: impl Fn(&Member<N, F>) -> bool) -> usize {
        self.members.iter().filter(|it| matches(it)).count()
    }

    fn place(&self, node: N) -> Option<usize> {
        self.members.iter().position(|it| it.node == node)
    }
}

impl Stage {
    /// Since when something is awaited.
    const fn since(self) -> Option<Duration> {
        match self {
            Self::Committing { at } | Self::Signing { at, .. } => Some(at),
            Self::Free | Self::Committed | Self::Failed => None,
        }
    }
}
