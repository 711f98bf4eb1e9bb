//! What happens to a ledger file: crashes, several writers, damage, forgery.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use kms_ledger::{
    FileLedger, FileOptions,
    conformance::{Author, NETWORK, START, TestClock},
};
use kms_proto::{
    codec,
    ledger::{
        ChainFault, Head, Ledger, LedgerError, PolicyState, Record, SignedEntry, genesis_hash,
    },
};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    clock: TestClock,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: TestClock::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    fn options(&self) -> FileOptions {
        FileOptions {
            clock: self.clock.clock(),
            ..FileOptions::new(NETWORK)
        }
    }

    fn seen(&self, head: Head) -> FileOptions {
        FileOptions {
            seen: Some(head),
            ..self.options()
        }
    }

    fn writer(&self) -> FileLedger {
        FileLedger::open_writer(&self.path(), self.options()).unwrap()
    }

    fn reader(&self) -> Result<FileLedger, LedgerError> {
        FileLedger::open_reader(&self.path(), self.options())
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// A ledger of some grants; where each record ends.
    fn with_grants(count: usize) -> (Self, Vec<usize>) {
        let place = Self::new();
        let writer = place.writer();
        let ends = (0..count)
            .map(|_| {
                writer.submit(&Author::new().grant(1, START + 100)).unwrap();
                place.bytes().len()
            })
            .collect();
        (place, ends)
    }
}

fn height(ledger: &FileLedger) -> u64 {
    ledger.head().unwrap().height
}

fn overwrite(path: &Path, bytes: &[u8]) {
    // In place, as an editor or an attacker without rename would.
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

#[test]
fn readers_and_writers_see_each_others_entries_at_once() {
    let place = Place::new();
    let (one, two) = (place.writer(), place.writer());
    let reader = place.reader().unwrap();
    let author = Author::new();
    one.submit(&author.grant(1, START + 100)).unwrap();
    for ledger in [&two, &reader] {
        assert!(matches!(
            ledger.policy(&author.policy()).unwrap(),
            PolicyState::Live(_)
        ));
    }
    two.submit(&author.revoke(2)).unwrap();
    for ledger in [&one, &reader] {
        assert!(matches!(
            ledger.policy(&author.policy()).unwrap(),
            PolicyState::Revoked { .. }
        ));
    }
    assert!(matches!(
        reader.submit(&author.revoke(3)),
        Err(LedgerError::ReadOnly)
    ));
    assert_eq!(one.head().unwrap(), reader.head().unwrap());
}

#[test]
fn many_writers_make_one_chain() {
    let place = Arc::new(Place::new());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let place = Arc::clone(&place);
            thread::spawn(move || {
                let writer = place.writer();
                for _ in 0..5 {
                    writer.submit(&Author::new().grant(1, START + 100)).unwrap();
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(height(&place.reader().unwrap()), 20);
}

#[test]
fn a_writer_that_died_anywhere_in_an_append_costs_nothing_acknowledged() {
    let (place, ends) = Place::with_grants(3);
    let whole = place.bytes();
    // Many of these are alike; the beginning, the end and some between are not.
    let third = ends[1]..ends[2];
    for cut in third
        .clone()
        .filter(|cut| cut - third.start < 12 || third.end - cut < 12 || cut % 37 == 0)
    {
        overwrite(&place.path(), &whole[..cut]);
        assert_eq!(height(&place.reader().unwrap()), 2);
        let writer = place.writer();
        let author = Author::new();
        assert_eq!(
            writer.submit(&author.grant(1, START + 100)).unwrap().height,
            3
        );
        assert_eq!(height(&place.reader().unwrap()), 3);
    }
}

#[test]
fn a_reader_goes_on_after_a_torn_record_was_replaced() {
    let (place, ends) = Place::with_grants(2);
    let reader = place.reader().unwrap();
    let mut file = OpenOptions::new().append(true).open(place.path()).unwrap();
    file.write_all(&place.bytes()[ends[0]..ends[0] + 50])
        .unwrap();
    assert_eq!(height(&reader), 2);
    place
        .writer()
        .submit(&Author::new().grant(1, START + 100))
        .unwrap();
    assert_eq!(height(&reader), 3);
}

#[test]
fn a_file_that_was_just_being_made_is_an_empty_ledger() {
    let place = Place::new();
    drop(place.writer());
    let header = place.bytes();
    for cut in 0..header.len() {
        overwrite(&place.path(), &header[..cut]);
        assert_eq!(height(&place.reader().unwrap()), 0);
        place.writer();
        assert_eq!(place.bytes(), header);
    }
    overwrite(&place.path(), b"something else entirely");
    assert!(matches!(place.reader(), Err(LedgerError::NotALedger)));
    assert!(matches!(
        FileLedger::open_writer(&place.path(), place.options()),
        Err(LedgerError::NotALedger)
    ));
    assert_eq!(place.bytes(), b"something else entirely");
}

#[test]
fn a_damaged_record_is_named_by_its_height() {
    let (place, ends) = Place::with_grants(4);
    let whole = place.bytes();
    for (at, wanted) in [
        (ends[0] + 100, 2),
        (ends[1] - 1, 2),
        (ends[1] + 1, 3),
        (ends[1] + 3, 3),
        (ends[2] - 9, 3),
    ] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        overwrite(&place.path(), &damaged);
        for opened in [
            place.reader(),
            FileLedger::open_writer(&place.path(), place.options()),
        ] {
            let Err(LedgerError::Tampered { height, .. }) = opened else {
                panic!("byte {at} was not missed");
            };
            assert_eq!(height, wanted);
        }
        assert_eq!(
            place.bytes(),
            damaged,
            "nothing is cut off that a crash does not explain"
        );
    }
}

#[test]
fn no_wrong_byte_anywhere_is_believed() {
    let (place, ends) = Place::with_grants(3);
    let truth = place.reader().unwrap();
    let whole = place.bytes();
    let heads: Vec<_> = truth
        .read(1, 3)
        .unwrap()
        .iter()
        .map(|record| Record::from_bytes(record).unwrap().hash())
        .collect();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        overwrite(&place.path(), &damaged);
        match place.reader() {
            Err(LedgerError::NotALedger) => assert!(at < 16),
            Err(LedgerError::Tampered { height, .. }) => {
                let record = ends.iter().filter(|end| **end <= at).count() + 1;
                assert_eq!(height, u64::try_from(record).unwrap(), "byte {at}");
            }
            // The last record might be an append that a crash cut short.
            Ok(ledger) => {
                assert!(at >= ends[1], "byte {at} was believed");
                assert_eq!(ledger.head().unwrap().hash, heads[1]);
            }
            Err(err) => panic!("byte {at}: {err}"),
        }
    }
}

/// Signatures are not checked again below a head that was seen: its hash has to say that nothing has changed.
#[test]
fn who_remembers_the_head_believes_no_other_history() {
    let (place, _) = Place::with_grants(3);
    let whole = place.bytes();
    let head = place.reader().unwrap().head().unwrap();
    let open = || FileLedger::open_reader(&place.path(), place.seen(head));
    assert_eq!(open().unwrap().head().unwrap(), head);
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        overwrite(&place.path(), &damaged);
        assert!(open().is_err(), "byte {at} was believed");
    }

    // All of it chained and summed up anew, with a signature that its author never made.
    let records = {
        overwrite(&place.path(), &whole);
        place.reader().unwrap().read(1, 3).unwrap()
    };
    let mut forged = whole[..16].to_vec();
    let mut prev = genesis_hash(NETWORK);
    for (number, bytes) in records.iter().enumerate() {
        let mut record = Record::from_bytes(bytes).unwrap();
        record.prev = prev;
        if number == 1 {
            let mut entry = record.entry.to_bytes();
            *entry.last_mut().unwrap() ^= 1;
            record.entry = SignedEntry::from_bytes(&entry).unwrap();
        }
        let bytes = codec::encode(&record);
        prev = record.hash();
        forged.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        forged.extend(&bytes);
        forged.extend(crc32c::crc32c(&bytes).to_be_bytes());
    }
    overwrite(&place.path(), &forged);
    assert!(matches!(open(), Err(LedgerError::Forked { height: 3 })));
    let refused = place.reader().err();
    assert!(matches!(
        refused,
        Some(LedgerError::Tampered { height: 2, .. })
    ));
}

#[test]
fn a_forged_record_with_a_good_checksum_is_named_by_its_height() {
    let (place, ends) = Place::with_grants(3);
    let mut bytes = place.bytes();
    // The record's time, or anything else: here a byte of the second record's signature.
    let record = ends[0] + 4..ends[1] - 4;
    bytes[record.end - 1] ^= 1;
    let checksum = crc32c::crc32c(&bytes[record.clone()]);
    bytes[record.end..ends[1]].copy_from_slice(&checksum.to_be_bytes());
    overwrite(&place.path(), &bytes);
    assert!(matches!(
        place.reader(),
        Err(LedgerError::Tampered {
            height: 2,
            fault: ChainFault::Rule(_)
        })
    ));
}

#[test]
fn records_left_out_or_swapped_are_noticed() {
    let (place, ends) = Place::with_grants(3);
    let whole = place.bytes();
    let (one, two, three) = (
        &whole[16..ends[0]],
        &whole[ends[0]..ends[1]],
        &whole[ends[1]..],
    );
    for (order, wanted) in [
        ([two, three, &[]], 1),
        ([one, three, &[]], 2),
        ([one, one, two], 2),
    ] {
        overwrite(&place.path(), &[&whole[..16], &order.concat()].concat());
        let Err(LedgerError::Tampered {
            height,
            fault: ChainFault::Misplaced(_),
        }) = place.reader()
        else {
            panic!("not noticed");
        };
        assert_eq!(height, wanted);
    }
}

#[test]
fn a_shorter_ledger_is_refused_by_those_who_saw_more() {
    let (place, ends) = Place::with_grants(3);
    let (reader, writer) = (place.reader().unwrap(), place.writer());
    let seen = reader.head().unwrap();
    let whole = place.bytes();
    overwrite(&place.path(), &whole[..ends[1]]);
    for ledger in [&reader, &writer] {
        assert!(matches!(
            ledger.head(),
            Err(LedgerError::Shorter { height: 2, seen: 3 })
        ));
    }
    assert!(writer.submit(&Author::new().grant(1, START + 100)).is_err());
    let after_restart = FileLedger::open_writer(&place.path(), place.seen(seen));
    assert!(matches!(
        after_restart,
        Err(LedgerError::Shorter { height: 2, seen: 3 })
    ));
    assert_eq!(place.bytes().len(), ends[1]);
    // With the record back everybody is content.
    overwrite(&place.path(), &whole);
    assert_eq!(reader.head().unwrap(), seen);
    FileLedger::open_writer(&place.path(), place.seen(seen)).unwrap();
}

#[test]
fn a_forked_ledger_is_refused_by_those_who_saw_the_other() {
    let (place, ends) = Place::with_grants(3);
    let (reader, writer) = (place.reader().unwrap(), place.writer());
    let seen = reader.head().unwrap();
    overwrite(&place.path(), &place.bytes()[..ends[1]]);
    let other = place.writer();
    for _ in 0..2 {
        other.submit(&Author::new().grant(1, START + 100)).unwrap();
    }
    for ledger in [&reader, &writer] {
        assert!(matches!(
            ledger.head(),
            Err(LedgerError::Forked { height: 3 })
        ));
    }
    assert!(writer.submit(&Author::new().grant(1, START + 100)).is_err());
    let after_restart = FileLedger::open_reader(&place.path(), place.seen(seen));
    assert!(matches!(
        after_restart,
        Err(LedgerError::Forked { height: 3 })
    ));
}

#[test]
fn a_file_put_in_its_place_has_to_say_the_same() {
    let (place, ends) = Place::with_grants(3);
    let reader = place.reader().unwrap();
    let seen = reader.head().unwrap();
    let replace = |bytes: &[u8]| {
        let new = place.dir.path().join("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, place.path()).unwrap();
    };
    let whole = place.bytes();
    replace(&whole);
    assert_eq!(reader.head().unwrap(), seen);
    place
        .writer()
        .submit(&Author::new().grant(1, START + 100))
        .unwrap();
    assert_eq!(height(&reader), 4);
    replace(&whole[..ends[1]]);
    assert!(matches!(
        reader.head(),
        Err(LedgerError::Shorter { height: 2, seen: 4 })
    ));
    replace(&Place::with_grants(5).0.bytes());
    assert!(matches!(
        reader.head(),
        Err(LedgerError::Forked { height: 4 })
    ));
    fs::remove_file(place.path()).unwrap();
    assert!(matches!(reader.head(), Err(LedgerError::Unavailable(_))));
}

#[test]
fn a_record_dated_ahead_is_refused_until_the_clock_has_come_near() {
    let place = Place::new();
    let writer = place.writer();
    place.clock.set(START + 1000);
    writer
        .submit(&Author::new().grant(1, START + 5000))
        .unwrap();
    place.clock.set(START + 969);
    assert!(matches!(
        place.reader(),
        Err(LedgerError::AheadOfClock {
            height: 1,
            seconds: 31
        })
    ));
    place.clock.set(START + 970);
    assert_eq!(height(&place.reader().unwrap()), 1);
}

#[test]
fn another_networks_ledger_is_refused() {
    let (place, _) = Place::with_grants(1);
    let options = FileOptions {
        clock: place.clock.clock(),
        ..FileOptions::new("elsewhere")
    };
    let opened = FileLedger::open_reader(&place.path(), options);
    assert!(matches!(
        opened,
        Err(LedgerError::Tampered {
            height: 1,
            fault: ChainFault::OtherNetwork
        })
    ));
}

#[test]
fn a_missing_ledger_is_made_by_writers_only() {
    let place = Place::new();
    assert!(matches!(place.reader(), Err(LedgerError::Unavailable(_))));
    assert!(!place.path().exists());
    place.writer();
    assert_eq!(height(&place.reader().unwrap()), 0);
}
