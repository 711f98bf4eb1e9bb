//! Changing the size of a file: what becomes of its leaves and pages (FORMAT §5.5).

use super::{Cached, FileContent, PAGE_ENTRIES, PageId, Source, TagPage, Tree, TreeError};
use crate::format::HEADER_LEAVES;
use crate::format::layout::Layout;

impl Tree {
    /// Changes the size. What is cut off is gone for good: growing again gives zeros.
    ///
    /// After an error, forget the tree ([`Tree::clear`]) and go back to the header that is stored.
    ///
    /// A last chunk whose own length changes keeps its leaf, which no longer opens it: unless it is a hole, the caller
    /// reads it before and seals it after.
    pub fn resize<E>(
        &mut self,
        file: &mut FileContent,
        size: u64,
        source: &mut Source<'_, E>,
    ) -> Result<(), TreeError<E>> {
        let layout = source.layout;
        if layout.chunk_count(size) < layout.chunk_count(file.size) {
            self.shrink(file, size, source)?;
        } else {
            self.grow(file, size, layout);
        }
        file.size = size;
        Ok(())
    }

    /// A taller tree has its old top as the first entry of each new one.
    fn grow(&mut self, file: &mut FileContent, size: u64, layout: Layout) {
        let (old, new) = (layout.top_level(file.size), layout.top_level(size));
        if old == 0 {
            return;
        }
        for level in old + 1..=new {
            let mut page = TagPage::holes(PageId { level, index: 0 });
            if level == old + 1 {
                page.set_entry(0, file.root);
            }
            self.pages.insert(
                page.id(),
                Cached {
                    page,
                    is_dirty: true,
                },
            );
        }
    }

    fn shrink<E>(
        &mut self,
        file: &mut FileContent,
        size: u64,
        source: &mut Source<'_, E>,
    ) -> Result<(), TreeError<E>> {
        let layout = source.layout;
        let (old, new) = (layout.top_level(file.size), layout.top_level(size));
        let mut below = layout
            .chunk_count(size)
            .saturating_sub(HEADER_LEAVES as u64);
        for level in 1..=new {
            let used = usize::try_from(below.saturating_sub(1) % PAGE_ENTRIES as u64)
                .unwrap_or(PAGE_ENTRIES)
                + 1;
            below = below.div_ceil(PAGE_ENTRIES as u64);
            let last = self.load(
                file,
                PageId {
                    level,
                    index: below - 1,
                },
                source,
            )?;
            if last.page.cut(used) {
                last.is_dirty = true;
            }
        }
        if new == 0 {
            file.root = [0; 32];
        } else if new < old {
            // The first entry of the page that was above is the new top's seal. Had the top been changed since, it
            // is marked, and its seal made anew.
            file.root = self
                .load(
                    file,
                    PageId {
                        level: new + 1,
                        index: 0,
                    },
                    source,
                )?
                .page
                .entry(0);
        }
        self.pages
            .retain(|id, _| id.index < layout.page_count(size, id.level));
        file.leaves
            .cut(usize::try_from(layout.chunk_count(size)).unwrap_or(HEADER_LEAVES));
        Ok(())
    }
}
