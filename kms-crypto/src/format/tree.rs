//! The tag tree of one open file, with the pages of it that are in memory (FORMAT §5.3).
//!
//! It reads pages through a function it is given and hands out sealed pages to be written; it does no I/O itself.

mod holes;
mod resize;

use std::collections::HashMap;

use thiserror::Error;

use super::error::BodyError;
use super::header::FileContent;
use super::keys::FileKeys;
use super::layout::{Layout, LeafPlace, PageId};
use super::leaf::Leaf;
use super::page::TagPage;
use super::{PAGE_ENTRIES, PAGE_LEN};

/// Why the tree could not be read.
#[derive(Debug, Error)]
pub enum TreeError<E> {
    /// A page could not be read at all.
    #[error(transparent)]
    Read(E),
    /// A page was read and does not verify.
    #[error(transparent)]
    Body(BodyError),
}

/// A page to be written to the backing file.
#[derive(Clone, Debug)]
pub struct SealedPage {
    /// Which page.
    pub id: PageId,
    /// Where it stands.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Box<[u8; PAGE_LEN]>,
}

/// The pages in memory. Those that were changed are sealed by [`Tree::seal`], just before the header is.
#[derive(Default)]
pub struct Tree {
    pages: HashMap<PageId, Cached>,
}

struct Cached {
    page: TagPage,
    is_dirty: bool,
}

/// Reads the page at an offset of the backing file.
pub type ReadPage<'a, E> = dyn FnMut(u64, &mut [u8; PAGE_LEN]) -> Result<(), E> + 'a;

/// What every operation needs: the file's layout and keys, and how to read 4096 bytes at an offset.
pub struct Source<'a, E> {
    /// Where things stand.
    pub layout: Layout,
    /// The file's keys.
    pub keys: &'a FileKeys,
    /// Reads a page; past the end of the backing file it is an error.
    pub read: &'a mut ReadPage<'a, E>,
}

impl Tree {
    /// With nothing in memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The leaf of a chunk; a hole past the end of the file.
    pub fn leaf<E>(
        &mut self,
        file: &FileContent,
        chunk: u64,
        source: &mut Source<'_, E>,
    ) -> Result<Leaf, TreeError<E>> {
        if chunk >= source.layout.chunk_count(file.size) {
            return Ok(Leaf::HOLE);
        }
        match source.layout.leaf_place(chunk) {
            LeafPlace::Header(slot) => Ok(file.leaves.leaf(slot)),
            LeafPlace::Page { page, slot } => self
                .load(file, page, source)?
                .page
                .leaf(slot)
                .map_err(TreeError::Body),
        }
    }

    /// Replaces the leaf of a chunk within the file's size; past it nothing happens.
    pub fn set_leaf<E>(
        &mut self,
        file: &mut FileContent,
        chunk: u64,
        leaf: Leaf,
        source: &mut Source<'_, E>,
    ) -> Result<(), TreeError<E>> {
        if chunk >= source.layout.chunk_count(file.size) {
            return Ok(());
        }
        match source.layout.leaf_place(chunk) {
            LeafPlace::Header(slot) => file.leaves.set(slot, leaf),
            LeafPlace::Page { page, slot } => {
                let cached = self.load(file, page, source)?;
                cached.page.set_leaf(slot, leaf);
                cached.is_dirty = true;
            }
        }
        Ok(())
    }

    /// Seals what was changed, lowest level first, and puts the new root into `file`.
    ///
    /// The pages returned and the header are one change: they reach the backing file together or not at all. Should
    /// that fail, forget the tree ([`Tree::clear`]) and go back to the header that is stored.
    pub fn seal(
        &mut self,
        file: &mut FileContent,
        layout: Layout,
        keys: &FileKeys,
    ) -> Vec<SealedPage> {
        let top = layout.top_level(file.size);
        let mut out = Vec::new();
        for level in 1..=top {
            let mut dirty: Vec<_> = self.dirty_on(level).collect();
            dirty.sort_unstable();
            for id in dirty {
                let Some(cached) = self.pages.get_mut(&id) else {
                    continue;
                };
                cached.is_dirty = false;
                let mut entry = [0; 32];
                if !cached.page.is_holes() {
                    entry = cached.page.seal(keys);
                    let bytes = Box::new(*cached.page.bytes());
                    out.push(SealedPage {
                        id,
                        offset: layout.page_offset(id),
                        bytes,
                    });
                }
                if level == top {
                    file.root = entry;
                } else {
                    let (parent, slot) = id.parent();
                    let parent = self
                        .pages
                        .get_mut(&parent)
                        .expect("a page is in memory only below its parent");
                    parent.page.set_entry(slot, entry);
                    parent.is_dirty = true;
                }
            }
        }
        out
    }

    /// Whether something was changed since the last [`Tree::seal`].
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.pages.values().any(|cached| cached.is_dirty)
    }

    /// How many pages are in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether no page is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Forgets pages of leaves that are as stored, if more than `limit` pages are in memory.
    pub fn trim(&mut self, limit: usize) {
        if self.pages.len() > limit {
            self.pages
                .retain(|id, cached| cached.is_dirty || id.level > 1);
        }
    }

    /// Forgets all pages, changes included.
    pub fn clear(&mut self) {
        self.pages.clear();
    }

    fn dirty_on(&self, level: u8) -> impl Iterator<Item = PageId> {
        let dirty = self
            .pages
            .iter()
            .filter(move |(id, cached)| cached.is_dirty && id.level == level);
        dirty.map(|(id, _)| *id)
    }

    /// Brings a page into memory, and before it every page above, verifying each against the one above it.
    fn load<E>(
        &mut self,
        file: &FileContent,
        id: PageId,
        source: &mut Source<'_, E>,
    ) -> Result<&mut Cached, TreeError<E>> {
        if !self.pages.contains_key(&id) {
            let expected = if id.level >= source.layout.top_level(file.size) {
                file.root
            } else {
                let (parent, slot) = id.parent();
                self.load(file, parent, source)?.page.entry(slot)
            };
            let page = read_page(id, &expected, source)?;
            self.pages.insert(
                id,
                Cached {
                    page,
                    is_dirty: false,
                },
            );
        }
        Ok(self
            .pages
            .get_mut(&id)
            .expect("it was there or has just been put there"))
    }
}

fn read_page<E>(
    id: PageId,
    expected: &[u8; 32],
    source: &mut Source<'_, E>,
) -> Result<TagPage, TreeError<E>> {
    if *expected == [0; 32] {
        return Ok(TagPage::holes(id));
    }
    let mut bytes = Box::new([0; PAGE_LEN]);
    (source.read)(source.layout.page_offset(id), &mut bytes).map_err(TreeError::Read)?;
    TagPage::open(id, bytes, source.keys, expected).map_err(TreeError::Body)
}

#[cfg(test)]
mod tests;
