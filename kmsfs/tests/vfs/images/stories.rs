//! What power cuts have done, or could have: each test is one story, cut down to what it takes.

use std::sync::Arc;

use kmsfs::backing::Disk;
use kmsfs::vfs::{Access, Allocate, Vfs};

use super::recorded;
use super::state::{Cut, Found};
use crate::random::Rng;
use crate::support::*;

/// So many disks that a power cut may leave.
const DISKS: u64 = 60;

/// Does something, cuts the power, and looks at what may be found then.
fn after_a_power_cut(story: impl Fn(&Vfs), look: impl Fn(&Vfs)) {
    let (world, recorder) = recorded();
    let vfs = world
        .try_open(Disk::gated(Arc::clone(&recorder) as _))
        .unwrap();
    story(&vfs);
    let log = recorder.0.lock();
    for seed in 0..DISKS {
        let dir = memory();
        let rng = &mut Rng::new(seed);
        Found::after(&log, log.entries.len(), Cut::Torn, rng).put(dir.path());
        look(&World::borrowed(dir.path()).open());
    }
}

/// The journal was emptied and a hole's room given back to the store, and the power cut before it was durable that the
/// journal is empty. Its records were there again, and did not find what they rely on in the hole: an earlier state of
/// the file was put back.
#[test]
fn room_is_given_back_only_when_the_journal_is_empty_for_good() {
    let content = pattern(60 * CHUNK, 1);
    let mut expected = content.clone();
    expected[30 * CHUNK..50 * CHUNK].fill(0);
    let story = |vfs: &Vfs| {
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
        vfs.checkpoint().unwrap();
    };
    after_a_power_cut(story, |vfs| {
        assert!(get(vfs, "f").unwrap() == expected);
        assert_eq!(fsck(vfs), [""; 0]);
    });
}
