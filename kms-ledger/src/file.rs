//! A ledger in one file, shared by the nodes of one machine (LEDGER §5.2).
//!
//! Any number of processes append, one at a time under `flock`; any number follow by reading what is
//! new. Whatever was once read here is never read otherwise again: a file that has become shorter or
//! different is refused for as long as this process lives, and longer if it keeps the head.

mod compact;
mod follow;
mod frame;
mod index;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use kms_crypto::id::PolicyId;
use kms_proto::{
    DEFAULT_NETWORK,
    ledger::{
        Chain, Head, Ledger, LedgerError, LedgerSource, NodeRecord, Order, PolicyState, Prepared,
        Receipt, SignedEntry, VerifiedEntry,
    },
};
use parking_lot::Mutex;

use crate::{Clock, system_clock};
pub use compact::Compacted;
use follow::{Held, View};
use index::{Index, Keep};

/// How long to wait for other writers.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How to open a ledger file.
#[derive(Clone)]
pub struct FileOptions {
    /// The network.
    pub network: String,
    /// The clock.
    pub clock: Clock,
    /// A head seen earlier: a ledger that does not contain it is refused.
    pub seen: Option<Head>,
    /// Whether its heights mean something to others.
    pub order: Order,
    /// A file of this reader's own, kept where the head is: what follows from the records (LEDGER §5.2.2). Believed only
    /// beside `seen`.
    pub index: Option<PathBuf>,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            network: DEFAULT_NETWORK.to_owned(),
            clock: system_clock(),
            seen: None,
            order: Order::One,
            index: None,
        }
    }
}

impl FileOptions {
    /// This machine's clock, and nothing seen before.
    pub fn new(network: &str) -> Self {
        Self {
            network: network.to_owned(),
            ..Self::default()
        }
    }
}

/// A ledger in a file.
pub struct FileLedger {
    path: PathBuf,
    network: String,
    clock: Clock,
    writer: bool,
    /// Held while this process appends: `flock` is between processes.
    turn: Mutex<()>,
    view: Mutex<View>,
    index: Option<Index>,
}

impl FileLedger {
    /// Opens a ledger to append to it; makes it when there is none. For nodes.
    pub fn open_writer(path: &Path, options: FileOptions) -> Result<Self, LedgerError> {
        let file = OpenOptions::new()
            .read(true)
            .append(false)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = file.map_err(unavailable)?;
        let guard = lock(&file, Access::Exclusive)?;
        frame::ensure_header(&file)?;
        // Also if another one made or compacted it: he may have died before its name was durable.
        frame::sync_directory(path)?;
        drop(guard);
        Self::open(path, file, options, true)
    }

    /// Opens a ledger that is there, to read it.
    pub fn open_reader(path: &Path, options: FileOptions) -> Result<Self, LedgerError> {
        let file = File::open(path).map_err(unavailable)?;
        Self::open(path, file, options, false)
    }

    fn open(
        path: &Path,
        file: File,
        options: FileOptions,
        writer: bool,
    ) -> Result<Self, LedgerError> {
        let mut view =
            View::new(file, &options.network, options.order, writer).map_err(unavailable)?;
        let mut index = options.index.map(Index::at);
        let mut seen = options.seen;
        if let (Some(index), Some(known)) = (&mut index, &mut seen) {
            index.resume(&mut view, known)?;
        }
        view.believe(seen);
        let ledger = Self {
            path: path.to_owned(),
            network: options.network,
            clock: options.clock,
            writer,
            turn: Mutex::new(()),
            view: Mutex::new(view),
            index,
        };
        ledger.with_view(|view| seen.map_or(Ok(()), |seen| view.chain().contains(&seen)))?;
        if let Some(index) = &ledger.index {
            index.keep(&ledger.view.lock(), Keep::AtOnce);
        }
        Ok(ledger)
    }

    /// Looks for new records, then asks.
    fn with_view<T>(
        &self,
        ask: impl FnOnce(&mut View) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.with_view_while(Held::No, ask)
    }

    fn with_view_while<T>(
        &self,
        lock_held: Held,
        ask: impl FnOnce(&mut View) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut view = self.view.lock();
        view.follow(&self.path, (self.clock)(), lock_held)?;
        if let Some(index) = &self.index {
            index.keep(&view, Keep::NowAndThen);
        }
        ask(&mut view)
    }

    /// The lock on the file that is at the path.
    fn lock_file(&self) -> Result<LockedFile, LedgerError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&self.path)
                .map_err(unavailable)?;
            let locked = lock(&file, Access::Exclusive)?;
            // Between opening and locking another file may have been put in its place.
            if same_file(&file, &self.path).map_err(unavailable)? {
                return Ok(locked);
            }
            if Instant::now() > deadline {
                return Err(LedgerError::Busy);
            }
        }
    }

    /// Appends an entry as of a time, or as of now.
    pub(crate) fn append(
        &self,
        entry: VerifiedEntry,
        time: Option<u64>,
    ) -> Result<Receipt, LedgerError> {
        let _turn = self.turn.lock();
        let locked = self.lock_file()?;
        let prepared = self.with_view_while(Held::Yes, |view| {
            let time = time.unwrap_or_else(|| (self.clock)());
            Ok(view.chain().prepare(entry, time)?)
        })?;
        match prepared {
            Prepared::Known { height } => Ok(Receipt { height }),
            Prepared::New(record) => {
                self.write(&locked.0, record.bytes())?;
                let height = record.head().height;
                drop(locked);
                // It is durable. That it can be read back is not needed for the receipt.
                if let Err(err) = self.with_view(|_| Ok(())) {
                    tracing::warn!(error = %err, "the ledger cannot be followed after an append");
                }
                Ok(Receipt { height })
            }
        }
    }

    /// Asks the chain of what is there.
    pub(crate) fn with_chain<T>(&self, ask: impl FnOnce(&Chain) -> T) -> Result<T, LedgerError> {
        self.with_view(|view| Ok(ask(view.chain())))
    }

    fn write(&self, file: &File, record: &[u8]) -> Result<(), LedgerError> {
        let end = self.view.lock().places().end;
        let torn = file
            .metadata()
            .map_err(unavailable)?
            .len()
            .saturating_sub(end);
        if torn > 0 {
            // What a writer that died left behind. It was never acknowledged to anybody.
            tracing::warn!(
                bytes = torn,
                "the ledger ended in an unfinished record, which is removed"
            );
            file.set_len(end).map_err(unavailable)?;
        }
        let written = file
            .write_all_at(&frame::encode(record), end)
            .and_then(|()| file.sync_data());
        written.map_err(|err| {
            // Not acknowledged, so it must not be found later either. If even this fails, its author
            // will repeat it and be told that it is there.
            let _ = file.set_len(end).and_then(|()| file.sync_data());
            unavailable(err)
        })
    }
}

impl Ledger for FileLedger {
    fn head(&self) -> Result<Head, LedgerError> {
        self.with_view(|view| Ok(view.chain().head()))
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        if !self.writer {
            return Err(LedgerError::ReadOnly);
        }
        // The signature is checked before anybody has to wait for this one.
        self.append(entry.admit(&self.network)?, None)
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        self.with_view(|view| Ok(view.chain().policy(id, (self.clock)())))
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.with_view(|view| Ok(view.chain().nodes()))
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.with_view(|view| {
            let last = view.chain().head().height;
            let max = u64::try_from(max).unwrap_or(u64::MAX);
            let from = from.max(1);
            (from..=last.min(from.saturating_add(max).saturating_sub(1)))
                .map(|height| view.checked_record(height))
                .collect()
        })
    }

    fn mark(&self, policy: &PolicyId, index: u8) -> Result<u64, LedgerError> {
        self.with_chain(|chain| chain.mark(policy, index))
    }

    fn sources(&self) -> Vec<LedgerSource> {
        let state = self.with_view(|view| Ok((view.chain().head().height, view.places().end)));
        vec![LedgerSource {
            name: self.path.display().to_string(),
            state: state
                .map(|(height, bytes)| format!("has {height} records in {bytes} bytes"))
                .map_err(|error| error.to_string()),
        }]
    }
}

enum Access {
    Shared,
    Exclusive,
}

/// A lock that ends with its handle: closing the file gives it back, and so does a crash.
struct LockedFile(File);

fn lock(file: &File, access: Access) -> Result<LockedFile, LedgerError> {
    let handle = file.try_clone().map_err(unavailable)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let tried = match access {
            Access::Shared => handle.try_lock_shared(),
            Access::Exclusive => handle.try_lock(),
        };
        match tried {
            Ok(()) => return Ok(LockedFile(handle)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1))
            }
            Err(TryLockError::WouldBlock) => return Err(LedgerError::Busy),
            Err(TryLockError::Error(err)) => return Err(unavailable(err)),
        }
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // The lock belongs to the open file, of which there may be another handle.
        let _ = self.0.unlock();
    }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (here, there) = (file.metadata()?, path.metadata()?);
    Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
}

fn unavailable(err: io::Error) -> LedgerError {
    LedgerError::Unavailable(Box::new(err))
}
