//! A store in one redb database file.

use std::ops::Bound;
use std::path::PathBuf;

use kms_crypto::id::PolicyId;
use redb::{Database, ReadableDatabase, TableDefinition, TableError, WriteTransaction};

use super::database::Handle;
use super::{Change, FragmentStore, Note, Row, Stones, StoreError, Tombstone};

const ROWS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("fragments/1");
const TOMBSTONES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("tombstones/1");
const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes/1");

const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Rows in a file.
pub struct RedbStore(Handle);

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the database, or makes it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::on(Handle::open(path.into(), CACHE_BYTES)?)
    }

    /// A database on what stands in for a file.
    #[cfg(test)]
    pub(super) fn over<B: redb::StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Self::on(Handle::over(CACHE_BYTES, backend)?)
    }

    fn on(database: Handle) -> Result<Self, StoreError> {
        let store = Self(database);
        // The tables are made once, so that reading need not expect their absence.
        store.apply(&[])?;
        Ok(store)
    }
}

fn make(write: &WriteTransaction, changes: &[Change]) -> Result<(), redb::Error> {
    let mut rows = write.open_table(ROWS)?;
    let mut tombstones = write.open_table(TOMBSTONES)?;
    let mut notes = write.open_table(NOTES)?;
    for change in changes {
        match change {
            Change::Put(policy, row) => {
                drop(rows.insert(policy.as_bytes(), row.to_bytes().as_slice())?)
            }
            Change::Remove(policy, tombstone) => {
                rows.remove(policy.as_bytes())?;
                tombstones.insert(policy.as_bytes(), tombstone.to_bytes().as_slice())?;
            }
            Change::Forget(policy) => drop(tombstones.remove(policy.as_bytes())?),
            Change::Note(note, value) => drop(notes.insert(note.name(), value.as_slice())?),
        }
    }
    Ok(())
}

fn scan<T>(
    database: &Database,
    table: TableDefinition<'static, &'static [u8; 32], &'static [u8]>,
    (after, max): (Option<PolicyId>, usize),
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<(PolicyId, T)>, redb::Error> {
    let table = match database.begin_read()?.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let from = after.as_ref().map(PolicyId::as_bytes);
    let from = from.map_or(Bound::Unbounded, Bound::Excluded);
    let mut found = Vec::new();
    for entry in table.range::<&[u8; 32]>((from, Bound::Unbounded))? {
        if found.len() >= max {
            break;
        }
        let (key, value) = entry?;
        let policy = PolicyId(*key.value());
        match parse(value.value()) {
            Some(value) => found.push((policy, value)),
            None => tracing::error!(?policy, "a record does not parse and is left alone"),
        }
    }
    Ok(found)
}

impl FragmentStore for RedbStore {
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.0.write(|write| make(write, changes))
    }

    fn row(&self, policy: &PolicyId) -> Result<Option<Row>, StoreError> {
        let bytes = self.0.read(|database| {
            let table = database.begin_read()?.open_table(ROWS)?;
            Ok(table
                .get(policy.as_bytes())?
                .map(|value| value.value().to_vec()))
        })?;
        bytes
            .map(|bytes| Row::from_bytes(&bytes).ok_or(StoreError::Damaged(*policy)))
            .transpose()
    }

    fn rows(&self) -> Result<Vec<(PolicyId, Row)>, StoreError> {
        self.0.read(|database| {
            scan(database, ROWS, (None, usize::MAX), |bytes| {
                Row::from_bytes(bytes).map(Row::summary)
            })
        })
    }

    fn tombstone(&self, policy: &PolicyId) -> Result<Option<Tombstone>, StoreError> {
        let bytes = self.0.read(|database| {
            let table = database.begin_read()?.open_table(TOMBSTONES)?;
            Ok(table
                .get(policy.as_bytes())?
                .map(|value| value.value().to_vec()))
        })?;
        bytes
            .map(|bytes| Tombstone::from_bytes(&bytes).ok_or(StoreError::Damaged(*policy)))
            .transpose()
    }

    fn tombstones(&self, after: Option<PolicyId>, max: usize) -> Result<Stones, StoreError> {
        self.0
            .read(|database| scan(database, TOMBSTONES, (after, max), Tombstone::from_bytes))
    }

    fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.read(|database| {
            let table = database.begin_read()?.open_table(NOTES)?;
            Ok(table.get(note.name())?.map(|value| value.value().to_vec()))
        })
    }
}
