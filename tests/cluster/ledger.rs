//! The ledger as somebody looks at it who is responsible for it.

use std::fs;

use kms_tests::{Person, TIMEOUT, eventually};
use serde_json::Value;

use crate::Scene;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Where each record of a ledger file ends (LEDGER 5.2).
fn ends(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 16);
    while let Some(length) = bytes.get(at..at + 4) {
        at += 8 + usize::try_from(u32::from_be_bytes(length.try_into().unwrap())).unwrap();
        ends.push(at);
    }
    ends
}

#[test]
fn the_ledger_is_looked_at_verified_and_written_out() {
    let scene = Scene::new();
    let plan = scene.secure.at("plan.txt");
    fs::write(&plan, "x").unwrap();
    let plan = plan.to_str().unwrap();
    let told = scene.alice.run(&["grant", "--dry-run", plan, "bob"]);
    assert!(
        told.contains("Nothing was changed") && told.contains("It costs nothing."),
        "{told}"
    );
    assert!(scene.alice.run(&["shares"]).contains("Nothing is shared"));
    scene.alice.run(&["grant", plan, "bob"]);

    let status = json(&scene.alice.run(&["ledger", "status", "--json"]));
    assert_eq!(status["kind"], "file", "{status}");
    assert_eq!(status["serving"], 5, "{status}");
    let height = status["height"].as_u64().unwrap();
    assert!(height >= 6, "five nodes and a grant: {status}");
    let verified = json(&scene.alice.run(&["ledger", "verify", "--json"]));
    assert_eq!(verified["height"], height);
    assert_eq!(verified["hash"], status["hash"]);
    let file = scene.alice.dir.join("out");
    scene
        .alice
        .run(&["ledger", "export", file.to_str().unwrap()]);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(json).collect();
    assert_eq!(lines.len() as u64, height);
    let grants = lines.iter().filter(|line| line["entry"] == "grant");
    assert_eq!(grants.count(), 1);
    assert_eq!(lines.last().unwrap()["hash"], status["hash"]);
}

#[test]
fn a_ledger_that_was_altered_or_cut_is_refused_by_who_has_seen_it() {
    let scene = Scene::new();
    let whole = fs::read(scene.net.ledger.strip_prefix("file:").unwrap()).unwrap();
    let copy = scene.root.path().join("copy");
    fs::write(&copy, &whole).unwrap();
    let name = format!("file:{}", copy.display());
    let dave = || Person::new(scene.root.path(), "dave").with(&[("KMSFS_LEDGER", &name)]);
    dave().run(&["ledger", "verify"]);

    let ends = ends(&whole);
    let mut altered = whole.clone();
    altered[ends[2] + 40] ^= 1;
    fs::write(&copy, &altered).unwrap();
    let refused = dave().fails(&["ledger", "verify"]);
    assert_eq!(refused.code, 69);
    assert!(refused.stderr.contains("record 4"), "{}", refused.stderr);

    fs::write(&copy, &whole[..ends[3]]).unwrap();
    let refused = dave().fails(&["ledger", "status"]);
    assert!(
        refused.stderr.contains("ends at record 4") && refused.stderr.contains("ledger forget"),
        "{}",
        refused.stderr
    );
    // Another one in its place, of the same length.
    fs::write(&copy, &whole).unwrap();
    dave().run(&["ledger", "status"]);
    let other = Scene::new();
    let others = fs::read(other.net.ledger.strip_prefix("file:").unwrap()).unwrap();
    fs::write(&copy, &others).unwrap();
    let refused = dave().fails(&["ledger", "status"]);
    assert!(
        refused.stderr.contains("is not the one"),
        "{}",
        refused.stderr
    );
    dave().run(&["ledger", "forget"]);
    dave().run(&["ledger", "verify"]);
}

/// The hashes stay, so that everybody finds what he has seen: nodes that run, one that was away, and people.
#[test]
fn a_ledger_is_compacted_under_the_hands_of_nodes_and_people() {
    let mut scene = Scene::new();
    let plan = scene.secure.at("plan.txt");
    fs::write(&plan, "x").unwrap();
    let plan = plan.to_str().unwrap();
    scene.alice.run(&["grant", plan, "bob"]);
    let height = || json(&scene.alice.run(&["ledger", "status", "--json"]))["height"].as_u64();
    let before = height().unwrap();
    let nothing = json(&scene.alice.run(&["ledger", "compact", "--json"]));
    assert_eq!(nothing["left_out"], 0, "{nothing}");

    // A node moves, and registers again; then the first registration says nothing any more.
    scene.net.kill(5);
    let config = scene.net.node_dir(5).join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let (start, port) = text.split_once("/tcp/").unwrap();
    let end = port.find(|it: char| !it.is_ascii_digit()).unwrap();
    let moved = kms_tests::port();
    fs::write(&config, format!("{start}/tcp/{moved}{}", &port[end..])).unwrap();
    scene.net.restart(5);
    let height = || json(&scene.alice.run(&["ledger", "status", "--json"]))["height"].as_u64();
    eventually("the node to register", TIMEOUT, || {
        height().filter(|height| *height > before)
    });
    scene.net.kill(4);
    let told = scene.alice.run(&["ledger", "compact"]);
    assert!(told.contains("Left out 1 entries"), "{told}");

    let verified = json(&scene.alice.run(&["ledger", "verify", "--json"]));
    assert_eq!(verified["height"].as_u64(), Some(before + 1), "{verified}");
    let exported = scene.alice.run(&["ledger", "export"]);
    let left_out = exported
        .lines()
        .map(json)
        .filter(|it| it["left_out"] == true);
    assert_eq!(left_out.count(), 1);
    assert_eq!(
        fs::read_to_string(scene.bobs().at("plan.txt")).unwrap(),
        "x"
    );
    scene.net.restart(4);
    scene.alice.run(&["revoke", plan, "bob"]);
    assert!(height().unwrap() > before + 1);
    scene.bob.run(&["ledger", "verify"]);
}
