//! Placing n fragments on n nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kms_proto::arrange::{Arrange, ArrangeOptions, ArrangeOutput};

use crate::world::{Agenda, Dice, Nature};

const GIVE_UP_AT: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Answer(usize),
    Ack(usize),
}

#[derive(Default)]
struct Run {
    placed: Option<Vec<usize>>,
    at: Duration,
    asked: Vec<usize>,
    /// Which fragment each node was sent.
    sent: BTreeMap<usize, u8>,
    withdrawn: Vec<usize>,
}

fn run(count: u8, natures: &[Nature], loss_percent: u64, dice: &mut Dice) -> Run {
    let options = ArrangeOptions {
        count,
        hedge_after: Duration::from_millis(200),
        store_within: Duration::from_millis(1_000),
        give_up_at: GIVE_UP_AT,
    };
    let mut machine = Arrange::new(options, 0..natures.len());
    let mut agenda = Agenda::new();
    let mut run = Run::default();
    'run: loop {
        while let Some(output) = machine.poll(run.at) {
            let (node, event) = match output {
                ArrangeOutput::Ask(node) => {
                    run.asked.push(node);
                    (node, Event::Answer(node))
                }
                ArrangeOutput::Store(node, index) => {
                    assert_eq!(
                        run.sent.insert(node, index),
                        None,
                        "a node was sent two fragments"
                    );
                    (node, Event::Ack(node))
                }
                ArrangeOutput::Withdraw(node) => {
                    run.withdrawn.push(node);
                    continue;
                }
                ArrangeOutput::Done => {
                    run.placed = machine.placed();
                    break 'run;
                }
                ArrangeOutput::GiveUp => break 'run,
            };
            let nature = natures[node];
            let silent = nature == Nature::Fickle && matches!(event, Event::Ack(_));
            let lost = nature != Nature::Dead && dice.below(100) < loss_percent;
            if let Some(delay) = nature.delay(dice).filter(|_| !lost && !silent) {
                agenda.add(run.at + delay, event);
            }
        }
        let Some((at, event)) = agenda.next_before(machine.wake_at()) else {
            run.at = machine.wake_at().expect("it waits for something");
            continue;
        };
        run.at = at;
        match event {
            Event::Answer(node)
                if matches!(
                    natures[node],
                    Nature::Honest | Nature::Slow | Nature::Fickle
                ) =>
            {
                machine.on_agreed(node);
                // Nobody acknowledges what was not sent.
                machine.on_stored(node);
            }
            Event::Ack(node) => machine.on_stored(node),
            Event::Answer(node) => machine.on_failure(node, "no"),
        }
    }
    run
}

#[test]
fn any_mixture_of_nodes_ends_with_all_fragments_placed_once_or_with_none() {
    for seed in 0..5_000 {
        let dice = &mut Dice::new(seed);
        let nodes = 1 + usize::try_from(dice.below(14)).unwrap();
        let count = 1 + u8::try_from(dice.below(7)).unwrap();
        let natures: Vec<_> = (0..nodes).map(|_| Nature::roll(dice)).collect();
        let run = run(count, &natures, dice.below(30), dice);

        assert!(run.at <= GIVE_UP_AT, "seed {seed}: late");
        let distinct: BTreeSet<_> = run.asked.iter().collect();
        assert_eq!(
            distinct.len(),
            run.asked.len(),
            "seed {seed}: a node was asked twice"
        );
        let keep: BTreeMap<usize, u8> = match &run.placed {
            Some(placed) => placed.iter().copied().zip(0..).collect(),
            None => BTreeMap::new(),
        };
        assert!(
            run.placed.is_none() || keep.len() == usize::from(count),
            "seed {seed}: two fragments on one node"
        );
        for (node, index) in &run.sent {
            let withdrawn = run.withdrawn.iter().filter(|it| *it == node).count();
            let wanted = if keep.get(node) == Some(index) { 0 } else { 1 };
            assert_eq!(
                withdrawn, wanted,
                "seed {seed}: node {node} keeps or loses what it should not"
            );
        }
        assert!(
            keep.iter()
                .all(|(node, index)| run.sent.get(node) == Some(index)),
            "seed {seed}: not sent"
        );
    }
}

#[test]
fn healthy_nodes_are_taken_in_their_order() {
    let run = run(3, &[Nature::Honest; 6], 0, &mut Dice::new(3));
    let placed: BTreeSet<_> = run.placed.unwrap().into_iter().collect();
    assert_eq!(placed, BTreeSet::from([0, 1, 2]));
    assert_eq!(run.asked, [0, 1, 2]);
    assert!(run.withdrawn.is_empty());
}

#[test]
fn a_node_that_agrees_and_falls_silent_is_replaced_and_asked_to_forget() {
    let natures = [
        Nature::Fickle,
        Nature::Honest,
        Nature::Honest,
        Nature::Honest,
    ];
    let run = run(3, &natures, 0, &mut Dice::new(4));
    let placed: BTreeSet<_> = run.placed.unwrap().into_iter().collect();
    assert_eq!(placed, BTreeSet::from([1, 2, 3]));
    assert_eq!(run.withdrawn, [0]);
}

#[test]
fn too_few_nodes_end_at_once_with_nothing_left_behind() {
    let natures = [
        Nature::Honest,
        Nature::Honest,
        Nature::Unwilling,
        Nature::Dead,
    ];
    let run = run(3, &natures, 0, &mut Dice::new(5));
    assert!(run.placed.is_none() && run.at < Duration::from_millis(400));
    assert_eq!(
        run.withdrawn.into_iter().collect::<BTreeSet<_>>(),
        run.sent.into_keys().collect()
    );
}
