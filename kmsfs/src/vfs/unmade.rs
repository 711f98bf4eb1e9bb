//! Files of which a power cut has left the name and nothing else (JOURNAL §1): made a moment before, never synced, and
//! without even a header.
//!
//! There is nothing of them to read and nobody was promised that they are there, so for programs they are not; what is
//! made under their name takes their place. A file whose name this client remembers is none of them, however short the
//! stored file is now: somebody has emptied it, and it is damaged.

use std::sync::Arc;

use kms_crypto::format::HEADER_LEN;
use kms_crypto::name::NameTag;
use rustix::io::Errno;

use super::{Result, Vfs};
use crate::backing::{Kind, RawEntry, Stat};
use crate::inode::{Inode, Place, Standing};

impl Vfs {
    /// Whether what stands at a place is such a file. Those that are being made look the same for a moment.
    pub(super) fn is_unmade(&self, place: &Place, stat: &Stat) -> bool {
        stat.kind == Kind::File
            && stat.size < HEADER_LEN as u64
            && self.is_owner()
            // What programs use has been opened with its header.
            && self.table.find(stat.ino, stat.kind).is_none()
            && self.is_unknown(place)
    }

    /// Whether this client knows of nothing at a place.
    fn is_unknown(&self, place: &Place) -> bool {
        let is_unknown = |dir| self.seen.entry(&dir, &place.tag.0).is_none();
        place.standing == Standing::Original && self.dir_id(&place.dir).is_some_and(is_unknown)
    }

    /// Whether this client knows of nothing but a name at a place.
    pub(super) fn was_never_opened(&self, place: &Place) -> bool {
        let known = |dir| self.seen.entry(&dir, &place.tag.0);
        place.standing == Standing::Original
            && self
                .dir_id(&place.dir)
                .is_some_and(|dir| known(dir).is_none_or(|entry| entry.object.is_none()))
    }

    /// The same for an entry of a directory.
    pub(super) fn is_unmade_entry(&self, dir: &Arc<Inode>, entry: &RawEntry) -> bool {
        let Ok(name) = std::str::from_utf8(&entry.name) else {
            return false;
        };
        let tag = self
            .secrets(dir)
            .and_then(|secrets| Ok(self.decrypt_name(dir, &secrets, name)?.1));
        tag.is_ok_and(|tag| self.is_unmade_at(dir, name, tag))
    }

    /// The same for a stored name and its tag.
    pub(super) fn is_unmade_at(&self, dir: &Arc<Inode>, name: &str, tag: NameTag) -> bool {
        let place = Place {
            dir: Arc::clone(dir),
            name: name.into(),
            tag,
            standing: Standing::Original,
        };
        self.is_owner()
            && self
                .stat_place(&place)
                .is_ok_and(|stat| self.is_unmade(&place, &stat))
    }

    /// Removes such a file, if one stands there. The directory's names are locked.
    pub(super) fn clear_unmade(&self, place: &Place) -> Result<bool> {
        match self.stat_place(place) {
            Ok(stat) if self.is_unmade(place, &stat) => {}
            _ => return Ok(false),
        }
        self.remove_unmade(place)?;
        Ok(true)
    }

    pub(super) fn remove_unmade(&self, place: &Place) -> Result<()> {
        tracing::info!("a file that was never stored gives way");
        self.will_remove(&place.dir);
        self.disk.unlink(self.dir_fd(&place.dir)?, &place.name)?;
        self.name_removed(place, None);
        self.names_changed(&place.dir);
        Ok(())
    }

    /// Makes something under a name that is not taken, or by such a file only.
    pub(super) fn make_at<T>(
        &self,
        place: &Place,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        match make() {
            Err(Errno::EXIST) if self.clear_unmade(place).unwrap_or(false) => make(),
            made => made,
        }
    }
}
