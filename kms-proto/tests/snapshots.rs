//! Every message, every refusal and every ledger entry is written as in `spec/vectors/messages`, byte for byte (WIRE §7).
//!
//! Who changes what is sent changes these files by hand: the test prints what it found instead.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::{fs, path::Path};

use kms_crypto::id::PolicyId;
use kms_crypto::key::{DelegatingKey, IdentitySecret, NodeSecret, PublicKey};
use kms_crypto::policy::PolicyParams;
use kms_proto::ledger::{Entry, EntryRefusal, EntryStatement, Grant, Head, RegisterNode, Revoke};
use kms_proto::message::{
    Arrange, Arranged, Audit, AuditEntry, Audited, Canary, Command, Committed, ForwardRemovals,
    Handover, NodeStatus, Query, Records, Reencrypt, Refusal, RemoveRekey, Removed, Response,
    Retire, Retiring, SignCommit, SignShare, StoreRekey, Taken,
};
use kms_proto::secret::SecretBytes;
use kms_proto::signed::{Address, Signed};
use kms_proto::{codec, ledger};
use serde_bytes::ByteBuf;

/// Counts upwards from one, so that signatures and nonces are the same every time.
struct Counter(u8);

impl rand_core::TryRng for Counter {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("keys and nonces are drawn as bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("keys and nonces are drawn as bytes")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counter {}

fn person(number: u8) -> IdentitySecret {
    IdentitySecret::from_bytes(&[number; 32]).unwrap()
}

fn key(number: u8) -> PublicKey {
    person(number).public()
}

const HEAD: Head = Head {
    height: 77,
    hash: [0x88; 32],
    time: 1_800_000_001,
};
const POLICY: PolicyId = PolicyId([0x55; 32]);

type Snapshots = BTreeMap<String, Vec<u8>>;

#[test]
fn every_message_is_written_as_it_always_was() {
    let mut found = Snapshots::new();
    queries(&mut found);
    commands(&mut found);
    responses(&mut found);
    refusals(&mut found);
    entries(&mut found);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/messages");
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut expected = Snapshots::new();
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // The sharing's own are checked where they are made (SHARES §4).
        if !name.starts_with("share-") {
            let text = fs::read_to_string(&path).unwrap();
            let (_, body) = text.split_once("\n\n").unwrap();
            expected.insert(
                name,
                data_encoding::HEXLOWER
                    .decode(body.trim().as_bytes())
                    .unwrap(),
            );
        }
    }
    let differs = |(name, bytes): (&String, &Vec<u8>)| {
        (expected.get(name) != Some(bytes))
            .then(|| format!("{name} {}", data_encoding::HEXLOWER.encode(bytes)))
    };
    let different: Vec<_> = found.iter().filter_map(differs).collect();
    assert!(
        different.is_empty(),
        "not as it was:\n{}",
        different.join("\n")
    );
    let names = |snapshots: &Snapshots| snapshots.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&found),
        names(&expected),
        "files of messages that are not there"
    );
}

fn queries(found: &mut Snapshots) {
    let all = [
        Query::Status,
        Query::LedgerRead { from: 7, max: 100 },
        Query::LedgerSubmit {
            entry: vec![0xe1, 0xe2, 0xe3],
        },
    ];
    for query in all {
        let name = match &query {
            Query::Status => "status",
            Query::LedgerRead { .. } => "ledger-read",
            Query::LedgerSubmit { .. } => "ledger-submit",
        };
        found.insert(format!("query-{name}"), query.to_bytes());
    }
    assert_eq!(found.len(), 3);
}

fn commands(found: &mut Snapshots) {
    let label = DelegatingKey::from_bytes(&[0x1a; 32]).unwrap().public();
    let params = PolicyParams::new(key(1), label, key(2), [0x5a; 32]);
    let all = [
        Command::Arrange(Arrange {
            ledger_key: key(1),
            inner: [0x11; 32],
            expiry: 1_900_000_000,
            m: 2,
            n: 3,
        }),
        Command::StoreRekey(StoreRekey {
            params,
            expiry: 1_900_000_000,
            m: 3,
            n: 5,
            index: 4,
            fragment: SecretBytes::new(vec![0xf1, 0xf2, 0xf3]),
        }),
        Command::Reencrypt(Reencrypt {
            recipient: key(2),
            policy: POLICY,
            capsules: vec![ByteBuf::from([0xc1; 4]), ByteBuf::from([0xc2; 5])],
        }),
        Command::RemoveRekey(RemoveRekey {
            ledger_key: key(1),
            inner: [0x11; 32],
        }),
        Command::Canary(Canary {
            ledger_key: key(1),
            inner: [0x11; 32],
            capsule: ByteBuf::from([0xc1; 4]),
        }),
        Command::Audit(Audit {
            ledger_key: key(1),
            inner: [0x11; 32],
            from: 8,
        }),
        Command::Handover(Handover {
            from: key(4),
            params,
            index: 2,
            challenge: [0xcc; 32],
            fragment: ByteBuf::from([0x5e; 5]),
        }),
        Command::ForwardRemovals(ForwardRemovals {
            from: key(4),
            removals: vec![ByteBuf::from([0x9e; 3])],
        }),
        Command::Retire(Retire {
            node: key(3),
            until: 1_800_000_009,
            to: Some(key(4)),
        }),
        Command::SignCommit(SignCommit {
            recipient: key(2),
            policy: POLICY,
        }),
        Command::SignShare(SignShare {
            recipient: key(2),
            policy: POLICY,
            message: vec![0x3e, 0x3f],
            signers: [1, 4].map(signer).to_vec(),
        }),
    ];
    let to = Address {
        network: "vectors",
        node: key(3),
        deadline: 1_800_000_060,
    };
    for command in all {
        let (name, signer) = match &command {
            Command::Arrange(_) => ("arrange", person(1)),
            Command::StoreRekey(_) => ("store-rekey", person(1)),
            Command::Reencrypt(_) => ("reencrypt", person(2)),
            Command::RemoveRekey(_) => ("remove-rekey", person(1)),
            Command::Canary(_) => ("canary", person(1)),
            Command::Audit(_) => ("audit", person(1)),
            Command::Handover(_) => ("handover", person(4)),
            Command::ForwardRemovals(_) => ("forward-removals", person(4)),
            Command::Retire(_) => ("retire", person(3)),
            Command::SignCommit(_) => ("sign-commit", person(2)),
            Command::SignShare(_) => ("sign-share", person(2)),
        };
        let bytes = command.sign(&to, &signer, &mut Counter(0)).unwrap();
        found.insert(format!("command-{name}"), bytes);
    }
    assert_eq!(found.len(), 3 + 11);
}

/// An index and two points.
fn signer(index: u8) -> ByteBuf {
    let points = [key(5), key(6)].map(|it| *it.as_bytes());
    ByteBuf::from([&[index], points.as_flattened()].concat())
}

fn responses(found: &mut Snapshots) {
    let status = |head| {
        Response::Status(NodeStatus {
            node: key(3),
            version: "0.1.0".to_owned(),
            network: "vectors".to_owned(),
            time: 1_800_000_002,
            available_until: 1_950_000_000,
            fragments: 12,
            own_key: true,
            head,
            addrs: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
        })
    };
    let removed = Removed {
        network: "vectors".to_owned(),
        node: key(3),
        policy: POLICY,
        held: true,
        at: 1_800_000_003,
    };
    let node = NodeSecret::from_bytes(&[3; 32]).unwrap();
    let removed = Signed::sign(removed, &node, &mut Counter(0)).unwrap();
    let taken = Taken {
        network: "vectors".to_owned(),
        node: key(3),
        from: key(4),
        policy: POLICY,
        index: 2,
        proof: [0xaa; 32],
        at: 1_800_000_003,
    };
    let taken = Signed::sign(taken, &node, &mut Counter(0)).unwrap();
    let entry = AuditEntry {
        at: 1_800_000_001,
        recipient: key(2),
        outcome: "ok".to_owned(),
        capsules: 2,
        before: 7,
    };
    let audited = Audited {
        network: "vectors".to_owned(),
        node: key(3),
        policy: POLICY,
        at: 1_800_000_003,
        from: 8,
        total: 9,
        first: 3,
        lost: 1,
        prev: [0xbb; 32],
        entries: vec![ByteBuf::from(entry.to_bytes())],
    };
    let audited = Signed::sign(audited, &node, &mut Counter(0)).unwrap();
    let fragments = vec![Ok(ByteBuf::from([0xcf; 4])), Err(Refusal::UnknownPolicy)];
    let all = [
        ("status", status(Some(HEAD))),
        ("status-without-ledger", status(None)),
        (
            "records",
            Response::Records(Records {
                head: HEAD,
                records: vec![ByteBuf::from([0x4e; 3])],
            }),
        ),
        ("submitted", Response::Submitted { height: 78 }),
        ("accepted", Response::Accepted),
        (
            "arranged",
            Response::Arranged(Arranged {
                policy: POLICY,
                available_until: 1_950_000_000,
            }),
        ),
        (
            "stored",
            Response::Stored {
                policy: POLICY,
                index: 4,
            },
        ),
        ("reencrypted", Response::Reencrypted { fragments }),
        ("removed", Response::Removed(removed.into_signed())),
        ("taken", Response::Taken(taken.into_signed())),
        ("audited", Response::Audited(audited.into_signed())),
        ("noted", Response::Noted),
        (
            "retiring",
            Response::Retiring(Retiring {
                until: 1_800_000_009,
                left: 2,
                done: false,
                trouble: "nobody takes it".to_owned(),
            }),
        ),
        (
            "committed",
            Response::Committed(Committed {
                commitment: ByteBuf::from(&signer(0)[1..]),
                split: ByteBuf::from([0x57; 5]),
            }),
        ),
        (
            "signed-share",
            Response::SignedShare {
                share: ByteBuf::from([0x51; 32]),
            },
        ),
    ];
    for (name, response) in all {
        // A new response must find its way here, too.
        match &response {
            Response::Status(_)
            | Response::Records(_)
            | Response::Submitted { .. }
            | Response::Accepted
            | Response::Arranged(_)
            | Response::Stored { .. }
            | Response::Reencrypted { .. }
            | Response::Removed(_)
            | Response::Taken(_)
            | Response::Audited(_)
            | Response::Noted
            | Response::Retiring(_)
            | Response::Committed(_)
            | Response::SignedShare { .. }
            | Response::Refused(_) => {}
        }
        let bytes = response.to_bytes();
        assert_eq!(Response::from_bytes(&bytes).as_ref(), Ok(&response));
        found.insert(format!("response-{name}"), bytes);
    }
}

fn refusals(found: &mut Snapshots) {
    let ledger = [
        ("malformed", EntryRefusal::Malformed),
        ("other-network", EntryRefusal::OtherNetwork),
        ("bad-signature", EntryRefusal::BadSignature),
        ("bad-addresses", EntryRefusal::BadAddresses),
        ("bad-threshold", EntryRefusal::BadThreshold),
        ("outnumbered", EntryRefusal::Outnumbered { latest: 9 }),
        (
            "shortened",
            EntryRefusal::Shortened {
                until: 1_960_000_000,
            },
        ),
        ("revoked", EntryRefusal::Revoked { at: 1_800_000_004 }),
        ("already-expired", EntryRefusal::AlreadyExpired),
        ("not-holder", EntryRefusal::NotHolder),
        ("not-the-secret", EntryRefusal::NotTheSecret),
        ("unserved", EntryRefusal::Unserved),
    ];
    let ledger = ledger.map(|(name, refusal)| (format!("ledger-{name}"), Refusal::Ledger(refusal)));
    let others = [
        ("unknown-policy", Refusal::UnknownPolicy),
        ("not-granted", Refusal::NotGranted),
        (
            "revoked",
            Refusal::Revoked {
                at: 1_800_000_005,
                epoch: 6,
            },
        ),
        ("expired", Refusal::Expired { at: 1_800_000_006 }),
        ("ledger-stale", Refusal::LedgerStale),
        (
            "outlives",
            Refusal::Outlives {
                available_until: 1_950_000_000,
            },
        ),
        ("bad-request", Refusal::BadRequest),
        ("bad-signature", Refusal::BadSignature),
        (
            "bad-fragment",
            Refusal::BadFragment {
                why: "the signature does not hold".to_owned(),
            },
        ),
        ("not-for-me", Refusal::NotForMe),
        (
            "too-late",
            Refusal::TooLate {
                node_time: 1_800_000_007,
            },
        ),
        ("full", Refusal::Full),
        ("busy", Refusal::Busy),
        ("unknown-nonces", Refusal::UnknownNonces),
        ("internal", Refusal::Internal),
    ];
    let others = others.map(|(name, refusal)| (name.to_owned(), refusal));
    for (name, refusal) in others.into_iter().chain(ledger) {
        let response = Response::Refused(refusal);
        let bytes = response.to_bytes();
        assert_eq!(Response::from_bytes(&bytes).as_ref(), Ok(&response));
        found.insert(format!("refused-{name}"), bytes);
    }
}

/// The names in WIRE §3.4, so that a refusal which is new there is missed here.
#[test]
fn there_is_a_snapshot_of_every_refusal_in_the_specification() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let wire = fs::read_to_string(root.join("spec/WIRE.md")).unwrap();
    let (_, section) = wire.split_once("### 3.4 Refusals").unwrap();
    let (list, _) = section.split_once("A refusal is").unwrap();
    let names = list.split('·').map(|item| item.split('`').nth(1).unwrap());
    let mut count = 0;
    for name in names {
        let start = format!("refused-{}", name.replace('_', "-"));
        let mut files = fs::read_dir(root.join("spec/vectors/messages")).unwrap();
        let is_it = |name: &str| name.starts_with(&start);
        assert!(
            files.any(|file| is_it(file.unwrap().file_name().to_str().unwrap())),
            "{name}"
        );
        count += 1;
    }
    assert!(count >= 15, "only {count}");
}

fn entries(found: &mut Snapshots) {
    let all = [
        Entry::RegisterNode(RegisterNode {
            key: key(3),
            available_until: 1_950_000_000,
            addrs: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
            seq: 2,
        }),
        Entry::Grant(Grant {
            ledger_key: key(1),
            inner: [0x11; 32],
            expiry: 1_900_000_000,
            m: 1,
            nodes: vec![key(3), key(4)],
            seq: 5,
            revocation: None,
        }),
        Entry::Revoke(Revoke {
            ledger_key: key(1),
            inner: [0x11; 32],
            epoch: 6,
        }),
        Entry::Release(ledger::Release {
            policy: POLICY,
            epoch: 6,
            secret: [0x22; 16],
        }),
        Entry::Handover(ledger::Handover {
            from: key(3),
            to: key(4),
            policy: POLICY,
            index: 2,
            after: 77,
        }),
    ];
    for entry in all {
        let (name, signer) = match &entry {
            Entry::RegisterNode(_) => ("register", Some(person(3))),
            Entry::Grant(_) => ("grant", Some(person(1))),
            Entry::Revoke(_) => ("revoke", Some(person(1))),
            Entry::Release(_) => ("release", None),
            Entry::Handover(_) => ("handover", Some(person(3))),
        };
        let statement = EntryStatement {
            network: "vectors".to_owned(),
            entry,
        };
        let signed = match signer {
            Some(signer) => Signed::sign(statement, &signer, &mut Counter(0)),
            None => Signed::unsigned(statement),
        };
        let signed = signed.unwrap().into_signed();
        found.insert(format!("ledger-entry-{name}"), signed.to_bytes());
        let record = ledger::Record {
            version: 1,
            network: "vectors".to_owned(),
            height: 78,
            prev: HEAD.hash,
            time: 1_800_000_008,
            entry: signed,
        };
        found.insert(format!("ledger-record-{name}"), codec::encode(&record));
    }
}
