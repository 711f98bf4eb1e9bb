//! Power cuts on real mounts: what was acknowledged stands on every disk that a cut may leave behind.
//!
//! The store and the mount's own files lie on an ext4 whose every block write and flush is recorded ([`kms_tests::disk`]). Programs
//! work on the mount and note what was acknowledged when ([`work`]). Then, for many moments, the disk is built as a cut at
//! that moment may leave it, mounted, and looked at.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

mod compaction;
mod system;
mod work;

use std::any::Any;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use kms_tests::disk::{self, Ext4, Recorder};
use kms_tests::done_by_root;
use kms_tests::power::{Cut, Log};

use crate::system::System;
use crate::work::{Dice, Notes};

/// How long is worked on the mount, at least.
const WORK: Duration = Duration::from_secs(3);

#[test]
fn ext4_itself_keeps_what_it_acknowledged() {
    if done_by_root() {
        return;
    }
    assert_eq!(broken(System::Plain), 0, "the recorder cannot be trusted");
}

#[test]
fn what_a_mount_acknowledged_survives_a_power_cut() {
    if done_by_root() {
        return;
    }
    assert_eq!(broken(System::Kmsfs), 0);
}

/// Only asked for by scripts/soak: that the cuts are found where there are some is known from a filesystem that does not
/// sync its directories' own files.
#[test]
#[ignore = "needs gocryptfs; scripts/soak power runs it"]
fn a_filesystem_that_loses_acknowledged_things_is_seen_to() {
    if done_by_root() {
        return;
    }
    assert!(broken(System::Gocryptfs) > 0, "cuts go unnoticed");
}

/// How many of the disks that a cut may leave lack something.
fn broken(system: System) -> usize {
    let root = tempfile::tempdir().unwrap();
    let seed = std::env::var("KMSFS_SEED").map_or_else(
        |_| u64::from(std::process::id()),
        |seed| seed.parse().unwrap(),
    );
    let points = std::env::var("KMSFS_POWER_CUTS").map_or(5, |points| points.parse().unwrap());
    let kept = std::env::var_os("KMSFS_POWER_KEEP");
    println!("{system:?}: seed {seed}");
    let mut dice = Dice::new(seed);

    let (notes, begin) = record(system, root.path(), seed);
    let log = Log::read(&root.path().join("log")).unwrap();
    let positions = log.positions(begin);
    println!(
        "{system:?}: {} acknowledgements, {} moments, {} flushes",
        notes.acknowledged(),
        positions.len(),
        log.flushes()
    );
    assert!(
        notes.acknowledged() > work::ENOUGH,
        "hardly any work was done"
    );

    let mut broken = 0;
    for point in 0..points {
        let position = positions[dice.below(positions.len())];
        let cut = Cut::ALL[point % Cut::ALL.len()];
        let build = |image: &Path| {
            let mut dice = Dice::new(seed + u64::try_from(point).unwrap());
            let file = File::create(image).unwrap();
            file.set_len(disk::SIZE).unwrap();
            log.replay(&file, position, cut, || dice.below(2) == 0)
                .unwrap();
        };
        // One of its own each: the loop device of the one before may be there for a moment longer, with what it has read.
        let image = root.path().join(format!("image-{point}"));
        build(&image);
        // What cannot even be mounted is as broken as can be, and no reason not to look at the others.
        let found = catch_unwind(AssertUnwindSafe(|| {
            let ext4 = Ext4::mount(&image, &root.path().join("ext4"));
            let found = look(system, &ext4, root.path(), &notes, position);
            ext4.unmount();
            found
        }))
        .unwrap_or_else(|panic| vec![message(panic.as_ref())]);
        fs::remove_file(&image).unwrap();
        if !found.is_empty() {
            broken += 1;
            println!("{system:?}: {cut:?} at {position}: {} missing", found.len());
            for what in found.iter().take(8) {
                println!("    {what}");
            }
            // As the cut left it, before anybody mounted it.
            if let (Some(kept), true) = (&kept, system != System::Gocryptfs) {
                build(&Path::new(kept).join(format!("{system:?}-{cut:?}-{position}")));
            }
        }
    }
    println!("{system:?}: {broken} of {points} broken");
    broken
}

/// Works on a mount of `system` on a recorded disk; what was noted, and the log's length when the work began.
fn record(system: System, root: &Path, seed: u64) -> (Notes, u64) {
    let recorder = Recorder::start(root);
    let ext4 = Ext4::mount(&recorder.disk(), &root.join("ext4"));
    system.make(&ext4.path);
    let mount = system.mount(&ext4.path, root);
    let mut notes = Notes::begin(mount.path());
    rustix::fs::sync();
    let begin = recorder.position();
    notes.work(mount.path(), seed, WORK, &|| recorder.position());
    mount.unmount();
    ext4.unmount();
    recorder.stop();
    (notes, begin)
}

/// What is missing from a disk.
fn look(system: System, ext4: &Ext4, root: &Path, notes: &Notes, position: u64) -> Vec<String> {
    let mount = system.mount(&ext4.path, root);
    let mut missing = notes.missing(mount.path(), position);
    mount.unmount();
    missing.extend(system.check(&ext4.path));
    missing
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
        .to_owned()
}
