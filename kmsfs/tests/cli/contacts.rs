//! Contacts: names for keys, which never change silently.

use crate::Person;

#[test]
fn a_contact_is_added_listed_verified_and_forgotten() {
    let (alice, bob) = (Person::new(), Person::new());
    let key = bob.key();
    let added = alice.run(&["contact", "add", "bob", &key]);
    assert!(added.starts_with("Added bob."), "{added}");
    assert!(alice.run(&["contact", "list"]).contains("not verified"));
    // Both see the same digits.
    let digits = alice.run(&["contact", "show", "bob"]);
    let digits = digits
        .lines()
        .find(|line| line.starts_with("compare"))
        .unwrap();
    let digits = digits.trim_start_matches("compare").trim();
    assert!(bob.run(&["identity", "show"]).contains(digits), "{digits}");
    alice.run(&["contact", "verify", "bob"]);
    assert!(alice.run(&["contact", "list"]).contains("verified 20"));
    alice.run(&["contact", "rm", "bob"]);
    assert!(!alice.run(&["contact", "list"]).contains(&key));
    alice.fails(67, &["contact", "show", "bob"]);
}

#[test]
fn no_identity_is_needed_to_add_contacts() {
    let (alice, bob) = (Person::new(), Person::new());
    alice.run(&["contact", "add", "bob", &bob.key()]);
    assert!(!alice.home().join("identity").exists());
}

#[test]
fn another_key_under_a_known_name_is_a_hard_stop() {
    let (alice, bob, mallory) = (Person::new(), Person::new(), Person::new());
    let key = bob.key();
    alice.run(&["contact", "add", "bob", &key]);
    let refused = alice.fails(77, &["contact", "add", "bob", &mallory.key()]);
    assert!(refused.contains("Nothing was changed"), "{refused}");
    assert!(alice.run(&["contact", "list"]).contains(&key));
    alice.run(&["contact", "add", "bob", &key]);
    alice.fails(77, &["contact", "add", "rob", &key]);
}

#[test]
fn a_mistyped_key_or_name_is_refused() {
    let (alice, bob) = (Person::new(), Person::new());
    let key = bob.key();
    let mut typo = key.clone();
    typo.replace_range(20..21, if &key[20..21] == "q" { "p" } else { "q" });
    alice.fails(67, &["contact", "add", "bob", &typo]);
    alice.fails(67, &["contact", "add", "bob", "bob"]);
    alice.fails(64, &["contact", "add", "0xbob", &key]);
    alice.run(&["contact", "add", "bob", &key]);
    let refused = alice.fails(67, &["contact", "show", "bobb"]);
    assert!(refused.contains("Did you mean bob?"), "{refused}");
}

#[test]
fn groups_name_several_people() {
    let (alice, bob, carol) = (Person::new(), Person::new(), Person::new());
    alice.run(&["contact", "add", "bob", &bob.key()]);
    alice.run(&["contact", "add", "carol", &carol.key()]);
    alice.run(&["contact", "group", "add", "team", "bob", "carol"]);
    assert!(alice.run(&["contact", "list"]).contains("@team"));
    alice.fails(67, &["contact", "group", "add", "team", "dave"]);
    alice.run(&["contact", "group", "rm", "team", "bob"]);
    let list: serde_json::Value =
        serde_json::from_str(&alice.run(&["contact", "list", "--json"])).unwrap();
    assert_eq!(list["groups"][0]["members"], serde_json::json!(["carol"]));
    assert_eq!(list["contacts"][0]["name"], "bob");
}
