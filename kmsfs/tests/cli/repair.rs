//! `fsck` and `fsck --repair`: what they say, and their exit codes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Person;

/// Somebody with an empty store, and the store.
fn with_store() -> (Person, PathBuf) {
    let alice = Person::new();
    assert_eq!(alice.says(&["init", "s"]).code, 0);
    let store = alice.dir.path().join("s.kmsfs");
    (alice, store)
}

/// What nothing in the store refers to.
fn litter(store: &Path) {
    let shelf = store.join("xattr/ab");
    fs::create_dir_all(&shelf).unwrap();
    fs::write(shelf.join(format!("{}.7", "ab".repeat(16))), b"old").unwrap();
    fs::write(store.join("kmsfs.new.0"), b"old").unwrap();
}

#[test]
fn what_is_found_is_said_with_what_can_be_done_and_then_done() {
    let (alice, store) = with_store();
    litter(&store);
    let said = alice.says(&["fsck", "s"]);
    assert_eq!(said.code, 0, "it does no harm: {}", said.err);
    assert!(said.out.contains("--repair removes it"), "{}", said.out);
    assert!(
        said.out
            .contains("2 findings; nothing was changed. 2 can be repaired: kmsfs fsck --repair s"),
        "{}",
        said.out
    );
    assert!(store.join("kmsfs.new.0").exists());
    let said = alice.says(&["fsck", "--repair", "s"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.contains("was removed"), "{}", said.out);
    assert!(
        said.out.contains("2 findings, all repaired."),
        "{}",
        said.out
    );
    assert!(!store.join("kmsfs.new.0").exists());
    for args in [vec!["fsck", "s"], vec!["fsck", "--repair", "s"]] {
        let said = alice.says(&args);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains("Everything verifies."), "{}", said.out);
    }
}

#[test]
fn a_document_carries_every_finding() {
    let (alice, store) = with_store();
    litter(&store);
    fs::write(store.join("notes.txt"), b"mine").unwrap();
    let document = |args: &[&str], code| {
        let said = alice.says(args);
        assert_eq!(said.code, code, "{}", said.err);
        assert_eq!(said.err, "");
        serde_json::from_str::<serde_json::Value>(&said.out).unwrap()
    };
    let is = |it: &serde_json::Value, stored: &str| it["stored_as"].as_str() == Some(stored);
    let find = |said: &serde_json::Value, stored: &str| {
        let findings = said["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|it| is(it, stored)).unwrap()
    };
    let said = document(&["fsck", "s", "--json"], 4);
    assert_eq!((&said["repaired"], &said["left"]), (&0.into(), &3.into()));
    let one = find(&said, "kmsfs.new.0");
    assert_eq!(one["what"], "unused");
    assert_eq!(one["remedy"], "remove");
    assert_eq!(
        (&one["repairable"], &one["repaired"]),
        (&true.into(), &false.into())
    );
    let said = document(&["fsck", "--repair", "s", "--json"], 5);
    assert_eq!((&said["repaired"], &said["left"]), (&2.into(), &1.into()));
    assert_eq!(find(&said, "kmsfs.new.0")["repaired"], true);
    let left = find(&said, "notes.txt");
    assert_eq!(
        (&left["repairable"], &left["remedy"]),
        (&false.into(), &"none".into())
    );
    assert!(left["outcome"].as_str().unwrap().contains("owner"));
    document(&["fsck", "--repair", "s", "--json"], 4);
}

#[test]
fn a_root_that_has_lost_its_header_says_what_to_do_and_gets_a_new_one() {
    let (alice, store) = with_store();
    fs::write(store.join("kmsfs.dir"), b"garbage").unwrap();
    let said = alice.says(&["fsck", "s"]);
    assert_eq!(said.code, 4, "{}", said.err);
    assert_eq!(alice.says(&["fsck", "--repair", "s"]).code, 1);
    assert_eq!(alice.says(&["fsck", "s"]).code, 0);
}

#[test]
fn only_its_owner_repairs_a_store() {
    let (alice, store) = with_store();
    let bob = Person::new();
    bob.says(&["identity", "new"]);
    let said = bob.says(&["fsck", "--repair", store.to_str().unwrap()]);
    assert_eq!(said.code, 8);
    assert!(said.err.contains("Only its owner"), "{}", said.err);
    drop(alice);
}

#[test]
fn how_far_it_is_is_said_where_it_is_asked_for() {
    let (alice, _) = with_store();
    assert_eq!(alice.says(&["fsck", "s"]).err, "");
    let said = alice.says(&["fsck", "s", "--progress", "--json"]);
    assert!(said.err.contains("Checked"), "{}", said.err);
    assert!(serde_json::from_str::<serde_json::Value>(&said.out).is_ok());
}
