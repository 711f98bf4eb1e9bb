//! Files that say what a store is, and who somebody is, changed or exchanged by whoever can write to them: refused or
//! reported, in words that say what is wrong.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kms_tests::{Person, errno};
use rustix::io::Errno;

use crate::Scene;

const NOT_BY_OWNER: &str = "The store configuration was not written by the owner it names.";

/// Neither mounted nor checked, for this reason; whole again with the old text.
#[track_caller]
fn refused(alice: &Person, store: &Path, text: &str, code: i32, says: &str) {
    let config = store.join("kmsfs.toml");
    let before = fs::read_to_string(&config).unwrap();
    assert_ne!(text, before, "nothing was changed");
    fs::write(&config, text).unwrap();
    let mount = alice.fails(&["mount", store.to_str().unwrap(), "secure"]);
    assert_eq!(mount.code, code, "{says}: {}", mount.stderr);
    assert!(mount.stderr.contains(says), "{says}: {}", mount.stderr);
    let fsck = alice.fails(&["fsck", store.to_str().unwrap()]);
    assert_eq!(fsck.code, 8, "{says}: {}", fsck.stderr);
    assert!(fsck.stderr.contains(says), "{says}: {}", fsck.stderr);
    fs::write(&config, before).unwrap();
}

#[test]
fn an_edited_store_configuration_is_refused_entry_by_entry() {
    let (alice, store, root) = Scene::new().unmounted();
    let text = fs::read_to_string(store.join("kmsfs.toml")).unwrap();
    let other = Person::new(root.path(), "mallory").key();
    let value = |key: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")));
        line.unwrap().to_owned()
    };
    let flipped = |key: &str| {
        let line = value(key);
        let at = line.len() - 5;
        let new = if &line[at..=at] == "a" { "b" } else { "a" };
        format!("{}{new}{}", &line[..at], &line[at + 1..])
    };
    let changes = [
        (
            "format",
            "format = 2".to_owned(),
            "Format version 2 is not known here.",
        ),
        ("store", flipped("store"), NOT_BY_OWNER),
        ("owner", format!("owner = \"{other}\""), NOT_BY_OWNER),
        ("cipher", "cipher = 2".to_owned(), NOT_BY_OWNER),
        (
            "cipher",
            "cipher = 9".to_owned(),
            "Cipher 9 is not known here.",
        ),
        ("scheme", "scheme = 3".to_owned(), NOT_BY_OWNER),
        (
            "scheme",
            "scheme = 99".to_owned(),
            "Re-encryption scheme 99 is not known here.",
        ),
        ("chunk_bits", "chunk_bits = 16".to_owned(), NOT_BY_OWNER),
        ("created", "created = 1".to_owned(), NOT_BY_OWNER),
        ("key", flipped("key"), NOT_BY_OWNER),
        ("mac", flipped("mac"), NOT_BY_OWNER),
        ("signature", flipped("signature"), NOT_BY_OWNER),
        (
            "cipher",
            String::new(),
            "The store configuration has no `cipher`.",
        ),
        (
            "cipher",
            "cipher = 1\ncipher = 1".to_owned(),
            "The store configuration has `cipher` twice.",
        ),
        (
            "cipher",
            "debug = 1\ncipher = 1".to_owned(),
            "an unknown entry `debug`",
        ),
        (
            "signature",
            format!("{}\nmore = 1", value("signature")),
            "an unknown entry `more`",
        ),
        ("#", "# A store.".to_owned(), NOT_BY_OWNER),
    ];
    for (key, new, says) in changes {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        refused(&alice, &store, &text.replacen(line, &new, 1), 65, says);
    }
    for text in [
        "",
        "x",
        &text[..text.len() / 2],
        &text.replace('\n', "\r\n"),
    ] {
        refused(&alice, &store, text, 65, "tore configuration");
    }
    drop(alice.mount(&store, "secure"));
}

#[test]
fn a_configuration_of_another_store_of_hers_does_not_open_this_one() {
    let (alice, store, _root) = Scene::new().unmounted();
    let other = alice.init("other");
    let text = fs::read_to_string(other.join("kmsfs.toml")).unwrap();
    refused(&alice, &store, &text, 65, "The header does not verify.");
    drop(alice.mount(&store, "secure"));
}

/// Mallory makes Alice's store look like one of his, hoping that she writes into it.
#[test]
fn a_store_that_was_exchanged_for_somebody_elses_is_reported_and_not_written_to() {
    let (alice, store, root) = Scene::new().unmounted();
    let mallory = Person::new(root.path(), "mallory");
    let theirs = mallory.init("theirs");
    let before = fs::read_to_string(store.join("kmsfs.toml")).unwrap();
    fs::copy(theirs.join("kmsfs.toml"), store.join("kmsfs.toml")).unwrap();
    let out = alice
        .kmsfs(&["mount", store.to_str().unwrap(), "secure"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("WARNING: ANOTHER STORE."), "{said}");
    let point = alice.dir.join("secure");
    assert_eq!(errno(fs::write(point.join("new"), "secret")), Errno::ACCESS);
    alice.run(&["umount", "secure"]);

    fs::write(store.join("kmsfs.toml"), before).unwrap();
    let secure = alice.mount(&store, "secure");
    fs::write(secure.at("new"), "secret").unwrap();
    secure.unmount();
}

fn base64(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut process = Command::new("base64")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(input).unwrap();
    process.wait_with_output().unwrap().stdout
}

/// Replaces bytes in the body of an identity file.
fn with_bytes(text: &str, old: &[u8], new: &[u8]) -> String {
    let (comments, body): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
    let mut bytes = base64(&["-d"], body.concat().as_bytes());
    let at = bytes
        .windows(old.len())
        .position(|it| it == old)
        .expect("these bytes");
    bytes.splice(at..at + old.len(), new.iter().copied());
    let body = String::from_utf8(base64(&["-w", "64"], &bytes)).unwrap();
    format!("{}\n{body}", comments.join("\n"))
}

#[test]
fn edited_parameters_of_the_passphrase_are_refused() {
    let (alice, store, _root) = Scene::new().unmounted();
    let identity = alice.home().join("identity");
    let text = fs::read_to_string(&identity).unwrap();
    // Strict CBOR: names with their lengths, then the values.
    let memory = |value: &[u8]| [b"\x6amemory_kib".as_slice(), value].concat();
    let passes = |value: u8| [b"\x66passes".as_slice(), &[value]].concat();
    let kdf = |value: u8| [b"\x63kdf".as_slice(), &[value]].concat();
    let usual = memory(&[0x1a, 0, 1, 0, 0]);
    let changes = [
        (
            "more memory",
            usual.clone(),
            memory(&[0x1a, 0, 2, 0, 0]),
            77,
        ),
        ("less memory", usual.clone(), memory(&[0x19, 0x80, 0]), 77),
        ("next to no memory", usual.clone(), memory(&[8]), 77),
        (
            "all memory there is",
            usual,
            memory(&[0x1a, 0xff, 0xff, 0xff, 0xff]),
            65,
        ),
        ("one pass", passes(3), passes(1), 77),
        ("no pass", passes(3), passes(0), 65),
        ("another derivation", kdf(1), kdf(2), 65),
    ];
    for (what, old, new, code) in changes {
        fs::write(&identity, with_bytes(&text, &old, &new)).unwrap();
        let mount = alice.fails(&["mount", store.to_str().unwrap(), "secure"]);
        assert!(
            [code, 65].contains(&mount.code),
            "{what}: {} {}",
            mount.code,
            mount.stderr
        );
        assert!(
            mount.stderr.contains("identity"),
            "{what}: {}",
            mount.stderr
        );
    }
    fs::write(&identity, &text).unwrap();
    drop(alice.mount(&store, "secure"));
}

/// What an old passphrase opened it opens still, in an old copy of the file: the key is the same. The new one does not
/// open the old file, and what is said tells that the file may not be hers.
#[test]
fn an_old_identity_file_put_back_is_not_opened_by_the_new_passphrase() {
    let (alice, store, _root) = Scene::new().unmounted();
    let identity = alice.home().join("identity");
    let old = fs::read(&identity).unwrap();
    let new_passphrase = alice.dir.join("new");
    fs::write(&new_passphrase, "another passphrase\n").unwrap();
    alice.run(&[
        "identity",
        "passwd",
        "--new-passfile",
        new_passphrase.to_str().unwrap(),
    ]);
    let wrong = "Wrong passphrase for identity";
    let refused = alice.fails(&["mount", store.to_str().unwrap(), "secure"]);
    assert_eq!(refused.code, 77);
    assert!(refused.stderr.contains(wrong), "{}", refused.stderr);
    fs::copy(&new_passphrase, alice.dir.join("passphrase")).unwrap();
    drop(alice.mount(&store, "secure"));

    fs::write(&identity, old).unwrap();
    let refused = alice.fails(&["mount", store.to_str().unwrap(), "secure"]);
    assert_eq!(refused.code, 77);
    assert!(
        refused.stderr.contains(wrong) && refused.stderr.contains("was altered"),
        "{}",
        refused.stderr
    );
}
