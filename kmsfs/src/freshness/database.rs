//! The rows on disk: a redb database, made when there is something to write.
//!
//! Whatever goes wrong with it, the memory is begun anew and the store can be used (FRESHNESS F5). A damaged database
//! may make redb panic; that is caught here and nowhere else.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parking_lot::{RwLock, RwLockUpgradableReadGuard};
use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition,
};

use super::rows::{Entry, Id, Object, Rows};

const OBJECTS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("objects/2");
const ENTRIES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("entries/1");
const DIRS: TableDefinition<'_, &[u8; 16], u32> = TableDefinition::new("dirs/1");
const GRAVES: TableDefinition<'_, u64, &[u8; 16]> = TableDefinition::new("graves/1");
const CONFIG: TableDefinition<'_, u64, &[u8; 32]> = TableDefinition::new("config/1");
const NOTES: TableDefinition<'_, &str, u32> = TableDefinition::new("notes/1");

const NAME: &str = "seen.redb";
const DAMAGED: &str = "seen.damaged";
const AGE: &str = "age";
/// What the database may take of memory.
const CACHE_BYTES: usize = 4 << 20;
/// How many objects that are gone are remembered.
const GRAVES_MAX: u64 = 1 << 18;

/// The way to the database.
#[derive(Debug)]
pub(super) struct Link {
    /// `None`: nothing is kept.
    path: Option<PathBuf>,
    open: RwLock<Option<Open>>,
}

struct Open {
    database: Database,
    tables: Tables,
}

struct Tables {
    objects: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    entries: ReadOnlyTable<&'static [u8; 32], &'static [u8]>,
    dirs: ReadOnlyTable<&'static [u8; 16], u32>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

type Result<T, E = redb::Error> = std::result::Result<T, E>;

impl Link {
    /// Nothing is kept.
    pub(super) fn none() -> Self {
        Self {
            path: None,
            open: RwLock::new(None),
        }
    }

    /// Opens the database in `dir`, if there is one, and says its age.
    pub(super) fn open(dir: &Path) -> (Self, u32) {
        let path = dir.join(NAME);
        let link = |path, open| Self {
            path,
            open: RwLock::new(open),
        };
        if !path.exists() {
            return (link(Some(path), None), 1);
        }
        let opened = guarded(|| {
            let open = Open::at(&path)?;
            let age = open.check()?;
            Ok((open, age))
        });
        match opened {
            Ok((open, age)) => (link(Some(path), Some(open)), age),
            Err(redb::Error::DatabaseAlreadyOpen) => {
                tracing::debug!("another mount keeps what was seen of this store");
                (link(None, None), 1)
            }
            Err(error) => {
                tracing::warn!(%error, "what was seen of this store cannot be read; it is begun anew");
                set_aside(&path);
                (link(Some(path), None), 1)
            }
        }
    }

    pub(super) fn remove(dir: &Path) {
        let _ = std::fs::remove_file(dir.join(NAME));
    }

    pub(super) const fn is_kept(&self) -> bool {
        self.path.is_some()
    }

    pub(super) fn object(&self, id: &Id) -> Option<Object> {
        self.read(|open| {
            let Some(row) = open.tables.objects.get(id)? else {
                return Ok(None);
            };
            whole(Object::from_bytes(id, row.value())).map(Some)
        })?
    }

    pub(super) fn entry(&self, (dir, tag): &(Id, Id)) -> Option<Entry> {
        self.read(|open| {
            let key = key(dir, tag);
            let Some(row) = open.tables.entries.get(&key)? else {
                return Ok(None);
            };
            whole(Entry::from_bytes(&key, row.value())).map(Some)
        })?
    }

    /// All entries of a directory, by their tags.
    pub(super) fn entries(&self, dir: &Id) -> BTreeMap<Id, Entry> {
        let all = self.read(|open| {
            let mut all = BTreeMap::new();
            let (first, last) = (key(dir, &[0; 16]), key(dir, &[0xff; 16]));
            for row in open.tables.entries.range::<&[u8; 32]>(&first..=&last)? {
                let (key, value) = row?;
                let entry = whole(Entry::from_bytes(key.value(), value.value()))?;
                if let Some(tag) = key.value().last_chunk::<16>() {
                    all.insert(*tag, entry);
                }
            }
            Ok(all)
        });
        all.unwrap_or_default()
    }

    pub(super) fn dir_age(&self, dir: &Id) -> Option<u32> {
        self.read(|open| Ok(open.tables.dirs.get(dir)?.map(|age| age.value())))?
    }

    /// The configurations seen, the latest one last.
    pub(super) fn configs(&self) -> Vec<[u8; 32]> {
        let all = self.read(|open| {
            let table = open.database.begin_read()?.open_table(CONFIG)?;
            let rows = table.iter()?;
            rows.map(|row| Ok(*row?.1.value())).collect()
        });
        all.unwrap_or_default()
    }

    /// Writes rows, durably. Says whether they were.
    pub(super) fn write(&self, rows: &Rows) -> bool {
        let Some(path) = &self.path else { return true };
        let written = guarded(|| {
            if self.open.read().is_none() {
                *self.open.write() = Some(Open::at(path)?);
            }
            let open = self.open.upgradable_read();
            let Some(it) = &*open else {
                return Err(redb::Error::PreviousIo);
            };
            it.write(rows)?;
            // Readers go on with the old rows until here: the new ones are in memory as well.
            let tables = Tables::of(&it.database)?;
            if let Some(it) = &mut *RwLockUpgradableReadGuard::upgrade(open) {
                it.tables = tables;
            }
            Ok(())
        });
        if let Err(error) = &written {
            self.failed(error);
        }
        written.is_ok()
    }

    fn read<T>(&self, look: impl FnOnce(&Open) -> Result<T>) -> Option<T> {
        let error = {
            let open = self.open.read();
            let open = open.as_ref()?;
            match guarded(|| look(open)) {
                Ok(found) => return Some(found),
                Err(error) => error,
            }
        };
        self.failed(&error);
        None
    }

    /// What fails for want of a disk is tried again; what is damaged is begun anew.
    fn failed(&self, error: &redb::Error) {
        let had = self.open.write().take();
        let is_disk = matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo);
        if is_disk || had.is_none() {
            tracing::warn!(%error, "what was seen of this store could not be kept; it is tried again");
            return;
        }
        tracing::warn!(%error, "what was seen of this store cannot be read any more; it is begun anew");
        drop(had);
        if let Some(path) = &self.path {
            set_aside(path);
        }
    }
}

impl Open {
    /// Opens the database, or makes it.
    fn at(path: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        if let Some(dir) = path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(dir)?;
        }
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)?;
        // The tables are made once, so that reading need not expect their absence.
        let write = database.begin_write()?;
        {
            write.open_table(OBJECTS)?;
            write.open_table(ENTRIES)?;
            write.open_table(DIRS)?;
            write.open_table(GRAVES)?;
            write.open_table(CONFIG)?;
            write.open_table(NOTES)?;
        }
        write.commit()?;
        let tables = Tables::of(&database)?;
        Ok(Self { database, tables })
    }

    /// Looks at every table, and says the age.
    fn check(&self) -> Result<u32> {
        self.tables.objects.first()?;
        self.tables.entries.first()?;
        self.tables.dirs.first()?;
        let notes = self.database.begin_read()?.open_table(NOTES)?;
        Ok(notes.get(AGE)?.map_or(1, |age| age.value()))
    }

    fn write(&self, rows: &Rows) -> Result<()> {
        let mut write = self.database.begin_write()?;
        // Whoever is killed while writing must not wait for a repair at the next mount.
        write.set_quick_repair(true);
        {
            let mut objects = write.open_table(OBJECTS)?;
            for (id, object) in &rows.objects {
                objects.insert(id, &*object.to_bytes(id))?;
            }
            let mut entries = write.open_table(ENTRIES)?;
            for ((dir, tag), entry) in &rows.entries {
                let key = key(dir, tag);
                match entry {
                    Some(entry) => entries.insert(&key, &*entry.to_bytes(&key))?,
                    None => entries.remove(&key)?,
                };
            }
            let mut dirs = write.open_table(DIRS)?;
            for (dir, age) in &rows.dirs {
                dirs.insert(dir, age)?;
            }
            let mut config = write.open_table(CONFIG)?;
            let mut number = config.last()?.map_or(0, |(number, _)| number.value());
            for digest in &rows.configs {
                number += 1;
                config.insert(number, digest)?;
            }
            let mut graves = write.open_table(GRAVES)?;
            let mut number = graves.last()?.map_or(0, |(number, _)| number.value());
            for id in &rows.graves {
                number += 1;
                graves.insert(number, id)?;
            }
            while graves.len()? > GRAVES_MAX {
                let Some((_, id)) = graves.pop_first()? else {
                    break;
                };
                let id = *id.value();
                let is_gone = objects
                    .get(&id)?
                    .and_then(|row| Object::from_bytes(&id, row.value()))
                    .is_some_and(|object| object.gone);
                if is_gone {
                    objects.remove(&id)?;
                }
            }
            if let Some(age) = rows.age {
                write.open_table(NOTES)?.insert(AGE, age)?;
            }
        }
        Ok(write.commit()?)
    }
}

impl Tables {
    fn of(database: &Database) -> Result<Self> {
        let read = database.begin_read()?;
        Ok(Self {
            objects: read.open_table(OBJECTS)?,
            entries: read.open_table(ENTRIES)?,
            dirs: read.open_table(DIRS)?,
        })
    }
}

fn key(dir: &Id, tag: &Id) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(dir);
    key[16..].copy_from_slice(tag);
    key
}

fn whole<T>(row: Option<T>) -> Result<T> {
    row.ok_or_else(|| redb::Error::Corrupted("a row's checksum does not hold".to_owned()))
}

/// Runs `work` on a database that may be damaged in any way.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(redb::Error::Corrupted("reading it led nowhere".to_owned())))
}

fn set_aside(path: &Path) {
    if let Err(error) = std::fs::rename(path, path.with_file_name(DAMAGED)) {
        tracing::debug!(%error, "a damaged memory stays where it is");
    }
}
