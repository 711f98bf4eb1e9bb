//! A node's disk: what was synced survives a crash, what was not survives or does not, and the power can fail between any
//! two of its operations.

use std::io;
use std::sync::Arc;

use kms_crypto::id::PolicyId;
use kms_node::store::slots::SlotFile;
use kms_node::store::{
    Change, FragmentStore, MemoryStore, Note, Row, Slots, Stones, StoreError, Tombstone,
};
use parking_lot::Mutex;

use crate::chance;

#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Platter>);

#[derive(Debug, Default)]
struct Platter {
    rows: MemoryStore,
    slots: Mutex<Bytes>,
    power: Mutex<Power>,
}

#[derive(Debug, Default)]
struct Bytes {
    written: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct Power {
    /// How many operations are left before it fails; without it, it does not.
    left: Option<u32>,
}

impl Disk {
    /// Lets the power fail after so many operations.
    pub fn fail_after(&self, operations: u32) {
        self.0.power.lock().left = Some(operations);
    }

    /// Whether the power has failed: the machine is down.
    pub fn has_failed(&self) -> bool {
        self.0.power.lock().left == Some(0)
    }

    /// The power holds, unless it has failed already.
    pub fn secure(&self) {
        let mut power = self.0.power.lock();
        power.left = power.left.filter(|left| *left == 0);
    }

    /// What a crash does to it: each write that was not synced may or may not be there. The power is back.
    pub fn crash(&self) {
        self.0.power.lock().left = None;
        let mut slots = self.0.slots.lock();
        for (offset, bytes) in std::mem::take(&mut slots.unsynced) {
            if chance::happens(0.5) {
                place(&mut slots.synced, offset, &bytes);
            }
        }
        slots.written = slots.synced.clone();
    }

    /// As a node opens it.
    pub fn open(&self) -> (Box<dyn FragmentStore>, Slots) {
        let slots = Slots::over(Box::new(self.clone()), &self.0.slots.lock().written);
        (Box::new(self.clone()), slots)
    }

    fn operate(&self) -> io::Result<()> {
        let mut power = self.0.power.lock();
        match &mut power.left {
            Some(0) => Err(io::Error::other("the power has failed")),
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    Err(io::Error::other("the power fails"))
                } else {
                    Ok(())
                }
            }
            None => Ok(()),
        }
    }
}

fn place(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

impl SlotFile for Disk {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.operate()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut slots = self.0.slots.lock();
        place(&mut slots.written, offset, bytes);
        slots.unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.operate()?;
        let mut slots = self.0.slots.lock();
        slots.synced = slots.written.clone();
        slots.unsynced.clear();
        drop(slots);
        // It may fail after the deed and before the word.
        self.operate()
    }
}

impl FragmentStore for Disk {
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.operate()?;
        self.0.rows.apply(changes)?;
        Ok(self.operate()?)
    }

    fn row(&self, policy: &PolicyId) -> Result<Option<Row>, StoreError> {
        self.0.rows.row(policy)
    }

    fn rows(&self) -> Result<Vec<(PolicyId, Row)>, StoreError> {
        // In one order each time.
        let mut rows = self.0.rows.rows()?;
        rows.sort_by_key(|(policy, _)| *policy.as_bytes());
        Ok(rows)
    }

    fn tombstone(&self, policy: &PolicyId) -> Result<Option<Tombstone>, StoreError> {
        self.0.rows.tombstone(policy)
    }

    fn tombstones(&self, after: Option<PolicyId>, max: usize) -> Result<Stones, StoreError> {
        self.0.rows.tombstones(after, max)
    }

    fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.rows.note(note)
    }
}
