//! Labels: what makes an object something that can be shared.

use super::{Ino, LabelInfo, Report, Result, Vfs};
use std::path::Path;

#[expect(unused_variables, reason = "bodies follow")]
#[expect(clippy::todo, reason = "bodies follow")]
#[expect(clippy::missing_errors_doc, reason = "bodies follow")]
impl Vfs {
    /// The object's own label, if it has one.
    pub fn label_of(&self, ino: Ino) -> Result<Option<LabelInfo>> {
        todo!()
    }

    /// The labels through which the object can be read: its own first, then those of the directories above it,
    /// nearest first.
    pub fn labels_over(&self, ino: Ino) -> Result<Vec<(Ino, LabelInfo)>> {
        todo!()
    }

    /// The object's own label, made when there is none: label key, capsule and signature come into being here.
    /// Durable and in the store when it returns.
    pub fn ensure_label(&self, ino: Ino) -> Result<LabelInfo> {
        todo!()
    }

    /// Begins a new epoch of the label on the object: a new secret and capsule, and new keys for the content, which a
    /// background job goes through. Durable and in the store when it returns.
    pub fn rotate(&self, ino: Ino) -> Result<LabelInfo> {
        todo!()
    }

    /// The same with a new delegating key: after too few nodes confirmed to have deleted a fragment.
    pub fn renew_label(&self, ino: Ino) -> Result<LabelInfo> {
        todo!()
    }

    /// Takes the label off the object, which gets new keys as after [`Self::rotate`].
    pub fn drop_label(&self, ino: Ino) -> Result<()> {
        todo!()
    }

    /// How many objects still wait for new keys.
    pub fn rekey_backlog(&self) -> u64 {
        todo!()
    }

    /// Reads and verifies everything below `path`, changing nothing. `progress` is called with the running totals.
    pub fn fsck(&self, path: &Path, progress: &mut dyn FnMut(&Report)) -> Result<Report> {
        todo!()
    }
}
