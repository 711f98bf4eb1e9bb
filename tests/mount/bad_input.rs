//! What people get wrong, and what they are told. Three lines: what, why, what to do now.

use std::fs;

use kms_tests::{Person, errno, xattr};
use rustix::io::Errno;

use crate::Scene;

#[test]
fn a_wrong_passphrase() {
    let scene = Scene::new();
    let (alice, store, root) = scene.unmounted();
    fs::write(alice.dir.join("passphrase"), "wrong\n").unwrap();
    let refused = alice.fails(&["mount", store.to_str().unwrap(), "secure"]);
    assert_eq!(refused.code, 77);
    assert!(refused.stderr.contains("assphrase"), "{}", refused.stderr);
    drop(root);
}

#[test]
fn no_store_there() {
    let root = tempfile::tempdir().unwrap();
    let alice = Person::new(root.path(), "alice");
    alice.key();
    let refused = alice.fails(&["mount", "nothing"]);
    assert_eq!(refused.code, 66);
    assert!(
        refused.stderr.contains("kmsfs init"),
        "says how to make one: {}",
        refused.stderr
    );
}

#[test]
fn a_mount_point_that_is_not_empty() {
    let scene = Scene::new();
    let (alice, store, root) = scene.unmounted();
    fs::create_dir(alice.dir.join("full")).unwrap();
    fs::write(alice.dir.join("full/notes.txt"), "mine").unwrap();
    let refused = alice.fails(&["mount", store.to_str().unwrap(), "full"]);
    assert_eq!(refused.code, 73);
    assert!(refused.stderr.contains("notes.txt"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("nonempty"));
    drop(root);
}

#[test]
fn mounted_twice_at_one_place() {
    let scene = Scene::new();
    let again = scene.alice.fails(&[
        "mount",
        scene.store.to_str().unwrap(),
        scene.secure.path.to_str().unwrap(),
    ]);
    assert!(
        again.stderr.to_lowercase().contains("already mounted"),
        "{}",
        again.stderr
    );
}

#[test]
fn a_mistyped_key_and_an_unknown_contact() {
    let scene = Scene::new();
    let bob = Person::new(scene.root.path(), "bob").key();
    let mut typo = bob.clone();
    let swapped = if typo.as_bytes()[20] == b'q' {
        "p"
    } else {
        "q"
    };
    typo.replace_range(20..21, swapped);
    let refused = scene.alice.fails(&["contact", "add", "bob", &typo]);
    assert_eq!(refused.code, 67, "{}", refused.stderr);

    scene.alice.run(&["contact", "add", "bob", &bob]);
    let mallory = Person::new(scene.root.path(), "mallory").key();
    let changed = scene.alice.fails(&["contact", "add", "bob", &mallory]);
    assert_eq!(
        changed.code, 77,
        "a changed key is a hard stop: {}",
        changed.stderr
    );

    fs::write(scene.secure.at("a"), "a").unwrap();
    assert_eq!(
        errno(xattr::grant(&scene.secure.at("a"), "bobb")),
        Errno::DESTADDRREQ
    );
    let why = scene
        .alice
        .run(&["why", scene.secure.at("a").to_str().unwrap()]);
    assert!(why.contains("bob"), "the nearest petname: {why}");
    assert_eq!(
        errno(xattr::grant(&scene.secure.at("a"), &typo)),
        Errno::INVAL
    );
    assert_eq!(
        errno(xattr::grant(&scene.secure.at("a"), "bob ttl=soon")),
        Errno::INVAL
    );
    assert_eq!(
        errno(xattr::set(&scene.secure.at("a"), "user.kms.grnat", "bob")),
        Errno::INVAL
    );
    assert_eq!(
        errno(xattr::set(&scene.secure.at("a"), "trusted.kms", "bob")),
        Errno::OPNOTSUPP
    );
}

#[test]
fn no_network_set_up() {
    let scene = Scene::new();
    let bob = Person::new(scene.root.path(), "bob").key();
    scene.alice.run(&["contact", "add", "bob", &bob]);
    fs::write(scene.secure.at("a"), "private files work fully").unwrap();
    let refused = errno(xattr::grant(&scene.secure.at("a"), "bob"));
    assert!(
        refused == Errno::HOSTUNREACH || refused == Errno::NETUNREACH,
        "{refused:?}"
    );
    let why = scene
        .alice
        .run(&["why", scene.secure.at("a").to_str().unwrap()]);
    assert!(
        why.contains("bootstrap") || why.contains("ledger"),
        "says what is missing: {why}"
    );
    let cli = scene
        .alice
        .fails(&["grant", scene.secure.at("a").to_str().unwrap(), "bob"]);
    assert!([69, 78].contains(&cli.code), "{cli:?}");
}

#[test]
fn an_unknown_option_or_command() {
    let root = tempfile::tempdir().unwrap();
    let alice = Person::new(root.path(), "alice");
    assert_eq!(alice.fails(&["mout"]).code, 64);
    assert_eq!(alice.fails(&["mount", "--nonsense", "x"]).code, 64);
}

#[test]
fn a_stranger_mounts_a_store_and_sees_nothing() {
    let scene = Scene::new();
    fs::write(scene.secure.at("a"), "a").unwrap();
    let bob = Person::new(scene.root.path(), "bob");
    bob.key();
    let mount = bob.mount(&scene.store, "alice");
    assert_eq!(fs::read_dir(&mount.path).unwrap().count(), 0);
    assert_eq!(errno(fs::read(mount.at("a"))), Errno::ACCESS);
    assert!(fs::write(mount.at("new"), "x").is_err());
}
