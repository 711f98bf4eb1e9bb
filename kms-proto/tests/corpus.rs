//! Replays what is in `fuzz/corpus`, and changes of it, against the property of each parser.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "there it is a library")]
mod fuzz;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn inputs(target: &str) -> Vec<Vec<u8>> {
    fs::read_dir(corpora().join(target))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn every_target_has_a_corpus_a_fuzzer_and_a_property() {
    let names = |path: &Path| -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let entries = fs::read_dir(path).unwrap();
        entries.map(|entry| stem(entry.unwrap().path())).collect()
    };
    let targets = fuzz::TARGETS.map(|(name, _)| name.to_owned()).into();
    assert_eq!(names(&corpora()), targets);
    assert_eq!(names(&corpora().join("../fuzz_targets")), targets);
}

#[test]
fn what_is_in_the_corpora_is_read_as_it_is_written() {
    for (name, target) in fuzz::TARGETS {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "{name}");
        inputs.iter().for_each(|input| target(input));
    }
}

/// A change of an input; places count from wherever it ends.
#[derive(Clone, Debug)]
enum Change {
    Set { at: usize, byte: u8 },
    Cut { at: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Remove { at: usize, len: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..9);
    prop_oneof![
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set { at, byte }),
        1 => any::<usize>().prop_map(|at| Change::Cut { at }),
        2 => (any::<usize>(), bytes()).prop_map(|(at, bytes)| Change::Insert { at, bytes }),
        1 => (any::<usize>(), 1..9usize).prop_map(|(at, len)| Change::Remove { at, len }),
    ]
}

fn carry_out(change: &Change, input: &mut Vec<u8>) {
    let end = input.len();
    let place = |at: usize| at % (end + 1);
    match change {
        Change::Set { at, byte } if end > 0 => input[at % end] = *byte,
        Change::Set { .. } => {}
        Change::Cut { at } => input.truncate(place(*at)),
        Change::Insert { at, bytes } => {
            let at = place(*at);
            drop(input.splice(at..at, bytes.iter().copied()));
        }
        Change::Remove { at, len } => {
            let at = place(*at);
            drop(input.drain(at..(at + len).min(end)));
        }
    }
}

proptest! {
    // What fails goes into the corpus, by hand.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn so_is_what_it_becomes(seed: usize, changes in prop::collection::vec(change(), 1..4)) {
        for (name, target) in fuzz::TARGETS {
            let inputs = inputs(name);
            let mut input = inputs[seed % inputs.len()].clone();
            changes.iter().for_each(|change| carry_out(change, &mut input));
            target(&input);
        }
    }

    #[test]
    fn so_are_any_bytes(data in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, target) in fuzz::TARGETS {
            target(&data);
        }
    }
}
