//! Gathering m good answers.

use std::{collections::BTreeSet, time::Duration};

use kms_proto::gather::{Answer, Gather, GatherOptions, GatherOutput};

use crate::world::{Agenda, Dice, Nature};

const GIVE_UP_AT: Duration = Duration::from_secs(8);

struct Run {
    done: bool,
    at: Duration,
    asked: Vec<usize>,
    /// When each good answer reached, or would have reached, the client.
    good_arrivals: Vec<Duration>,
    good: Vec<usize>,
    answers: Vec<(usize, Answer<&'static str>)>,
}

fn run(need: usize, natures: &[Nature], loss_percent: u64, dice: &mut Dice) -> Run {
    let options = GatherOptions {
        need,
        hedge_after: Duration::from_millis(200),
        give_up_at: GIVE_UP_AT,
    };
    let mut machine = Gather::new(options, 0..natures.len());
    let mut agenda = Agenda::new();
    let (mut now, mut asked, mut good_arrivals) = (Duration::ZERO, Vec::new(), Vec::new());
    let done = 'run: loop {
        while let Some(output) = machine.poll(now) {
            match output {
                GatherOutput::Ask(node) => {
                    asked.push(node);
                    let nature = natures[node];
                    let lost = nature != Nature::Dead && dice.below(100) < loss_percent;
                    if let Some(delay) = nature.delay(dice).filter(|_| !lost) {
                        agenda.add(now + delay, node);
                        if matches!(nature, Nature::Honest | Nature::Slow) {
                            good_arrivals.push(now + delay);
                        }
                    }
                }
                GatherOutput::Done => break 'run true,
                GatherOutput::GiveUp => break 'run false,
            }
        }
        match agenda.next_before(machine.wake_at()) {
            Some((at, node)) => {
                now = at;
                match natures[node] {
                    Nature::Honest | Nature::Slow => machine.on_good(node, node),
                    _ => machine.on_failure(node, "bad"),
                }
                // A node may repeat itself, or speak without having been asked.
                machine.on_good(node, node);
                machine.on_failure(natures.len() + 1, "who?");
            }
            None => now = machine.wake_at().expect("it waits for something"),
        }
    };
    let answers = machine.answers();
    let good = machine
        .into_good()
        .into_iter()
        .map(|(node, _)| node)
        .collect();
    Run {
        done,
        at: now,
        asked,
        good_arrivals,
        good,
        answers,
    }
}

#[test]
fn any_mixture_of_nodes_ends_in_time_and_succeeds_whenever_m_were_good() {
    for seed in 0..5_000 {
        let dice = &mut Dice::new(seed);
        let count = 1 + usize::try_from(dice.below(12)).unwrap();
        let need = 1 + usize::try_from(dice.below(6)).unwrap();
        let natures: Vec<_> = (0..count).map(|_| Nature::roll(dice)).collect();
        let run = run(need, &natures, dice.below(40), dice);

        assert!(run.at <= GIVE_UP_AT, "seed {seed}: late");
        let distinct: BTreeSet<_> = run.asked.iter().collect();
        assert_eq!(
            distinct.len(),
            run.asked.len(),
            "seed {seed}: a node was asked twice"
        );
        let honest = |node: &usize| matches!(natures[*node], Nature::Honest | Nature::Slow);
        assert!(
            run.good.iter().all(honest),
            "seed {seed}: a liar was believed"
        );
        assert_eq!(
            run.answers.len(),
            count,
            "seed {seed}: somebody's answer is missing"
        );
        if run.done {
            assert_eq!(run.good.len(), need, "seed {seed}: not m");
        } else {
            let in_time = run
                .good_arrivals
                .iter()
                .filter(|at| **at < GIVE_UP_AT)
                .count();
            assert!(
                in_time < need,
                "seed {seed}: gave up with enough good answers"
            );
            let not_asked = run
                .answers
                .iter()
                .any(|(_, answer)| *answer == Answer::NotAsked);
            assert!(
                !not_asked || count < need || run.at == GIVE_UP_AT,
                "seed {seed}: gave up with nodes unasked"
            );
        }
    }
}

#[test]
fn healthy_nodes_are_not_bothered_beyond_m() {
    for seed in 0..200 {
        let run = run(3, &[Nature::Honest; 5], 0, &mut Dice::new(seed));
        assert_eq!((run.done, run.asked), (true, vec![0, 1, 2]), "seed {seed}");
    }
}

#[test]
fn black_holes_cost_one_hedge_not_the_deadline() {
    let natures = [
        Nature::BlackHole,
        Nature::BlackHole,
        Nature::Honest,
        Nature::Honest,
        Nature::Honest,
    ];
    for seed in 0..200 {
        let run = run(3, &natures, 0, &mut Dice::new(seed));
        assert!(
            run.done && run.at < Duration::from_millis(400),
            "seed {seed}: {:?}",
            run.at
        );
    }
}

#[test]
fn too_few_nodes_are_told_at_once_when_the_dead_say_so() {
    let natures = [
        Nature::Honest,
        Nature::Dead,
        Nature::Dead,
        Nature::Dead,
        Nature::Honest,
    ];
    let run = run(3, &natures, 0, &mut Dice::new(1));
    assert!(!run.done && run.at < Duration::from_millis(400));
    let failed = run
        .answers
        .iter()
        .filter(|(_, answer)| *answer == Answer::Failed("bad"))
        .count();
    assert_eq!(failed, 3);
}

#[test]
fn liars_are_replaced() {
    let natures = [
        Nature::Liar,
        Nature::Liar,
        Nature::Honest,
        Nature::Honest,
        Nature::Honest,
    ];
    let run = run(3, &natures, 0, &mut Dice::new(1));
    assert!(run.done);
    assert_eq!(
        run.good.into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([2, 3, 4])
    );
}
