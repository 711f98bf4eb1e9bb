//! A power cut while a ledger is compacted: what is found is one ledger, with every record that was acknowledged.

use std::fs::File;
use std::path::Path;

use kms_ledger::conformance::{Author, NETWORK, START, TestClock};
use kms_ledger::{FileLedger, FileOptions};
use kms_proto::ledger::{Head, Ledger, PolicyState};
use kms_tests::disk::{self, Ext4, Recorder};
use kms_tests::done_by_root;
use kms_tests::power::{Cut, Log};

use crate::work::Dice;

/// How many grants are long over.
const OVER: usize = 120;
const YEAR: u64 = 365 * 24 * 60 * 60;

fn open(path: &Path, clock: &TestClock, seen: Option<Head>) -> FileLedger {
    let options = FileOptions {
        clock: clock.clock(),
        seen,
        ..FileOptions::new(NETWORK)
    };
    FileLedger::open_writer(path, options).unwrap()
}

#[test]
fn a_ledger_that_is_compacted_survives_a_power_cut_at_every_moment() {
    if done_by_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let seed = std::env::var("KMSFS_SEED").map_or_else(
        |_| u64::from(std::process::id()),
        |seed| seed.parse().unwrap(),
    );
    println!("seed {seed}");
    let points = std::env::var("KMSFS_POWER_CUTS").map_or(6, |points| points.parse().unwrap());
    let clock = TestClock::default();
    let recorder = Recorder::start(root.path());
    let ext4 = Ext4::mount(&recorder.disk(), &root.path().join("ext4"));
    let path = ext4.path.join("ledger");
    let ledger = open(&path, &clock, None);
    for _ in 0..OVER {
        ledger.submit(&Author::new().grant(1, START + 10)).unwrap();
    }
    clock.set(START + YEAR);
    let revoked = Author::new();
    ledger.submit(&revoked.grant(1, START + 2 * YEAR)).unwrap();
    ledger.submit(&revoked.revoke(2)).unwrap();
    let before = ledger.head().unwrap();
    let begin = recorder.position();
    let compacted = ledger.compact().unwrap();
    assert_eq!(compacted.left_out, OVER as u64);
    let done = recorder.position();
    let late = Author::new();
    ledger.submit(&late.grant(1, START + 2 * YEAR)).unwrap();
    let (after, acknowledged) = (ledger.head().unwrap(), recorder.position());
    drop(ledger);
    ext4.unmount();
    recorder.stop();

    let log = Log::read(&root.path().join("log")).unwrap();
    let positions = log.positions(begin);
    println!("{} moments, {} flushes", positions.len(), log.flushes());
    let mut dice = Dice::new(seed);
    for point in 0..points {
        let position = positions[dice.below(positions.len())];
        let cut = Cut::ALL[point % Cut::ALL.len()];
        let image = root.path().join("image");
        let file = File::create(&image).unwrap();
        file.set_len(disk::SIZE).unwrap();
        log.replay(&file, position, cut, || dice.below(2) == 0)
            .unwrap();
        drop(file);
        let ext4 = Ext4::mount(&image, &root.path().join("ext4"));
        let path = ext4.path.join("ledger");
        let seen = match position >= acknowledged {
            true => after,
            false => before,
        };
        let ledger = open(&path, &clock, Some(seen));
        let state = ledger.policy(&revoked.policy()).unwrap();
        assert!(
            matches!(state, PolicyState::Revoked { .. }),
            "{cut:?} at {position}"
        );
        let again = ledger.compact().unwrap().left_out;
        assert!(again == 0 || (again == OVER as u64 && position < done));
        drop(ledger);
        ext4.unmount();
    }
}
