//! A ledger without what says nothing any more (LEDGER §5.2.1).
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::PathBuf, thread};

use kms_crypto::key::NodeSecret;
use kms_ledger::{
    FileLedger, FileOptions,
    conformance::{Author, NETWORK, START, TestClock, registration},
};
use kms_proto::ledger::{
    ChainFault, EntryRefusal, Head, Heading, Ledger, LedgerError, PolicyState, Record, SignedEntry,
};
use rand_core::UnwrapErr;
use tempfile::TempDir;

const MONTH: u64 = 30 * 24 * 60 * 60;

struct Place {
    dir: TempDir,
    clock: TestClock,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::default();
        Self { dir, clock }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    fn options(&self, seen: Option<Head>) -> FileOptions {
        FileOptions {
            clock: self.clock.clock(),
            seen,
            ..FileOptions::new(NETWORK)
        }
    }

    fn writer(&self) -> FileLedger {
        FileLedger::open_writer(&self.path(), self.options(None)).unwrap()
    }

    fn reader(&self, seen: Option<Head>) -> Result<FileLedger, LedgerError> {
        FileLedger::open_reader(&self.path(), self.options(seen))
    }
}

/// Some of everything; ten months later.
struct Scene {
    place: Place,
    writer: FileLedger,
    heads: Vec<Head>,
    entries: Vec<SignedEntry>,
    over: Author,
    extended: Author,
    revoked: Author,
    released: Author,
    moved: Author,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        let nodes: [NodeSecret; 3] =
            std::array::from_fn(|_| NodeSecret::generate(&mut UnwrapErr(getrandom::SysRng)));
        let [a, b, c] = &nodes;
        let later = START + 12 * MONTH;
        let soon = START + 1000;
        let [over, over_moved, extended, revoked, released, moved] =
            std::array::from_fn(|_| Author::new());
        let writer = place.writer();
        let entries = vec![
            registration(a, 1, later, &["/ip4/192.0.2.1/tcp/1"]),
            registration(c, 1, later, &[]),
            over.sealed_grant(1, soon, 2),
            over_moved.grant_on(&[a, b], soon),
            over_moved.handover(0, a, c, 4),
            extended.grant(1, soon),
            extended.grant(2, later),
            revoked.grant(1, soon),
            revoked.revoke(2),
            released.sealed_grant(1, soon, 2),
            released.release(2),
            moved.grant_on(&[a, b], later),
            registration(c, 2, later, &["/ip4/192.0.2.3/tcp/1"]),
            moved.handover(0, a, c, 12),
            registration(c, 3, later, &[]),
            registration(a, 2, later, &[]),
            registration(a, 3, later, &[]),
        ];
        let mut heads = vec![writer.head().unwrap()];
        for entry in &entries {
            writer.submit(entry).unwrap();
            heads.push(writer.head().unwrap());
        }
        place.clock.set(START + 10 * MONTH);
        // What goes by the ledger's own time goes by its last record's.
        let last = registration(b, 1, later, &[]);
        writer.submit(&last).unwrap();
        heads.push(writer.head().unwrap());
        Self {
            place,
            writer,
            heads,
            entries,
            over,
            extended,
            revoked,
            released,
            moved,
        }
    }
}

/// The heights at which only a heading stands.
fn left_out(ledger: &FileLedger) -> Vec<usize> {
    let records = ledger.read(1, 100).unwrap();
    let numbered = records.iter().enumerate();
    numbered
        .filter(|(_, record)| Heading::is_it(record))
        .map(|(index, _)| index + 1)
        .collect()
}

#[test]
fn what_is_over_is_left_out_and_all_else_is_as_before() {
    let it = Scene::new();
    let before = it.place.reader(None).unwrap();
    let compacted = it.writer.compact().unwrap();
    assert_eq!((compacted.records, compacted.left_out), (18, 7));
    assert!(compacted.bytes_after < compacted.bytes_before);
    assert_eq!(
        it.place.path().metadata().unwrap().len(),
        compacted.bytes_after
    );

    // Of c's registrations the second is what a handover stands on that is still needed.
    let expected = [1, 2, 3, 4, 5, 8, 16];
    for ledger in [&before, &it.writer, &it.place.reader(None).unwrap()] {
        assert_eq!(ledger.head().unwrap(), *it.heads.last().unwrap());
        assert_eq!(left_out(ledger), expected);
        let policy = |author: &Author| ledger.policy(&author.policy()).unwrap();
        assert!(matches!(
            policy(&it.over),
            PolicyState::Expired { at, grant: None } if at == START + 1000
        ));
        assert!(matches!(policy(&it.extended), PolicyState::Live(grant) if grant.seq == 2));
        assert!(matches!(
            policy(&it.revoked),
            PolicyState::Revoked { epoch: 2, .. }
        ));
        assert!(matches!(
            policy(&it.released),
            PolicyState::Revoked {
                epoch: 2,
                grant: Some(_),
                ..
            }
        ));
        assert!(matches!(policy(&it.moved), PolicyState::Live(_)));
        assert_eq!(ledger.nodes().unwrap().len(), 3);
    }

    // Everybody finds what he has seen, and goes on.
    for head in &it.heads {
        it.place.reader(Some(*head)).unwrap();
    }
    it.writer
        .submit(&Author::new().grant(1, START + 11 * MONTH))
        .unwrap();
    assert_eq!(before.head().unwrap().height, 19);
    assert_eq!(
        it.writer.compact().unwrap().left_out,
        0,
        "nothing more is over"
    );
}

#[test]
fn what_was_left_out_does_not_come_back() {
    let it = Scene::new();
    it.writer.compact().unwrap();
    let refused = |entry: &SignedEntry| match it.writer.submit(entry) {
        Err(LedgerError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(&it.entries[2]),
        EntryRefusal::Outnumbered { latest: 1 }
    );
    assert_eq!(refused(&it.entries[4]), EntryRefusal::NotHolder);
    assert!(matches!(
        refused(&it.entries[0]),
        EntryRefusal::Outnumbered { latest: 3 }
    ));
    // One that was never written, with the number of the one that is gone: its author has gone on since.
    let older = it.over.grant(1, START + 11 * MONTH);
    assert_eq!(refused(&older), EntryRefusal::Outnumbered { latest: 1 });
    assert_eq!(refused(&it.over.release(2)), EntryRefusal::NotTheSecret);
    assert!(matches!(
        refused(&it.revoked.grant(2, START + 11 * MONTH)),
        EntryRefusal::Revoked { .. }
    ));
    // Its author may end it or begin it anew.
    it.writer
        .submit(&it.over.grant(2, START + 11 * MONTH))
        .unwrap();
    it.writer.submit(&it.over.revoke(3)).unwrap();
    assert!(it.place.reader(None).is_ok());
}

#[test]
fn nothing_is_missing_that_counts() {
    let it = Scene::new();
    let whole = it.writer.read(1, 100).unwrap();
    // A handover stands on 2, and 5 goes with its grant only; what stands on 13 may stand on 2.
    let may_be = [1, 3, 6, 8, 13, 16];
    for height in 1..=whole.len() {
        let mut bytes = fs::read(it.place.path()).unwrap()[..16].to_vec();
        for (index, record) in whole.iter().enumerate() {
            let heading = Record::from_bytes(record).unwrap().heading().to_bytes();
            let held = if index + 1 == height {
                &heading
            } else {
                record
            };
            bytes.extend(u32::try_from(held.len()).unwrap().to_be_bytes());
            bytes.extend(held);
            bytes.extend(crc32c::crc32c(held).to_be_bytes());
        }
        let other = Place::new();
        other.clock.set(START + 10 * MONTH);
        fs::write(other.path(), bytes).unwrap();
        let newcomer = other.reader(None).err();
        let old_hand = other.reader(it.heads.last().copied()).err();
        let refused = |error: &Option<LedgerError>| {
            matches!(
                error,
                Some(LedgerError::Tampered {
                    fault: ChainFault::LeftOut | ChainFault::Rule(_),
                    ..
                })
            )
        };
        let allowed = may_be.contains(&height);
        assert_eq!(newcomer.is_none(), allowed, "{height}: {newcomer:?}");
        assert_eq!(old_hand.is_none(), allowed, "{height}: {old_hand:?}");
        assert!(
            allowed || (refused(&newcomer) && refused(&old_hand)),
            "{height}"
        );
    }
}

#[test]
fn no_wrong_byte_in_a_compacted_ledger_is_believed() {
    let it = Scene::new();
    it.writer.compact().unwrap();
    let head = it.writer.head().unwrap();
    let whole = fs::read(it.place.path()).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(it.place.path(), &damaged).unwrap();
        assert!(
            it.place.reader(Some(head)).is_err(),
            "byte {at} was believed"
        );
    }
    fs::write(it.place.path(), &whole[..whole.len() - 300]).unwrap();
    assert!(matches!(
        it.place.reader(Some(head)),
        Err(LedgerError::Shorter { .. })
    ));
}

#[test]
fn nodes_go_on_writing_while_it_is_compacted() {
    let it = Scene::new();
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let writer = it.place.writer();
            thread::spawn(move || {
                let entries = (0..10).map(|_| Author::new().grant(1, START + 11 * MONTH));
                entries
                    .map(|entry| (writer.submit(&entry).unwrap().height, entry))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let other = it.place.writer();
    other.compact().unwrap();
    while !writers.iter().all(thread::JoinHandle::is_finished) {
        assert_eq!(it.writer.compact().unwrap().left_out, 0);
    }
    let reader = it.place.reader(it.heads.last().copied()).unwrap();
    assert_eq!(left_out(&reader).len(), 7);
    for (height, entry) in writers.into_iter().flat_map(|it| it.join().unwrap()) {
        let record = reader.read(height, 1).unwrap().concat();
        assert_eq!(Record::from_bytes(&record).unwrap().entry, entry);
    }
}

#[test]
fn only_who_may_write_compacts() {
    let it = Scene::new();
    let refused = it.place.reader(None).unwrap().compact();
    assert!(matches!(refused, Err(LedgerError::ReadOnly)));
}
