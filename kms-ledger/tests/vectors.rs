//! Every entry and file of `spec/vectors/ledger` is taken, or refused for the stated reason (LEDGER §7).
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use kms_ledger::{FileLedger, FileOptions, MemoryLedger};
use kms_proto::ledger::{EntryRefusal, Head, Ledger, LedgerError, SignedEntry};

struct Vector {
    fields: HashMap<String, String>,
    payloads: Vec<Vec<u8>>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let field = |line: &str| {
            line.split_once(": ")
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .unwrap()
        };
        let hex = |line: &str| data_encoding::HEXLOWER.decode(line.as_bytes()).unwrap();
        let lines = if body.trim().is_empty() {
            vec![""]
        } else {
            body.trim().split('\n').collect()
        };
        Self {
            fields: head.lines().map(field).collect(),
            payloads: lines.into_iter().map(hex).collect(),
        }
    }

    fn get(&self, key: &str) -> &str {
        &self.fields[key]
    }

    fn number(&self, key: &str) -> u64 {
        self.get(key).parse().unwrap()
    }

    fn seen(&self) -> Option<Head> {
        let (height, hash) = self.fields.get("seen")?.split_once(' ').unwrap();
        let hash = data_encoding::HEXLOWER
            .decode(hash.as_bytes())
            .unwrap()
            .try_into()
            .unwrap();
        Some(Head {
            height: height.parse().unwrap(),
            hash,
            time: 0,
        })
    }
}

/// A refusal's name on the wire.
fn refusal_name(refusal: &EntryRefusal) -> &'static str {
    match refusal {
        EntryRefusal::Malformed => "malformed",
        EntryRefusal::OtherNetwork => "other_network",
        EntryRefusal::BadSignature => "bad_signature",
        EntryRefusal::BadAddresses => "bad_addresses",
        EntryRefusal::BadThreshold => "bad_threshold",
        EntryRefusal::Outnumbered { .. } => "outnumbered",
        EntryRefusal::Shortened { .. } => "shortened",
        EntryRefusal::NotHolder => "not_holder",
        EntryRefusal::NotTheSecret => "not_the_secret",
        EntryRefusal::Unserved => "unserved",
        EntryRefusal::Revoked { .. } => "revoked",
        EntryRefusal::AlreadyExpired => "already_expired",
        _ => "unnamed",
    }
}

fn submit(vector: &Vector) -> &'static str {
    let clock = Arc::new(AtomicU64::new(0));
    let time = Arc::clone(&clock);
    let ledger = MemoryLedger::new(
        vector.get("network"),
        Arc::new(move || time.load(Ordering::SeqCst)),
    );
    let times: Vec<u64> = vector
        .get("times")
        .split(' ')
        .map(|time| time.parse().unwrap())
        .collect();
    assert_eq!(times.len(), vector.payloads.len());
    let answers: Vec<_> = times
        .into_iter()
        .zip(&vector.payloads)
        .map(|(time, payload)| {
            clock.store(time, Ordering::SeqCst);
            let Ok(entry) = SignedEntry::from_bytes(payload) else {
                return "malformed";
            };
            match ledger.submit(&entry) {
                Ok(_) => "ok",
                Err(LedgerError::Refused(refusal)) => refusal_name(&refusal),
                Err(err) => panic!("{err}"),
            }
        })
        .collect();
    let (last, before) = answers.split_last().unwrap();
    assert!(before.iter().all(|answer| *answer == "ok"));
    last
}

/// The outcome and the height it is about.
fn file(vector: &Vector) -> (&'static str, Option<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    fs::write(&path, vector.payloads.concat()).unwrap();
    let now = vector.number("now");
    let clock = Arc::new(move || now);
    let options = FileOptions {
        clock,
        seen: vector.seen(),
        ..FileOptions::new(vector.get("network"))
    };
    let opened = FileLedger::open_reader(&path, options).and_then(|ledger| ledger.head());
    match opened {
        Ok(head) => ("ok", Some(head.height)),
        Err(LedgerError::Tampered { height, .. }) => ("tampered", Some(height)),
        Err(LedgerError::Shorter { height, .. }) => ("shorter", Some(height)),
        Err(LedgerError::Forked { height }) => ("forked", Some(height)),
        Err(LedgerError::AheadOfClock { height, .. }) => ("ahead-of-clock", Some(height)),
        Err(LedgerError::NotALedger) => ("not-a-ledger", None),
        Err(err) => panic!("{err}"),
    }
}

#[test]
fn every_ledger_vector_has_its_outcome() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/ledger");
    let mut refused = 0;
    let paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for path in &paths {
        let vector = Vector::read(path);
        let outcome = match vector.get("type") {
            "submit" => submit(&vector),
            "file" => {
                let (outcome, height) = file(&vector);
                assert!(
                    height.is_none_or(|height| height == vector.number("height")),
                    "{}: {height:?}",
                    path.display()
                );
                outcome
            }
            other => panic!("{}: unknown type {other}", path.display()),
        };
        assert_eq!(outcome, vector.get("expect"), "{}", path.display());
        refused += usize::from(outcome != "ok");
    }
    assert!(refused * 2 > paths.len(), "most vectors are to be refused");
}
