//! A store that cannot be read now and then, or a little at a time only: what fails says so, what does not is right, and
//! nothing wrong is remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kmsfs::backing::{Call, Disk, Gate};
use kmsfs::vfs::{Result, Vfs, VfsError};
use rustix::io::Errno;

use crate::crash::lives::{LIVES, Step, expected, is_between, lengths, look};
use crate::support::*;

fn is_io(error: &VfsError) -> bool {
    matches!(error, VfsError::Os(Errno::IO))
}

/// The state of a life in its middle, where most is there.
fn furnished(steps: &[Step]) -> World {
    let world = World::new();
    let vfs = world.open();
    for (name, step) in &steps[..steps.len() * 2 / 3] {
        step(&vfs).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    vfs.close().unwrap();
    world
}

#[test]
fn a_read_that_fails_is_an_error_once_and_nothing_wrong_is_remembered() {
    for steps in LIVES {
        let world = furnished(steps);
        let all = look(&world.open()).unwrap();
        let mut at = 1;
        loop {
            let faults = Faults::fail_read_at(at);
            let opened = world.try_open(Disk::gated(Arc::clone(&faults) as _));
            let vfs = match opened {
                Ok(vfs) => vfs,
                Err(error) => {
                    assert!(is_io(&error), "read {at} failed: {error}");
                    at += 1;
                    continue;
                }
            };
            match look(&vfs) {
                Ok(seen) => assert_eq!(lengths(&seen), lengths(&all), "read {at} failed"),
                Err(error) => assert!(is_io(&error), "read {at} failed: {error}"),
            }
            if !faults.struck() {
                break;
            }
            let seen = look(&vfs).unwrap_or_else(|error| panic!("after read {at}: {error}"));
            assert!(seen == all, "after read {at}: {:?}", lengths(&seen));
            assert_eq!(vfs.notices(), [], "read {at} failed");
            assert_eq!(fsck(&vfs), [""; 0], "read {at} failed");
            at += 1;
        }
        assert!(at > 20, "hardly anything was read");
    }
}

/// So many reads are tried each by itself; of those after them ever fewer.
const EACH: u64 = 100;

#[test]
fn a_change_that_cannot_read_is_reported_and_can_be_made_again() {
    std::thread::scope(|scope| {
        for steps in LIVES {
            scope.spawn(|| {
                let states = expected(steps);
                let mut at = 1;
                while change_without_read(steps, &states, at) {
                    at += 1 + at / EACH;
                }
            });
        }
    });
}

/// Says whether there was such a read.
fn change_without_read(steps: &[Step], states: &[crate::crash::lives::Seen], at: u64) -> bool {
    let world = World::new();
    let faults = Faults::fail_read_at(at);
    let Ok(vfs) = world.try_open(Disk::gated(Arc::clone(&faults) as _)) else {
        return true;
    };
    for (number, (name, step)) in steps.iter().enumerate() {
        let Err(error) = step(&vfs) else { continue };
        assert!(is_io(&error), "read {at} failed in {name}: {error}");
        let (before, after) = (&states[number], &states[number + 1]);
        let seen = look(&vfs).unwrap_or_else(|error| panic!("read {at} failed in {name}: {error}"));
        assert!(
            is_between(&seen, before, after),
            "read {at} failed in {name}: {:?}",
            lengths(&seen)
        );
        if seen == *before {
            step(&vfs).unwrap_or_else(|error| panic!("{name} once more after read {at}: {error}"));
            let seen = look(&vfs).unwrap();
            assert!(seen == *after, "{name} once more: {:?}", lengths(&seen));
        }
        assert_eq!(vfs.notices(), [], "read {at} failed in {name}");
        break;
    }
    if !faults.struck() {
        return false;
    }
    let seen = look(&vfs).unwrap();
    let _ = vfs.close();
    drop(vfs);
    let vfs = world.open();
    let kept = look(&vfs).unwrap_or_else(|error| panic!("after read {at}: {error}"));
    assert!(kept == seen, "after read {at}: {:?}", lengths(&kept));
    assert_eq!(fsck(&vfs), [""; 0], "read {at} failed");
    true
}

/// Moves a few bytes at a time, and has every call interrupted by a signal before.
#[derive(Debug, Default)]
struct Stutter {
    calls: AtomicU64,
}

impl Stutter {
    fn interrupt(&self) -> rustix::io::Result<u64> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call.is_multiple_of(2) {
            return Err(Errno::INTR);
        }
        Ok(call)
    }
}

impl Gate for Stutter {
    fn pass(&self, _: &Call<'_>) -> rustix::io::Result<()> {
        self.interrupt().map(drop)
    }

    fn at_most(&self, wanted: usize) -> rustix::io::Result<usize> {
        let call = self.interrupt()?;
        Ok(wanted.min(1 + (call as usize * 37) % 3000))
    }
}

#[test]
fn calls_that_are_interrupted_or_move_a_few_bytes_only_lose_nothing() {
    for steps in LIVES {
        let states = expected(steps);
        let world = World::new();
        let disk = Disk::gated(Arc::<Stutter>::default());
        let open = || -> Result<Arc<Vfs>> { world.try_open(disk.clone()) };
        let mut vfs = open().unwrap();
        for (number, (name, step)) in steps.iter().enumerate() {
            step(&vfs).unwrap_or_else(|error| panic!("{name}: {error}"));
            if number % 4 == 3 {
                // What was killed is replayed in the same manner.
                drop(vfs);
                vfs = open().unwrap();
            }
            let seen = look(&vfs).unwrap();
            assert!(seen == states[number + 1], "{name}: {:?}", lengths(&seen));
        }
        vfs.close().unwrap();
        drop(vfs);
        assert_eq!(fsck(&world.open()), [""; 0]);
    }
}

/// Counts syncs of the whole filesystem.
#[derive(Debug, Default)]
struct Syncs(AtomicU64);

impl Gate for Syncs {
    fn pass(&self, call: &Call<'_>) -> rustix::io::Result<()> {
        if matches!(call, Call::SyncFs) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Unmounting took as long as the disk needed for all that anybody had written to it, even if nothing had been done.
#[test]
fn a_mount_that_has_changed_nothing_does_not_sync_the_whole_disk_when_it_ends() {
    let world = World::new();
    let mut counts = Vec::new();
    for writes in [true, false, false, true] {
        let syncs = Arc::<Syncs>::default();
        let vfs = world
            .try_open(Disk::gated(Arc::clone(&syncs) as _))
            .unwrap();
        if writes {
            put(&vfs, "f", &pattern(100_000, 1)).unwrap();
        }
        assert_eq!(get(&vfs, "f").unwrap(), pattern(100_000, 1));
        let before = syncs.0.load(Ordering::Relaxed);
        vfs.close().unwrap();
        counts.push(syncs.0.load(Ordering::Relaxed) - before);
    }
    assert!(counts[0] > 0 && counts[3] > 0, "{counts:?}");
    assert_eq!(counts[2], 0, "{counts:?}");
}
