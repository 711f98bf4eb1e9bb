//! Killed at every single step, and every single call failing: what comes back is a committed state.

use std::sync::Arc;

use kmsfs::backing::Disk;
use kmsfs::vfs::VfsError;
use rustix::io::Errno;

use self::lives::{LIVES, Step, expected, is_between, lengths, look};
use crate::support::*;

pub(crate) mod lives;

#[test]
fn killed_at_any_step_every_file_is_in_a_committed_state() {
    std::thread::scope(|scope| {
        for steps in LIVES {
            scope.spawn(|| kill_everywhere(steps));
        }
    });
}

fn kill_everywhere(steps: &[Step]) {
    let states = expected(steps);
    let mut at = 1;
    loop {
        let world = World::new();
        let faults = Faults::kill_at(at);
        let gated = Disk::gated(Arc::clone(&faults) as _);
        let mut done = 0;
        let mut failed = None;
        if let Ok(vfs) = world.try_open(gated) {
            for (name, step) in steps {
                if let Err(error) = step(&vfs) {
                    failed = Some((*name, error));
                    break;
                }
                done += 1;
            }
        }
        let vfs = world.open();
        let seen =
            look(&vfs).unwrap_or_else(|error| panic!("killed at {at}, step {failed:?}: {error}"));
        let after = states.get(done + 1).unwrap_or(&states[done]);
        assert!(
            is_between(&seen, &states[done], after),
            "killed at {at}, in step {failed:?}: {:?}",
            lengths(&seen)
        );
        assert_eq!(fsck(&vfs), [""; 0], "killed at {at}, in step {failed:?}");
        // And it goes on from there.
        put(&vfs, "afterwards", b"works").unwrap();
        while vfs.rekey_step().unwrap() {}
        vfs.close().unwrap();
        drop(vfs);
        let vfs = world.open();
        assert_eq!(get(&vfs, "afterwards").unwrap(), b"works");
        unlink(&vfs, "afterwards").unwrap();
        assert_eq!(look(&vfs).unwrap(), seen);
        assert_eq!(fsck(&vfs), [""; 0]);
        if done == steps.len() {
            return;
        }
        at += 1;
    }
}

#[test]
fn a_call_that_fails_is_reported_and_breaks_nothing_else() {
    std::thread::scope(|scope| {
        for steps in LIVES {
            scope.spawn(|| fail_everywhere(steps));
        }
    });
}

fn fail_everywhere(steps: &[Step]) {
    let states = expected(steps);
    for errno in [Errno::NOSPC, Errno::IO, Errno::ROFS] {
        let mut at = 1;
        loop {
            let world = World::new();
            let faults = Faults::fail_at(at, errno);
            let Ok(vfs) = world.try_open(Disk::gated(Arc::clone(&faults) as _)) else {
                at += 1;
                continue;
            };
            let mut finished = true;
            for (number, (name, step)) in steps.iter().enumerate() {
                let Err(error) = step(&vfs) else { continue };
                assert!(
                    matches!(error, VfsError::Os(_)),
                    "call {at} failed in {name}: {error}"
                );
                let seen = look(&vfs)
                    .unwrap_or_else(|error| panic!("call {at} failed in {name}: {error}"));
                assert!(
                    is_between(&seen, &states[number], &states[number + 1]),
                    "call {at} failed in {name}: {:?}",
                    lengths(&seen)
                );
                put(&vfs, "other", b"fine").unwrap();
                assert_eq!(get(&vfs, "other").unwrap(), b"fine");
                unlink(&vfs, "other").unwrap();
                vfs.close().unwrap();
                finished = false;
                break;
            }
            if finished {
                assert_eq!(
                    look(&vfs).unwrap(),
                    *states.last().unwrap(),
                    "call {at} failed unnoticed"
                );
                // Should it fail just here, the journal still has everything.
                let _ = vfs.close();
            }
            drop(vfs);
            let vfs = world.open();
            look(&vfs).unwrap();
            assert_eq!(fsck(&vfs), [""; 0], "call {at} failed with {errno}");
            if !faults.struck() {
                break;
            }
            at += 1;
        }
    }
}
