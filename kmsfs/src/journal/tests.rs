use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::*;
use crate::freshness::Mark;

const LIMIT: u64 = 64 * 1024;
const STORE: StoreId = StoreId([1; 16]);

fn open(dir: &Path) -> (Journal, Vec<Record>) {
    Journal::open(dir, Disk::default(), STORE, &[2; 32], LIMIT).unwrap()
}

fn record(number: u8) -> Record {
    Record {
        id: [number; 16],
        paths: vec![vec![format!("file{number}")]],
        action: Action::Commit {
            base: Mark::ZERO,
            mark: Mark {
                generation: number.into(),
                seal: [number; 16],
            },
            len: 4096,
            pieces: vec![Piece {
                offset: 0,
                bytes: vec![number; 4096],
            }],
            direct: Vec::new(),
        },
    }
}

fn numbers(records: &[Record]) -> Vec<u8> {
    records.iter().map(|record| record.id[0]).collect()
}

#[test]
fn records_come_back_in_order_over_both_halves() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, found) = open(dir.path());
    assert!(found.is_empty());
    journal.forget_all().unwrap();
    for number in 1..4 {
        journal.append(&record(number)).unwrap();
    }
    journal.switch().unwrap();
    journal.append(&record(4)).unwrap();
    journal.sync_all().unwrap();
    drop(journal);
    assert_eq!(numbers(&open(dir.path()).1), [1, 2, 3, 4]);
}

#[test]
fn a_released_half_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal.forget_all().unwrap();
    journal.append(&record(1)).unwrap();
    let old = journal.switch().unwrap();
    journal.append(&record(2)).unwrap();
    journal.release(old).unwrap();
    drop(journal);
    let (journal, found) = open(dir.path());
    assert_eq!(numbers(&found), [2]);
    journal.forget_all().unwrap();
    drop(journal);
    assert!(open(dir.path()).1.is_empty());
}

#[test]
fn a_half_that_was_not_released_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal.forget_all().unwrap();
    journal.append(&record(1)).unwrap();
    let first = journal.switch().unwrap();
    journal.append(&record(2)).unwrap();
    assert_eq!(journal.switch().unwrap(), first, "it still waits");
    journal.append(&record(3)).unwrap();
    drop(journal);
    assert_eq!(numbers(&open(dir.path()).1), [1, 2, 3]);
}

#[test]
fn records_of_an_earlier_run_do_not_come_back_behind_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal.forget_all().unwrap();
    for number in 1..4 {
        journal.append(&record(number)).unwrap();
    }
    journal.forget_all().unwrap();
    journal.append(&record(9)).unwrap();
    drop(journal);
    assert_eq!(numbers(&open(dir.path()).1), [9]);
}

#[test]
fn a_torn_record_ends_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal.forget_all().unwrap();
    for number in 1..4 {
        journal.append(&record(number)).unwrap();
    }
    drop(journal);
    let half = OpenOptions::new()
        .write(true)
        .open(dir.path().join("journal.0"))
        .unwrap();
    half.write_all_at(b"x", RECORDS_AT + 4608 + 2000).unwrap();
    assert_eq!(numbers(&open(dir.path()).1), [1]);
}

#[test]
fn only_one_mount_has_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = Journal::open(dir.path(), Disk::default(), STORE, &[2; 32], LIMIT);
    assert_eq!(second.err(), Some(Errno::BUSY));
    drop(first);
    open(dir.path());
}

#[test]
fn another_stores_records_are_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal.forget_all().unwrap();
    journal.append(&record(1)).unwrap();
    drop(journal);
    let other = Journal::open(
        dir.path(),
        Disk::default(),
        StoreId([7; 16]),
        &[2; 32],
        LIMIT,
    )
    .unwrap();
    assert!(other.1.is_empty());
}
