//! A redb database that goes on when its disk has failed and works again.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use redb::{Database, WriteTransaction};

use super::StoreError;

/// Opens the database, or makes it.
type Opener = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

/// The database. Every commit is two-phase and carries what a quick repair needs: strangers choose what is stored, and a
/// node that was killed must be back at once.
pub(crate) struct Handle {
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

impl Handle {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: PathBuf, cache_bytes: usize) -> Result<Self, StoreError> {
        Self::opened_by(Box::new(move || {
            clear_unmade(&path).map_err(StoreError::Io)?;
            builder(cache_bytes).create(&path).map_err(failed)
        }))
    }

    /// A database on what stands in for a file.
    #[cfg(test)]
    pub(crate) fn over<B: redb::StorageBackend>(
        cache_bytes: usize,
        backend: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Self::opened_by(Box::new(move || {
            let backend = backend();
            let mut first = [0; MAGIC_LEN];
            let is_begun = backend.len().is_ok_and(|len| len > 0);
            if is_begun && backend.read(0, &mut first).is_ok() && first == [0; MAGIC_LEN] {
                backend.set_len(0).unwrap_or_default();
            }
            builder(cache_bytes)
                .create_with_backend(backend)
                .map_err(failed)
        }))
    }

    fn opened_by(open: Opener) -> Result<Self, StoreError> {
        let database = open()?;
        Ok(Self {
            open,
            database: RwLock::new(Some(database)),
        })
    }

    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database.read();
        read(database.as_ref().ok_or(StoreError::Closed)?).map_err(failed)
    }

    /// Makes changes; they are durable when this returns.
    pub(crate) fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let outcome = match self.database.read().as_ref() {
            Some(database) => commit(database, change).map_err(failed),
            None => Err(StoreError::Io(io::Error::other("the database is not open"))),
        };
        if outcome.is_err() {
            self.reopen();
        }
        outcome
    }

    /// After a failed write the handle refuses everything; a new one works as soon as the disk does.
    fn reopen(&self) {
        let mut database = self.database.write();
        *database = None;
        match (self.open)() {
            Ok(opened) => *database = Some(opened),
            Err(error) => tracing::error!(%error, "a database cannot be opened again"),
        }
    }
}

fn commit<T>(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    let changed = change(&write)?;
    write.commit()?;
    Ok(changed)
}

fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => StoreError::Io(error),
        error => StoreError::Database(Box::new(error)),
    }
}
