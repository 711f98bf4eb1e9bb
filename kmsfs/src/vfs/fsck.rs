//! Reading and verifying everything, changing nothing.

use std::path::Path;

use super::{Report, Result, Vfs};

#[expect(unused_variables, reason = "bodies follow")]
#[expect(clippy::todo, reason = "bodies follow")]
#[expect(clippy::missing_errors_doc, reason = "bodies follow")]
impl Vfs {
    /// Reads and verifies everything below `path`, changing nothing. `progress` is called with the running totals.
    pub fn fsck(&self, path: &Path, progress: &mut dyn FnMut(&Report)) -> Result<Report> {
        todo!()
    }
}
