//! Killed at every single step, and every single call failing: what comes back is a committed state.

use std::collections::BTreeMap;
use std::sync::Arc;

use kmsfs::backing::Disk;
use kmsfs::vfs::{Result, Vfs, VfsError};
use rustix::io::Errno;

use crate::support::*;

type Step = (&'static str, fn(&Vfs) -> Result<()>);

/// Each step is one change as a program sees it; what a step leaves behind is before or after, never between.
const STEPS: &[Step] = &[
    ("create", |vfs| put(vfs, "a", &pattern(30_000, 1))),
    ("sync", |vfs| fsync(vfs, "a")),
    ("overwrite", |vfs| {
        patch(vfs, "a", 5_000, &pattern(9_000, 2))
    }),
    ("append", |vfs| patch(vfs, "a", 30_000, &pattern(70_000, 3))),
    ("checkpoint", |vfs| vfs.checkpoint()),
    ("append much", |vfs| {
        patch(vfs, "a", 100_000, &pattern(600_000, 4))
    }),
    ("overwrite at both ends", |vfs| {
        patch(vfs, "a", 699_990, &pattern(5_000, 5))
    }),
    ("shrink", |vfs| truncate(vfs, "a", 33_333)),
    ("grow again", |vfs| {
        patch(vfs, "a", 100_000, &pattern(200_000, 6))
    }),
    ("sync again", |vfs| fsync(vfs, "a")),
    ("replace the content", |vfs| {
        put(vfs, "a", &pattern(120_000, 7))
    }),
    ("mkdir", |vfs| mkdir(vfs, "d")),
    ("link", |vfs| link(vfs, "a", "d/b")),
    ("attribute", |vfs| {
        set_xattr(vfs, "a", "user.x", &pattern(9_000, 8))
    }),
    ("rename", |vfs| rename(vfs, "a", "d/c")),
    ("overwrite what was renamed", |vfs| {
        patch(vfs, "d/b", 10, &pattern(20_000, 9))
    }),
    ("attribute again", |vfs| {
        set_xattr(vfs, "d/c", "user.x", &pattern(8_000, 8))
    }),
    ("unlink", |vfs| unlink(vfs, "d/b")),
    ("rename the directory", |vfs| rename(vfs, "d", "e")),
    ("a new version", |vfs| {
        put(vfs, "e/new", &pattern(5_000, 10))
    }),
    ("sync the new version", |vfs| fsync(vfs, "e/new")),
    ("save by rename", |vfs| rename(vfs, "e/new", "e/c")),
    ("a long name", |vfs| {
        rename(vfs, "e/c", &format!("e/{}", "n".repeat(250)))
    }),
    ("a symbolic link", |vfs| symlink(vfs, "target", "l")),
    ("share", |vfs| {
        vfs.ensure_label(vfs.resolve("e".as_ref())?).map(drop)
    }),
    ("revoke", |vfs| {
        vfs.rotate(vfs.resolve("e".as_ref())?).map(drop)
    }),
    ("new keys", |vfs| vfs.rekey_step().map(drop)),
    ("write after that", |vfs| {
        patch(vfs, &format!("e/{}", "n".repeat(250)), 100, b"new")
    }),
    ("unlink the long name", |vfs| {
        unlink(vfs, &format!("e/{}", "n".repeat(250)))
    }),
    ("rmdir", |vfs| rmdir(vfs, "e")),
];

/// Everything a program can see: content, attributes, links.
fn look(vfs: &Vfs) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut seen = BTreeMap::new();
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        for name in list(vfs, &dir)? {
            let path = if dir.is_empty() {
                name
            } else {
                format!("{dir}/{name}")
            };
            let kind = attr(vfs, &path)?.kind;
            match kind {
                kmsfs::backing::Kind::Dir => {
                    seen.insert(path.clone(), b"dir".to_vec());
                    dirs.push(path);
                }
                kmsfs::backing::Kind::Symlink => {
                    drop(seen.insert(path.clone(), readlink(vfs, &path)?.into()))
                }
                _ => {
                    let mut all = get(vfs, &path)?;
                    assert_eq!(attr(vfs, &path)?.size, all.len() as u64, "size of {path}");
                    all.extend(xattr(vfs, &path, "user.x").unwrap_or_default());
                    seen.insert(path, all);
                }
            }
        }
    }
    Ok(seen)
}

/// What is there after each step when nothing goes wrong; the first is the empty store.
fn expected() -> Vec<BTreeMap<String, Vec<u8>>> {
    let world = World::new();
    let vfs = world.open();
    let mut states = vec![look(&vfs).unwrap()];
    for (name, step) in STEPS {
        step(&vfs).unwrap_or_else(|error| panic!("{name}: {error}"));
        states.push(look(&vfs).unwrap());
    }
    states
}

/// What may be seen when a step was cut off: before, after, or for a file that came into being, an empty one.
fn is_between(
    seen: &BTreeMap<String, Vec<u8>>,
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
) -> bool {
    if seen == before || seen == after {
        return true;
    }
    // Creating and truncating are steps of their own; a link made for a rename may stand beside its source.
    let names = before.keys().chain(after.keys());
    seen.keys()
        .all(|name| before.contains_key(name) || after.contains_key(name))
        && names.clone().all(|name| {
            let got = seen.get(name);
            got == before.get(name)
                || got == after.get(name)
                || got.is_some_and(|content| content.is_empty())
        })
        && before
            .keys()
            .all(|name| !after.contains_key(name) || seen.contains_key(name))
}

#[test]
fn killed_at_any_step_every_file_is_in_a_committed_state() {
    let states = expected();
    let mut at = 1;
    loop {
        let world = World::new();
        let faults = Faults::kill_at(at);
        let gated = Disk::gated(Arc::clone(&faults) as _);
        let mut done = 0;
        let mut failed = None;
        if let Ok(vfs) = world.try_open(gated) {
            for (name, step) in STEPS {
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
            seen.iter()
                .map(|(name, content)| (name, content.len()))
                .collect::<Vec<_>>()
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
        if done == STEPS.len() {
            return;
        }
        at += 1;
    }
}

#[test]
fn a_call_that_fails_is_reported_and_breaks_nothing_else() {
    let states = expected();
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
            for (number, (name, step)) in STEPS.iter().enumerate() {
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
                    seen.iter()
                        .map(|(name, content)| (name, content.len()))
                        .collect::<Vec<_>>()
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
