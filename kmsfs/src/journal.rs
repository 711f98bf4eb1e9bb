//! The redo journal: what makes overwriting safe (JOURNAL).
//!
//! Two files outside the store take turns. Records are appended to one while what the other one holds is brought into
//! the store; then they change places. The journal knows bytes and order, nothing of what they mean: [`crate::vfs`]
//! writes records, applies them and replays them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use kms_crypto::id::StoreId;
use kms_crypto::kdf;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::{Errno, Result};
use zeroize::Zeroizing;

use crate::backing::{Disk, OpenMode};

pub use self::record::{Action, Direct, NoRecord, Piece, Record};

mod record;

/// The position of a record in the order of all records; what [`Journal::sync_to`] waits for.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Seq(u64);

/// Where a record went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Logged {
    /// Its place in the order of all records.
    pub seq: Seq,
    /// The run it belongs to; see [`Journal::run`].
    pub run: u64,
}

/// One of the two files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Half(usize);

/// The journal of one store. Shared by every thread of the mount.
#[derive(Debug)]
pub struct Journal {
    files: [OwnedFd; 2],
    disk: Disk,
    key: Zeroizing<[u8; 32]>,
    store: StoreId,
    state: Mutex<State>,
    /// Tells those who wait for somebody else's sync that it is over.
    synced: Condvar,
    /// How long a half may grow before it asks to be checkpointed.
    soft_limit: u64,
}

#[derive(Debug)]
struct State {
    active: usize,
    run: u64,
    /// Where the next record of the active half goes.
    end: u64,
    /// Up to where the active half is durable.
    durable_end: u64,
    last: Seq,
    durable: Seq,
    syncing: bool,
    /// A sync failed: the kernel may have dropped what it could not write, so it is written again before the next one.
    rewrite: bool,
    /// Whether each half may hold records that a replay would find.
    used: [bool; 2],
    /// Whether each half was emptied in a way that a power cut may undo.
    released: [bool; 2],
}

/// Where records begin; before them stands the half's head.
const RECORDS_AT: u64 = HEAD_PAGE as u64;
const HEAD_PAGE: usize = 4096;
/// Records begin at a sector of their own, so that appending never rewrites an acknowledged one.
const ALIGN: u64 = SECTOR as u64;
const SECTOR: usize = 512;
const HEAD_LEN: usize = 8 + 16 + 8;
const MAGIC: [u8; 8] = *b"KMSJRN\0\x01";
const HEAD_DOMAIN: &str = "kms/journal-half/1";

impl Journal {
    /// Opens the journal in `dir`, making it when there is none, and returns what it holds, oldest first. The records
    /// stay until [`Self::forget_all`].
    pub fn open(
        dir: &Path,
        disk: Disk,
        store: StoreId,
        records_key: &[u8; 32],
        soft_limit: u64,
    ) -> Result<(Self, Vec<Record>)> {
        let home = open_home(&disk, dir)?;
        let files = [
            open_half(&disk, home.as_fd(), "journal.0")?,
            open_half(&disk, home.as_fd(), "journal.1")?,
        ];
        disk.sync_dir(home.as_fd())?;
        disk.lock(&files[0]).map_err(|err| {
            if err == Errno::WOULDBLOCK {
                Errno::BUSY
            } else {
                err
            }
        })?;
        let key = kdf::derive32(records_key, "kms/journal/1", &[store.as_ref()]);
        let mut found = Vec::new();
        for (half, file) in files.iter().enumerate() {
            let (run, records) = scan(&disk, file, &key, store)?;
            found.push((run, half, records));
        }
        found.sort_by_key(|(run, _, _)| *run);
        let run = found.last().map_or(0, |(run, _, _)| *run);
        let used = [0, 1].map(|half| {
            found
                .iter()
                .any(|(_, at, records)| *at == half && !records.is_empty())
        });
        let records = found
            .into_iter()
            .flat_map(|(_, _, records)| records)
            .collect();
        let state = State {
            active: 0,
            run,
            end: RECORDS_AT,
            durable_end: RECORDS_AT,
            last: Seq(0),
            durable: Seq(0),
            syncing: false,
            rewrite: false,
            used,
            released: [false; 2],
        };
        let journal = Self {
            files,
            disk,
            key,
            store,
            state: Mutex::new(state),
            synced: Condvar::new(),
            soft_limit,
        };
        Ok((journal, records))
    }

    /// Makes durable what [`Self::open`] returned.
    pub fn sync_found(&self) -> Result<()> {
        self.files
            .iter()
            .try_for_each(|file| self.disk.sync_data(file))
    }

    /// Empties both halves, durably, and gets ready to take records. What [`Self::open`] returned has been dealt with.
    pub fn forget_all(&self) -> Result<()> {
        let mut state = self.state.lock();
        for half in 0..2 {
            self.write_head(half, 0)?;
            self.preallocate(half)?;
            self.disk.sync_all(&self.files[half])?;
        }
        state.used = [false; 2];
        state.released = [false; 2];
        self.activate(&mut state, 0)
    }

    /// Appends a record. It is in the order of things from now on and durable after [`Self::sync_to`].
    pub fn append(&self, record: &Record) -> Result<Logged> {
        let mut state = self.state.lock();
        let bytes = record.encode(&self.key, state.run);
        self.disk
            .write_at(&self.files[state.active], state.end, &bytes)?;
        state.end += (bytes.len() as u64).next_multiple_of(ALIGN);
        state.last.0 += 1;
        let active = state.active;
        state.used[active] = true;
        Ok(Logged {
            seq: state.last,
            run: state.run,
        })
    }

    /// The number of the run that records are appended to; changes when the halves change places.
    pub fn run(&self) -> u64 {
        self.state.lock().run
    }

    /// Whether everything up to `seq` is durable.
    pub fn is_durable(&self, seq: Seq) -> bool {
        self.state.lock().durable >= seq
    }

    /// Waits until everything up to `seq` is durable. Those who come while one syncs share the next sync.
    pub fn sync_to(&self, seq: Seq) -> Result<()> {
        let mut state = self.state.lock();
        while state.durable < seq {
            if state.syncing {
                self.synced.wait(&mut state);
                continue;
            }
            self.sync(&mut state)?;
        }
        Ok(())
    }

    /// Makes every record appended so far durable.
    pub fn sync_all(&self) -> Result<()> {
        let last = self.state.lock().last;
        self.sync_to(last)
    }

    fn sync(&self, state: &mut MutexGuard<'_, State>) -> Result<()> {
        let (active, last, end) = (state.active, state.last, state.end);
        let rewrite = state.rewrite.then_some(state.durable_end..end);
        state.syncing = true;
        let result = MutexGuard::unlocked(state, || {
            if let Some(range) = rewrite {
                let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
                let len = self
                    .disk
                    .read_at(&self.files[active], range.start, &mut bytes)?;
                self.disk
                    .write_at(&self.files[active], range.start, &bytes[..len])?;
            }
            self.disk.sync_data(&self.files[active])
        });
        state.syncing = false;
        state.rewrite = result.is_err();
        if result.is_ok() {
            state.durable = last;
            state.durable_end = end;
            state.released[active] = false;
        }
        self.synced.notify_all();
        result
    }

    /// Whether the active half has grown so long that it should be checkpointed.
    pub fn is_long(&self) -> bool {
        self.state.lock().end > self.soft_limit
    }

    /// Whether it has grown so long that writers should wait.
    pub fn is_overlong(&self) -> bool {
        self.state.lock().end > self.soft_limit.saturating_mul(4)
    }

    /// Whether the active half holds records.
    pub fn is_empty(&self) -> bool {
        let state = self.state.lock();
        !state.used[state.active]
    }

    /// Makes the active half durable and directs new records to the other one, unless that one still waits for its
    /// release. The caller brings everything that is pending into the store and then calls [`Self::release`] with the
    /// half that is returned. Only one caller at a time.
    pub fn switch(&self) -> Result<Half> {
        self.sync_all()?;
        let mut state = self.state.lock();
        // Records that came after the sync must be durable in the half they stand in.
        while state.syncing || state.durable < state.last {
            if state.syncing {
                self.synced.wait(&mut state);
            } else {
                self.sync(&mut state)?;
            }
        }
        let old = state.active;
        if state.used[1 - old] {
            // It could not be emptied last time, and must be before it is used again.
            return Ok(Half(1 - old));
        }
        self.activate(&mut state, 1 - old)?;
        Ok(Half(old))
    }

    /// Empties a half whose records are all in the store, durably. After a power cut they may be there again, which
    /// does no harm as long as the store has everything they rely on: see [`Self::sync_released`].
    pub fn release(&self, half: Half) -> Result<()> {
        let mut state = self.state.lock();
        self.write_head(half.0, 0)?;
        state.used[half.0] = false;
        state.released[half.0] = true;
        Ok(())
    }

    /// Makes it durable that halves were emptied, before something goes that their records rely on.
    pub fn sync_released(&self) -> Result<()> {
        let released = self.state.lock().released;
        for half in (0..2).filter(|half| released[*half]) {
            self.disk.sync_data(&self.files[half])?;
            self.state.lock().released[half] = false;
        }
        Ok(())
    }

    fn activate(&self, state: &mut State, half: usize) -> Result<()> {
        self.write_head(half, state.run + 1)?;
        state.run += 1;
        state.active = half;
        state.end = RECORDS_AT;
        state.durable_end = RECORDS_AT;
        Ok(())
    }

    /// Run 0 marks a half without records.
    fn write_head(&self, half: usize, run: u64) -> Result<()> {
        let mut head = [0; HEAD_PAGE];
        head[..8].copy_from_slice(&MAGIC);
        head[8..24].copy_from_slice(self.store.as_ref());
        head[24..HEAD_LEN].copy_from_slice(&run.to_be_bytes());
        let mac = kdf::mac(&self.key, HEAD_DOMAIN, &[&head[..HEAD_LEN]]);
        head[HEAD_LEN..HEAD_LEN + 32].copy_from_slice(&mac);
        self.disk.write_at(&self.files[half], 0, &head)
    }

    /// Writes zeros up to the soft limit once, so that syncing a record later does not have to allocate.
    fn preallocate(&self, half: usize) -> Result<()> {
        let zeros = vec![0; 256 * 1024];
        let mut len = self.disk.fstat(&self.files[half])?.size;
        while len < self.soft_limit {
            self.disk.write_at(&self.files[half], len, &zeros)?;
            len += zeros.len() as u64;
        }
        Ok(())
    }
}

/// Opens the journal's directory. One that is made now is there for good: what the journal acknowledges would be lost
/// with it.
fn open_home(disk: &Disk, dir: &Path) -> Result<OwnedFd> {
    match disk.open_root(dir) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    std::fs::create_dir_all(dir).map_err(|err| errno(&err))?;
    if let Some(parent) = dir.parent() {
        disk.sync_dir(disk.open_root(parent)?.as_fd())?;
    }
    disk.open_root(dir)
}

fn open_half(disk: &Disk, home: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    match disk.open_file(home, name, OpenMode::ReadWrite) {
        Err(Errno::NOENT) => disk.create_file(home, name, 0o600),
        opened => opened,
    }
}

fn errno(err: &std::io::Error) -> Errno {
    Errno::from_io_error(err).unwrap_or(Errno::IO)
}

/// The run of a half and its records up to the first one that is not whole.
fn scan(disk: &Disk, file: &OwnedFd, key: &[u8; 32], store: StoreId) -> Result<(u64, Vec<Record>)> {
    let len = usize::try_from(disk.fstat(file)?.size).map_err(|_| Errno::FBIG)?;
    let mut bytes = vec![0; len];
    let len = disk.read_at(file, 0, &mut bytes)?;
    bytes.truncate(len);
    let Some(run) = read_head(&bytes, key, store) else {
        return Ok((0, Vec::new()));
    };
    let mut records = Vec::new();
    if run != 0 {
        let mut at = HEAD_PAGE;
        while let Ok((record, len)) = Record::decode(bytes.get(at..).unwrap_or_default(), key, run)
        {
            records.push(record);
            at += len.next_multiple_of(SECTOR);
        }
    }
    Ok((run, records))
}

fn read_head(bytes: &[u8], key: &[u8; 32], store: StoreId) -> Option<u64> {
    let head = bytes.get(..HEAD_LEN)?;
    let mac = bytes.get(HEAD_LEN..HEAD_LEN + 32)?.try_into().ok()?;
    let ours = head[..8] == MAGIC
        && head[8..24] == *store.as_bytes()
        && kdf::mac_holds(key, HEAD_DOMAIN, &[head], mac);
    ours.then(|| head[24..HEAD_LEN].try_into().map(u64::from_be_bytes).ok())?
}

#[cfg(test)]
mod tests;
