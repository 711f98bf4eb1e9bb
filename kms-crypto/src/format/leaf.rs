//! The leaf of a chunk: what it takes to open it (FORMAT §5.2).

use super::HEADER_LEAVES;
use crate::aead::{NONCE_LEN, TAG_LEN};

/// Nonce, tag and key epoch of one chunk as last written, or the mark of a hole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leaf {
    /// The nonce it was sealed with.
    pub nonce: [u8; NONCE_LEN],
    /// Its tag.
    pub tag: [u8; TAG_LEN],
    /// The epoch of the key; never zero, except in a hole.
    pub epoch: u32,
}

impl Leaf {
    /// Bytes of a leaf.
    pub const LEN: usize = 32;
    /// A chunk that was never written: it reads as zeros and its ciphertext is not looked at.
    pub const HOLE: Self = Self {
        nonce: [0; NONCE_LEN],
        tag: [0; TAG_LEN],
        epoch: 0,
    };

    /// Whether the chunk was never written.
    #[must_use]
    pub fn is_hole(&self) -> bool {
        self.epoch == 0
    }

    /// Its bytes: `nonce 12 ‖ tag 16 ‖ u32be epoch`.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..12].copy_from_slice(&self.nonce);
        out[12..28].copy_from_slice(&self.tag);
        out[28..].copy_from_slice(&self.epoch.to_be_bytes());
        out
    }

    /// Reads its bytes. Epoch zero with anything else set is nothing.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let (tag, epoch) = rest.split_first_chunk::<TAG_LEN>()?;
        let epoch = u32::from_be_bytes(epoch.try_into().ok()?);
        let leaf = Self {
            nonce: *nonce,
            tag: *tag,
            epoch,
        };
        (epoch != 0 || leaf == Self::HOLE).then_some(leaf)
    }
}

/// The leaves of a file's first chunks, as they stand in its header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeafTable([Leaf; HEADER_LEAVES]);

impl LeafTable {
    /// Nothing but holes.
    pub const EMPTY: Self = Self([Leaf::HOLE; HEADER_LEAVES]);

    /// The leaf at `slot`; a hole past the end of the table.
    #[must_use]
    pub fn leaf(&self, slot: usize) -> Leaf {
        self.0.get(slot).copied().unwrap_or(Leaf::HOLE)
    }

    /// Replaces the leaf at `slot`; does nothing past the end of the table.
    pub fn set(&mut self, slot: usize, leaf: Leaf) {
        if let Some(place) = self.0.get_mut(slot) {
            *place = leaf;
        }
    }

    /// Makes holes of everything from `slot` on.
    pub fn cut(&mut self, slot: usize) {
        self.0
            .iter_mut()
            .skip(slot)
            .for_each(|leaf| *leaf = Leaf::HOLE);
    }

    /// All leaves in order.
    pub fn iter(&self) -> impl Iterator<Item = &Leaf> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_of_epoch_zero_is_a_hole_or_nothing() {
        assert_eq!(Leaf::from_bytes(&[0; 32]), Some(Leaf::HOLE));
        let mut bytes = [0; 32];
        bytes[3] = 1;
        assert_eq!(Leaf::from_bytes(&bytes), None);
        bytes[31] = 9;
        let leaf = Leaf::from_bytes(&bytes).unwrap();
        assert_eq!((leaf.epoch, leaf.to_bytes()), (9, bytes));
    }
}
