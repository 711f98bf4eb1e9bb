//! Access that ends: by the clock, by the owner.

use std::fs;
use std::time::Duration;

use kms_tests::{TIMEOUT, errno, eventually, tree, xattr};
use rustix::io::Errno;

use crate::{Scene, appears};

#[test]
fn access_ends_with_its_time() {
    let scene = Scene::new();
    fs::write(scene.secure.at("a"), "for a moment").unwrap();
    xattr::grant(&scene.secure.at("a"), "bob ttl=5s").unwrap();
    let bobs = scene.bobs();
    assert_eq!(fs::read_to_string(bobs.at("a")).unwrap(), "for a moment");
    eventually("the grant to expire", TIMEOUT, || {
        fs::read(bobs.at("a"))
            .err()
            .map(|error| assert_eq!(errno::<()>(Err(error)), Errno::KEYEXPIRED))
    });
    let fresh = scene.bob.mount(&scene.store, "again");
    assert_eq!(errno(fs::read(fresh.at("a"))), Errno::KEYEXPIRED);
}

#[test]
fn a_revocation_bites_everywhere_within_two_seconds() {
    let scene = Scene::new();
    fs::write(scene.secure.at("plan"), "secret plan").unwrap();
    fs::create_dir_all(scene.secure.at("dir/below")).unwrap();
    fs::write(scene.secure.at("dir/below/deep"), "deep").unwrap();
    xattr::grant(&scene.secure.at("plan"), "bob").unwrap();
    xattr::grant(&scene.secure.at("dir"), "bob").unwrap();

    let open = scene.bobs();
    assert_eq!(fs::read_to_string(open.at("plan")).unwrap(), "secret plan");
    assert_eq!(
        fs::read_to_string(open.at("dir/below/deep")).unwrap(),
        "deep"
    );
    // Bob is careful and keeps a copy of the ciphertext from the time when he was allowed to.
    let copy = scene.root.path().join("copy.kmsfs");
    tree::copy(&scene.store, &copy);

    xattr::revoke(&scene.secure.at("plan"), "bob").unwrap();
    xattr::revoke(&scene.secure.at("dir"), "*").unwrap();
    std::thread::sleep(Duration::from_secs(2));

    assert_eq!(
        errno(fs::read(open.at("plan"))),
        Errno::KEYREVOKED,
        "a new open on the mount that had it open"
    );
    assert_eq!(
        errno(fs::read(open.at("dir/below/deep"))),
        Errno::KEYREVOKED
    );
    let fresh = scene.bob.mount(&scene.store, "fresh");
    assert_eq!(
        errno(fs::read(fresh.at("plan"))),
        Errno::KEYREVOKED,
        "a fresh mount"
    );
    assert!(
        fs::read_dir(fresh.at("dir"))
            .and_then(|mut entries| entries.next().transpose())
            .is_err()
    );
    let old = scene.bob.mount(&copy, "old");
    assert_eq!(
        errno(fs::read(old.at("plan"))),
        Errno::KEYREVOKED,
        "the store as it was, on a fresh mount"
    );
    assert_eq!(errno(fs::read(old.at("dir/below/deep"))), Errno::KEYREVOKED);

    // What is gone for Bob is still there for Alice, also after a remount.
    assert_eq!(
        fs::read_to_string(scene.secure.at("plan")).unwrap(),
        "secret plan"
    );
    assert_eq!(
        fs::read_to_string(scene.secure.at("dir/below/deep")).unwrap(),
        "deep"
    );
}

#[test]
fn the_other_readers_stay() {
    let scene = Scene::new();
    let carol = kms_tests::Person::on(&scene.net, scene.root.path(), "carol");
    scene.alice.run(&["contact", "add", "carol", &carol.key()]);
    fs::write(scene.secure.at("plan"), "first").unwrap();
    xattr::grant(&scene.secure.at("plan"), "bob,carol ttl=1d").unwrap();
    let (bobs, carols) = (scene.bobs(), carol.mount(&scene.store, "alice"));
    assert_eq!(fs::read_to_string(bobs.at("plan")).unwrap(), "first");
    assert_eq!(fs::read_to_string(carols.at("plan")).unwrap(), "first");

    xattr::revoke(&scene.secure.at("plan"), "bob").unwrap();
    fs::write(scene.secure.at("plan"), "second").unwrap();
    eventually("the revocation to bite", TIMEOUT, || {
        fs::read(bobs.at("plan")).err()
    });
    eventually("carol to see the new content", TIMEOUT, || {
        (fs::read_to_string(carols.at("plan")).ok()? == "second").then_some(())
    });
    let info = xattr::get(&scene.secure.at("plan"), "user.kms.info").unwrap();
    assert!(
        info.contains("readers=carol(") && info.contains("epoch=2"),
        "{info}"
    );
}

#[test]
fn access_from_a_directory_above_is_not_silently_left_open() {
    let scene = Scene::new();
    fs::create_dir(scene.secure.at("dir")).unwrap();
    fs::write(scene.secure.at("dir/file"), "inside").unwrap();
    xattr::grant(&scene.secure.at("dir"), "bob").unwrap();
    assert!(xattr::revoke(&scene.secure.at("dir/file"), "bob").is_err());
    let why = scene
        .alice
        .run(&["why", scene.secure.at("dir/file").to_str().unwrap()]);
    assert!(why.contains("dir"), "names the directory: {why}");
    assert_eq!(
        xattr::list(&scene.secure.at("dir/file")).unwrap(),
        ["user.kms.info"],
        "shared through the directory"
    );
}

#[test]
fn a_copy_of_the_store_opens_while_the_grant_lives() {
    let scene = Scene::new();
    fs::write(scene.secure.at("plan"), "as it was").unwrap();
    xattr::grant(&scene.secure.at("plan"), "bob").unwrap();
    let copy = scene.root.path().join("copy.kmsfs");
    tree::copy(&scene.store, &copy);
    let bobs = scene.bob.mount(&copy, "copy");
    appears(&bobs.at("plan"));
    assert_eq!(fs::read_to_string(bobs.at("plan")).unwrap(), "as it was");
}
