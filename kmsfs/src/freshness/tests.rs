use std::convert::Infallible;

use kms_crypto::format::Writers;

use super::*;

const DIR: Id = [1; 16];
const FILE: Id = [2; 16];
const TAG: Id = [3; 16];

fn mark(generation: u64, seal: u8) -> Version {
    let mark = Mark {
        generation,
        seal: [seal; 16],
    };
    Version {
        mark,
        writers: Writers::NONE,
    }
}

/// A state that these machines have sealed, each last in this generation; the latest first.
fn sealed(writers: &[(u8, u64)]) -> Version {
    let entry = |(machine, generation): &(u8, u64)| {
        let mut entry = vec![*machine; 8];
        entry.extend(generation.to_be_bytes());
        entry
    };
    let bytes: Vec<u8> = writers.iter().flat_map(entry).collect();
    let (machine, generation) = writers[0];
    Version {
        writers: Writers::from_bytes(&bytes).unwrap(),
        ..mark(generation, machine)
    }
}

fn entry(object: Option<Id>) -> Entry {
    Entry {
        object,
        kind: 1,
        is_only_name: true,
        mode: 0o644,
        generation: 7,
        rest: Box::from(*b"rest of the name"),
    }
}

fn write(seen: &Freshness) {
    seen.write(|| Ok::<_, Infallible>(())).unwrap();
}

fn names_missing(seen: &Freshness, there: &[Id]) -> Vec<Missing> {
    let listed: Vec<_> = there.iter().map(|tag| (*tag, &())).collect();
    seen.compare(DIR, listed, |_, ()| Some(entry(None))).missing
}

#[test]
fn what_is_older_is_refused_and_a_fork_is_taken_once() {
    let seen = Freshness::of_process();
    assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Fits);
    assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Fits);
    assert_eq!(seen.see(FILE, &mark(4, 1)), Verdict::Older);
    assert_eq!(seen.see(FILE, &mark(5, 2)), Verdict::Fork);
    assert_eq!(seen.see(FILE, &mark(5, 2)), Verdict::Fits);
    assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Fits);
    assert_eq!(seen.see(FILE, &mark(6, 3)), Verdict::Fits);
    assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Older);
}

#[test]
fn two_machines_states_are_told_from_older_ones_whatever_their_generations() {
    let seen = Freshness::of_process();
    let base = sealed(&[(1, 5)]);
    let here = sealed(&[(1, 9)]);
    let there = sealed(&[(2, 7), (1, 5)]);
    let there_before = sealed(&[(2, 6), (1, 5)]);
    assert_eq!(seen.see(FILE, &base), Verdict::Fits);
    seen.wrote(FILE, &here);
    assert_eq!(seen.see(FILE, &base), Verdict::Older);
    assert_eq!(seen.see(FILE, &there), Verdict::Fork);
    assert_eq!(seen.see(FILE, &here), Verdict::Fits, "both are there now");
    assert_eq!(seen.see(FILE, &there_before), Verdict::Older);
    // One of them goes on with what both have made.
    let both = sealed(&[(1, 12), (2, 7)]);
    assert_eq!(seen.see(FILE, &both), Verdict::Fits);
    assert_eq!(seen.see(FILE, &there), Verdict::Older);
    assert_eq!(seen.see(FILE, &here), Verdict::Older);
}

#[test]
fn versions_beside_each_other_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Freshness::open(dir.path());
    let (here, there) = (sealed(&[(1, 9)]), sealed(&[(2, 7), (1, 5)]));
    seen.wrote(FILE, &here);
    assert_eq!(seen.see(FILE, &there), Verdict::Fork);
    write(&seen);
    seen.close();
    drop(seen);
    let seen = Freshness::open(dir.path());
    assert_eq!(seen.see(FILE, &there), Verdict::Fits);
    assert_eq!(seen.see(FILE, &here), Verdict::Fits);
    assert_eq!(seen.see(FILE, &sealed(&[(1, 8)])), Verdict::Older);
}

/// The first listing after a remount once forgot which objects stand in a directory, and so their permission bits: all
/// headers were read again.
#[test]
fn what_stands_in_a_directory_made_here_is_known_at_the_first_listing() {
    let seen = Freshness::of_process();
    seen.begin_dir(DIR);
    seen.put_entry(DIR, TAG, entry(Some(FILE)));
    assert!(names_missing(&seen, &[TAG]).is_empty());
    assert_eq!(seen.entry(&DIR, &TAG), Some(entry(Some(FILE))));
    let missing = names_missing(&seen, &[]);
    assert!(missing.iter().all(|it| it.sure) && missing.len() == 1);
}

#[test]
fn what_is_gone_comes_back_only_as_something_newer() {
    let seen = Freshness::of_process();
    seen.wrote(FILE, &mark(5, 1));
    seen.gone(FILE);
    assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Older);
    assert_eq!(seen.see(FILE, &mark(6, 1)), Verdict::Fits);
}

#[test]
fn what_lost_its_only_name_is_gone_unless_it_was_seen_elsewhere_since() {
    let seen = Freshness::of_process();
    seen.wrote(FILE, &mark(5, 1));
    seen.replaced(FILE, 4);
    assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Fits);
    seen.replaced(FILE, 5);
    assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Older);
}

#[test]
fn it_is_all_there_again_after_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Freshness::open(dir.path());
    seen.wrote(FILE, &mark(5, 1));
    assert!(names_missing(&seen, &[TAG]).is_empty());
    seen.put_entry(DIR, TAG, entry(Some(FILE)));
    seen.see_config([1; 32]);
    seen.see_config([2; 32]);
    write(&seen);
    seen.close();
    drop(seen);
    let seen = Freshness::open(dir.path());
    assert_eq!(seen.see(FILE, &mark(4, 1)), Verdict::Older);
    assert_eq!(seen.entry(&DIR, &TAG), Some(entry(Some(FILE))));
    assert_eq!(seen.see_config([1; 32]), Verdict::Older);
    assert_eq!(seen.see_config([2; 32]), Verdict::Fits);
    let missing = names_missing(&seen, &[]);
    assert!(missing.len() == 1 && missing[0].sure && missing[0].tag == TAG);
}

#[test]
fn what_was_not_written_is_not_held_against_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Freshness::open(dir.path());
    seen.wrote(FILE, &mark(5, 1));
    write(&seen);
    seen.wrote(FILE, &mark(9, 1));
    // The store cannot be made durable: nothing may be written.
    assert!(seen.write(|| Err(())).is_err());
    drop(seen);
    let seen = Freshness::open(dir.path());
    assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Fits);
}

#[test]
fn a_killed_mounts_own_removals_are_not_reported() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Freshness::open(dir.path());
    seen.put_entry(DIR, TAG, entry(Some(FILE)));
    names_missing(&seen, &[TAG]);
    write(&seen);
    seen.will_remove(&DIR);
    seen.remove_entry(DIR, TAG);
    drop(seen);
    let seen = Freshness::open(dir.path());
    assert!(names_missing(&seen, &[]).iter().all(|it| !it.sure));
    // From here on somebody else must have done it.
    seen.put_entry(DIR, TAG, entry(None));
    assert!(names_missing(&seen, &[])[0].sure);
}

#[test]
fn after_a_power_cut_any_directory_may_have_lost_names() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Freshness::open(dir.path());
    seen.put_entry(DIR, TAG, entry(None));
    names_missing(&seen, &[TAG]);
    write(&seen);
    seen.will_remove(&[9; 16]);
    drop(seen);
    std::fs::write(dir.path().join("seen.open"), "another boot\n").unwrap();
    for _ in 0..2 {
        // Killed again before anything was written: still so.
        let seen = Freshness::open(dir.path());
        assert!(!names_missing(&seen, &[])[0].sure);
    }
}

#[test]
fn a_damaged_memory_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seen.redb");
    let fill = || {
        let seen = Freshness::open(dir.path());
        for number in 0..=200 {
            seen.wrote([number; 16], &mark(5, 1));
            seen.put_entry(DIR, [number; 16], entry(None));
        }
        write(&seen);
    };
    fill();
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = vec![
        Vec::new(),
        b"rubbish".to_vec(),
        whole[..whole.len() / 2].to_vec(),
    ];
    for at in [0, 10, 64, 70, 200, 4096, 4100, 8192, 9000, 20_000] {
        let mut bytes = whole.clone();
        let end = bytes.len().min(at + 3000);
        bytes[at..end].fill(0xa5);
        damaged.push(bytes);
    }
    for bytes in damaged {
        std::fs::write(&path, bytes).unwrap();
        let seen = Freshness::open(dir.path());
        let _ = seen.see(FILE, &mark(6, 1));
        let _ = names_missing(&seen, &[TAG]);
        write(&seen);
        assert_eq!(seen.see(FILE, &mark(6, 1)), Verdict::Fits);
        assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Older);
    }
}

#[test]
fn the_oldest_graves_are_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Freshness::open(dir.path());
    seen.wrote(FILE, &mark(5, 1));
    seen.gone(FILE);
    write(&seen);
    for number in 0u32..1 << 18 {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        seen.gone(id);
        if number % 100_000 == 0 {
            write(&seen);
        }
    }
    write(&seen);
    assert_eq!(seen.see(FILE, &mark(5, 1)), Verdict::Fits);
}

/// A listing that was read before a rename, and compared after it, brought the old name back: it was then said to have
/// disappeared.
#[test]
fn what_was_found_before_its_name_was_taken_away_is_not_remembered() {
    let seen = Freshness::of_process();
    assert!(seen.found_entry(DIR, TAG, &entry(None)));
    seen.remove_entry(DIR, TAG);
    assert!(!seen.found_entry(DIR, TAG, &entry(Some(FILE))));
    let late = seen.compare(DIR, [(TAG, &())], |_, ()| Some(entry(None)));
    assert_eq!(late.removed, [(TAG, entry(None))]);
    assert!(names_missing(&seen, &[]).is_empty());
    // Made anew, it counts again.
    seen.put_entry(DIR, TAG, entry(Some(FILE)));
    assert!(seen.found_entry(DIR, TAG, &entry(Some(FILE))));
    assert_eq!(names_missing(&seen, &[]).len(), 1);
}
