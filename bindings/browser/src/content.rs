//! Decrypting a file piece by piece in bounded memory (FORMAT §4, §9).
//!
//! A *piece* is the 16 chunks behind the header, or the chunks that one page of leaves covers; with it go that page and
//! those above it, as far as they have not been read. A page may stand behind what it covers, so whoever has the file must
//! be able to read it anywhere.

use std::ops::Range;

use kms_crypto::format::{
    BodyError, Check, FileKeys, HEADER_LEAVES, Header, Layout, LeafPlace, OpenHeader, PAGE_ENTRIES,
    PAGE_LEN, Source, Tree, TreeError, Via,
};
use kms_crypto::id::LabelId;
use kms_crypto::key::{LabelSecret, PublicKey};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// So many pages of leaves are kept.
const MAX_PAGES: usize = 4;

/// A file whose key is known, being decrypted.
pub struct Content {
    header: OpenHeader,
    keys: FileKeys,
    layout: Layout,
    tree: Tree,
    size: u64,
    /// The next piece.
    piece: u64,
}

/// Bytes of the encrypted file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extent {
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub len: usize,
}

impl Content {
    /// Opens the header with a label's secret. `owner` must have signed it.
    ///
    /// # Errors
    /// It is altered, or not the owner's, or the key is another's.
    pub fn open(
        header: Header,
        label: LabelId,
        secret: &LabelSecret,
        owner: &PublicKey,
    ) -> Result<Self, Failure> {
        let header = header.open(Via::Label { id: label, secret }, Check::Signed(owner))?;
        Ok(Self {
            keys: header.file_keys()?,
            layout: header.layout()?,
            size: header.file()?.size,
            header,
            tree: Tree::new(),
            piece: 0,
        })
    }

    /// Bytes of plaintext.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the whole encrypted file.
    #[must_use]
    pub fn sealed_size(&self) -> u64 {
        self.layout.backing_len(self.size)
    }

    /// What has to be read for the next piece, in this order; nothing at the end.
    #[must_use]
    pub fn next_extents(&self) -> Vec<Extent> {
        let chunks = self.chunks();
        let (Some(last), false) = (chunks.end.checked_sub(1), chunks.is_empty()) else {
            return Vec::new();
        };
        let mut extents = self.pages(chunks.start);
        let offset = self.layout.chunk_offset(chunks.start);
        let end = self.layout.chunk_offset(last) + self.layout.chunk_size(self.size, last) as u64;
        let len = usize::try_from(end - offset).expect("126 chunks are at most 8 MiB");
        extents.push(Extent { offset, len });
        extents
    }

    /// Verifies and decrypts the next piece: all that [`Content::next_extents`] names, one behind the other.
    ///
    /// # Errors
    /// It is altered, or of another length.
    pub fn open_piece(&mut self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let extents = self.next_extents();
        let chunks = self.chunks();
        let find = |wanted: u64, len: usize| {
            let mut rest = bytes;
            for extent in &extents {
                let (here, behind) = rest.split_at_checked(extent.len)?;
                let within = wanted.checked_sub(extent.offset);
                let within = within.and_then(|it| usize::try_from(it).ok());
                if let Some(found) = within.and_then(|at| here.get(at..)?.get(..len)) {
                    return Some(found);
                }
                rest = behind;
            }
            None
        };
        let cut = |offset: u64, len: usize| BodyError::Truncated {
            expected: offset + len as u64,
            found: offset,
        };
        let read = &mut |offset: u64, page: &mut [u8; PAGE_LEN]| -> Result<(), BodyError> {
            let found = find(offset, PAGE_LEN).ok_or_else(|| cut(offset, PAGE_LEN))?;
            page.copy_from_slice(found);
            Ok(())
        };
        let source = &mut Source {
            layout: self.layout,
            keys: &self.keys,
            read,
        };
        let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
        let content = self.header.file()?;
        for index in chunks {
            let leaf = self.tree.leaf(content, index, source);
            let leaf = leaf.map_err(|(TreeError::Read(it) | TreeError::Body(it))| it)?;
            let (offset, len) = (
                self.layout.chunk_offset(index),
                self.layout.chunk_size(self.size, index),
            );
            let start = plain.len();
            plain.extend_from_slice(find(offset, len).ok_or_else(|| cut(offset, len))?);
            self.keys.open_chunk(index, &leaf, &mut plain[start..])?;
        }
        self.tree.trim(MAX_PAGES);
        self.piece += 1;
        Ok(plain)
    }

    /// Whether a file of so many bytes is neither cut off nor longer than it should be.
    ///
    /// # Errors
    /// It is.
    pub fn check_len(&self, found: u64) -> Result<(), Failure> {
        Ok(self.layout.check_len(self.size, found)?)
    }

    /// The page with the leaf of a piece's first chunk, and those above it that no piece before has needed.
    fn pages(&self, first: u64) -> Vec<Extent> {
        let LeafPlace::Page { mut page, .. } = self.layout.leaf_place(first) else {
            return Vec::new();
        };
        let mut extents = Vec::new();
        let top = self.layout.top_level(self.size);
        loop {
            extents.push(Extent {
                offset: self.layout.page_offset(page),
                len: PAGE_LEN,
            });
            let (parent, slot) = page.parent();
            // It came with the first page below it.
            if page.level >= top || slot > 0 {
                return extents;
            }
            page = parent;
        }
    }

    /// The chunks of the next piece.
    fn chunks(&self) -> Range<u64> {
        let (inline, page) = (HEADER_LEAVES as u64, PAGE_ENTRIES as u64);
        let range = match self.piece.checked_sub(1) {
            None => 0..inline,
            Some(before) => {
                let first = inline + before * page;
                first..first + page
            }
        };
        let count = self.layout.chunk_count(self.size);
        range.start.min(count)..range.end.min(count)
    }
}
