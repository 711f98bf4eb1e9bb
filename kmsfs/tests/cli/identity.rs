//! Identities: made once, shown without a passphrase, brought back from paper.

use std::{io::Write, os::unix::fs::PermissionsExt, process::Stdio};

use crate::{Person, said};

#[test]
fn an_identity_is_made_once_and_is_private() {
    let alice = Person::new();
    let made = alice.run(&["identity", "new"]);
    assert!(
        made.contains("Recovery words") && made.contains(" 24 "),
        "{made}"
    );
    let file = alice.home().join("identity");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(&file).unwrap();
    alice.fails(73, &["identity", "new"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn showing_it_needs_no_passphrase() {
    let alice = Person::new();
    let key = alice.key();
    assert!(key.starts_with("kms1"));
    std::fs::remove_file(alice.dir.path().join("passphrase")).unwrap();
    assert!(alice.run(&["identity", "show"]).starts_with(&key));
    let document: serde_json::Value =
        serde_json::from_str(&alice.run(&["identity", "show", "--json"])).unwrap();
    assert_eq!(document["identity"], key.as_str());
}

#[test]
fn the_words_bring_it_back_on_another_machine() {
    let (alice, elsewhere) = (Person::new(), Person::new());
    let key = alice.key();
    let backup: serde_json::Value =
        serde_json::from_str(&alice.run(&["identity", "backup", "--json"])).unwrap();
    let words = backup["recovery_words"].as_str().unwrap();
    let restored = elsewhere
        .command(&["identity", "restore", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            child.stdin.take().unwrap().write_all(words.as_bytes())?;
            child.wait_with_output()
        })
        .unwrap();
    let restored = said(restored);
    assert_eq!(restored.code, 0, "{}", restored.err);
    assert_eq!(elsewhere.key(), key);
}

#[test]
fn a_backup_file_and_a_copied_identity_bring_it_back() {
    let (alice, one, two) = (Person::new(), Person::new(), Person::new());
    let key = alice.key();
    let backup = one.dir.path().join("backup");
    alice.run(&["identity", "backup", backup.to_str().unwrap()]);
    one.run(&["identity", "restore", "backup"]);
    assert_eq!(one.key(), key);
    one.fails(73, &["identity", "restore", "backup"]);
    let copied = alice.home().join("identity");
    two.run(&["identity", "restore", copied.to_str().unwrap()]);
    assert_eq!(two.key(), key);
}

#[test]
fn nonsense_and_public_keys_bring_nothing_back() {
    let alice = Person::new();
    let file = alice.dir.path().join("text");
    for text in [
        "",
        "zoo zoo zoo",
        "KMS-SECRET-KEY-1QQQQ",
        &Person::new().key(),
    ] {
        std::fs::write(&file, text).unwrap();
        alice.fails(65, &["identity", "restore", "text"]);
        assert!(!alice.home().join("identity").exists());
    }
}

#[test]
fn the_passphrase_changes_and_the_key_does_not() {
    let alice = Person::new();
    let key = alice.key();
    std::fs::write(alice.dir.path().join("new"), "battery staple\n").unwrap();
    alice.run(&["identity", "passwd", "--new-passfile", "new"]);
    assert_eq!(alice.key(), key);
    let refused = alice.fails(77, &["identity", "backup"]);
    assert!(refused.contains("Wrong passphrase"), "{refused}");
    alice.run(&["identity", "backup", "--passfile", "new"]);
}

#[test]
fn without_a_terminal_or_a_file_it_says_where_a_passphrase_may_come_from() {
    let alice = Person::new();
    alice.key();
    // A session of its own has no terminal.
    let output = std::process::Command::new("setsid")
        .arg(env!("CARGO_BIN_EXE_kmsfs"))
        .args(["identity", "backup"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("KMSFS_HOME", alice.home())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let refused = said(output);
    assert_eq!(refused.code, 77);
    assert!(refused.err.contains("--passfile"), "{}", refused.err);
}
