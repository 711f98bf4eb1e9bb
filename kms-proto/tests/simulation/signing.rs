//! Two rounds with m nodes, some of which spoil them.

use std::collections::BTreeMap;
use std::time::Duration;

use kms_proto::gather::Answer;
use kms_proto::signing::{Signing, SigningOptions, SigningOutput};

use crate::world::{Agenda, Dice, Nature};

const GIVE_UP_AT: Duration = Duration::from_secs(8);

struct Run {
    /// The signers of the try that counts.
    signers: Option<Vec<usize>>,
    at: Duration,
    tries: Vec<Vec<usize>>,
    answers: Vec<(usize, Answer<&'static str>)>,
}

/// What arrives: from whom, and for which try; none is for nonces.
type Event = (usize, Option<usize>);

/// `restarted` has lost its nonces the first time it is asked to use them.
fn run(need: usize, natures: &[Nature], restarted: Option<usize>, dice: &mut Dice) -> Run {
    let options = SigningOptions {
        need,
        hedge_after: Duration::from_millis(300),
        give_up_at: GIVE_UP_AT,
    };
    let mut machine = Signing::new(options, 0..natures.len());
    let mut agenda: Agenda<Event> = Agenda::new();
    let mut now = Duration::ZERO;
    let mut tries: Vec<Vec<usize>> = Vec::new();
    // What a node has committed itself to, and has not used: never more than the machine knows of.
    let mut nonces: BTreeMap<usize, u32> = BTreeMap::new();
    let mut forgetful = restarted;
    let signers = 'run: loop {
        while let Some(output) = machine.poll(now) {
            match output {
                SigningOutput::Commit(node) => {
                    if let Some(delay) = natures[node].delay(dice) {
                        agenda.add(now + delay, (node, None));
                    }
                }
                SigningOutput::Sign(number, nodes) => {
                    assert_eq!((number, nodes.len()), (tries.len(), need));
                    for node in &nodes {
                        let left = nonces.get_mut(node).expect("it has committed itself");
                        *left = left.checked_sub(1).expect("nonces are used once");
                        let silent = natures[*node] == Nature::Fickle;
                        if let Some(delay) = natures[*node].delay(dice).filter(|_| !silent) {
                            agenda.add(now + delay, (*node, Some(number)));
                        }
                    }
                    tries.push(nodes);
                }
                SigningOutput::Done(number) => break 'run Some(tries[number].clone()),
                SigningOutput::GiveUp => break 'run None,
            }
        }
        let Some((at, (node, attempt))) = agenda.next_before(machine.wake_at()) else {
            now = machine.wake_at().expect("it waits for something");
            continue;
        };
        now = at;
        match (natures[node], attempt) {
            (Nature::Unwilling | Nature::Dead, _) => machine.on_failure(node, "no"),
            (_, None) => {
                *nonces.entry(node).or_default() += 1;
                machine.on_committed(node, now);
            }
            (Nature::Liar, Some(_)) => machine.on_failure(node, "wrong"),
            (_, Some(_)) if forgetful == Some(node) => {
                forgetful = None;
                machine.on_forgotten(node, "restarted");
            }
            (_, Some(attempt)) => {
                machine.on_share(node, attempt, now);
                // A node may repeat itself, or speak without having been asked.
                machine.on_share(node, attempt, now);
                machine.on_failure(natures.len() + 1, "who?");
            }
        }
    };
    Run {
        signers,
        at: now,
        tries,
        answers: machine.answers(),
    }
}

#[test]
fn there_is_a_signature_whenever_m_nodes_are_honest_and_never_by_one_that_is_not() {
    for seed in 0..5_000 {
        let dice = &mut Dice::new(seed);
        let count = 2 + usize::try_from(dice.below(9)).unwrap();
        let need = 2 + usize::try_from(dice.below(4)).unwrap();
        let natures: Vec<_> = (0..count).map(|_| Nature::roll(dice)).collect();
        let of = |wanted: Nature| natures.iter().filter(|it| **it == wanted).count();
        let restarted = natures.iter().position(|it| *it == Nature::Honest);
        let run = run(need, &natures, restarted, dice);
        assert!(run.at <= GIVE_UP_AT, "seed {seed}: late");
        assert_eq!(run.answers.len(), count, "seed {seed}");
        if of(Nature::Honest) >= need {
            assert!(run.signers.is_some(), "seed {seed}: {natures:?}");
        }
        for signer in run.signers.into_iter().flatten() {
            let nature = natures[signer];
            let honest = matches!(nature, Nature::Honest | Nature::Slow);
            assert!(honest, "seed {seed}: {nature:?} has signed");
        }
    }
}

#[test]
fn healthy_nodes_are_not_bothered_beyond_m() {
    let options = SigningOptions {
        need: 3,
        hedge_after: Duration::from_millis(300),
        give_up_at: GIVE_UP_AT,
    };
    let mut machine: Signing<u8, ()> = Signing::new(options, 0..5);
    let mut all = |now| std::iter::from_fn(|| machine.poll(now)).collect::<Vec<_>>();
    let (start, then) = (Duration::ZERO, Duration::from_millis(10));
    assert_eq!(all(start), [0, 1, 2].map(SigningOutput::Commit));
    for node in [2, 0, 1] {
        machine.on_committed(node, then);
    }
    let mut all = |now| std::iter::from_fn(|| machine.poll(now)).collect::<Vec<_>>();
    assert_eq!(all(then), [SigningOutput::Sign(0, vec![0, 1, 2])]);
    for node in [1, 2, 0] {
        machine.on_share(node, 0, 2 * then);
    }
    let mut all = |now| std::iter::from_fn(|| machine.poll(now)).collect::<Vec<_>>();
    assert_eq!(all(2 * then), [SigningOutput::Done(0)]);
}

#[test]
fn a_liar_costs_one_try_and_is_named() {
    let mut natures = [Nature::Honest; 5];
    natures[1] = Nature::Liar;
    let run = run(3, &natures, None, &mut Dice::new(7));
    let signers = run.signers.expect("the others are enough");
    assert!(!signers.contains(&1) && run.tries.len() == 2, "{signers:?}");
    assert_eq!(run.answers[1], (1, Answer::Failed("wrong")));
}

#[test]
fn a_node_that_falls_silent_between_the_rounds_costs_one_hedge() {
    let mut natures = [Nature::Honest; 4];
    natures[0] = Nature::Fickle;
    let run = run(3, &natures, None, &mut Dice::new(7));
    assert!(run.signers.is_some() && run.at < Duration::from_secs(2));
}

#[test]
fn a_node_that_has_lost_its_nonces_is_needed_all_the_same() {
    let run = run(2, &[Nature::Honest; 2], Some(1), &mut Dice::new(7));
    assert_eq!(run.tries.len(), 2, "with new ones");
    assert!(run.signers.is_some());
}

#[test]
fn too_few_nodes_are_told_at_once_when_the_others_say_so() {
    let natures = [Nature::Honest, Nature::Dead, Nature::Dead];
    let run = run(2, &natures, None, &mut Dice::new(7));
    assert!(run.signers.is_none() && run.at < Duration::from_secs(1));
}
