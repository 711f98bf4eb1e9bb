//! Where a node keeps its fragments: each sealed under a key of its own, so that dropping the key erases it.
//!
//! [`FragmentStore`] keeps rows of sealed bytes durably, and may leave old bytes anywhere: databases do. The keys of the
//! rows stand in a small file of slots ([`slots`]) that is overwritten in place, each wrapped under the node's storage
//! key. [`Vault`] is the two together; nothing else touches either. The bytes: NODE §3.

pub(crate) mod database;
pub mod memory;
pub mod redb;
pub mod row;
pub mod slots;
pub mod vault;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod faults;
#[cfg(test)]
pub(crate) mod power;

use kms_crypto::id::PolicyId;

pub use memory::MemoryStore;
pub use redb::RedbStore;
pub use row::{Row, Tombstone};
pub use slots::Slots;
pub use vault::{Fragment, Memory, Removal, Stored, Vault};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk refuses.
    #[error("the store cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// The database refuses.
    #[error("the store's database fails: {0}")]
    Database(Box<dyn std::error::Error + Send + Sync>),
    /// A row or a slot is not what was written.
    #[error("the record of {0:?} is damaged")]
    Damaged(PolicyId),
    /// The store was made with another storage key, or by another version.
    #[error("the store does not fit: {0}")]
    Mismatch(&'static str),
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

/// One change among those that are made durable together.
#[derive(Clone, Debug)]
pub enum Change {
    /// Puts a row, in place of an earlier one.
    Put(PolicyId, Row),
    /// Removes a row, if there is one, and remembers that.
    Remove(PolicyId, Tombstone),
    /// Forgets a removal.
    Forget(PolicyId),
    /// Sets one of the store's own values.
    Note(Note, Vec<u8>),
}

/// The store's own values.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Note {
    /// Tells whether the storage key is the one the store was made with.
    KeyCheck,
    /// The highest ledger head that was seen.
    LedgerHead,
    /// That the node leaves, or has left.
    Retiring,
}

impl Note {
    /// Its name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyCheck => "key-check",
            Self::LedgerHead => "ledger-head",
            Self::Retiring => "retiring",
        }
    }
}

/// Removals and what they are of.
pub type Stones = Vec<(PolicyId, Tombstone)>;

/// Keeps rows. Every method may block on a disk.
pub trait FragmentStore: Send + Sync + 'static {
    /// Makes all changes, in order, or none; they are durable when this returns.
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError>;
    /// One row.
    fn row(&self, policy: &PolicyId) -> Result<Option<Row>, StoreError>;
    /// Every row, without its sealed bytes.
    fn rows(&self) -> Result<Vec<(PolicyId, Row)>, StoreError>;
    /// The removal of a policy's row, if it is remembered.
    fn tombstone(&self, policy: &PolicyId) -> Result<Option<Tombstone>, StoreError>;
    /// At most `max` remembered removals, in the order of their policies, from the first one after `after` on.
    fn tombstones(&self, after: Option<PolicyId>, max: usize) -> Result<Stones, StoreError>;
    /// One of the store's own values.
    fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError>;
}
