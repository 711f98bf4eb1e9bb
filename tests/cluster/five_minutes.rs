//! The session that README.md opens with, word for word where words matter.

use std::fs;

use kms_tests::five_minutes;

use crate::Scene;

#[test]
fn the_first_five_minutes() {
    replay(&Scene::new());
}

/// The same on every kind of ledger.
pub(crate) fn replay(scene: &Scene) {
    five_minutes::replay(&scene.secure, &scene.store, &scene.bob, "3/5");
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
