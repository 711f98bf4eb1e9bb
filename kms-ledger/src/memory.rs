//! A ledger that lives as long as the process (LEDGER §5.1). For tests.

use kms_crypto::id::PolicyId;
use kms_proto::ledger::{
    Chain, Head, Ledger, LedgerError, NodeRecord, PolicyState, Prepared, Receipt, SignedEntry,
};
use parking_lot::RwLock;

use crate::Clock;

/// A ledger in memory.
pub struct MemoryLedger {
    clock: Clock,
    inner: RwLock<Inner>,
}

struct Inner {
    chain: Chain,
    records: Vec<Vec<u8>>,
}

impl MemoryLedger {
    /// An empty ledger of a network.
    pub fn new(network: &str, clock: Clock) -> Self {
        Self {
            clock,
            inner: RwLock::new(Inner {
                chain: Chain::new(network),
                records: Vec::new(),
            }),
        }
    }
}

impl Ledger for MemoryLedger {
    fn head(&self) -> Result<Head, LedgerError> {
        Ok(self.inner.read().chain.head())
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        let network = self.inner.read().chain.network().to_owned();
        let entry = entry.admit(&network)?;
        let mut inner = self.inner.write();
        match inner.chain.prepare(entry, (self.clock)())? {
            Prepared::Known { height } => Ok(Receipt { height }),
            Prepared::New(record) => {
                inner.records.push(record.bytes().to_vec());
                let head = inner.chain.commit(record);
                Ok(Receipt {
                    height: head.height,
                })
            }
        }
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        Ok(self.inner.read().chain.policy(id, (self.clock)()))
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        Ok(self.inner.read().chain.nodes())
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        let skip = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(self
            .inner
            .read()
            .records
            .iter()
            .skip(skip)
            .take(max)
            .cloned()
            .collect())
    }
}
