//! What power cuts have done, or could have: each test is one story, cut down to what it takes.

use std::sync::Arc;

use kmsfs::backing::Disk;
use kmsfs::vfs::{Access, Allocate, Vfs};

use super::recorded;
use super::state::{Cut, Found};
use crate::random::Rng;
use crate::support::*;

/// So many disks that a power cut may leave.
const DISKS: u64 = 200;

/// Does something, then something else, with the power cut somewhere in the latter or after it, and looks at what may
/// be found then.
fn cut(first: impl Fn(&Vfs), then: impl Fn(&Vfs), look: impl Fn(&Vfs)) {
    let (world, recorder) = recorded();
    let vfs = world
        .try_open(Disk::gated(Arc::clone(&recorder) as _))
        .unwrap();
    first(&vfs);
    let acknowledged = recorder.0.lock().entries.len();
    then(&vfs);
    let log = recorder.0.lock();
    for seed in 0..DISKS {
        let dir = memory();
        let rng = &mut Rng::new(seed);
        let entries = acknowledged + rng.below(log.entries.len() - acknowledged + 1);
        Found::after(&log, entries, Cut::Torn, rng).put(dir.path());
        look(&World::borrowed(dir.path()).open());
    }
}

/// A directory was revoked, and its names were stored anew under its new key. The power was cut when it was durable that
/// the old key is forgotten, and not yet that the names are new ones: nothing could open them any more.
#[test]
fn the_key_of_old_names_goes_only_when_the_new_names_are_durable() {
    let share = |vfs: &Vfs| {
        mkdir(vfs, "d").unwrap();
        put(vfs, "d/f", b"content").unwrap();
        symlink(vfs, "target", "d/l").unwrap();
        fsync(vfs, "d/f").unwrap();
        let dir = vfs.resolve("d".as_ref()).unwrap();
        vfs.fsyncdir(dir).unwrap();
        vfs.ensure_label(dir).unwrap();
    };
    let revoke = |vfs: &Vfs| {
        let dir = vfs.resolve("d".as_ref()).unwrap();
        vfs.rotate(dir).unwrap();
        while vfs.rekey_step().unwrap() {}
    };
    cut(share, revoke, |vfs| {
        let mut names = list(vfs, "d").unwrap();
        // A link is made anew beside the old one.
        names.dedup();
        assert_eq!(names, ["f", "l"]);
        assert_eq!(get(vfs, "d/f").unwrap(), b"content");
        assert_eq!(readlink(vfs, "d/l").unwrap(), "target");
        assert_eq!(fsck(vfs), [""; 0]);
    });
}

/// The journal was emptied and a hole's room given back to the store, and the power cut before it was durable that the
/// journal is empty. Its records were there again, and did not find what they rely on in the hole: an earlier state of
/// the file was put back.
#[test]
fn room_is_given_back_only_when_the_journal_is_empty_for_good() {
    let content = pattern(60 * CHUNK, 1);
    let mut expected = content.clone();
    expected[30 * CHUNK..50 * CHUNK].fill(0);
    let punch = |vfs: &Vfs| {
        put(vfs, "f", &pattern(CHUNK, 0)).unwrap();
        fsync(vfs, "f").unwrap();
        vfs.checkpoint().unwrap();
        patch(vfs, "f", 0, &content[..CHUNK]).unwrap();
        patch(vfs, "f", CHUNK, &content[CHUNK..]).unwrap();
        let handle = open(vfs, "f", Access::Write).unwrap();
        let (at, len) = (30 * CHUNK as u64, 20 * CHUNK as u64);
        vfs.fallocate(handle, at, len, Allocate::PunchHole).unwrap();
        close(vfs, handle).unwrap();
        fsync(vfs, "f").unwrap();
    };
    let checkpoint = |vfs: &Vfs| vfs.checkpoint().unwrap();
    cut(punch, checkpoint, |vfs| {
        assert!(get(vfs, "f").unwrap() == expected);
        assert_eq!(fsck(vfs), [""; 0]);
    });
}
