//! The record keys: a file of slots of 64 bytes, overwritten in place (NODE §3).
//!
//! A slot is a wrapped key (48 bytes) and zeros, or all zeros when it is free. Erasing a slot makes the row sealed under
//! its key unreadable for good, wherever the database has left copies of that row. The promise is the file system's and
//! the drive's to keep: on copy-on-write file systems and on flash, an overwritten block may survive out of reach.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use kms_crypto::aead::WRAPPED_LEN;

const SLOT_BYTES: usize = 64;
const EMPTY: [u8; SLOT_BYTES] = [0; SLOT_BYTES];

/// A record key, wrapped under the storage key.
pub type WrappedKey = [u8; WRAPPED_LEN];

/// What keeps slots: a file, or what stands in for one.
pub trait SlotFile: Debug + Send + Sync {
    /// Overwrites bytes in place, or appends them.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Waits until what was written is durable.
    fn sync(&self) -> io::Result<()>;
}

impl SlotFile for File {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The slots, all of them in memory as well.
#[derive(Debug)]
pub struct Slots {
    /// None for slots in memory alone.
    file: Option<Box<dyn SlotFile>>,
    slots: Vec<[u8; SLOT_BYTES]>,
    free: BTreeSet<usize>,
    /// Erased, but perhaps still named by a row on the disk.
    erased: Vec<usize>,
    dirty: bool,
}

impl Slots {
    /// Slots that end with the process.
    pub fn in_memory() -> Self {
        Self {
            file: None,
            slots: Vec::new(),
            free: BTreeSet::new(),
            erased: Vec::new(),
            dirty: false,
        }
    }

    /// Opens the file of slots, or makes it, durably: what is written into it later must not vanish with its name.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // A torn last slot was never acknowledged.
        let mut bytes = vec![0; length - length % SLOT_BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Self::over(Box::new(file), &bytes))
    }

    /// The slots that are kept in `file`, which holds `bytes`.
    pub fn over(file: Box<dyn SlotFile>, bytes: &[u8]) -> Self {
        let slots: Vec<[u8; SLOT_BYTES]> = bytes.as_chunks().0.to_vec();
        let free = slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| **slot == EMPTY)
            .map(|(index, _)| index)
            .collect();
        Self {
            file: Some(file),
            slots,
            free,
            erased: Vec::new(),
            dirty: false,
        }
    }

    /// Whether there has never been a slot. An erased one stays.
    pub const fn is_new(&self) -> bool {
        self.slots.is_empty()
    }

    /// The key in a slot; none if the slot is free or does not exist.
    pub fn key(&self, slot: u64) -> Option<WrappedKey> {
        let slot = self.slots.get(usize::try_from(slot).ok()?)?;
        let (key, _) = slot.split_first_chunk()?;
        (*slot != EMPTY).then_some(*key)
    }

    /// Writes a key into a free slot. Durable after the next [`Self::sync`].
    pub fn put(&mut self, key: &WrappedKey) -> io::Result<u64> {
        let index = self.free.first().copied().unwrap_or(self.slots.len());
        let mut slot = EMPTY;
        slot[..WRAPPED_LEN].copy_from_slice(key);
        self.write(index, slot)?;
        self.free.remove(&index);
        u64::try_from(index).map_err(io::Error::other)
    }

    /// Overwrites a slot. Gone for good after the next [`Self::sync`], free after the next [`Self::reuse_erased`].
    pub fn erase(&mut self, slot: u64) -> io::Result<()> {
        let Ok(index) = usize::try_from(slot) else {
            return Ok(());
        };
        let Some(before) = self.slots.get(index).copied() else {
            return Ok(());
        };
        self.write(index, EMPTY)?;
        if before != EMPTY {
            self.erased.push(index);
        }
        Ok(())
    }

    /// Erases every slot that is not among `used`: their rows were never stored, or are gone.
    pub fn erase_unused(&mut self, used: &BTreeSet<u64>) -> io::Result<()> {
        for index in 0..self.slots.len() {
            let slot = u64::try_from(index).map_err(io::Error::other)?;
            if self.key(slot).is_some() && !used.contains(&slot) {
                self.erase(slot)?;
            }
        }
        self.sync()?;
        self.reuse_erased();
        Ok(())
    }

    /// Lets erased slots be used again: no row on the disk names them any more.
    pub fn reuse_erased(&mut self) {
        self.free.extend(self.erased.drain(..));
    }

    /// Waits until everything above is on the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            if let Some(file) = &self.file {
                file.sync()?;
            }
            self.dirty = false;
        }
        Ok(())
    }

    fn write(&mut self, index: usize, slot: [u8; SLOT_BYTES]) -> io::Result<()> {
        self.dirty = true;
        if let Some(file) = &self.file {
            let offset = index
                .checked_mul(SLOT_BYTES)
                .and_then(|offset| u64::try_from(offset).ok());
            file.write(&slot, offset.ok_or(io::ErrorKind::FileTooLarge)?)?;
        }
        if index >= self.slots.len() {
            self.slots.resize(index + 1, EMPTY);
        }
        self.slots[index] = slot;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_after_reopening_and_erased_ones_are_gone_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let mut slots = Slots::open(&path).unwrap();
        let (a, b) = (
            slots.put(&[0xaa; 48]).unwrap(),
            slots.put(&[0xbb; 48]).unwrap(),
        );
        slots.erase(a).unwrap();
        slots.sync().unwrap();
        assert_ne!(
            slots.put(&[0xdd; 48]).unwrap(),
            a,
            "its row may still be there"
        );
        slots.sync().unwrap();
        let mut slots = Slots::open(&path).unwrap();
        assert_eq!((slots.key(a), slots.key(b)), (None, Some([0xbb; 48])));
        assert!(!std::fs::read(&path).unwrap().contains(&0xaa));
        assert_eq!(
            slots.put(&[0xcc; 48]).unwrap(),
            a,
            "a free slot is used again"
        );
        assert_eq!(slots.key(99), None);
    }

    #[test]
    fn a_torn_last_slot_is_ignored_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, [1; 100]).unwrap();
        let mut slots = Slots::open(&path).unwrap();
        assert_eq!(slots.key(1), None);
        assert_eq!(slots.put(&[2; 48]).unwrap(), 1);
        slots.erase_unused(&BTreeSet::from([1])).unwrap();
        let slots = Slots::open(&path).unwrap();
        assert_eq!((slots.key(0), slots.key(1)), (None, Some([2; 48])));
    }
}
