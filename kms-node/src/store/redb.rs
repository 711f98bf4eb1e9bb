//! A store in one redb database file.
//!
//! Every commit is two-phase and carries what a quick repair needs: strangers choose what is stored here, and a node
//! that was killed must be back at once.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use kms_crypto::id::PolicyId;
use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, TableDefinition, TableError};

use super::{Change, FragmentStore, Note, Row, Stones, StoreError, Tombstone};

const ROWS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("fragments/1");
const TOMBSTONES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("tombstones/1");
const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes/1");

const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Opens the database, or makes it.
type Opener = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

/// Rows in a file.
pub struct RedbStore {
    open: Opener,
    /// None only between the failure of one handle and the opening of the next.
    database: RwLock<Option<Database>>,
}

/// redb writes its magic number last of all when it makes a database, and syncs what stands behind it before.
const MAGIC_LEN: usize = 9;

/// A database that was being made when the power was cut holds nothing yet, and is made anew.
fn clear_unmade(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut first = [0; MAGIC_LEN];
    if file.metadata()?.len() > 0 && file.read_exact(&mut first).is_ok() && first == [0; MAGIC_LEN]
    {
        file.set_len(0)?;
    }
    Ok(())
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the database, or makes it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        Self::opened_by(Box::new(move || {
            clear_unmade(&path).map_err(|error| failed(redb::StorageError::Io(error)))?;
            builder().create(&path).map_err(failed)
        }))
    }

    /// A database on what stands in for a file.
    #[cfg(test)]
    pub(super) fn over<B: redb::StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Self::opened_by(Box::new(move || {
            let backend = backend();
            let mut first = [0; MAGIC_LEN];
            let is_begun = backend.len().is_ok_and(|len| len > 0);
            if is_begun && backend.read(0, &mut first).is_ok() && first == [0; MAGIC_LEN] {
                backend.set_len(0).unwrap_or_default();
            }
            builder().create_with_backend(backend).map_err(failed)
        }))
    }

    fn opened_by(open: Opener) -> Result<Self, StoreError> {
        let database = open()?;
        let store = Self {
            open,
            database: RwLock::new(Some(database)),
        };
        // The tables are made once, so that reading need not expect their absence.
        store.apply(&[])?;
        Ok(store)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database.read();
        read(database.as_ref().ok_or(StoreError::Closed)?).map_err(failed)
    }

    /// After a failed write the handle refuses everything; a new one works as soon as the disk does.
    fn reopen(&self) {
        let mut database = self.database.write();
        *database = None;
        match (self.open)() {
            Ok(opened) => *database = Some(opened),
            Err(error) => tracing::error!(%error, "the fragment store cannot be opened again"),
        }
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => StoreError::Io(error),
        error => StoreError::Database(Box::new(error)),
    }
}

fn commit(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    {
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
    }
    write.commit()?;
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
        let outcome = match self.database.read().as_ref() {
            Some(database) => commit(database, changes).map_err(failed),
            None => Err(StoreError::Io(io::Error::other("the database is not open"))),
        };
        if outcome.is_err() {
            self.reopen();
        }
        outcome
    }

    fn row(&self, policy: &PolicyId) -> Result<Option<Row>, StoreError> {
        let bytes = self.read(|database| {
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
        self.read(|database| {
            scan(database, ROWS, (None, usize::MAX), |bytes| {
                Row::from_bytes(bytes).map(Row::summary)
            })
        })
    }

    fn tombstone(&self, policy: &PolicyId) -> Result<Option<Tombstone>, StoreError> {
        let bytes = self.read(|database| {
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
        self.read(|database| scan(database, TOMBSTONES, (after, max), Tombstone::from_bytes))
    }

    fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|database| {
            let table = database.begin_read()?.open_table(NOTES)?;
            Ok(table.get(note.name())?.map(|value| value.value().to_vec()))
        })
    }
}
