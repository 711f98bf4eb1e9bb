//! Storage that lies: an error for that file alone, and a sentence that names the place.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kms_tests::{errno, tree};
use rustix::io::Errno;

use crate::Scene;

fn flip(path: &Path, offset: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

/// A store with one large file, another of the same length, and a bystander; unmounted.
fn prepared() -> (Scene, std::path::PathBuf, std::path::PathBuf) {
    let scene = Scene::new();
    fs::write(scene.secure.at("bystander"), "untouched").unwrap();
    fs::write(scene.secure.at("victim"), tree::bytes(1, 1_000_000)).unwrap();
    let scene = scene.remount();
    let victim = tree::backing_file_by_size(&scene.store, 1_000_000);
    fs::write(scene.secure.at("other"), tree::bytes(2, 1_000_000)).unwrap();
    let scene = scene.remount();
    let other = tree::files(&scene.store)
        .into_iter()
        .find(|path| *path != victim && fs::metadata(path).unwrap().len() >= 1_000_000)
        .unwrap();
    (scene, victim, other)
}

/// Whatever was done to the file, reading it fails with EIO, says where, and everything else works.
fn refused(scene: Scene, says: &str) {
    let scene = scene.remount();
    assert_eq!(errno(fs::read(scene.secure.at("victim"))), Errno::IO);
    let why = scene
        .alice
        .run(&["why", scene.secure.at("victim").to_str().unwrap()]);
    assert!(why.to_lowercase().contains(says), "why: {why}");
    assert_eq!(
        fs::read_to_string(scene.secure.at("bystander")).unwrap(),
        "untouched"
    );
    fs::write(scene.secure.at("bystander"), "still writable").unwrap();
    let (alice, store, root) = scene.unmounted();
    let found = alice.fails(&["fsck", store.to_str().unwrap()]);
    assert_eq!(found.code, 4, "errors left uncorrected: {}", found.stderr);
    drop(root);
}

#[test]
fn a_flipped_bit_in_a_chunk() {
    let (scene, victim, _) = prepared();
    flip(&victim, 4096 + 5 * 4096 + 17);
    refused(scene, "chunk 5");
}

#[test]
fn a_flipped_bit_in_the_header() {
    let (scene, victim, _) = prepared();
    flip(&victim, 700);
    refused(scene, "header");
}

#[test]
fn a_truncated_file() {
    let (scene, victim, _) = prepared();
    fs::File::options()
        .write(true)
        .open(&victim)
        .unwrap()
        .set_len(4096 * 20)
        .unwrap();
    refused(scene, "length");
}

#[test]
fn swapped_files() {
    let (scene, victim, other) = prepared();
    let aside = victim.with_extension("aside");
    fs::rename(&victim, &aside).unwrap();
    fs::rename(&other, &victim).unwrap();
    fs::rename(&aside, &other).unwrap();
    refused(scene, "does not belong under this name");
}

#[test]
fn a_foreign_file() {
    let (scene, victim, _) = prepared();
    fs::write(&victim, tree::bytes(3, 1_004_096)).unwrap();
    refused(scene, "header");
}

#[test]
fn a_zeroed_chunk_is_not_taken_for_a_hole() {
    let (scene, victim, _) = prepared();
    let file = fs::File::options().write(true).open(&victim).unwrap();
    file.write_all_at(&[0; 4096], 4096 + 3 * 4096).unwrap();
    refused(scene, "chunk 3");
}

#[test]
fn a_symlink_out_of_the_store_is_not_followed() {
    let (scene, victim, _) = prepared();
    let outside = scene.root.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    fs::remove_file(&victim).unwrap();
    std::os::unix::fs::symlink(&outside, &victim).unwrap();
    let scene = scene.remount();
    assert!(fs::read(scene.secure.at("victim")).is_err());
    assert!(fs::write(scene.secure.at("victim"), "overwritten").is_err());
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
}

#[test]
fn a_pipe_in_place_of_a_file_hangs_nobody() {
    let (scene, victim, _) = prepared();
    fs::remove_file(&victim).unwrap();
    nix::unistd::mkfifo(&victim, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let scene = scene.remount();
    assert!(fs::read(scene.secure.at("victim")).is_err());
    assert_eq!(
        fs::read_to_string(scene.secure.at("bystander")).unwrap(),
        "untouched"
    );
}
