//! Where audit entries are kept: one redb database, or memory (NODE §4).

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use kms_crypto::id::PolicyId;
use parking_lot::Mutex;
use redb::{ReadableDatabase, TableDefinition, WriteTransaction};

use crate::store::StoreError;
use crate::store::database::Handle;

/// Policy id ‖ number of the entry u64 → hash before the entry 32 ‖ entry.
const ENTRIES: TableDefinition<'_, &[u8; 40], &[u8]> = TableDefinition::new("entries/1");
/// Policy id → chain.
const CHAINS: TableDefinition<'_, &[u8; 32], &[u8; CHAIN_BYTES]> = TableDefinition::new("chains/1");
/// `entries` → how many there are.
const SUMS: TableDefinition<'_, &str, u64> = TableDefinition::new("sums/1");
const SUM: &str = "entries";

const CHAIN_BYTES: usize = 56;

/// The entries of one policy, as a whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Chain {
    /// The number of the oldest one that is kept.
    pub(super) first: u64,
    /// How many there were in all.
    pub(super) total: u64,
    /// When the latest one was made.
    pub(super) last_at: u64,
    /// The hash after the latest one.
    pub(super) hash: [u8; 32],
}

impl Chain {
    pub(super) const fn kept(&self) -> u64 {
        self.total.saturating_sub(self.first)
    }

    fn to_bytes(self) -> [u8; CHAIN_BYTES] {
        let mut out = [0; CHAIN_BYTES];
        for (place, number) in out
            .chunks_exact_mut(8)
            .zip([self.first, self.total, self.last_at])
        {
            place.copy_from_slice(&number.to_be_bytes());
        }
        out[24..].copy_from_slice(&self.hash);
        out
    }

    fn from_bytes(bytes: &[u8; CHAIN_BYTES]) -> Self {
        let (numbers, hash) = bytes.split_at(24);
        let (numbers, _) = numbers.as_chunks::<8>();
        let number = |at: usize| numbers.get(at).map_or(0, |it| u64::from_be_bytes(*it));
        let mut chain = Self {
            first: number(0),
            total: number(1),
            last_at: number(2),
            ..Self::default()
        };
        chain.hash.copy_from_slice(hash);
        chain
    }
}

/// One change among those that are made durable together, in order.
#[derive(Debug)]
pub(super) enum Change {
    /// Adds an entry, with the hash before it.
    Add(PolicyId, u64, Vec<u8>),
    /// Sets what is said of a chain.
    Set(PolicyId, Chain),
    /// Drops these entries.
    Cut(PolicyId, Range<u64>),
    /// Drops a chain, whose entries are gone.
    Forget(PolicyId),
}

/// Keeps entries. Every method may block on a disk.
pub(super) trait Shelf: Send + Sync {
    /// Makes all changes, or none; `sum` entries are there then. They are durable when this returns.
    fn apply(&self, changes: &[Change], sum: u64) -> Result<(), StoreError>;
    /// One chain.
    fn chain(&self, policy: &PolicyId) -> Result<Option<Chain>, StoreError>;
    /// At most `max` chains, in the order of their policies, from the first one after `after` on.
    fn chains(
        &self,
        after: Option<PolicyId>,
        max: usize,
    ) -> Result<Vec<(PolicyId, Chain)>, StoreError>;
    /// Some entries, each with the hash before it.
    fn entries(&self, policy: &PolicyId, which: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError>;
    /// How many entries there are.
    fn sum(&self) -> Result<u64, StoreError>;
}

fn after_excluded<T>(after: Option<T>) -> Bound<T> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

/// Entries in a database.
pub(super) struct Database(pub(super) Handle);

impl Database {
    /// The tables are made once, so that reading need not expect their absence.
    pub(super) fn on(handle: Handle) -> Result<Self, StoreError> {
        handle.write(|write| {
            write.open_table(ENTRIES)?;
            write.open_table(CHAINS)?;
            write.open_table(SUMS)?;
            Ok(())
        })?;
        Ok(Self(handle))
    }
}

fn key(policy: &PolicyId, number: u64) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(policy.as_bytes());
    key[32..].copy_from_slice(&number.to_be_bytes());
    key
}

fn make(write: &WriteTransaction, changes: &[Change], sum: u64) -> Result<(), redb::Error> {
    let mut entries = write.open_table(ENTRIES)?;
    let mut chains = write.open_table(CHAINS)?;
    for change in changes {
        match change {
            Change::Add(policy, number, entry) => {
                drop(entries.insert(&key(policy, *number), entry.as_slice())?);
            }
            Change::Set(policy, chain) => {
                drop(chains.insert(policy.as_bytes(), &chain.to_bytes())?)
            }
            Change::Cut(policy, which) => {
                for number in which.clone() {
                    entries.remove(&key(policy, number))?;
                }
            }
            Change::Forget(policy) => drop(chains.remove(policy.as_bytes())?),
        }
    }
    write.open_table(SUMS)?.insert(SUM, sum)?;
    Ok(())
}

impl Shelf for Database {
    fn apply(&self, changes: &[Change], sum: u64) -> Result<(), StoreError> {
        self.0.write(|write| make(write, changes, sum))
    }

    fn chain(&self, policy: &PolicyId) -> Result<Option<Chain>, StoreError> {
        self.0.read(|database| {
            let chains = database.begin_read()?.open_table(CHAINS)?;
            let found = chains.get(policy.as_bytes())?;
            Ok(found.map(|it| Chain::from_bytes(it.value())))
        })
    }

    fn chains(
        &self,
        after: Option<PolicyId>,
        max: usize,
    ) -> Result<Vec<(PolicyId, Chain)>, StoreError> {
        self.0.read(|database| {
            let chains = database.begin_read()?.open_table(CHAINS)?;
            let from = after_excluded(after.as_ref().map(PolicyId::as_bytes));
            let mut found = Vec::new();
            for row in chains
                .range::<&[u8; 32]>((from, Bound::Unbounded))?
                .take(max)
            {
                let (policy, chain) = row?;
                found.push((PolicyId(*policy.value()), Chain::from_bytes(chain.value())));
            }
            Ok(found)
        })
    }

    fn entries(&self, policy: &PolicyId, which: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        self.0.read(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let mut found = Vec::new();
            if which.is_empty() {
                return Ok(found);
            }
            let (from, to) = (key(policy, which.start), key(policy, which.end));
            for row in entries.range::<&[u8; 40]>(&from..&to)? {
                found.push(row?.1.value().to_vec());
            }
            Ok(found)
        })
    }

    fn sum(&self) -> Result<u64, StoreError> {
        self.0.read(|database| {
            let sums = database.begin_read()?.open_table(SUMS)?;
            Ok(sums.get(SUM)?.map_or(0, |sum| sum.value()))
        })
    }
}

/// Entries that end with the process.
#[derive(Default)]
pub(super) struct Memory(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: BTreeMap<(PolicyId, u64), Vec<u8>>,
    chains: BTreeMap<PolicyId, Chain>,
}

impl Shelf for Memory {
    fn apply(&self, changes: &[Change], _: u64) -> Result<(), StoreError> {
        let mut kept = self.0.lock();
        for change in changes {
            match change {
                Change::Add(policy, number, entry) => {
                    drop(kept.entries.insert((*policy, *number), entry.clone()));
                }
                Change::Set(policy, chain) => drop(kept.chains.insert(*policy, *chain)),
                Change::Cut(policy, which) => {
                    for number in which.clone() {
                        kept.entries.remove(&(*policy, number));
                    }
                }
                Change::Forget(policy) => drop(kept.chains.remove(policy)),
            }
        }
        Ok(())
    }

    fn chain(&self, policy: &PolicyId) -> Result<Option<Chain>, StoreError> {
        Ok(self.0.lock().chains.get(policy).copied())
    }

    fn chains(
        &self,
        after: Option<PolicyId>,
        max: usize,
    ) -> Result<Vec<(PolicyId, Chain)>, StoreError> {
        let kept = self.0.lock();
        let some = kept.chains.range((after_excluded(after), Bound::Unbounded));
        Ok(some
            .take(max)
            .map(|(policy, chain)| (*policy, *chain))
            .collect())
    }

    fn entries(&self, policy: &PolicyId, which: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        let kept = self.0.lock();
        let some = which.filter_map(|number| kept.entries.get(&(*policy, number)));
        Ok(some.cloned().collect())
    }

    fn sum(&self) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.0.lock().entries.len()).unwrap_or(u64::MAX))
    }
}
