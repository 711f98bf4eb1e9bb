//! What one process knows of the entries: in a file if it is a keeper, otherwise in memory (LEDGER §5.5.1).

use kms_crypto::id::PolicyId;
use kms_proto::ledger::{
    Chain, EntryStatement, Head, Ledger, LedgerError, NodeRecord, Order, PolicyState, Receipt,
    SignedEntry, VerifiedEntry,
};

use super::DhtOptions;
use crate::{FileLedger, FileOptions, MemoryLedger};

/// A replica.
pub(super) enum Replica {
    Memory(Box<MemoryLedger>),
    File(Box<FileLedger>),
}

impl Replica {
    pub(super) fn open(options: &DhtOptions) -> Result<Self, LedgerError> {
        let (network, clock) = (&options.network, options.clock.clone());
        Ok(match &options.replica {
            None => Self::Memory(Box::new(MemoryLedger::with_order(
                network,
                clock,
                Order::Own,
            ))),
            Some(path) => Self::File(Box::new(FileLedger::open_writer(
                path,
                FileOptions {
                    clock,
                    seen: options.seen,
                    order: Order::Own,
                    index: Some(path.with_extension("index")),
                    ..FileOptions::new(network)
                },
            )?)),
        })
    }

    /// Takes in an entry as of a time.
    pub(super) fn append(&self, entry: VerifiedEntry, time: u64) -> Result<Receipt, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.append(entry, time),
            Self::File(ledger) => ledger.append(entry, Some(time)),
        }
    }

    /// Whether an entry could be taken in at a time, or is there.
    pub(super) fn check(&self, entry: &VerifiedEntry, time: u64) -> Result<(), LedgerError> {
        self.with_chain(|chain| chain.prepare(entry.clone(), time).map(drop))?
            .map_err(LedgerError::from)
    }

    /// Whether an entry is there.
    pub(super) fn has(&self, entry: &EntryStatement) -> Result<bool, LedgerError> {
        self.with_chain(|chain| chain.height_of(entry).is_some())
    }

    fn with_chain<T>(&self, ask: impl FnOnce(&Chain) -> T) -> Result<T, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.with_chain(ask)),
            Self::File(ledger) => ledger.with_chain(ask),
        }
    }

    fn ledger(&self) -> &dyn Ledger {
        match self {
            Self::Memory(ledger) => &**ledger,
            Self::File(ledger) => &**ledger,
        }
    }
}

impl Ledger for Replica {
    fn head(&self) -> Result<Head, LedgerError> {
        self.ledger().head()
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        self.ledger().submit(entry)
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        self.ledger().policy(id)
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.ledger().nodes()
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.ledger().read(from, max)
    }

    fn mark(&self, policy: &PolicyId, index: u8) -> Result<u64, LedgerError> {
        self.ledger().mark(policy, index)
    }
}
