//! Whoever dies, or loses power, while compacting loses nothing.

use std::collections::BTreeMap;

use kms_proto::ledger::{Head, Ledger, PolicyState};

use super::*;
use crate::{
    FileOptions,
    conformance::{Author, NETWORK, START, TestClock},
};

/// A directory as it was when the process was killed.
fn image(of: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(of).expect("it is there") {
        let entry = entry.expect("it is there");
        fs::copy(entry.path(), image.path().join(entry.file_name())).expect("copied");
    }
    image
}

fn open(path: &Path, seen: Option<Head>, clock: &TestClock) -> FileLedger {
    let options = FileOptions {
        clock: clock.clock(),
        seen,
        ..FileOptions::new(NETWORK)
    };
    FileLedger::open_writer(path, options).expect("a ledger")
}

#[test]
fn whoever_dies_while_compacting_leaves_one_whole_ledger() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = TestClock::default();
    let open = |path: &Path, seen| open(path, seen, &clock);
    let ledger = open(&dir.path().join("ledger"), None);
    let (over, revoked, live) = (Author::new(), Author::new(), Author::new());
    let year = 365 * 24 * 60 * 60;
    for entry in [
        over.grant(1, START + 10),
        revoked.grant(1, START + 2 * year),
        revoked.revoke(2),
    ] {
        ledger.submit(&entry).expect("accepted");
    }
    clock.set(START + year);
    ledger
        .submit(&live.grant(1, START + 2 * year))
        .expect("accepted");
    let head = ledger.head().expect("answered");
    let mut images = Vec::new();
    let compacted = ledger.compact_with(&mut |step| {
        images.push((step, image(dir.path())));
        Ok(())
    });
    assert_eq!(compacted.expect("compacted").left_out, 1);
    assert_eq!(images.len(), 6);
    for (step, image) in &images {
        let path = image.path().join("ledger");
        let after = open(&path, Some(head));
        assert_eq!(after.head().expect("answered"), head, "{step:?}");
        let policy = |author: &Author| after.policy(&author.policy()).expect("answered");
        assert!(matches!(policy(&over), PolicyState::Expired { .. }));
        assert!(matches!(policy(&revoked), PolicyState::Revoked { .. }));
        assert!(matches!(policy(&live), PolicyState::Live(_)));
        // Whoever compacts next is not hindered by what lies around, and takes it away.
        let done = u64::from(matches!(step, Step::Renamed | Step::Done));
        assert_eq!(after.compact().expect("compacted").left_out, 1 - done);
        after.submit(&over.revoke(3)).expect("accepted");
        let names = fs::read_dir(image.path()).expect("it is there").count();
        assert_eq!(names, 1, "{step:?}");
    }
}

#[test]
fn a_full_disk_leaves_the_ledger_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = TestClock::default();
    let path = dir.path().join("ledger");
    let options = FileOptions {
        clock: clock.clock(),
        ..FileOptions::new(NETWORK)
    };
    let ledger = FileLedger::open_writer(&path, options).expect("a ledger");
    ledger
        .submit(&Author::new().grant(1, START + 10))
        .expect("accepted");
    clock.set(START + 365 * 24 * 60 * 60);
    ledger.submit(&Author::new().revoke(1)).expect("accepted");
    let before = fs::read(&path).expect("it is there");
    for fails in [Step::Made, Step::Written, Step::Synced, Step::ReadBack] {
        let failed = ledger.compact_with(&mut |step| match step == fails {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        });
        assert!(matches!(failed, Err(LedgerError::Unavailable(_))));
        assert_eq!(fs::read(&path).expect("it is there"), before);
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1);
    }
    assert_eq!(ledger.compact().expect("compacted").left_out, 1);
}

/// Files by their names.
type Disk = BTreeMap<String, Vec<u8>>;

fn disk(of: &Path) -> Disk {
    let files = fs::read_dir(of).expect("it is there").map(|entry| {
        let entry = entry.expect("it is there");
        let name = entry.file_name().into_string().expect("a name");
        (name, fs::read(entry.path()).expect("read"))
    });
    files.collect()
}

/// What a power cut after `step` may leave of `now`: what was not synced is there, or not, or in part, or as zeros; and a
/// directory that was not synced may still be as it was `before`.
fn cuts(step: Step, before: &Disk, now: &Disk) -> Vec<Disk> {
    const NEW: &str = "ledger.compact";
    let mut cuts = vec![now.clone()];
    match step {
        Step::Made | Step::Written => {
            let bytes = now.get(NEW).expect("it is being written");
            let half = bytes.get(..bytes.len() / 2).expect("half of it");
            let mut holes = bytes.clone();
            holes
                .iter_mut()
                .skip(bytes.len() / 3)
                .for_each(|byte| *byte = 0);
            for torn in [Vec::new(), half.to_vec(), vec![0; bytes.len()], holes] {
                let mut cut = now.clone();
                cut.insert(NEW.to_owned(), torn);
                cuts.push(cut);
            }
            cuts.push(before.clone());
        }
        Step::Synced | Step::ReadBack => cuts.push(before.clone()),
        Step::Renamed => {
            cuts.push(before.clone());
            // The new file is durable under its first name.
            let mut cut = before.clone();
            let new = now.get("ledger").expect("it was renamed").clone();
            cut.insert(NEW.to_owned(), new);
            cuts.push(cut);
        }
        Step::Done => {}
    }
    cuts
}

#[test]
fn a_power_cut_while_compacting_leaves_the_old_ledger_or_the_new_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = TestClock::default();
    let open = |path: &Path, seen| open(path, seen, &clock);
    let ledger = open(&dir.path().join("ledger"), None);
    let (over, revoked) = (Author::new(), Author::new());
    let year = 365 * 24 * 60 * 60;
    for entry in [
        over.grant(1, START + 10),
        revoked.grant(1, START + 2 * year),
    ] {
        ledger.submit(&entry).expect("accepted");
    }
    clock.set(START + year);
    ledger.submit(&revoked.revoke(2)).expect("accepted");
    let head = ledger.head().expect("answered");
    let before = disk(dir.path());
    let mut left = Vec::new();
    let compacted = ledger.compact_with(&mut |step| {
        let now = disk(dir.path());
        left.extend(cuts(step, &before, &now).into_iter().map(|cut| (step, cut)));
        Ok(())
    });
    assert_eq!(compacted.expect("compacted").left_out, 1);
    let after = disk(dir.path());
    for (step, cut) in &left {
        let image = tempfile::tempdir().expect("a directory");
        for (name, bytes) in cut {
            fs::write(image.path().join(name), bytes).expect("written");
        }
        let (is_old, is_new) = (
            cut.get("ledger") == before.get("ledger"),
            cut.get("ledger") == after.get("ledger"),
        );
        assert!(is_old || is_new, "{step:?}: the ledger is neither");
        assert!(is_new || *step != Step::Done, "what was said to be done is");
        let ledger = open(&image.path().join("ledger"), Some(head));
        assert_eq!(ledger.head().expect("answered"), head, "{step:?}");
        let policy = |author: &Author| ledger.policy(&author.policy()).expect("answered");
        assert!(matches!(policy(&over), PolicyState::Expired { .. }));
        assert!(matches!(policy(&revoked), PolicyState::Revoked { .. }));
        let again = ledger.compact().expect("compacted").left_out;
        assert_eq!(again, u64::from(is_old), "{step:?}");
        assert_eq!(disk(image.path()), after, "{step:?}");
    }
}
