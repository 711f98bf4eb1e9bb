//! `config show`, `nodes` and `doctor`: what is set up, and what stands in the way.

use crate::Person;

#[test]
fn what_is_configured_is_shown_with_where_it_comes_from() {
    let alice = Person::new();
    std::fs::create_dir_all(alice.home()).unwrap();
    std::fs::write(
        alice.home().join("config.toml"),
        "threshold = \"2/3\"\nledger = \"file:/l\"\n",
    )
    .unwrap();
    let mut command = alice.command(&["config", "show", "--json"]);
    command.env("KMSFS_LEDGER", "file:/other");
    let said: serde_json::Value =
        serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!(said["config"]["ledger"]["value"], "file:/other");
    assert_eq!(said["config"]["ledger"]["origin"], "KMSFS_LEDGER");
    assert_eq!(said["config"]["threshold"]["value"], "2/3");
    let file = alice.home().join("config.toml");
    assert_eq!(
        said["config"]["threshold"]["origin"],
        file.to_str().unwrap()
    );
    assert_eq!(said["config"]["net_timeout"]["value"], "8s");
    assert_eq!(said["config"]["net_timeout"]["origin"], "default");
    let text = alice.says(&["config", "show", "--origin"]).out;
    assert!(
        text.contains("threshold") && text.contains("config.toml"),
        "{text}"
    );
}

#[test]
fn without_a_network_nodes_says_what_is_missing() {
    let alice = Person::new();
    let said = alice.fails(78, &["nodes"]);
    assert!(said.contains("KMSFS_LEDGER"), "{said}");
}

#[test]
fn a_ledger_that_is_not_there_is_no_page_of_text() {
    let alice = Person::new();
    let mut command = alice.command(&["nodes"]);
    command.env("KMSFS_LEDGER", "file:/nothing/there");
    let said = command.output().unwrap();
    assert_eq!(said.status.code(), Some(69));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("kmsfs config show --origin"), "{said}");
}

#[test]
fn the_doctor_names_what_is_missing_and_what_to_do() {
    let alice = Person::new();
    let said = alice.says(&["doctor"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("kmsfs identity new"), "{}", said.out);
    alice.says(&["identity", "new"]);
    let said = alice.says(&["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let of = |what: &str| {
        let findings = findings["findings"].as_array().unwrap();
        findings.iter().find(|it| it["what"] == what).unwrap()["state"].clone()
    };
    assert_eq!(of("identity"), "ok");
    assert_eq!(of("journals"), "ok");
    assert_eq!(of("FUSE"), "ok");
    assert_eq!(of("network"), "note", "private files need none");
}
