//! Files by themselves and files in mounts: `kmsfs export` and `import`, with the API in between, five real nodes.

use std::fs;

use serde_json::Value;

use crate::Scene;
use crate::api::{Kmsd, text};

#[test]
fn a_file_leaves_a_mount_is_shared_by_a_program_and_enters_another_mount() {
    let scene = Scene::new();
    let at = |name: &str| scene.root.path().join(name);
    let content: Vec<u8> = (0..1u32 << 20).flat_map(u32::to_le_bytes).collect();
    let plan = scene.secure.at("plan");
    fs::write(&plan, &content).unwrap();

    let sealed = at("plan.sealed");
    let said = scene
        .alice
        .run(&["export", text(&plan), text(&sealed), "--json"]);
    let exported: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(exported["size"], content.len());
    let label = exported["label"].as_str().unwrap();
    let (hers, his) = (
        Kmsd::of(&scene.alice, &scene.net),
        Kmsd::of(&scene.bob, &scene.net),
    );
    let back = at("back");
    hers.cli(&["decrypt_file", text(&sealed), text(&back)]);
    assert!(fs::read(&back).unwrap() == content);
    let granted = hers.cli(&["grant", label, "bob ttl=1h"]);
    let ticket = granted["grants"][0]["ticket"].as_str().unwrap();
    let store = scene.bob.init("own");
    let own = scene.bob.mount(&store, "own");
    let (his_plan, sealed_text) = (own.at("plan"), text(&sealed));
    let with_ticket = ["import", sealed_text, text(&his_plan), "--ticket", ticket];
    scene.bob.run(&with_ticket);
    assert!(fs::read(&his_plan).unwrap() == content);

    // What a program of Bob's has encrypted, he brings in without asking anybody.
    let note = at("note");
    fs::write(&note, "by a program\n").unwrap();
    his.cli(&["encrypt_file", text(&note), text(&at("note.sealed"))]);
    let imported = own.at("note");
    scene
        .bob
        .run(&["import", text(&at("note.sealed")), text(&imported)]);
    assert_eq!(fs::read_to_string(&imported).unwrap(), "by a program\n");

    let never = own.at("never");
    let refused = |code: i32, args: &[&str]| {
        let failure = scene.bob.fails(args);
        assert_eq!(failure.code, code, "{args:?}: {}", failure.stderr);
    };
    // There is something; it is somebody else's; it would lie on the disk as it is.
    refused(73, &with_ticket);
    refused(77, &["import", sealed_text, text(&never)]);
    let outside = at("outside");
    refused(
        66,
        &["import", sealed_text, text(&outside), "--ticket", ticket],
    );
    refused(66, &["export", text(&note), text(&outside)]);
    let mut altered = fs::read(&sealed).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    fs::write(at("altered"), altered).unwrap();
    let altered = at("altered");
    refused(
        65,
        &["import", text(&altered), text(&never), "--ticket", ticket],
    );
    hers.cli(&["revoke", label, "bob"]);
    refused(
        77,
        &["import", sealed_text, text(&never), "--ticket", ticket],
    );
    assert!(!outside.exists());
    let mut left: Vec<_> = fs::read_dir(own.at(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["note", "plan"], "nothing is left of what failed");
}
