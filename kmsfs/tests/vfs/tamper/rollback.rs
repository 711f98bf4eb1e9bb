//! What this client has seen holds against whoever puts back what was.

use std::sync::Arc;

use kmsfs::backing::Disk;
use kmsfs::vfs::{Oddity, Options, Vfs, VfsError};
use rustix::io::Errno;

use super::stage::*;
use crate::shared::{Bob, share};
use crate::support::*;

fn restore(world: &World, kept: &str) {
    remove(&world.store());
    copy_tree(&world.dir.path().join(kept), &world.store());
}

fn keep(world: &World, kept: &str) {
    copy_tree(&world.store(), &world.dir.path().join(kept));
}

fn close_all(vfs: Arc<Vfs>) {
    vfs.close().unwrap();
}

#[test]
fn a_store_put_back_as_a_whole_is_older_wherever_it_differs() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "same", b"same").unwrap();
    put(&vfs, "changed", b"one").unwrap();
    close_all(vfs);
    keep(&world, "old");
    let vfs = world.open();
    patch(&vfs, "changed", 0, b"two").unwrap();
    put(&vfs, "new", b"new").unwrap();
    list(&vfs, "").unwrap();
    close_all(vfs);
    restore(&world, "old");
    let vfs = world.open();
    assert_eq!(get(&vfs, "same").unwrap(), b"same");
    let refused = get(&vfs, "changed").unwrap_err();
    assert_eq!(refused.errno(), Errno::STALE);
    assert_eq!(list(&vfs, "").unwrap(), ["changed", "same"]);
    let notices = vfs.notices();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].path.to_str(), Some("new"));
    assert_eq!(notices[0].what, Oddity::Vanished);
    let mut found = fsck(&vfs);
    found.sort();
    assert_eq!(
        found,
        [
            "changed: older than what was already seen",
            "new: was here and has disappeared, other than through this mount"
        ]
    );
}

#[test]
fn a_backup_that_was_restored_is_accepted_once_its_owner_says_so() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "file", b"one").unwrap();
    close_all(vfs);
    keep(&world, "backup");
    let vfs = world.open();
    patch(&vfs, "file", 0, b"two").unwrap();
    close_all(vfs);
    restore(&world, "backup");
    assert!(matches!(get(&world.open(), "file"), Err(VfsError::Older)));
    Vfs::forget_seen(&world.options().state_dir);
    let vfs = world.open();
    assert_eq!(get(&vfs, "file").unwrap(), b"one");
    patch(&vfs, "file", 0, b"2nd").unwrap();
    close_all(vfs);
    assert_eq!(get(&world.open(), "file").unwrap(), b"2nd");
}

#[test]
fn a_mount_refuses_what_it_has_itself_seen_before_anything_is_written_down() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "file", b"one").unwrap();
    vfs.checkpoint().unwrap();
    let place = stored(&world, &vfs, "file");
    let old = std::fs::read(&place).unwrap();
    patch(&vfs, "file", 0, b"two").unwrap();
    vfs.checkpoint().unwrap();
    std::fs::write(&place, old).unwrap();
    // The kernel is told to look it up again, as of any file that somebody else has changed.
    let got = get(&vfs, "file").or_else(|_| get(&vfs, "file"));
    assert!(matches!(got, Err(VfsError::Older)), "{got:?}");
}

#[test]
fn what_a_power_cut_took_away_is_not_held_against_the_store() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "file", b"one").unwrap();
    put(&vfs, "other", b"other").unwrap();
    list(&vfs, "").unwrap();
    close_all(vfs);
    keep(&world, "before");
    let vfs = world.open();
    put(&vfs, "file", b"two").unwrap();
    put(&vfs, "new", b"new").unwrap();
    unlink(&vfs, "other").unwrap();
    list(&vfs, "").unwrap();
    // Nothing of it was synced, and the machine lost everything, the journal included.
    drop(vfs);
    restore(&world, "before");
    for half in ["journal.0", "journal.1"] {
        std::fs::write(world.options().state_dir.join(half), b"").unwrap();
    }
    let vfs = world.open();
    assert_eq!(get(&vfs, "file").unwrap(), b"one");
    assert_eq!(fsck(&vfs), [""; 0]);
    assert_eq!(vfs.notices(), []);
}

#[test]
fn a_mount_that_was_killed_does_not_blame_others_for_what_it_did() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    for name in ["d/a", "d/b", "d/c"] {
        put(&vfs, name, b"x").unwrap();
    }
    list(&vfs, "d").unwrap();
    list(&vfs, "").unwrap();
    close_all(vfs);
    let vfs = world.open();
    unlink(&vfs, "d/a").unwrap();
    rename(&vfs, "d/b", "e").unwrap();
    rename(&vfs, "d/c", "d/f").unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(list(&vfs, "d").unwrap(), ["f"]);
    assert_eq!(fsck(&vfs), [""; 0]);
    assert_eq!(vfs.notices(), []);
}

#[test]
fn a_memory_that_is_lost_or_damaged_does_not_keep_the_store_closed() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "file", b"one").unwrap();
    close_all(vfs);
    let memory = world.options().state_dir.join("seen.redb");
    for damage in [None, Some(&b""[..]), Some(&[0xff; 10_000])] {
        match damage {
            None => std::fs::remove_file(&memory).unwrap(),
            Some(bytes) => std::fs::write(&memory, bytes).unwrap(),
        }
        let vfs = world.open();
        assert_eq!(get(&vfs, "file").unwrap(), b"one");
        close_all(vfs);
        assert!(memory.exists());
    }
}

#[test]
fn a_recipient_is_not_shown_what_is_older_than_he_has_seen() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    put(&vfs, "d/in", b"one").unwrap();
    put(&vfs, "file", b"one").unwrap();
    let bob = Bob::new(&world);
    share(&vfs, &bob, "d");
    share(&vfs, &bob, "file");
    vfs.checkpoint().unwrap();
    keep(&world, "old");
    for path in ["d/in", "file"] {
        put(&vfs, path, b"two").unwrap();
        vfs.checkpoint().unwrap();
        assert_eq!(get(&bob.vfs, path).unwrap(), b"two");
    }
    put(&vfs, ".new", b"three").unwrap();
    rename(&vfs, ".new", "d/in").unwrap();
    vfs.checkpoint().unwrap();
    assert_eq!(get(&bob.vfs, "d/in").unwrap(), b"three");
    list(&bob.vfs, "d").unwrap();
    close_all(vfs);
    bob.vfs.close().unwrap();
    drop(bob.vfs);
    restore(&world, "old");
    let vfs = Vfs::open_recipient(
        &world.store(),
        world.info(),
        Arc::clone(&bob.keys) as _,
        Arc::clone(&bob.shares) as _,
        Options {
            background: false,
            ..Options::new(world.dir.path().join("bob"))
        },
    )
    .unwrap();
    for path in ["d/in", "file"] {
        let got = get(&vfs, path);
        assert!(matches!(got, Err(VfsError::Older)), "{path}: {got:?}");
    }
}

#[test]
fn an_older_configuration_is_refused() {
    let world = World::new();
    let open = |config: u8| {
        let options = Options {
            config: Some([config; 32]),
            disk: Disk::default(),
            ..world.options()
        };
        let owner = Arc::clone(&world.owner);
        let vfs = Vfs::open_owner(&world.store(), world.info(), World::key(), owner, options)?;
        vfs.close()
    };
    open(1).unwrap();
    open(1).unwrap();
    open(2).unwrap();
    let refused = open(1).unwrap_err();
    assert!(matches!(refused, VfsError::OldConfiguration));
    assert_eq!(refused.errno(), Errno::STALE);
    open(2).unwrap();
    Vfs::forget_seen(&world.options().state_dir);
    open(1).unwrap();
}

#[test]
fn two_machines_that_write_at_once_are_noticed() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "file", b"base").unwrap();
    close_all(vfs);
    keep(&world, "elsewhere");
    let here = World::borrowed(world.dir.path());
    let vfs = here.open();
    patch(&vfs, "file", 0, b"here").unwrap();
    let place = stored(&here, &vfs, "file");
    close_all(vfs);
    // The other machine: the same owner, the same store as it was, a state directory of its own.
    let below = place.strip_prefix(here.store()).unwrap().to_owned();
    let there = Options {
        background: false,
        ..Options::new(world.dir.path().join("there"))
    };
    let elsewhere = world.dir.path().join("elsewhere");
    let owner = Arc::clone(&world.owner);
    let vfs = Vfs::open_owner(&elsewhere, world.info(), World::key(), owner, there).unwrap();
    patch(&vfs, "file", 0, b"THEN").unwrap();
    close_all(vfs);
    // Its version wins.
    replace(&place, &elsewhere.join(below));
    let vfs = here.open();
    assert_eq!(get(&vfs, "file").unwrap(), b"THEN");
    assert_eq!(vfs.notices()[0].what, Oddity::Forked);
    close_all(vfs);
}
