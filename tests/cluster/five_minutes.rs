//! The session that README.md opens with, word for word where words matter.

use std::fs;
use std::io::Write;

use kms_tests::{TIMEOUT, errno, eventually, xattr};
use rustix::io::Errno;

use crate::{Scene, appears};

#[test]
fn the_first_five_minutes() {
    replay(&Scene::new());
}

/// The same on every kind of ledger.
pub(crate) fn replay(scene: &Scene) {
    let plan = scene.secure.at("plan.txt");
    fs::write(&plan, "launch friday\n").unwrap();

    // A private file has nothing to list.
    assert_eq!(xattr::list(&plan).unwrap(), Vec::<String>::new());

    let bobs = scene.bobs();
    let theirs = bobs.at("plan.txt");
    assert_eq!(errno(fs::read(&theirs)), Errno::ACCESS, "before the grant");

    xattr::grant(&plan, "bob ttl=7d").unwrap();
    assert_eq!(xattr::list(&plan).unwrap(), ["user.kms.info"]);
    let info = xattr::get(&plan, "user.kms.info").unwrap();
    assert!(
        info.starts_with("kms: owner=me; readers=bob(r,until 20"),
        "{info}"
    );
    assert!(info.ends_with("); epoch=1; quorum=3/5; state=ok"), "{info}");

    appears(&theirs);
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "launch friday\n");
    let refused = fs::OpenOptions::new()
        .append(true)
        .open(&theirs)
        .and_then(|mut file| file.write_all(b"x\n"));
    assert_eq!(errno(refused), Errno::ACCESS, "a reader does not write");
    assert_eq!(
        errno(xattr::grant(&theirs, "bob")),
        Errno::PERM,
        "only the owner shares"
    );

    // The owner goes on writing; the reader sees it within a moment.
    fs::write(&plan, "launch saturday\n").unwrap();
    eventually("the change to be seen", TIMEOUT, || {
        (fs::read_to_string(&theirs).ok()? == "launch saturday\n").then_some(())
    });

    xattr::revoke(&plan, "bob").unwrap();
    eventually("the revocation to bite", TIMEOUT, || {
        fs::read(&theirs)
            .err()
            .filter(|error| error.raw_os_error() == Some(Errno::KEYREVOKED.raw_os_error()))
    });
    let why = scene.bob.run(&["why", theirs.to_str().unwrap()]);
    assert!(why.contains("withdrew your access"), "{why}");
    assert_eq!(
        fs::read_to_string(&plan).unwrap(),
        "launch saturday\n",
        "the owner's own file stays"
    );
    assert_eq!(
        xattr::list(&plan).unwrap(),
        Vec::<String>::new(),
        "nobody reads it any more"
    );
}

#[test]
fn the_owner_sees_who_may_read_what() {
    let scene = Scene::new();
    fs::write(scene.secure.at("a.txt"), "a").unwrap();
    scene.alice.run(&[
        "grant",
        scene.secure.at("a.txt").to_str().unwrap(),
        "bob",
        "--ttl",
        "7d",
    ]);
    let shares: serde_json::Value =
        serde_json::from_str(&scene.alice.run(&["shares", "--json"])).unwrap();
    assert!(
        shares.to_string().contains("bob") && shares.to_string().contains("a.txt"),
        "{shares}"
    );
    // Its exit code tells about every mount on this machine, those of other tests included.
    let output = scene.alice.kmsfs(&["status", "--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(status.to_string().contains("secure"), "{status}");
    scene
        .alice
        .run(&["revoke", scene.secure.at("a.txt").to_str().unwrap(), "bob"]);
}
