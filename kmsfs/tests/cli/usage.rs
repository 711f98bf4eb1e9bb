//! Mistakes on the command line, and what is said about them.

use crate::Person;

#[test]
fn wrong_command_lines_exit_with_64_and_no_page_of_text() {
    let alice = Person::new();
    for args in [
        vec!["mout"],
        vec![],
        vec!["mount", "--nonsense", "x"],
        vec!["identity"],
        vec!["grant", "a"],
    ] {
        alice.fails(64, &args);
    }
    alice.fails(16, &["fsck"]);
}

#[test]
fn a_debugging_scheme_must_be_asked_for_twice() {
    let alice = Person::new();
    for scheme in ["bbs98", "ecies", "afgh"] {
        let said = alice.fails(64, &["init", "s", "--scheme", scheme]);
        assert!(said.contains("--i-know-this-is-insecure"), "{said}");
    }
    alice.fails(64, &["init", "s", "--scheme", "rot13"]);
    assert!(!alice.home().join("identity").exists(), "nothing was made");
}

#[test]
fn missing_things_say_what_to_do() {
    let alice = Person::new();
    for (code, args, hint) in [
        (66, vec!["identity", "show"], "kmsfs identity new"),
        (66, vec!["mount", "nothing"], "kmsfs init"),
        (66, vec!["mount", "nothing", "there"], "kmsfs init"),
        (66, vec!["umount", "nothing"], "kmsfs status"),
        (66, vec!["grant", "nothing", "bob"], "kmsfs mount"),
        (66, vec!["why", "nothing"], "kmsfs mount"),
        (8, vec!["fsck", "nothing"], "kmsfs init"),
    ] {
        let said = alice.fails(code, &args);
        assert!(said.contains(hint), "kmsfs {args:?}: {said}");
    }
}

#[test]
fn a_document_is_all_there_is_with_json() {
    let alice = Person::new();
    let said = alice.says(&["identity", "show", "--json"]);
    assert_eq!((said.code, said.out.as_str()), (66, ""));
    let error: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!(error["error"]["code"], 66);
    assert!(
        error["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("identity new")
    );
    let status = alice.says(&["status", "--json"]);
    assert!(serde_json::from_str::<serde_json::Value>(&status.out).is_ok());
}

#[test]
fn a_broken_configuration_is_named_with_its_line() {
    let alice = Person::new();
    std::fs::create_dir_all(alice.home()).unwrap();
    std::fs::write(
        alice.home().join("contacts.toml"),
        "[contact.bob]\nkey = 3\n",
    )
    .unwrap();
    let said = alice.fails(78, &["contact", "list"]);
    assert!(
        said.contains("contacts.toml") && said.contains("Line 2"),
        "{said}"
    );
}

#[test]
fn the_mount_helper_answers_with_the_codes_of_mount() {
    let alice = Person::new();
    let link = alice.dir.path().join("mount.fuse.kmsfs");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kmsfs"), &link).unwrap();
    let run = |args: &[&str]| {
        let status = std::process::Command::new(&link)
            .args(args)
            .env_clear()
            .env("KMSFS_HOME", alice.home())
            .output()
            .unwrap();
        status.status.code().unwrap()
    };
    assert_eq!(
        run(&["/nonexistent.kmsfs", "/nonexistent", "-o", "rw,nofail"]),
        32
    );
    assert_eq!(run(&["/nonexistent.kmsfs"]), 1);
    assert_eq!(
        run(&["/s.kmsfs", "/m", "-o", "password=x"]),
        32,
        "no store comes first"
    );
}

#[test]
fn completions_are_printed_for_each_shell() {
    let alice = Person::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(alice.run(&["completions", shell]).contains("kmsfs"));
    }
}
