//! Sealing, erasing and group commit, over any [`FragmentStore`] (NODE §3).
//!
//! Per record: `record key` = 32 random bytes; row = `seal_record(record key, ad = "kms/node-fragment/1" ‖ policy id)`;
//! slot = `wrap_key(kek, ad = ["kms/node-record-key/1", policy id])` with
//! `kek = HKDF(ikm = storage key, salt = none, info = "kms/node-kek/1")`.
//!
//! One thread writes. What arrives while it waits for the disk is committed together, so that many acknowledgements cost
//! one wait. The key of a new row is durable before the row; the key of a removed row is gone before the row.

mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use kms_crypto::aead::{open_record, seal_record, unwrap_key, wrap_key};
use kms_crypto::id::PolicyId;
use kms_crypto::kdf::{derive32, mac, mac_holds};
use kms_crypto::policy::PolicyParams;
use kms_ledger::machine;
use kms_proto::codec;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use self::writer::{ORDERS_TOGETHER, Order, Reason, removal_of};
use super::slots::WrappedKey;
use super::{Change, FragmentStore, Note, Row, Slots, Stones, StoreError, Tombstone};
use crate::keyfile::StorageKey;
use crate::rng;
use crate::work::blocking;

/// A fragment as the node uses it. The fragment itself is secret.
pub struct Fragment {
    /// What the policy's id follows from.
    pub params: PolicyParams,
    /// When the policy ends, Unix seconds.
    pub expiry: u64,
    /// Which of the policy's fragments this is.
    pub index: u8,
    /// The verified fragment's own encoding.
    pub frag: Zeroizing<Vec<u8>>,
    /// The fragment as its owner sent it: another node can verify that.
    pub given: Zeroizing<Vec<u8>>,
}

/// What tells two fragments of one policy apart: the index, and the fragment as its owner sent it.
type Identity = (u8, Zeroizing<Vec<u8>>);

impl Fragment {
    fn identity(&self) -> Identity {
        (self.index, self.given.clone())
    }
}

impl std::fmt::Debug for Fragment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fragment")
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// What became of a fragment that was to be stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stored {
    /// It is on the disk.
    Durable,
    /// The policy's fragment was removed earlier, and stays so.
    RemovedBefore(Tombstone),
    /// Another fragment of the policy is here, and stays.
    OtherKept,
}

/// How long the removal of a fragment is remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Memory {
    /// Until its policy is over.
    Long,
    /// As long as a message may be under way: for policies the ledger does not know. Anybody can make one, and have it
    /// stored and removed, as often as he likes.
    Short,
    /// Until 24 hours after this time, Unix seconds, though there may have been no fragment; for a year at most, since
    /// anybody can name a time.
    Until(u64),
    /// As [`Self::Long`], but there is no word to be given that the fragment is gone: another node has it.
    HandedOver,
}

/// What became of a fragment that was to be removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Removal {
    /// Whether there was one, now or before.
    pub held: bool,
    /// When it was erased, Unix seconds.
    pub at: u64,
}

/// A node's fragments.
#[derive(Debug)]
pub struct Vault {
    shared: Arc<Shared>,
    /// None in a simulation, which has no threads: everything is written at once.
    orders: Option<mpsc::Sender<Order>>,
    writer: Option<JoinHandle<()>>,
}

const ORDERS_WAITING: usize = 256;
/// How many removals are read, or forgotten, at once.
const STONES_TOGETHER: usize = 256;

impl Vault {
    /// Opens a store, finishing what was interrupted. Blocks on the disk.
    pub fn open(
        store: Box<dyn FragmentStore>,
        slots: Slots,
        storage_key: &StorageKey,
        now: u64,
    ) -> Result<Self, StoreError> {
        check_key(&*store, storage_key)?;
        let kek = derive32(storage_key.as_bytes(), "kms/node-kek/1", &[]);
        let shared = Shared {
            store,
            kek,
            slots: Mutex::new(slots),
            held: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
        };
        shared.tidy(now)?;
        let shared = Arc::new(shared);
        if machine::is_simulated() {
            return Ok(Self {
                shared,
                orders: None,
                writer: None,
            });
        }
        let (orders, inbox) = mpsc::channel(ORDERS_WAITING);
        let writer = thread::Builder::new().name("fragments".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.write_orders(inbox)
        })?;
        Ok(Self {
            shared,
            orders: Some(orders),
            writer: Some(writer),
        })
    }

    /// How many fragments there are.
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Whether the last change could not be made durable.
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Relaxed)
    }

    /// Whether nothing can be written any more: the writer has ended.
    pub fn is_closed(&self) -> bool {
        self.orders.as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    /// Whether there is a fragment of a policy. Blocks on the disk.
    pub fn holds(&self, policy: &PolicyId) -> bool {
        !matches!(self.shared.store.row(policy), Ok(None))
    }

    /// A fragment. Blocks on the disk.
    pub fn fragment(&self, policy: &PolicyId) -> Result<Option<Fragment>, StoreError> {
        self.shared.fragment(policy)
    }

    /// Whether and when a policy's fragment was removed. Blocks on the disk.
    pub fn removal(&self, policy: &PolicyId) -> Result<Option<Tombstone>, StoreError> {
        self.shared.store.tombstone(policy)
    }

    /// Every policy there is a fragment of, without the fragments. Blocks on the disk.
    pub fn rows(&self) -> Result<Vec<(PolicyId, Row)>, StoreError> {
        self.shared.store.rows()
    }

    /// Stores a fragment; one that is here already is sealed anew. It is durable when this returns.
    pub async fn put(&self, fragment: &Fragment, now: u64) -> Result<Stored, StoreError> {
        let (policy, key, row) = self.shared.seal(fragment, now);
        let identity = fragment.identity();
        self.order(|reply| Order::Put {
            policy,
            identity,
            key,
            row,
            reply,
        })
        .await
    }

    /// Removes a fragment. Its key is gone from the disk when this returns.
    pub async fn remove(
        &self,
        policy: PolicyId,
        now: u64,
        memory: Memory,
    ) -> Result<Removal, StoreError> {
        self.remove_as_asked(policy, now, memory, Vec::new()).await
    }

    /// The same at the owner's request, which is kept as long as the removal is remembered.
    pub async fn remove_as_asked(
        &self,
        policy: PolicyId,
        now: u64,
        memory: Memory,
        request: Vec<u8>,
    ) -> Result<Removal, StoreError> {
        let why = Reason { memory, request };
        self.order(|reply| Order::Remove {
            policy,
            now,
            why,
            reply,
        })
        .await
    }

    /// A few of the removals that are remembered: the next ones after `after`; none at the end. Blocks on the disk.
    pub fn removals_after(&self, after: Option<PolicyId>) -> Result<Stones, StoreError> {
        self.shared.store.tombstones(after, STONES_TOGETHER)
    }

    /// Forgets the removals whose time is over, a few at a time: strangers can make many.
    pub async fn forget_removals(&self, now: u64) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let shared = Arc::clone(&self.shared);
            let some = blocking(move || shared.store.tombstones(after, STONES_TOGETHER)).await;
            let some = some.map_err(|_| StoreError::Closed)??;
            let Some((last, _)) = some.last() else {
                return Ok(());
            };
            after = Some(*last);
            let over = some.into_iter().filter(|(_, stone)| stone.until < now);
            let policies: Vec<_> = over.map(|(policy, _)| policy).collect();
            if !policies.is_empty() {
                self.order(|reply| Order::Forget {
                    policies,
                    now,
                    reply,
                })
                .await?;
            }
        }
    }

    /// One of the store's own values. Blocks on the disk.
    pub fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.store.note(note)
    }

    /// Sets one of the store's own values.
    pub async fn set_note(&self, note: Note, value: Vec<u8>) -> Result<(), StoreError> {
        self.order(|reply| Order::Note { note, value, reply }).await
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Order,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        match &self.orders {
            Some(orders) => orders
                .send(order(reply))
                .await
                .map_err(|_| StoreError::Closed)?,
            None => self.shared.commit(vec![order(reply)]),
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        // The writer ends when the last order is done.
        drop(self.orders.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of fragments has failed");
        }
    }
}

fn check_key(store: &dyn FragmentStore, storage_key: &StorageKey) -> Result<(), StoreError> {
    const DOMAIN: &str = "kms/node-key-check/1";
    match store.note(Note::KeyCheck)? {
        Some(check) => {
            let holds = <&[u8; 32]>::try_from(check.as_slice())
                .is_ok_and(|check| mac_holds(storage_key.as_bytes(), DOMAIN, &[], check));
            if holds {
                Ok(())
            } else {
                Err(StoreError::Mismatch("it was made with another storage key"))
            }
        }
        None => store.apply(&[Change::Note(
            Note::KeyCheck,
            mac(storage_key.as_bytes(), DOMAIN, &[]).to_vec(),
        )]),
    }
}

/// The plaintext of a row.
#[derive(Deserialize, Serialize)]
struct Plain {
    params: PolicyParams,
    expiry: u64,
    index: u8,
    #[serde(with = "serde_bytes")]
    frag: Vec<u8>,
    #[serde(with = "serde_bytes")]
    given: Vec<u8>,
}

impl Drop for Plain {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.frag);
        zeroize::Zeroize::zeroize(&mut self.given);
    }
}

fn row_ad(policy: &PolicyId) -> Vec<u8> {
    [b"kms/node-fragment/1", policy.as_bytes().as_slice()].concat()
}

fn key_ad(policy: &PolicyId) -> [&[u8]; 2] {
    [b"kms/node-record-key/1", policy.as_bytes().as_slice()]
}

struct Shared {
    store: Box<dyn FragmentStore>,
    kek: Zeroizing<[u8; 32]>,
    slots: Mutex<Slots>,
    held: AtomicU64,
    has_failed: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Drops rows without a key (interrupted removals) and keys without a row (interrupted stores).
    fn tidy(&self, now: u64) -> Result<(), StoreError> {
        let rows = self.store.rows()?;
        let mut slots = self.slots.lock();
        let lost_file = slots.is_new() && !rows.is_empty();
        let (keyed, keyless): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|(_, row)| slots.key(row.slot).is_some());
        // A row comes after its slot, and a slot that was erased is still a slot: no interruption leaves rows without
        // any slots, or more keyless rows than one commit has. The file of record keys itself is missing.
        if lost_file || (keyed.is_empty() && keyless.len() > ORDERS_TOGETHER) {
            return Err(StoreError::Mismatch("its record keys are missing"));
        }
        let removed: Vec<_> = keyless
            .iter()
            .map(|(policy, row)| removal_of(*policy, Some(row), None, now, Reason::unasked()).0)
            .collect();
        if !removed.is_empty() {
            tracing::info!(
                count = removed.len(),
                "removals that were interrupted are finished"
            );
            self.store.apply(&removed)?;
        }
        let used: BTreeSet<u64> = keyed.iter().map(|(_, row)| row.slot).collect();
        slots.erase_unused(&used)?;
        self.held.store(
            u64::try_from(keyed.len()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        Ok(())
    }

    fn seal(&self, fragment: &Fragment, now: u64) -> (PolicyId, WrappedKey, Row) {
        let policy = fragment.params.id();
        let mut key = Zeroizing::new([0; 32]);
        rand_core::Rng::fill_bytes(&mut rng(), key.as_mut());
        let plain = Plain {
            params: fragment.params,
            expiry: fragment.expiry,
            index: fragment.index,
            frag: fragment.frag.to_vec(),
            given: fragment.given.to_vec(),
        };
        let plain = Zeroizing::new(codec::encode(&plain));
        let sealed = seal_record(&key, &row_ad(&policy), &plain, &mut rng());
        let row = Row {
            slot: u64::MAX,
            stored_at: now,
            expiry: fragment.expiry,
            sealed,
        };
        (policy, wrap_key(&self.kek, &key_ad(&policy), &key), row)
    }

    /// Whether a slot holds the key of this policy's row. After a failure a row may name a slot that has gone to
    /// another one since.
    fn owns(&self, slots: &Slots, policy: &PolicyId, slot: u64) -> bool {
        slots
            .key(slot)
            .is_some_and(|key| unwrap_key(&self.kek, &key_ad(policy), &key).is_ok())
    }

    fn fragment(&self, policy: &PolicyId) -> Result<Option<Fragment>, StoreError> {
        let Some(mut row) = self.store.row(policy)? else {
            return Ok(None);
        };
        loop {
            if let Some(fragment) = self.open(policy, &row) {
                return Ok(Some(fragment));
            }
            // The row may have been replaced or removed between the two reads.
            match self.store.row(policy)? {
                None => return Ok(None),
                Some(again) if again != row => row = again,
                // Without a key it is being removed, or its removal failed half-way: gone either way.
                Some(row) if self.slots.lock().key(row.slot).is_none() => return Ok(None),
                Some(_) => return Err(StoreError::Damaged(*policy)),
            }
        }
    }

    fn open(&self, policy: &PolicyId, row: &Row) -> Option<Fragment> {
        let wrapped = self.slots.lock().key(row.slot)?;
        let key = unwrap_key(&self.kek, &key_ad(policy), &wrapped).ok()?;
        let plain = open_record(&key, &row_ad(policy), &row.sealed).ok()?;
        let mut plain: Plain = codec::decode(&plain, plain.len()).ok()?;
        let frag = Zeroizing::new(std::mem::take(&mut plain.frag));
        let given = Zeroizing::new(std::mem::take(&mut plain.given));
        Some(Fragment {
            params: plain.params,
            expiry: plain.expiry,
            index: plain.index,
            frag,
            given,
        })
    }
}
