//! Tickets and the owner's records are written as in `spec/vectors/messages`, byte for byte (SHARES §4). What is snapshot
//! is what stands inside the seal.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::Path};

use kms_client::record::{RECORD_VERSION, Status};
use kms_client::ticket::TICKET_VERSION;
use kms_client::{Kind, NodeAddress, OwnerRecord, Step, Ticket};
use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{DelegatingKey, IdentitySecret, PublicKey};
use kms_crypto::policy::PolicyParams;
use kms_proto::codec;
use serde::Serialize;

fn key(number: u8) -> PublicKey {
    IdentitySecret::from_bytes(&[number; 32]).unwrap().public()
}

fn params() -> PolicyParams {
    let label = DelegatingKey::from_bytes(&[0x1a; 32]).unwrap().public();
    PolicyParams::new(key(1), label, key(2), [0x5a; 32])
}

fn nodes() -> Vec<NodeAddress> {
    let node = |n| NodeAddress {
        key: key(n),
        addrs: vec![format!("/ip4/192.0.2.{n}/tcp/4001")],
    };
    (3..5).map(node).collect()
}

fn path() -> Vec<Step> {
    let step = |plain: &str, backing: &str| Step {
        plain: plain.into(),
        backing: backing.to_owned(),
    };
    vec![step("letters", "bGV0dGVycw"), step("plan.txt", "cGxhbg")]
}

fn ticket(kind: Kind, revoked: Option<u64>) -> Ticket {
    Ticket {
        version: TICKET_VERSION,
        owner: key(1),
        store: StoreId([0x51; 16]),
        label: LabelId([0x1a; 16]),
        kind,
        params: params(),
        needed: 1,
        total: 2,
        expiry: 1_900_000_000,
        nodes: nodes(),
        sequence: 4,
        path: path(),
        revoked,
    }
}

fn record(status: Status) -> OwnerRecord {
    OwnerRecord {
        version: RECORD_VERSION,
        label: LabelId([0x1a; 16]),
        generation: 3,
        kind: Kind::Dir,
        path: path(),
        params: params(),
        needed: 1,
        total: 2,
        expiry: 1_900_000_000,
        created: 1_800_000_000,
        nodes: nodes(),
        sequence: 4,
        status,
    }
}

fn check(name: &str, value: &impl Serialize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../spec/vectors/messages/share-{name}.txt"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let (_, body) = text.split_once("\n\n").unwrap_or_default();
    let found = data_encoding::HEXLOWER.encode(&codec::encode(value));
    assert_eq!(found, body.trim(), "share-{name} {found}");
}

#[test]
fn tickets_are_written_as_they_always_were() {
    check("ticket-file", &ticket(Kind::File, None));
    check(
        "ticket-dir-revoked",
        &ticket(Kind::Dir, Some(1_800_000_009)),
    );
}

#[test]
fn records_are_written_as_they_always_were() {
    check("record-preparing", &record(Status::Preparing));
    check("record-live", &record(Status::Live { height: 78 }));
    let revoking = Status::Revoking {
        since: 1_800_000_005,
    };
    check("record-revoking", &record(revoking));
    let revoked = Status::Revoked {
        at: 1_800_000_010,
        epoch: 6,
        removed: vec![key(3)],
    };
    check("record-revoked", &record(revoked));
}
