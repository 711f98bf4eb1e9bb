//! A ledger that lives as long as the process (LEDGER §5.1). For tests.

use kms_crypto::id::PolicyId;
use kms_proto::ledger::{
    Chain, Head, Ledger, LedgerError, NodeRecord, Order, PolicyState, Prepared, Receipt,
    SignedEntry, VerifiedEntry,
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
        Self::with_order(network, clock, Order::One)
    }

    pub(crate) fn with_order(network: &str, clock: Clock, order: Order) -> Self {
        Self {
            clock,
            inner: RwLock::new(Inner {
                chain: Chain::with_order(network, order),
                records: Vec::new(),
            }),
        }
    }

    /// Appends an entry as of a time.
    pub(crate) fn append(&self, entry: VerifiedEntry, time: u64) -> Result<Receipt, LedgerError> {
        let mut inner = self.inner.write();
        match inner.chain.prepare(entry, time)? {
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

    /// Asks the chain of what is there.
    pub(crate) fn with_chain<T>(&self, ask: impl FnOnce(&Chain) -> T) -> T {
        ask(&self.inner.read().chain)
    }
}

impl Ledger for MemoryLedger {
    fn head(&self) -> Result<Head, LedgerError> {
        Ok(self.inner.read().chain.head())
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        let network = self.inner.read().chain.network().to_owned();
        self.append(entry.admit(&network)?, (self.clock)())
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

    fn mark(&self, policy: &PolicyId, index: u8) -> Result<u64, LedgerError> {
        Ok(self.with_chain(|chain| chain.mark(policy, index)))
    }
}
