//! What every fragment store does, run for each kind; and what a vault does on top of them.

use std::path::Path;

use kms_crypto::key::{DelegatingKey, IdentitySecret, LedgerKey};
use kms_crypto::policy::PolicyParams;
use zeroize::Zeroizing;

use super::*;
use crate::keyfile::StorageKey;
use crate::rng;

const NOW: u64 = 1_000_000;
const SECRET: &[u8] = b"the bytes of a fragment, which nobody else may read";

fn policy(byte: u8) -> PolicyId {
    PolicyId([byte; 32])
}

fn row(slot: u64, sealed: &[u8]) -> Row {
    Row {
        slot,
        stored_at: NOW,
        expiry: NOW + 10,
        sealed: sealed.to_vec(),
    }
}

fn check_changes(store: &dyn FragmentStore) {
    let stone = Tombstone {
        at: NOW,
        until: NOW + 5,
        held: true,
        request: vec![1; 300],
    };
    assert!(store.rows().unwrap().is_empty());
    assert!(store.tombstones(None, 9).unwrap().is_empty());
    store
        .apply(&[
            Change::Put(policy(1), row(1, b"one")),
            Change::Put(policy(2), row(2, b"two")),
        ])
        .unwrap();
    store
        .apply(&[
            Change::Put(policy(1), row(3, b"one again")),
            Change::Remove(policy(2), stone.clone()),
        ])
        .unwrap();
    assert_eq!(store.row(&policy(1)).unwrap(), Some(row(3, b"one again")));
    assert_eq!(store.row(&policy(2)).unwrap(), None);
    assert_eq!(
        store.rows().unwrap(),
        [(policy(1), row(3, b""))],
        "a listing is without sealed bytes"
    );
    assert_eq!(store.tombstone(&policy(2)).unwrap(), Some(stone.clone()));
    assert_eq!(
        store.tombstones(None, 9).unwrap(),
        [(policy(2), stone.clone())]
    );
    let more = [3, 4].map(|it| Change::Remove(policy(it), stone.clone()));
    store.apply(&more).unwrap();
    let after = |after, max| {
        let stones = store.tombstones(after, max).unwrap();
        stones.into_iter().map(|(it, _)| it).collect::<Vec<_>>()
    };
    assert_eq!(after(None, 2), [policy(2), policy(3)], "in order");
    assert_eq!(after(Some(policy(3)), 2), [policy(4)]);
    assert_eq!(after(Some(policy(4)), 2), []);
    store
        .apply(&[
            Change::Forget(policy(2)),
            Change::Note(Note::LedgerHead, vec![7]),
        ])
        .unwrap();
    assert_eq!(store.tombstone(&policy(2)).unwrap(), None);
    assert_eq!(store.note(Note::LedgerHead).unwrap(), Some(vec![7]));
    assert_eq!(store.note(Note::KeyCheck).unwrap(), None);
}

#[test]
fn rows_in_memory_change_as_they_are_told() {
    check_changes(&MemoryStore::default());
}

#[test]
fn rows_in_a_file_change_as_they_are_told_and_are_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fragments");
    check_changes(&RedbStore::open(&path).unwrap());
    let again = RedbStore::open(&path).unwrap();
    assert_eq!(again.row(&policy(1)).unwrap(), Some(row(3, b"one again")));
    assert_eq!(again.note(Note::LedgerHead).unwrap(), Some(vec![7]));
}

fn storage_key(byte: u8) -> StorageKey {
    StorageKey::from_bytes(&[byte; 32])
}

fn open(dir: &Path, key: u8) -> Result<Vault, StoreError> {
    let store = RedbStore::open(dir.join("rows"))?;
    Vault::open(
        Box::new(store),
        Slots::open(&dir.join("keys"))?,
        &storage_key(key),
        NOW,
    )
}

fn fragment(bytes: &[u8]) -> Fragment {
    let (label, recipient) = (
        DelegatingKey::generate(&mut rng()),
        IdentitySecret::generate(&mut rng()),
    );
    let params = PolicyParams::new(
        LedgerKey::generate(&mut rng()).public(),
        label.public(),
        recipient.public(),
        [5; 32],
    );
    Fragment {
        params,
        expiry: NOW + 100,
        index: 2,
        frag: Zeroizing::new(bytes.to_vec()),
        given: Zeroizing::new(b"as it was sent".to_vec()),
    }
}

fn read(vault: &Vault, policy: &PolicyId) -> Option<Vec<u8>> {
    vault
        .fragment(policy)
        .unwrap()
        .map(|fragment| fragment.frag.to_vec())
}

fn on_disk(dir: &Path, needle: &[u8]) -> bool {
    ["rows", "keys"].iter().any(|name| {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

/// A vault of no file.
fn in_memory() -> Vault {
    Vault::open(
        Box::new(MemoryStore::default()),
        Slots::in_memory(),
        &storage_key(1),
        NOW,
    )
    .unwrap()
}

#[tokio::test]
async fn a_fragment_is_sealed_survives_reopening_and_needs_the_storage_key() {
    let dir = tempfile::tempdir().unwrap();
    let kept = fragment(SECRET);
    let id = kept.params.id();
    let vault = open(dir.path(), 1).unwrap();
    assert_eq!(vault.put(&kept, NOW).await.unwrap(), Stored::Durable);
    drop(vault);
    assert!(
        !on_disk(dir.path(), &SECRET[..16]),
        "nothing of it is readable in the files"
    );
    assert!(!on_disk(dir.path(), &kept.params.recipient.to_bytes()));
    let vault = open(dir.path(), 1).unwrap();
    assert_eq!(
        (read(&vault, &id).as_deref(), vault.held()),
        (Some(SECRET), 1)
    );
    assert_eq!(vault.fragment(&id).unwrap().unwrap().params, kept.params);
    drop(vault);
    assert!(matches!(open(dir.path(), 2), Err(StoreError::Mismatch(_))));
}

#[tokio::test]
async fn a_removed_fragment_is_erased_and_cannot_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let kept = fragment(SECRET);
    let id = kept.params.id();
    let vault = open(dir.path(), 1).unwrap();
    vault.put(&kept, NOW).await.unwrap();
    let sealed = vault.rows().unwrap();
    let key = std::fs::read(dir.path().join("keys")).unwrap()[..48].to_vec();
    assert_eq!(
        vault.remove(id, NOW + 1, Memory::Long).await.unwrap(),
        Removal {
            held: true,
            at: NOW + 1
        }
    );
    assert_eq!(
        vault.remove(id, NOW + 9, Memory::Long).await.unwrap(),
        Removal {
            held: true,
            at: NOW + 1
        },
        "repeating is safe"
    );
    assert!(matches!(
        vault.put(&kept, NOW + 2).await.unwrap(),
        Stored::RemovedBefore(_)
    ));
    assert_eq!(
        (read(&vault, &id), vault.held(), sealed.len()),
        (None, 0, 1)
    );
    drop(vault);
    assert!(
        !on_disk(dir.path(), &key),
        "its key is overwritten, whatever the database has left of the row"
    );
    let vault = open(dir.path(), 1).unwrap();
    assert!(vault.removal(&id).unwrap().is_some());
    vault.forget_removals(NOW + 200_000).await.unwrap();
    assert_eq!(vault.put(&kept, NOW).await.unwrap(), Stored::Durable);
}

#[tokio::test]
async fn the_removal_of_what_nobody_else_knows_is_soon_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let kept = fragment(SECRET);
    let vault = open(dir.path(), 1).unwrap();
    vault.put(&kept, NOW).await.unwrap();
    let id = kept.params.id();
    vault.remove(id, NOW, Memory::Short).await.unwrap();
    vault.forget_removals(NOW + 3600).await.unwrap();
    assert!(vault.removal(&id).unwrap().is_some());
    vault.forget_removals(NOW + 3601).await.unwrap();
    assert_eq!(vault.removal(&id).unwrap(), None);
}

#[tokio::test]
async fn removals_in_any_number_are_forgotten_a_few_at_a_time() {
    let store = MemoryStore::default();
    let stone = |until| Tombstone {
        at: NOW,
        until,
        held: false,
        request: Vec::new(),
    };
    let made: Vec<_> = (0..1000_u16)
        .map(|number| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            Change::Remove(PolicyId(id), stone(NOW + u64::from(number % 10)))
        })
        .collect();
    store.apply(&made).unwrap();
    let vault = Vault::open(Box::new(store), Slots::in_memory(), &storage_key(1), NOW).unwrap();
    vault.forget_removals(NOW + 9).await.unwrap();
    let mut left = Vec::new();
    while let some = vault.removals_after(left.last().copied()).unwrap()
        && !some.is_empty()
    {
        assert!(some.len() < 1000);
        left.extend(some.into_iter().map(|(policy, _)| policy));
    }
    assert_eq!(left.len(), 100);
}

#[tokio::test]
async fn an_end_that_somebody_else_names_is_believed_for_a_year() {
    let vault = in_memory();
    let end = Memory::Until(u64::MAX);
    vault.remove(policy(1), NOW, end).await.unwrap();
    let stone = vault.removal(&policy(1)).unwrap().unwrap();
    assert_eq!(stone.until, NOW + (366 + 1) * 24 * 60 * 60);
}

#[tokio::test]
async fn removing_what_was_never_there_says_so() {
    let vault = in_memory();
    assert_eq!(
        vault.remove(policy(9), NOW, Memory::Long).await.unwrap(),
        Removal {
            held: false,
            at: NOW
        }
    );
}

#[tokio::test]
async fn of_two_fragments_of_one_policy_the_first_stays_even_if_they_come_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path(), 1).unwrap();
    let first = fragment(SECRET);
    let sibling = || Fragment {
        params: first.params,
        ..fragment(SECRET)
    };
    let (mut second, mut third) = (sibling(), sibling());
    second.index = 1;
    third.given = Zeroizing::new(b"of another split".to_vec());
    let outcomes = futures::join!(
        vault.put(&first, NOW),
        vault.put(&second, NOW),
        vault.put(&third, NOW)
    );
    assert_eq!(outcomes.0.unwrap(), Stored::Durable);
    assert_eq!(outcomes.1.unwrap(), Stored::OtherKept);
    assert_eq!(outcomes.2.unwrap(), Stored::OtherKept);
    assert_eq!(vault.put(&first, NOW).await.unwrap(), Stored::Durable);
    let kept = vault.fragment(&first.params.id()).unwrap().unwrap();
    assert_eq!((kept.index, kept.given), (first.index, first.given));
}

#[tokio::test]
async fn the_same_fragment_again_replaces_the_first_one_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = fragment(SECRET);
    let id = kept.params.id();
    let vault = open(dir.path(), 1).unwrap();
    vault.put(&kept, NOW).await.unwrap();
    let key = std::fs::read(dir.path().join("keys")).unwrap()[..48].to_vec();
    kept.frag = Zeroizing::new(b"another".to_vec());
    vault.put(&kept, NOW).await.unwrap();
    assert_eq!(
        (read(&vault, &id).as_deref(), vault.held()),
        (Some(b"another".as_slice()), 1)
    );
    drop(vault);
    assert!(!on_disk(dir.path(), &key));
}

#[tokio::test]
async fn many_at_once_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path(), 1).unwrap();
    let all: Vec<_> = (0..200_u8).map(|i| fragment(&[i; 40])).collect();
    let stored =
        futures::future::join_all(all.iter().map(|fragment| vault.put(fragment, NOW))).await;
    assert!(
        stored
            .into_iter()
            .all(|outcome| outcome.unwrap() == Stored::Durable)
    );
    drop(vault);
    let vault = open(dir.path(), 1).unwrap();
    assert_eq!(vault.held(), 200);
    assert!(
        all.iter()
            .all(|fragment| read(&vault, &fragment.params.id()).as_deref()
                == Some(&fragment.frag[..]))
    );
}

#[tokio::test]
async fn fragments_whose_file_of_keys_is_missing_are_not_taken_for_removed() {
    let dir = tempfile::tempdir().unwrap();
    let kept = fragment(SECRET);
    let vault = open(dir.path(), 1).unwrap();
    vault.put(&kept, NOW).await.unwrap();
    drop(vault);
    let (keys, aside) = (dir.path().join("keys"), dir.path().join("aside"));
    std::fs::rename(&keys, &aside).unwrap();
    assert!(matches!(open(dir.path(), 1), Err(StoreError::Mismatch(_))));
    std::fs::rename(&aside, &keys).unwrap();
    let vault = open(dir.path(), 1).unwrap();
    assert_eq!(
        read(&vault, &kept.params.id()).as_deref(),
        Some(SECRET),
        "nothing was lost by trying"
    );
}

#[tokio::test]
async fn what_a_crash_interrupted_is_finished_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, removed) = (fragment(SECRET), fragment(b"on its way out"));
    let vault = open(dir.path(), 1).unwrap();
    vault.put(&kept, NOW).await.unwrap();
    vault.put(&removed, NOW).await.unwrap();
    let slot = vault
        .rows()
        .unwrap()
        .into_iter()
        .find(|(id, _)| *id == removed.params.id())
        .unwrap()
        .1
        .slot;
    drop(vault);
    // The key of one row is erased, its row is not; a key is written, its row is not.
    let mut slots = Slots::open(&dir.path().join("keys")).unwrap();
    slots.erase(slot).unwrap();
    let orphan = slots.put(&[0x77; 48]).unwrap();
    slots.sync().unwrap();
    drop(slots);
    let vault = open(dir.path(), 1).unwrap();
    assert_eq!(
        (read(&vault, &kept.params.id()).as_deref(), vault.held()),
        (Some(SECRET), 1)
    );
    assert_eq!(read(&vault, &removed.params.id()), None);
    assert!(matches!(
        vault.put(&removed, NOW).await.unwrap(),
        Stored::RemovedBefore(_)
    ));
    drop(vault);
    assert_eq!(
        Slots::open(&dir.path().join("keys")).unwrap().key(orphan),
        None
    );
}

#[tokio::test]
async fn a_damaged_record_is_an_error_of_its_own_and_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (fragment(SECRET), fragment(b"to be damaged"));
    let vault = open(dir.path(), 1).unwrap();
    vault.put(&good, NOW).await.unwrap();
    vault.put(&bad, NOW).await.unwrap();
    drop(vault);
    let store = RedbStore::open(dir.path().join("rows")).unwrap();
    let mut row = store.row(&bad.params.id()).unwrap().unwrap();
    row.sealed[40] ^= 1;
    store.apply(&[Change::Put(bad.params.id(), row)]).unwrap();
    drop(store);
    let vault = open(dir.path(), 1).unwrap();
    assert!(matches!(
        vault.fragment(&bad.params.id()),
        Err(StoreError::Damaged(_))
    ));
    assert_eq!(read(&vault, &good.params.id()).as_deref(), Some(SECRET));
}
