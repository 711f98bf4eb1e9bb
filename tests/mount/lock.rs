//! One owner's mount for each store and machine, by whatever path; readers mount as often as they like.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use kms_tests::disk::detach;
use kms_tests::{Person, done_by_root};

use crate::Scene;

#[track_caller]
fn is_refused(alice: &Person, store: &Path) {
    let refused = alice.fails(&["mount", store.to_str().unwrap(), "elsewhere"]);
    assert_eq!(refused.code, 73, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("is already mounted."),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_second_mount_is_refused_by_any_path_and_says_where_the_first_is() {
    let scene = Scene::new();
    is_refused(&scene.alice, &scene.store);
    let link = scene.root.path().join("link.kmsfs");
    symlink(&scene.store, &link).unwrap();
    is_refused(&scene.alice, &link);
    let refused = scene
        .alice
        .fails(&["mount", link.to_str().unwrap(), "elsewhere"]);
    let point = scene.secure.path.to_str().unwrap();
    assert!(refused.stderr.contains(point), "{}", refused.stderr);

    // The same person with another home, as by sudo.
    let again = Person::new(scene.root.path(), "again");
    fs::create_dir(again.home()).unwrap();
    fs::copy(
        scene.alice.home().join("identity"),
        again.home().join("identity"),
    )
    .unwrap();
    fs::copy(
        scene.alice.dir.join("passphrase"),
        again.dir.join("passphrase"),
    )
    .unwrap();
    is_refused(&again, &scene.store);

    // Readers take no lock, and do not mind one.
    let bob = Person::new(scene.root.path(), "bob");
    bob.key();
    let (one, two) = (
        bob.mount(&scene.store, "one"),
        bob.mount(&scene.store, "two"),
    );
    one.unmount();
    two.unmount();
    fs::write(scene.secure.at("a"), "still works").unwrap();
    scene.unmounted().0.run(&["fsck", "secure.kmsfs"]);
}

#[test]
fn a_second_mount_is_refused_through_a_bind_mount() {
    if done_by_root() {
        return;
    }
    let scene = Scene::new();
    let bound = scene.root.path().join("bound.kmsfs");
    fs::create_dir(&bound).unwrap();
    let mut mount = Command::new("mount");
    let status = mount.arg("--bind").args([&scene.store, &bound]).status();
    assert!(status.unwrap().success());
    is_refused(&scene.alice, &bound);
    detach(&bound);
}

#[test]
fn the_lock_goes_with_a_killed_process() {
    let scene = Scene::new();
    fs::write(scene.secure.at("a"), "a").unwrap();
    let (alice, store, root) = scene.crashed();
    let secure = alice.mount(&store, "elsewhere");
    assert_eq!(fs::read_to_string(secure.at("a")).unwrap(), "a");
    secure.unmount();
    // The dead mount at the old place is no obstacle either.
    drop(alice.mount(&store, "secure"));
    drop(root);
}
