//! The owner's own records.

use std::fs;

use kms_crypto::key::{IdentitySecret, LabelPublicKey};

use super::*;
use crate::client::rng;

fn record(salt: u8, created: u64) -> OwnerRecord {
    let key = || IdentitySecret::generate(&mut rng()).public();
    OwnerRecord {
        version: RECORD_VERSION,
        label: LabelId::random(&mut rng()),
        generation: 1,
        kind: Kind::Dir,
        path: vec![Step {
            plain: b"letters".to_vec(),
            backing: "sealed".to_owned(),
        }],
        params: PolicyParams::new(key(), LabelPublicKey::Split(key()), key(), [salt; 32]),
        needed: 3,
        total: 5,
        expiry: 2_000_000_000,
        created,
        nodes: Vec::new(),
        sequence: 0,
        status: Status::Preparing,
    }
}

fn records(root: &tempfile::TempDir) -> (StoreKey, Records) {
    let key = StoreKey::generate(&mut rng());
    let records = Records::new(root.path(), &key, StoreId([1; 16]));
    (key, records)
}

#[test]
fn records_are_listed_oldest_first_and_replaced_in_place() {
    let root = tempfile::tempdir().unwrap();
    let (_, records) = records(&root);
    let (first, mut second) = (record(1, 10), record(2, 20));
    records.put(&second, &mut rng()).unwrap();
    records.put(&first, &mut rng()).unwrap();
    second.status = Status::Revoked {
        at: 30,
        epoch: 2,
        removed: vec![second.params.recipient],
    };
    records.put(&second, &mut rng()).unwrap();
    assert_eq!(
        records.list().unwrap().records,
        [first.clone(), second.clone()]
    );
    assert_eq!(records.find(&second.policy()).unwrap(), Some(second));
    records.remove(&first.policy()).unwrap();
    assert_eq!(records.find(&first.policy()).unwrap(), None);
    records.remove(&first.policy()).unwrap();
}

#[test]
fn a_store_without_records_has_none() {
    let root = tempfile::tempdir().unwrap();
    assert!(records(&root).1.list().unwrap().records.is_empty());
}

#[test]
fn a_record_says_nothing_to_who_does_not_have_the_store_key() {
    let root = tempfile::tempdir().unwrap();
    let (_, mine) = records(&root);
    mine.put(&record(1, 10), &mut rng()).unwrap();
    let (_, other) = records(&root);
    let list = other.list().unwrap();
    assert!(list.records.is_empty());
    assert!(matches!(list.refused[..], [(_, RecordError::Refused(_))]));
}

#[test]
fn a_record_under_another_name_or_in_another_store_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (key, records) = records(&root);
    let record = record(1, 10);
    records.put(&record, &mut rng()).unwrap();
    let elsewhere = Records::new(root.path(), &key, StoreId([2; 16]));
    assert!(matches!(
        elsewhere.list().unwrap().refused[..],
        [(_, RecordError::Refused(_))]
    ));
    let name = records.file_name(&record.policy());
    fs::rename(
        records.shelf.path().join(name),
        records.shelf.path().join("other.rec"),
    )
    .unwrap();
    assert!(matches!(
        records.list().unwrap().refused[..],
        [(_, RecordError::Refused(_))]
    ));
}

#[test]
fn a_grant_counts_as_live_only_between_the_ledger_and_its_end() {
    let mut record = record(1, 10);
    assert!(!record.is_live(20));
    record.status = Status::Live { height: 4 };
    assert!(record.is_live(20));
    assert!(!record.is_live(record.expiry));
}
