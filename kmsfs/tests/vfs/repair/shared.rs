//! A directory that is shared, or was, loses its header.

use std::fs;

use kms_crypto::format::{HEADER_LEN, Header};

use super::*;
use crate::shared::{Bob, share};

fn epoch_of(path: &Path) -> u32 {
    let bytes = fs::read(path).unwrap();
    let header = Header::parse(&bytes[..HEADER_LEN]).unwrap();
    header.bindings()[0].dir_epoch
}

fn rotate(vfs: &Vfs, path: &str) {
    vfs.rotate(vfs.resolve(Path::new(path)).unwrap()).unwrap();
}

fn carry_through(vfs: &Vfs) {
    while vfs.rekey_step().unwrap() {}
}

fn fill(vfs: &Vfs) {
    mkdir(vfs, "d").unwrap();
    mkdir(vfs, "d/sub").unwrap();
    for file in ["d/a", "d/sub/b", "d/c"] {
        put(vfs, file, file.as_bytes()).unwrap();
    }
    symlink(vfs, "a", "d/link").unwrap();
}

/// A revocation that had only just begun when the header was lost is not undone: what is written afterwards is written
/// under a key the withdrawn reader never had.
#[test]
fn a_rebuilt_directory_has_a_key_nobody_had() {
    for rounds in 0..2 {
        let world = World::new();
        let vfs = world.open();
        fill(&vfs);
        let bob = Bob::new(&world);
        share(&vfs, &bob, "d");
        carry_through(&vfs);
        for _ in 0..rounds {
            rotate(&vfs, "d");
            carry_through(&vfs);
        }
        vfs.checkpoint().unwrap();
        let known = epoch_of(&stored(&world, &vfs, "d/a"));
        // Bob may have seen this one, and the next must be another: the header with it is in the store and gets lost.
        rotate(&vfs, "d");
        vfs.checkpoint().unwrap();
        let scene = Scene::of(world, vfs);
        fs::remove_file(scene.header("d")).unwrap();
        assert_eq!(scene.repair(), ["+header rebuild d"]);
        let vfs = scene.world.open();
        put(&vfs, "d/new", b"new").unwrap();
        vfs.checkpoint().unwrap();
        assert!(epoch_of(&stored(&scene.world, &vfs, "d/new")) > known);
        carry_through(&vfs);
        vfs.checkpoint().unwrap();
        assert!(epoch_of(&stored(&scene.world, &vfs, "d/a")) > known);
        assert_eq!(fsck(&vfs), [""; 0]);
        unlink(&vfs, "d/new").unwrap();
        vfs.close().unwrap();
        drop(vfs);
        scene.assert_whole();
    }
}

#[test]
fn names_of_before_and_after_a_key_change_are_both_read() {
    // The change of keys is killed at one place after another.
    for step in (0..).step_by(9) {
        let world = World::new();
        let vfs = world.open();
        fill(&vfs);
        let bob = Bob::new(&world);
        share(&vfs, &bob, "d");
        carry_through(&vfs);
        vfs.close().unwrap();
        drop(vfs);
        let vfs = world.open();
        rotate(&vfs, "d");
        vfs.close().unwrap();
        drop(vfs);
        let faults = Faults::kill_at(step);
        let mut is_over = false;
        if let Ok(vfs) = world.try_open(Disk::gated(faults.clone())) {
            while vfs.rekey_step().unwrap_or(false) {}
            is_over = !faults.struck();
        }
        let vfs = world.open();
        let scene = Scene::of(world, vfs);
        fs::remove_file(scene.header("d")).unwrap();
        assert_eq!(scene.repair(), ["+header rebuild d"], "step {step}");
        scene.assert_whole();
        if is_over {
            return;
        }
    }
}

#[test]
fn a_rebuilt_directory_can_be_shared_again() {
    let world = World::new();
    let vfs = world.open();
    fill(&vfs);
    let bob = Bob::new(&world);
    share(&vfs, &bob, "d");
    carry_through(&vfs);
    let scene = Scene::of(world, vfs);
    fs::remove_file(scene.header("d")).unwrap();
    assert_eq!(scene.repair(), ["+header rebuild d"]);
    let vfs = scene.world.open();
    carry_through(&vfs);
    let bob = Bob::new(&scene.world);
    share(&vfs, &bob, "d");
    carry_through(&vfs);
    vfs.checkpoint().unwrap();
    assert_eq!(get(&bob.vfs, "d/sub/b").unwrap(), b"d/sub/b");
    assert_eq!(readlink(&bob.vfs, "d/link").unwrap(), "a");
}
