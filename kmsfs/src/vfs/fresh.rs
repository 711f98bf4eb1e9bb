//! What this client has seen of the store, compared with what it finds (FRESHNESS).
//!
//! Called where headers are verified, written, and where names come and go. What is older is refused; what is only
//! strange (an entry that vanished, two machines that wrote at once) is noted for `status` and `fsck`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use kms_crypto::format::{Check, HEADER_LEN, Header, HeaderError, OpenHeader, Via};
use kms_crypto::name::{BackingName, NameTag};
use rustix::io::Errno;

use self::entry::{
    backing_of, bound_in_memory, entry_of, kind_number, link_entry, listed_entry, noted, rest_of,
    version_of,
};
use super::dirs::Secrets;
use super::{Part, Result, Vfs, VfsError};
use crate::backing::{Kind, OpenMode, Stat};
use crate::freshness::{Compared, Entry, Id, Mark, Turn, Verdict};
use crate::inode::{Inode, Place};

mod entry;

/// Something about the store that its owner should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// When it was noticed, in seconds since 1970.
    pub at: u64,
    /// Where, as people see it.
    pub path: PathBuf,
    /// What.
    pub what: Oddity,
}

/// What can be strange about a store without anything being refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Oddity {
    /// An entry this client knew is gone, and not by its doing.
    #[error("was here and has disappeared, other than through this mount")]
    Vanished,
    /// An entry this client knew is still there, but its name does not verify any more.
    #[error("is still there, but its name cannot be read any more")]
    Nameless,
    /// A link is not the one this client knew, and not by its doing.
    #[error("points elsewhere than when it was last seen, other than through this mount")]
    Repointed,
    /// Two of the owner's machines changed it at once.
    #[error("was changed on two machines at once; the other version may stand beside it")]
    Forked,
    /// A synchroniser has set it beside another version of the same thing.
    #[error(
        "is a conflict copy: another version of the same thing, set beside it by what synchronises the store"
    )]
    Copy,
    /// The same of something that is not shown.
    #[error(
        "has a conflict copy of something kmsfs keeps for itself; it is not used and can be deleted"
    )]
    Unused,
    /// What was written here could not go where it belongs.
    #[error(
        "was changed by somebody else while it was written here; what was written here stands beside it"
    )]
    SetAside,
    /// What was written here is lost.
    #[error(
        "was changed by somebody else while it was written here; what was written here could not be kept"
    )]
    Lost,
}

/// How many notices are kept.
const MAX: usize = 256;

impl Vfs {
    /// What was noticed since the store was opened, oldest first.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        let notices = self.notices.lock().clone();
        // Copies that are gone, by whoever's doing, are done with.
        let is_there = |notice: &Notice| match self.resolve(&notice.path) {
            Ok(ino) => {
                self.forget(ino, 1);
                true
            }
            Err(_) => false,
        };
        let is_open = |it: &Notice| it.what != Oddity::Copy || is_there(it);
        notices.into_iter().filter(is_open).collect()
    }

    pub(super) fn notice(&self, path: PathBuf, what: Oddity) {
        let mut notices = self.notices.lock();
        let is_known = notices.iter().any(|it| it.path == path && it.what == what);
        if is_known || notices.len() >= MAX {
            return;
        }
        tracing::warn!("something in the store {what}; see kmsfs status");
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        notices.push(Notice { at, path, what });
    }

    /// Compares a verified header with what was seen of the object, and of the place it was found at. Returns the highest
    /// generation seen: the next one sealed is to be above it (FORMAT §3.6.3).
    pub(super) fn see(
        &self,
        inode: &Arc<Inode>,
        place: Option<&Place>,
        header: &OpenHeader,
        mark: Mark,
    ) -> Result<u64> {
        if inode.is_copy() || place.is_some_and(Place::is_copy) {
            // It may be older, or the other version of what was seen: that is what it is there for.
            return Ok(mark.generation);
        }
        let id = *header.core().id.as_bytes();
        let (verdict, highest) = self.seen.see_above(id, &version_of(header, mark));
        match verdict {
            Verdict::Fits => {}
            Verdict::Older => return Err(VfsError::Older),
            Verdict::Fork => {
                let path = self.path_of_inode(inode).unwrap_or_default();
                self.notice(path, Oddity::Forked);
            }
        }
        inode.set_object(id);
        if let Some(place) = place
            && let Some((dir, tag)) = self.key_of(inode, place)
        {
            self.see_at(
                place,
                dir,
                tag,
                entry_of(id, inode.kind(), header, &place.name),
            );
            inode.noted.store(noted(header), Ordering::Relaxed);
        }
        Ok(highest)
    }

    /// What stands under a name is this; what stood there before and had no other name is gone.
    fn see_at(&self, place: &Place, dir: Id, tag: Id, entry: Entry) {
        let known = self.seen.entry(&dir, &tag);
        if known.as_ref() == Some(&entry) {
            return;
        }
        if let Some(known) = known
            && let Some(before) = known.object
            && known.is_only_name
            && known.object != entry.object
        {
            self.seen.replaced(before, known.generation);
        }
        self.found_at(&place.dir, dir, tag, &place.name, entry);
    }

    /// Remembers what was found under a name, not knowing what happened to the name since.
    fn found_at(&self, dir: &Inode, id: Id, tag: Id, backing: &str, entry: Entry) {
        if self.seen.found_entry(id, tag, &entry) {
            return;
        }
        // This client has taken the name away. It is there again, or was looked at before it went. Whoever takes it
        // away now forgets it after this.
        self.seen.put_entry(id, tag, entry);
        let there = self
            .dir_fd(dir)
            .and_then(|fd| Ok(self.disk.stat(fd, backing)?));
        if matches!(there, Err(VfsError::Os(Errno::NOENT))) {
            self.seen.remove_entry(id, tag);
        }
    }

    /// This client has sealed a header, and the store or the journal has it.
    pub(super) fn wrote(&self, inode: &Inode, header: &OpenHeader, mark: Mark) {
        if inode.is_copy() {
            return;
        }
        let id = *header.core().id.as_bytes();
        self.seen.wrote(id, &version_of(header, mark));
        inode.set_object(id);
        if inode.noted.swap(noted(header), Ordering::Relaxed) == noted(header) {
            return;
        }
        for place in inode.places() {
            if let Some(dir) = self.dir_id(&place.dir) {
                let entry = entry_of(id, inode.kind(), header, &place.name);
                self.found_at(&place.dir, dir, place.tag.0, &place.name, entry);
            }
        }
    }

    /// A directory has come into being, with nothing in it.
    pub(super) fn dir_made(&self, dir: &Inode) {
        if let Some(id) = self.dir_id(dir) {
            self.seen.begin_dir(id);
        }
    }

    /// A name has come into being.
    pub(super) fn name_made(&self, place: &Place, kind: Kind, header: &OpenHeader) {
        if let Some(dir) = self.dir_id(&place.dir) {
            let entry = entry_of(*header.core().id.as_bytes(), kind, header, &place.name);
            self.seen.put_entry(dir, place.tag.0, entry);
        }
    }

    /// The same for a symbolic link, which has no header.
    pub(super) fn link_made(&self, place: &Place, target: &[u8]) -> Result<()> {
        let (dir, id) = self.link_id(place, target)?;
        let entry = link_entry(id, &place.name);
        self.seen.put_entry(dir, place.tag.0, entry);
        Ok(())
    }

    /// Compares a symbolic link's verified target with what was seen. A link has no generation that tells which of two
    /// came first: that it is another one is noted, and said.
    pub(super) fn see_link(&self, place: &Place, target: &[u8]) -> Result<Option<Oddity>> {
        if place.is_copy() {
            return Ok(None);
        }
        let (dir, id) = self.link_id(place, target)?;
        let known = self.seen.entry(&dir, &place.tag.0);
        let entry = link_entry(id, &place.name);
        if known.as_ref() == Some(&entry) {
            return Ok(None);
        }
        let was = known.and_then(|known| known.object);
        if was.is_none() || !self.seen.is_sure(&dir) {
            self.found_at(&place.dir, dir, place.tag.0, &place.name, entry);
            return Ok(None);
        }
        let name = self.name_behind(&place.dir, &place.name);
        let path = self
            .path_of_inode(&place.dir)
            .unwrap_or_default()
            .join(name);
        self.notice(path, Oddity::Repointed);
        Ok(Some(Oddity::Repointed))
    }

    /// What stands in the place of an id for a link that has none: its target, sealed for where it stands.
    fn link_id(&self, place: &Place, target: &[u8]) -> Result<(Id, Id)> {
        let secrets = self.secrets(&place.dir)?;
        let sealed = super::symlink::seal_target(&secrets, place.tag, target)?;
        let hash = kms_crypto::kdf::hash("kms/seen-link/1", &[sealed.as_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Ok((*secrets.id.as_bytes(), id))
    }

    /// Before a name is taken out of a directory.
    pub(super) fn will_remove(&self, dir: &Inode) {
        if let Some(dir) = self.dir_id(dir) {
            self.seen.will_remove(&dir);
        }
    }

    /// The object that goes with a name about to be taken away, if that is its last one and anything is known of what
    /// stands there. Its header need not be read if it was last sealed here, under this name: whoever has put something
    /// else there since has given it a higher generation with its new name, and then it does not count as gone.
    pub(super) fn object_going(&self, place: &Place, stat: &Stat) -> Option<Id> {
        let is_last = stat.kind == Kind::Dir || stat.nlink <= 1;
        if !is_last || stat.kind == Kind::Symlink {
            return None;
        }
        let dir = self.dir_id(&place.dir)?;
        let known = self.seen.entry(&dir, &place.tag.0)?;
        let remembered = known.object.filter(|_| known.is_only_name);
        known.object?;
        if let Some(inode) = self.table.find(stat.ino, stat.kind)
            && let Some(object) = inode.object()
        {
            return Some(object);
        }
        if let Some(object) = remembered
            && self.seen.is_sure(&dir)
            && let Some(owner) = self.try_owner()
            && self.seen.last_writer(&object) == Some(owner.machine_at(&dir, &place.tag.0))
        {
            return remembered;
        }
        let Ok(inode) = self.intern(stat, place.clone(), 0) else {
            return remembered;
        };
        // One that cannot be read is taken for what it was.
        let read = self.read_header(&inode, |_| ());
        let object = inode.object().or(remembered.filter(|_| read.is_err()));
        self.table.sweep(inode);
        object
    }

    /// A name is gone, and with its last one the object.
    pub(super) fn name_removed(&self, place: &Place, object: Option<Id>) {
        if let Some(dir) = self.dir_id(&place.dir) {
            self.seen.remove_entry(dir, place.tag.0);
        }
        self.object_removed(object);
    }

    /// An object has lost its last name.
    pub(super) fn object_removed(&self, object: Option<Id>) {
        if let Some(object) = object {
            self.seen.gone(object);
        }
    }

    /// A name has become another one.
    pub(super) fn name_moved(&self, from: &Place, to: &Place, kind: Kind) {
        let (Some(from_dir), Some(to_dir)) = (self.dir_id(&from.dir), self.dir_id(&to.dir)) else {
            return;
        };
        let known = self.seen.remove_entry(from_dir, from.tag.0);
        let entry = Entry {
            rest: rest_of(&to.name),
            ..known.unwrap_or_else(|| listed_entry(kind, &to.name))
        };
        self.seen.put_entry(to_dir, to.tag.0, entry);
    }

    /// Two names have changed places.
    pub(super) fn names_exchanged(&self, one: &Place, other: &Place) {
        let (Some(dir), Some(other_dir)) = (self.dir_id(&one.dir), self.dir_id(&other.dir)) else {
            return;
        };
        let was = self.seen.remove_entry(dir, one.tag.0);
        let other_was = self.seen.remove_entry(other_dir, other.tag.0);
        for (dir, place, entry) in [(dir, one, other_was), (other_dir, other, was)] {
            // A link's is written when it is sealed for its new place.
            if let Some(entry) = entry.filter(|it| it.kind != kind_number(Kind::Symlink)) {
                let rest = rest_of(&place.name);
                self.seen
                    .put_entry(dir, place.tag.0, Entry { rest, ..entry });
            }
        }
    }

    /// The permission bits seen under an object's name.
    pub(super) fn seen_mode(&self, inode: &Inode) -> Option<u32> {
        let place = inode.place().filter(|place| !place.is_copy())?;
        let dir = self.dir_id(&place.dir)?;
        let entry = self.seen.entry(&dir, &place.tag.0)?;
        // Of several names not all may have been noted.
        let counts = entry.object.is_some() && entry.is_only_name;
        counts.then_some(u32::from(entry.mode))
    }

    /// A name was looked for and is not there. Was it?
    pub(super) fn missed(&self, dir: &Inode, id: &Id, tag: NameTag, backing: &str) {
        if dir.is_copy() || self.seen.entry(id, &tag.0).is_none() {
            return;
        }
        // While somebody is at the names of the directory, it may just have been taken away by this client.
        let Some(_names) = dir.dir().and_then(|node| node.names.try_lock()) else {
            return;
        };
        self.is_vanished(dir, id, tag, backing);
    }

    /// Whether a known name is really gone; noted if it is. The directory's names are locked.
    fn is_vanished(&self, dir: &Inode, id: &Id, tag: NameTag, backing: &str) -> bool {
        let there = self
            .dir_fd(dir)
            .and_then(|fd| Ok(self.disk.stat(fd, backing)?));
        let is_gone = matches!(there, Err(VfsError::Os(Errno::NOENT)))
            && self.seen.entry(id, &tag.0).is_some();
        if is_gone {
            let name = self.name_behind(dir, backing);
            let path = self.path_of_inode(dir).unwrap_or_default().join(name);
            self.notice(path, Oddity::Vanished);
        }
        is_gone
    }

    /// Compares a listing with the names known. Returns the stored names of what has vanished.
    pub(super) fn compare_names<'a, T: 'a>(
        &self,
        dir: &Arc<Inode>,
        secrets: &Secrets,
        listed: impl IntoIterator<Item = (NameTag, &'a T)>,
        describe: impl Fn(&T) -> (Kind, &str),
    ) -> Vec<(NameTag, String)> {
        let id = *secrets.id.as_bytes();
        let listed = listed.into_iter().map(|(tag, it)| (tag.0, it));
        let Compared { missing, removed } = self.seen.compare(id, listed, |tag, it| {
            let (kind, backing) = describe(it);
            let is_unmade = kind == Kind::File && self.is_unmade_at(dir, backing, NameTag(*tag));
            (!is_unmade).then(|| listed_entry(kind, backing))
        });
        for (tag, entry) in removed {
            let backing = backing_of(&tag, &entry.rest);
            self.found_at(dir, id, tag, &backing, entry);
        }
        if missing.is_empty() {
            return Vec::new();
        }
        let Some(node) = dir.dir() else {
            return Vec::new();
        };
        let _names = node.names.lock();
        let mut vanished = Vec::new();
        for it in missing {
            let tag = NameTag(it.tag);
            let backing = backing_of(&it.tag, &it.entry.rest);
            let there = self
                .dir_fd(dir)
                .and_then(|fd| Ok(self.disk.stat(fd, &backing)?));
            if there.is_ok() {
                if self.decrypt_name(dir, secrets, &backing).is_err() {
                    let path = self.path_of_inode(dir).unwrap_or_default();
                    self.notice(path.join(self.name_behind(dir, &backing)), Oddity::Nameless);
                }
            } else if !it.sure {
                self.seen.remove_entry(id, it.tag);
            } else if self.is_vanished(dir, &id, tag, &backing) {
                vanished.push((tag, backing));
            }
        }
        vanished
    }

    /// The stored name that is remembered for a binding.
    pub(super) fn remembered_name(&self, binding: &kms_crypto::format::Binding) -> Option<String> {
        let tag = binding.name_tag.0;
        let entry = self.seen.entry(&binding.dir.0, &tag)?;
        Some(backing_of(&tag, &entry.rest))
    }

    /// The plain name behind a stored one that may be gone.
    pub(super) fn name_behind(&self, dir: &Inode, backing: &str) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        let secrets = dir.dir().and_then(|dir| dir.state.read().secrets.clone());
        let name = secrets.and_then(|it| self.decrypt_name(dir, &it, backing).ok());
        match name {
            Some((name, _)) => std::ffi::OsString::from_vec(name).into(),
            None => format!("(a long name, stored as {backing})").into(),
        }
    }

    /// Whether the object really belongs under this name, before it is taken for one that is known by another or that
    /// has several. The header may be anybody's still: it is verified before it is used.
    pub(super) fn is_bound(
        &self,
        known: Option<&Inode>,
        place: &Place,
        stat: &Stat,
    ) -> Result<bool> {
        let dir = self.dir_id(&place.dir);
        let is_it =
            |id: &[u8; 16], tag: &NameTag| *tag == place.tag && dir.is_none_or(|dir| dir == *id);
        if !self.is_owner() {
            // What a reader has in memory may be out of date; and of a long name he may not know the tag.
            if let BackingName::Long(_) = BackingName::of(place.name.as_bytes()) {
                return Ok(true);
            }
        } else if let Some(bound) = known.and_then(|inode| bound_in_memory(inode, &is_it)) {
            return Ok(bound);
        }
        let parent = self.dir_fd(&place.dir)?;
        let file = match stat.kind {
            Kind::File => self.disk.open_file(parent, &place.name, OpenMode::Read)?,
            Kind::Dir => {
                use std::os::fd::AsFd;
                let fd = self.disk.open_dir(parent, &place.name)?;
                match self
                    .disk
                    .open_file(fd.as_fd(), kms_crypto::name::DIR_HEADER, OpenMode::Read)
                {
                    // It says so itself when it is used.
                    Err(Errno::NOENT) => return Ok(true),
                    file => file?,
                }
            }
            Kind::Symlink => return Ok(self.target_at(place).is_ok()),
            Kind::Special(_) | Kind::Other => return Err(Part::Kind.into()),
        };
        let mut bytes = [0; HEADER_LEN];
        let len = self.disk.read_at(&file, 0, &mut bytes)?;
        // One that cannot be read is refused when it is opened.
        let Ok(header) = Header::parse(&bytes[..len]) else {
            return Ok(true);
        };
        let stands_there = header
            .bindings()
            .iter()
            .any(|it| is_it(it.dir.as_bytes(), &it.name_tag));
        if stands_there || header.names_path().is_none() {
            return Ok(stands_there);
        }
        // One of many names, kept beside the header: only opening it tells. A reader's is opened before it is used.
        let Some(owner) = self.try_owner() else {
            return Ok(true);
        };
        let secrets = self.secrets(&place.dir)?;
        let via = Via::Dir {
            keys: &secrets.keys,
            tag: place.tag,
        };
        let opened = self.with_names(header)?.open(via, Check::Owner(&owner.mac));
        Ok(!matches!(opened, Err(HeaderError::NotBound { .. })))
    }

    /// The id of a directory whose keys are at hand.
    pub(super) fn dir_id(&self, dir: &Inode) -> Option<Id> {
        let state = dir.dir()?.state.read();
        state.secrets.as_ref().map(|it| *it.id.as_bytes())
    }

    /// Under what a place is remembered: its directory and tag, or the label by which it is shared by itself.
    fn key_of(&self, inode: &Inode, place: &Place) -> Option<(Id, Id)> {
        match inode.reach() {
            super::recipient::Reach::Shared { label, .. } if !self.is_owner() => {
                Some((label.0, [0; 16]))
            }
            _ => Some((self.dir_id(&place.dir)?, place.tag.0)),
        }
    }

    /// Writes what was seen, after making the store itself durable.
    ///
    /// # Errors
    /// The store cannot be made durable.
    pub fn remember(&self) -> Result<()> {
        self.seen.write(|| {
            if let Some(owner) = self.try_owner() {
                owner.journal.sync_all()?;
            }
            Ok(self.disk.sync_fs(self.root_dir()?)?)
        })
    }

    /// One turn of the background thread. Says whether to go on.
    pub(super) fn remember_once(&self) -> bool {
        match self.seen.wait() {
            Turn::Wait => true,
            Turn::Write => {
                if let Err(error) = self.remember() {
                    tracing::debug!(%error, "what was seen is written later");
                }
                true
            }
            Turn::Stop => false,
        }
    }
}
