//! The last head seen of a ledger, remembered across runs: a shorter or another ledger is refused (LEDGER §3).

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use kms_crypto::id::PolicyId;
use kms_crypto::kdf;
use kms_proto::codec;
use kms_proto::ledger::{
    Cost, Entry, Head, Ledger, LedgerError, LedgerSource, NodeRecord, PolicyState, Receipt,
    SignedEntry,
};
use parking_lot::Mutex;

/// How often a new head is written down.
const INTERVAL: Duration = Duration::from_secs(10);
const MAX_BYTES: usize = 256;

/// Where the head of one ledger is remembered.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    dir: PathBuf,
    name: String,
}

impl Memory {
    /// Of the ledger of that name in a directory. How it is reached does not matter.
    pub(super) fn of(dir: &Path, network: &str, ledger: &str) -> Self {
        let place = ledger.split('?').next().unwrap_or_default();
        let parts = [network.as_bytes(), place.as_bytes()];
        let hash = kdf::mac(&[0; 32], "kms/ledger-memory/1", &parts);
        Self {
            dir: dir.to_owned(),
            name: format!("{}.head", HEXLOWER.encode(&hash[..12])),
        }
    }

    /// What is remembered.
    pub(super) fn recall(&self) -> io::Result<Option<Head>> {
        match fs::read(self.path()) {
            Ok(bytes) => match codec::decode(&bytes, MAX_BYTES) {
                Ok(head) => Ok(Some(head)),
                Err(error) => {
                    tracing::warn!(%error, "what was remembered of the ledger is damaged, and forgotten");
                    Ok(None)
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remember(&self, head: &Head) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        // Two processes of one person may do this at once.
        let own = format!("{}.{}.new", self.name, std::process::id());
        let temporary = self.dir.join(own);
        fs::write(&temporary, codec::encode(head))?;
        // Not synced: a power cut may take the last heads along, and an older one is as true.
        fs::rename(&temporary, self.path())
    }

    /// Forgets it; whether there was anything.
    pub(super) fn forget(&self) -> io::Result<bool> {
        match fs::remove_file(self.index()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::remove_file(self.path()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// Where an index of the ledger is kept, which is worth as much as the head beside it.
    pub(super) fn index(&self) -> PathBuf {
        self.path().with_extension("index")
    }
}

/// A ledger whose head is remembered.
pub(super) struct Remembered<L> {
    ledger: L,
    memory: Memory,
    last: Mutex<(Instant, Option<Head>)>,
}

impl<L: Ledger> Remembered<L> {
    pub(super) fn new(ledger: L, memory: Memory, seen: Option<Head>) -> Self {
        let it = Self {
            ledger,
            memory,
            last: Mutex::new((Instant::now(), seen)),
        };
        it.note(seen.is_none());
        it
    }

    /// Writes the head down if it is another one than before, at once or now and then.
    fn note(&self, at_once: bool) {
        let mut last = self.last.lock();
        if !at_once && last.0.elapsed() < INTERVAL {
            return;
        }
        last.0 = Instant::now();
        let Ok(head) = self.ledger.head() else {
            return;
        };
        if last.1.is_some_and(|known| known.height >= head.height) {
            return;
        }
        match self.memory.remember(&head) {
            Ok(()) => last.1 = Some(head),
            // A home that cannot be written must not keep anybody from reading.
            Err(error) => tracing::warn!(%error, "the ledger's head could not be remembered"),
        }
    }

    fn noted<T>(&self, answer: Result<T, LedgerError>) -> Result<T, LedgerError> {
        if answer.is_ok() {
            self.note(false);
        }
        answer
    }
}

impl<L: Ledger> Ledger for Remembered<L> {
    fn head(&self) -> Result<Head, LedgerError> {
        self.noted(self.ledger.head())
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        self.ledger.submit(entry)
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        self.noted(self.ledger.policy(id))
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.noted(self.ledger.nodes())
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.ledger.read(from, max)
    }

    fn mark(&self, policy: &PolicyId, index: u8) -> Result<u64, LedgerError> {
        self.ledger.mark(policy, index)
    }

    fn sources(&self) -> Vec<LedgerSource> {
        self.ledger.sources()
    }

    fn cost(&self, entry: &SignedEntry) -> Result<Option<Cost>, LedgerError> {
        self.ledger.cost(entry)
    }

    fn settles_within(&self, entry: &Entry) -> Duration {
        self.ledger.settles_within(entry)
    }
}
