//! A store that ends with the process, for tests.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use kms_crypto::id::PolicyId;
use parking_lot::Mutex;

use super::{Change, FragmentStore, Note, Row, Stones, StoreError, Tombstone};

/// Rows in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    rows: HashMap<PolicyId, Row>,
    tombstones: BTreeMap<PolicyId, Tombstone>,
    notes: HashMap<Note, Vec<u8>>,
}

impl FragmentStore for MemoryStore {
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut tables = self.tables.lock();
        for change in changes.iter().cloned() {
            match change {
                Change::Put(policy, row) => drop(tables.rows.insert(policy, row)),
                Change::Remove(policy, tombstone) => {
                    tables.rows.remove(&policy);
                    tables.tombstones.insert(policy, tombstone);
                }
                Change::Forget(policy) => drop(tables.tombstones.remove(&policy)),
                Change::Note(note, value) => drop(tables.notes.insert(note, value)),
            }
        }
        Ok(())
    }

    fn row(&self, policy: &PolicyId) -> Result<Option<Row>, StoreError> {
        Ok(self.tables.lock().rows.get(policy).cloned())
    }

    fn rows(&self) -> Result<Vec<(PolicyId, Row)>, StoreError> {
        Ok(self
            .tables
            .lock()
            .rows
            .iter()
            .map(|(policy, row)| (*policy, row.clone().summary()))
            .collect())
    }

    fn tombstone(&self, policy: &PolicyId) -> Result<Option<Tombstone>, StoreError> {
        Ok(self.tables.lock().tombstones.get(policy).cloned())
    }

    fn tombstones(&self, after: Option<PolicyId>, max: usize) -> Result<Stones, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tables = self.tables.lock();
        let stones = tables.tombstones.range((from, Bound::Unbounded));
        let stones = stones.map(|(policy, stone)| (*policy, stone.clone()));
        Ok(stones.take(max).collect())
    }

    fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tables.lock().notes.get(&note).cloned())
    }
}
