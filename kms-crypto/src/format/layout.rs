//! Where things stand in a backing file (FORMAT §4). Pure arithmetic, both ways, and nothing else.
//!
//! A chunk of plaintext takes as many bytes of ciphertext. The first 16 chunks follow the header; after that, each
//! level-1 page stands before the 126 chunks it covers, and each page above stands before the first page it is needed
//! for, the highest first.

use super::{HEADER_LEAVES, HEADER_LEN, MAX_SIZE, PAGE_ENTRIES, PAGE_LEN};

/// Names one tag page of a file.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PageId {
    /// 1 for pages of leaves, more for pages of pages.
    pub level: u8,
    /// Its place among the pages of its level.
    pub index: u64,
}

/// Where the leaf of a chunk is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeafPlace {
    /// In the header, at this place of its table.
    Header(usize),
    /// In a page of level 1.
    Page {
        /// The page.
        page: PageId,
        /// The place in it.
        slot: usize,
    },
}

/// The arithmetic of one chunk size.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    bits: u8,
}

impl Layout {
    /// Chunk sizes that exist, as powers of two.
    pub const CHUNK_BITS: [u8; 3] = [12, 14, 16];

    /// The layout with chunks of `1 << bits` bytes, if that size exists.
    #[must_use]
    pub fn new(bits: u8) -> Option<Self> {
        Self::CHUNK_BITS.contains(&bits).then_some(Self { bits })
    }

    /// Bytes of a whole chunk.
    #[must_use]
    pub const fn chunk_len(self) -> u64 {
        1 << self.bits
    }

    /// The chunk size as a power of two.
    #[must_use]
    pub const fn chunk_bits(self) -> u8 {
        self.bits
    }

    /// The chunk that holds the byte at `position`.
    #[must_use]
    pub const fn chunk_at(self, position: u64) -> u64 {
        position >> self.bits
    }

    /// How many chunks `size` bytes take.
    #[must_use]
    pub const fn chunk_count(self, size: u64) -> u64 {
        size.div_ceil(self.chunk_len())
    }

    /// How long chunk `index` of a file of `size` bytes is; zero past its end.
    #[must_use]
    pub fn chunk_size(self, size: u64, index: u64) -> usize {
        let start = index.saturating_mul(self.chunk_len());
        let len = size.saturating_sub(start).min(self.chunk_len());
        usize::try_from(len).expect("a chunk is at most 64 KiB")
    }

    /// Where chunk `index` stands. `index` is below the chunk count of [`MAX_SIZE`].
    #[must_use]
    pub fn chunk_offset(self, index: u64) -> u64 {
        HEADER + (index << self.bits) + pages_before(index) * PAGE
    }

    /// Where a page stands.
    #[must_use]
    pub fn page_offset(self, page: PageId) -> u64 {
        let first = LEAVES + ENTRIES * home(page);
        self.chunk_offset(first) - u64::from(page.level) * PAGE
    }

    /// How long the backing file of `size` bytes is.
    #[must_use]
    pub fn backing_len(self, size: u64) -> u64 {
        match self.chunk_count(size).checked_sub(1) {
            None => HEADER,
            Some(last) => self.chunk_offset(last) + size - (last << self.bits),
        }
    }

    /// How many bytes a backing file of `len` bytes holds; `None` if no file has that length.
    #[must_use]
    pub fn plain_len(self, len: u64) -> Option<u64> {
        let body = len.checked_sub(HEADER)?;
        let inline = LEAVES << self.bits;
        if body <= inline {
            return Some(body);
        }
        // The group the last byte is in: an estimate that is at most one off, then exact steps.
        let group_len = u128::from(PAGE + (ENTRIES << self.bits));
        let above = u128::from(ENTRIES - 1);
        let estimate = u128::from(body - inline) * above / (above * group_len + u128::from(PAGE));
        let mut group = u64::try_from(estimate).ok()?;
        if group > self.chunk_count(MAX_SIZE) / ENTRIES {
            return None;
        }
        while self.chunk_offset(LEAVES + ENTRIES * (group + 1)) < len {
            group += 1;
        }
        while self.chunk_offset(LEAVES + ENTRIES * group) >= len {
            // In a page, or in the group before.
            group = group.checked_sub(1)?;
        }
        let first = LEAVES + ENTRIES * group;
        let within = len - self.chunk_offset(first);
        let size = (first << self.bits) + within;
        (within <= ENTRIES << self.bits && size <= MAX_SIZE).then_some(size)
    }

    /// Where the leaf of chunk `index` is kept.
    #[must_use]
    pub fn leaf_place(self, index: u64) -> LeafPlace {
        match index.checked_sub(LEAVES) {
            None => LeafPlace::Header(slot_of(index, LEAVES)),
            Some(beyond) => LeafPlace::Page {
                page: PageId {
                    level: 1,
                    index: beyond / ENTRIES,
                },
                slot: slot_of(beyond, ENTRIES),
            },
        }
    }

    /// How many pages of `level` a file of `size` bytes has.
    #[must_use]
    pub fn page_count(self, size: u64, level: u8) -> u64 {
        let mut count = self.chunk_count(size).saturating_sub(LEAVES);
        for below in 0..level {
            if below > 0 && count <= 1 {
                // One page needs none above it.
                return 0;
            }
            count = count.div_ceil(ENTRIES);
        }
        count
    }

    /// The level of the single page at the top of the tree of `size` bytes; zero when the header has all leaves.
    #[must_use]
    pub fn top_level(self, size: u64) -> u8 {
        let mut level = 0;
        let mut count = self.chunk_count(size).saturating_sub(LEAVES);
        while level == 0 && count > 0 || count > 1 {
            count = count.div_ceil(ENTRIES);
            level += 1;
        }
        level
    }
}

impl PageId {
    /// The page above, and the place of this one in it.
    #[must_use]
    pub fn parent(self) -> (Self, usize) {
        let parent = Self {
            level: self.level + 1,
            index: self.index / ENTRIES,
        };
        (parent, slot_of(self.index, ENTRIES))
    }
}

/// How many pages stand before chunk `index`.
fn pages_before(index: u64) -> u64 {
    let Some(beyond) = index.checked_sub(LEAVES) else {
        return 0;
    };
    let mut at = beyond / ENTRIES;
    let mut pages = at + 1;
    while at > 0 {
        // A second page on one level calls for a page above, which stands before it.
        at /= ENTRIES;
        pages += at + 1;
    }
    pages
}

/// The level-1 page before which, and before whose other pages above, this page stands.
fn home(page: PageId) -> u64 {
    let levels = u32::from(page.level);
    match (page.index, levels) {
        (index, 0 | 1) => index,
        (0, levels) => ENTRIES.saturating_pow(levels - 2),
        (index, levels) => index.saturating_mul(ENTRIES.saturating_pow(levels - 1)),
    }
}

fn slot_of(index: u64, of: u64) -> usize {
    usize::try_from(index % of).expect("a remainder of a small number is small")
}

const HEADER: u64 = HEADER_LEN as u64;
const PAGE: u64 = PAGE_LEN as u64;
const LEAVES: u64 = HEADER_LEAVES as u64;
const ENTRIES: u64 = PAGE_ENTRIES as u64;

#[cfg(test)]
mod tests;
