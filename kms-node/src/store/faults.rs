//! What a vault does when its database fails under it: nothing acknowledged is lost, nobody else pays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kms_crypto::key::{DelegatingKey, IdentitySecret, LedgerKey};
use kms_crypto::policy::PolicyParams;
use zeroize::Zeroizing;

use super::*;
use crate::keyfile::StorageKey;
use crate::rng;

const NOW: u64 = 1_000_000;

/// Rows in memory whose changes can be made to fail, before or after they were made.
#[derive(Clone, Default)]
pub(crate) struct Faulty(pub(crate) Arc<Faults>);

#[derive(Default)]
pub(crate) struct Faults {
    rows: MemoryStore,
    pub(crate) fails: AtomicBool,
    /// The thread that writes does not survive.
    pub(crate) panics: AtomicBool,
    fails_afterwards: AtomicBool,
    damaged: parking_lot::Mutex<Option<PolicyId>>,
}

fn failure() -> StoreError {
    StoreError::Io(std::io::Error::other("as the test wants it"))
}

impl FragmentStore for Faulty {
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        assert!(
            !self.0.panics.load(Ordering::SeqCst),
            "as the test wants it"
        );
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(failure());
        }
        self.0.rows.apply(changes)?;
        if self.0.fails_afterwards.load(Ordering::SeqCst) {
            return Err(failure());
        }
        Ok(())
    }

    fn row(&self, policy: &PolicyId) -> Result<Option<Row>, StoreError> {
        if *self.0.damaged.lock() == Some(*policy) {
            return Err(StoreError::Damaged(*policy));
        }
        self.0.rows.row(policy)
    }

    fn rows(&self) -> Result<Vec<(PolicyId, Row)>, StoreError> {
        self.0.rows.rows()
    }

    fn tombstone(&self, policy: &PolicyId) -> Result<Option<Tombstone>, StoreError> {
        self.0.rows.tombstone(policy)
    }

    fn tombstones(&self, after: Option<PolicyId>, max: usize) -> Result<Stones, StoreError> {
        self.0.rows.tombstones(after, max)
    }

    fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.rows.note(note)
    }
}

fn vault(store: &Faulty) -> Vault {
    let key = StorageKey::from_bytes(&[1; 32]);
    Vault::open(Box::new(store.clone()), Slots::in_memory(), &key, NOW).unwrap()
}

fn fragment(bytes: &[u8]) -> Fragment {
    let params = PolicyParams::new(
        LedgerKey::generate(&mut rng()).public(),
        DelegatingKey::generate(&mut rng()).public(),
        IdentitySecret::generate(&mut rng()).public(),
        [5; 32],
    );
    Fragment {
        params,
        expiry: NOW + 100,
        index: 0,
        frag: Zeroizing::new(bytes.to_vec()),
        given: Zeroizing::new(b"as it was sent".to_vec()),
    }
}

fn read(vault: &Vault, fragment: &Fragment) -> Option<Vec<u8>> {
    let found = vault.fragment(&fragment.params.id()).unwrap();
    found.map(|found| found.frag.to_vec())
}

#[tokio::test]
async fn a_removal_that_failed_and_is_repeated_harms_no_fragment_stored_in_between() {
    let store = Faulty::default();
    let vault = vault(&store);
    let (leaving, staying) = (fragment(b"leaves"), fragment(b"stays"));
    vault.put(&leaving, NOW).await.unwrap();
    store.0.fails.store(true, Ordering::SeqCst);
    assert!(
        vault
            .remove(leaving.params.id(), NOW, Memory::Long)
            .await
            .is_err()
    );
    store.0.fails.store(false, Ordering::SeqCst);
    assert_eq!(read(&vault, &leaving), None, "its key is gone all the same");
    // The key of the second one must not get a place that a row on the disk still names.
    vault.put(&staying, NOW).await.unwrap();
    assert!(
        vault
            .remove(leaving.params.id(), NOW, Memory::Long)
            .await
            .unwrap()
            .held
    );
    assert_eq!(read(&vault, &staying).as_deref(), Some(&b"stays"[..]));
    assert_eq!(vault.held(), 1);
}

#[tokio::test]
async fn a_replacement_that_failed_leaves_the_fragment_that_was_acknowledged() {
    let store = Faulty::default();
    let vault = vault(&store);
    let mut kept = fragment(b"first");
    vault.put(&kept, NOW).await.unwrap();
    kept.frag = Zeroizing::new(b"second".to_vec());
    store.0.fails.store(true, Ordering::SeqCst);
    assert!(vault.put(&kept, NOW).await.is_err());
    store.0.fails.store(false, Ordering::SeqCst);
    assert_eq!(read(&vault, &kept).as_deref(), Some(&b"first"[..]));
}

#[tokio::test]
async fn a_change_that_was_made_before_it_was_said_to_have_failed_leaves_a_whole_fragment() {
    let store = Faulty::default();
    let vault = vault(&store);
    let mut kept = fragment(b"first");
    vault.put(&kept, NOW).await.unwrap();
    kept.frag = Zeroizing::new(b"second".to_vec());
    store.0.fails_afterwards.store(true, Ordering::SeqCst);
    assert!(vault.put(&kept, NOW).await.is_err());
    assert!(vault.put(&fragment(b"new"), NOW).await.is_err());
    store.0.fails_afterwards.store(false, Ordering::SeqCst);
    assert_eq!(read(&vault, &kept).as_deref(), Some(&b"second"[..]));
    assert_eq!(vault.held(), 2, "what is there is counted");
}

#[tokio::test]
async fn an_unreadable_row_fails_its_own_order_alone() {
    let store = Faulty::default();
    let vault = vault(&store);
    let (bad, good) = (fragment(b"bad"), fragment(b"good"));
    vault.put(&bad, NOW).await.unwrap();
    *store.0.damaged.lock() = Some(bad.params.id());
    // Ordered in one go, so that they may share a commit.
    let (removed, stored) = futures::join!(
        vault.remove(bad.params.id(), NOW, Memory::Long),
        vault.put(&good, NOW)
    );
    assert!(matches!(removed, Err(StoreError::Damaged(_))));
    assert_eq!(stored.unwrap(), Stored::Durable);
    assert_eq!(read(&vault, &good).as_deref(), Some(&b"good"[..]));
}
