//! Looking for data without touching every chunk on the way: an entry of zeros stands for all that is below it.

use super::{FileContent, LeafPlace, PAGE_ENTRIES, PageId, Source, Tree, TreeError};
use crate::format::HEADER_LEAVES;

impl Tree {
    /// How many chunks from `chunk` on are certainly holes, where it is below the file's chunk count; 0 if it is none.
    /// More of them may follow.
    pub fn holes_from<E>(
        &mut self,
        file: &FileContent,
        chunk: u64,
        source: &mut Source<'_, E>,
    ) -> Result<u64, TreeError<E>> {
        let LeafPlace::Page { page, slot } = source.layout.leaf_place(chunk) else {
            return Ok(u64::from(self.leaf(file, chunk, source)?.is_hole()));
        };
        for level in (1..=source.layout.top_level(file.size)).rev() {
            let (id, chunks) = above(page, level);
            if self.load(file, id, source)?.page.is_holes() && !self.has_changes_below(id) {
                let end = HEADER_LEAVES as u64 + (id.index + 1).saturating_mul(chunks);
                return Ok(end.saturating_sub(chunk));
            }
        }
        let leaf = self.load(file, page, source)?.page.leaf(slot);
        Ok(u64::from(leaf.map_err(TreeError::Body)?.is_hole()))
    }

    /// Whether a page below this one was changed and not sealed: this one does not know of it yet.
    fn has_changes_below(&self, id: PageId) -> bool {
        self.pages.iter().any(|(other, cached)| {
            cached.is_dirty && other.level < id.level && above(*other, id.level).0 == id
        })
    }
}

/// The page of this level above a page, or the page itself, and how many chunks such a page covers.
fn above(page: PageId, level: u8) -> (PageId, u64) {
    let mut id = page;
    while id.level < level {
        id = id.parent().0;
    }
    let chunks = (PAGE_ENTRIES as u64).saturating_pow(u32::from(level));
    (id, chunks)
}
