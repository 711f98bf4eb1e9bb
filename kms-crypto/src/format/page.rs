//! A tag page: 126 entries and the seal over them (FORMAT §5.3).

use super::error::BodyError;
use super::keys::FileKeys;
use super::layout::PageId;
use super::leaf::Leaf;
use super::{PAGE_ENTRIES, PAGE_LEN};
use crate::kdf::equal;

/// One page of the tag tree, verified or made here.
///
/// On level 1 its entries are leaves; above, they are the seals of the pages below. A page of zeros only is a page of
/// holes: it is not stored and its entry above is zero.
pub struct TagPage {
    id: PageId,
    bytes: Box<[u8; PAGE_LEN]>,
}

impl TagPage {
    /// A page of holes.
    #[must_use]
    pub fn holes(id: PageId) -> Self {
        Self {
            id,
            bytes: Box::new([0; PAGE_LEN]),
        }
    }

    /// Takes a page as it was read, if it is the one whose seal stands in the entry above (or in the header).
    pub fn open(
        id: PageId,
        bytes: Box<[u8; PAGE_LEN]>,
        keys: &FileKeys,
        expected: &[u8; 32],
    ) -> Result<Self, BodyError> {
        let page = Self { id, bytes };
        if page.verifies(keys, expected) {
            return Ok(page);
        }
        Err(BodyError::Page {
            level: id.level,
            index: id.index,
        })
    }

    /// Which page it is.
    #[must_use]
    pub const fn id(&self) -> PageId {
        self.id
    }

    /// The entry at `slot`.
    #[must_use]
    pub fn entry(&self, slot: usize) -> [u8; 32] {
        let (entries, _) = self.bytes.as_chunks::<32>();
        entries
            .iter()
            .take(PAGE_ENTRIES)
            .nth(slot)
            .copied()
            .unwrap_or_default()
    }

    /// Replaces the entry at `slot`; nothing happens past the last one.
    pub fn set_entry(&mut self, slot: usize, entry: [u8; 32]) {
        let (entries, _) = self.bytes.as_chunks_mut::<32>();
        if let Some(place) = entries.iter_mut().take(PAGE_ENTRIES).nth(slot) {
            *place = entry;
        }
    }

    /// The leaf at `slot` of a page of level 1.
    pub fn leaf(&self, slot: usize) -> Result<Leaf, BodyError> {
        let refused = BodyError::Page {
            level: self.id.level,
            index: self.id.index,
        };
        Leaf::from_bytes(&self.entry(slot)).ok_or(refused)
    }

    /// Replaces the leaf at `slot` of a page of level 1.
    pub fn set_leaf(&mut self, slot: usize, leaf: Leaf) {
        self.set_entry(slot, leaf.to_bytes());
    }

    /// Makes holes of all entries from `slot` on; says whether any was none.
    pub fn cut(&mut self, slot: usize) -> bool {
        let entries = &mut self.bytes[..ENTRIES_END];
        let rest = entries.get_mut(slot * 32..).unwrap_or_default();
        let held = rest.iter().any(|byte| *byte != 0);
        rest.fill(0);
        held
    }

    /// Whether all its entries are holes.
    #[must_use]
    pub fn is_holes(&self) -> bool {
        self.bytes[..ENTRIES_END].iter().all(|byte| *byte == 0)
    }

    /// Seals it under the current key and returns the seal, which belongs into the entry above.
    pub fn seal(&mut self, keys: &FileKeys) -> [u8; 32] {
        let trailer = Self::trailer(self.id, keys.epoch());
        self.bytes[SEAL_END..].copy_from_slice(&trailer);
        let seal = self
            .mac(keys, keys.epoch())
            .expect("the current epoch has a key");
        self.bytes[ENTRIES_END..SEAL_END].copy_from_slice(&seal);
        seal
    }

    /// The bytes to store, once sealed.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; PAGE_LEN] {
        &self.bytes
    }

    fn verifies(&self, keys: &FileKeys, expected: &[u8; 32]) -> bool {
        let mut epoch = [0; 4];
        epoch.copy_from_slice(&self.bytes[SEAL_END + 4..SEAL_END + 8]);
        let epoch = u32::from_be_bytes(epoch);
        let Some(seal) = self.mac(keys, epoch) else {
            return false;
        };
        let mut stored = [0; 32];
        stored.copy_from_slice(&self.bytes[ENTRIES_END..SEAL_END]);
        self.bytes[SEAL_END..] == Self::trailer(self.id, epoch)
            && equal(&seal, expected)
            && equal(&stored, expected)
    }

    fn mac(&self, keys: &FileKeys, epoch: u32) -> Option<[u8; 32]> {
        let (entries, rest) = self.bytes.split_at(ENTRIES_END);
        keys.page_mac(epoch, &[keys.core_hash(), entries, &rest[32..]])
    }

    /// `level ‖ 3 zeros ‖ u32be epoch ‖ u64be index ‖ 16 zeros`.
    fn trailer(id: PageId, epoch: u32) -> [u8; 32] {
        let mut out = [0; 32];
        out[0] = id.level;
        out[4..8].copy_from_slice(&epoch.to_be_bytes());
        out[8..16].copy_from_slice(&id.index.to_be_bytes());
        out
    }
}

const ENTRIES_END: usize = PAGE_ENTRIES * 32;
const SEAL_END: usize = ENTRIES_END + 32;

#[cfg(test)]
mod tests {
    use super::super::keys::{EpochKey, KeyRing};
    use super::*;
    use crate::aead::Cipher;

    fn keys() -> FileKeys {
        let ring = KeyRing {
            current: EpochKey::new(4, &[5; 32]),
            prev: None,
        };
        FileKeys::new([1; 32], Cipher::Aes256Gcm, &ring)
    }

    #[test]
    fn a_page_with_any_byte_altered_is_refused() {
        let id = PageId { level: 1, index: 9 };
        let mut page = TagPage::holes(id);
        page.set_leaf(
            125,
            Leaf {
                nonce: [1; 12],
                tag: [2; 16],
                epoch: 4,
            },
        );
        let seal = page.seal(&keys());
        let read = TagPage::open(id, Box::new(*page.bytes()), &keys(), &seal).unwrap();
        assert_eq!(read.leaf(125).unwrap().epoch, 4);
        for at in 0..PAGE_LEN {
            let mut bytes = Box::new(*page.bytes());
            bytes[at] ^= 1;
            let refused = Some(BodyError::Page { level: 1, index: 9 });
            assert_eq!(
                TagPage::open(id, bytes, &keys(), &seal).err(),
                refused,
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_page_of_another_place_or_an_older_one_is_refused() {
        let id = PageId { level: 1, index: 9 };
        let mut page = TagPage::holes(id);
        page.set_leaf(
            0,
            Leaf {
                nonce: [1; 12],
                tag: [2; 16],
                epoch: 4,
            },
        );
        let old = page.seal(&keys());
        let old_bytes = Box::new(*page.bytes());
        let elsewhere = PageId { level: 1, index: 8 };
        assert!(TagPage::open(elsewhere, old_bytes.clone(), &keys(), &old).is_err());
        page.set_leaf(
            0,
            Leaf {
                nonce: [3; 12],
                tag: [2; 16],
                epoch: 4,
            },
        );
        let new = page.seal(&keys());
        assert!(TagPage::open(id, old_bytes, &keys(), &new).is_err());
    }
}
