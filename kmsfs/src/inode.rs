//! The objects the kernel knows: one [`Inode`] for each, found by number or by the backing inode it stands for.
//!
//! A number is the backing inode's where that is free, so that it stays the same from mount to mount, and is never
//! given to another object while the first one is remembered.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use kms_crypto::format::{Special, State};
use kms_crypto::name::NameTag;
use parking_lot::{Mutex, RwLock};

use crate::backing::{Kind, Time};
use crate::vfs::Ino;
use crate::vfs::copies::ConflictCopy;
use crate::vfs::dirs::DirState;
use crate::vfs::file::FileCell;
use crate::vfs::recipient::Reach;

/// One object.
pub(crate) struct Inode {
    pub(crate) ino: Ino,
    /// The backing inode number.
    backing: AtomicU64,
    /// The names it is known by.
    places: Mutex<Vec<Place>>,
    /// The name it is about to get by a rename.
    next_place: Mutex<Option<Place>>,
    /// Names that went a moment ago, while that is not durable.
    gone: Mutex<Vec<Place>>,
    pub(crate) node: Node,
    /// How a recipient reaches it.
    reach: Mutex<Reach>,
    /// The permission bits where they are known, else [`UNKNOWN_MODE`].
    mode: AtomicU32,
    /// What it is if it is a file that holds no bytes, once the header has told.
    special: OnceLock<Option<Special>>,
    /// What of its header was last noted for its names.
    pub(crate) noted: AtomicU32,
    /// Its id, once a verified header has told.
    object: Mutex<Option<[u8; 16]>>,
    /// It is a conflict copy, or lies in one.
    copy: AtomicBool,
}

/// What an object is and what is remembered for it.
pub(crate) enum Node {
    File(FileNode),
    Dir(DirNode),
    Symlink,
}

/// A regular file.
#[derive(Default)]
pub(crate) struct FileNode {
    pub(crate) cell: RwLock<FileCell>,
}

/// A directory.
pub(crate) struct DirNode {
    /// Held with `O_PATH`; opened when first needed.
    pub(crate) fd: OnceLock<OwnedFd>,
    /// Keys and header; read when first needed.
    pub(crate) state: RwLock<DirState>,
    /// Held while a name in it is made, moved or removed.
    pub(crate) names: Mutex<()>,
    /// Counts changes of its names.
    pub(crate) changes: AtomicU64,
    /// The count at which the kernel last began to remember a listing, and the stored directory's time then.
    pub(crate) listed_at: Mutex<Option<(u64, Time)>>,
    /// Its header was read since it was last listed.
    pub(crate) just_loaded: AtomicBool,
    /// The conflict copies that were last found in it.
    pub(crate) copies: Mutex<Arc<[ConflictCopy]>>,
    /// Its header has not been made durable since it was written.
    pub(crate) unsynced: AtomicBool,
    /// The count, and the stored directory's change time, when its names were last compared with those known.
    pub(crate) compared_at: Mutex<Option<(u64, Time)>>,
}

impl DirNode {
    fn new() -> Self {
        Self {
            fd: OnceLock::new(),
            state: RwLock::default(),
            names: Mutex::default(),
            changes: AtomicU64::new(0),
            listed_at: Mutex::default(),
            just_loaded: AtomicBool::new(false),
            copies: Mutex::new(Arc::new([])),
            unsynced: AtomicBool::new(false),
            compared_at: Mutex::default(),
        }
    }
}

/// A name in a directory.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) dir: Arc<Inode>,
    /// The name in the store.
    pub(crate) name: Arc<str>,
    pub(crate) tag: NameTag,
    pub(crate) standing: Standing,
}

/// What a stored name makes of what stands there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Standing {
    /// The name is the one it was sealed for.
    #[default]
    Original,
    /// A synchroniser has put it beside the original (FORMAT §7.4).
    Copy,
    /// It is the header of another directory that was merged into this one.
    Header,
}

const UNKNOWN_MODE: u32 = u32::MAX;

impl Inode {
    fn new(ino: Ino, backing: u64, kind: Kind) -> Self {
        let node = match kind {
            Kind::Dir => Node::Dir(DirNode::new()),
            Kind::Symlink => Node::Symlink,
            Kind::File | Kind::Special(_) | Kind::Other => Node::File(FileNode::default()),
        };
        Self {
            ino,
            backing: AtomicU64::new(backing),
            places: Mutex::default(),
            next_place: Mutex::default(),
            gone: Mutex::default(),
            reach: Mutex::default(),
            node,
            mode: AtomicU32::new(UNKNOWN_MODE),
            special: OnceLock::new(),
            noted: AtomicU32::new(UNKNOWN_MODE),
            object: Mutex::default(),
            copy: AtomicBool::new(false),
        }
    }

    /// Whether it is a conflict copy, or lies in one: nothing that was seen is held against it, and it is for reading.
    pub(crate) fn is_copy(&self) -> bool {
        self.copy.load(Ordering::Relaxed)
    }

    /// It has become one.
    pub(crate) fn set_copy(&self) {
        self.copy.store(true, Ordering::Relaxed);
    }

    /// The root directory, which has no place.
    pub(crate) fn root(backing: u64) -> Arc<Self> {
        Arc::new(Self::new(Ino::ROOT, backing, Kind::Dir))
    }

    pub(crate) fn backing(&self) -> u64 {
        self.backing.load(Ordering::Relaxed)
    }

    pub(crate) fn reach(&self) -> Reach {
        self.reach.lock().clone()
    }

    pub(crate) fn set_reach(&self, reach: Reach) {
        *self.reach.lock() = reach;
    }

    pub(crate) fn next_place(&self) -> Option<Place> {
        self.next_place.lock().clone()
    }

    pub(crate) fn set_next_place(&self, place: Option<Place>) {
        *self.next_place.lock() = place;
    }

    /// What stands for it in the store.
    pub(crate) fn kind(&self) -> Kind {
        match self.node {
            Node::File(_) => Kind::File,
            Node::Dir(_) => Kind::Dir,
            Node::Symlink => Kind::Symlink,
        }
    }

    /// What it is to programs, as far as its header has been read.
    pub(crate) fn shown_kind(&self) -> Kind {
        match self.special.get() {
            Some(Some(special)) => Kind::Special(*special),
            _ => self.kind(),
        }
    }

    pub(crate) fn file(&self) -> Option<&FileNode> {
        match &self.node {
            Node::File(file) => Some(file),
            Node::Dir(_) | Node::Symlink => None,
        }
    }

    pub(crate) fn dir(&self) -> Option<&DirNode> {
        match &self.node {
            Node::Dir(dir) => Some(dir),
            Node::File(_) | Node::Symlink => None,
        }
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        self.places.lock().clone()
    }

    /// One of its names.
    pub(crate) fn place(&self) -> Option<Place> {
        self.places.lock().last().cloned()
    }

    /// Remembers a name.
    pub(crate) fn add_place(&self, place: Place) {
        let mut places = self.places.lock();
        if !places.iter().any(|known| known.is(&place.dir, &place.name)) {
            if self.dir().is_some() {
                // A directory has one name; an older one is out of date.
                places.clear();
            }
            places.push(place);
        }
    }

    /// Names it has, or is about to have, or had and may have again after a power cut.
    pub(crate) fn possible_places(&self) -> Vec<Place> {
        let mut places = self.places();
        places.extend(self.next_place());
        places.extend(self.gone.lock().iter().cloned());
        places
    }

    /// A name has gone, not durably so far.
    pub(crate) fn add_gone(&self, place: Place) {
        self.gone.lock().push(place);
    }

    /// Whether it had other names a moment ago.
    pub(crate) fn has_gone(&self) -> bool {
        !self.gone.lock().is_empty()
    }

    /// It is durable that a name has gone.
    pub(crate) fn remove_gone(&self, gone: &Place) {
        let mut all = self.gone.lock();
        if let Some(at) = all.iter().position(|it| it.is(&gone.dir, &gone.name)) {
            all.remove(at);
        }
    }

    /// Forgets a name.
    pub(crate) fn remove_place(&self, dir: &Arc<Self>, name: &str) {
        self.places.lock().retain(|place| !place.is(dir, name));
    }

    /// Whether this name is among those it is known by.
    pub(crate) fn is_at(&self, place: &Place) -> bool {
        self.places
            .lock()
            .iter()
            .any(|known| known.is(&place.dir, &place.name))
    }

    /// The permission bits, if they are known without asking the store.
    pub(crate) fn mode(&self) -> Option<u32> {
        Some(self.mode.load(Ordering::Relaxed)).filter(|mode| *mode != UNKNOWN_MODE)
    }

    pub(crate) fn set_mode(&self, mode: u32) {
        self.mode.store(mode & 0o7777, Ordering::Relaxed);
    }

    /// Remembers what a verified header says of the attributes.
    pub(crate) fn learn(&self, state: &State) {
        // Before the mode: whoever finds that known relies on this.
        self.special.get_or_init(|| state.special);
        self.set_mode(state.mode);
    }

    pub(crate) fn object(&self) -> Option<[u8; 16]> {
        *self.object.lock()
    }

    pub(crate) fn set_object(&self, id: [u8; 16]) {
        *self.object.lock() = Some(id);
    }

    /// Whether this is `dir` or lies below it, with any of its names.
    pub(crate) fn is_within(self: &Arc<Self>, dir: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, dir) || self.places().iter().any(|place| place.dir.is_within(dir))
    }
}

impl Place {
    /// Whether what stands there is a conflict copy, or in one.
    pub(crate) fn is_copy(&self) -> bool {
        self.standing != Standing::Original || self.dir.is_copy()
    }

    pub(crate) fn is(&self, dir: &Arc<Inode>, name: &str) -> bool {
        Arc::ptr_eq(&self.dir, dir) && *self.name == *name
    }
}

impl std::fmt::Debug for Inode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inode({})", self.ino.0)
    }
}

/// All inodes that are remembered.
pub(crate) struct Table {
    entries: Mutex<Entries>,
    root: Arc<Inode>,
}

struct Entries {
    by_ino: HashMap<Ino, Slot>,
    by_backing: HashMap<u64, Ino>,
    /// Those the kernel has let go of while somebody here still held them.
    left: HashSet<Ino>,
    /// The next number for an object whose backing inode's number is taken.
    next: u64,
}

struct Slot {
    inode: Arc<Inode>,
    /// How many references the kernel holds.
    lookups: u64,
}

/// Far above what filesystems use for inodes.
const SPARE_NUMBERS: u64 = 1 << 60;

impl Table {
    pub(crate) fn new(root: Arc<Inode>) -> Self {
        let slot = Slot {
            inode: Arc::clone(&root),
            lookups: 1,
        };
        let by_backing = HashMap::from([(root.backing(), Ino::ROOT)]);
        let by_ino = HashMap::from([(Ino::ROOT, slot)]);
        Self {
            entries: Mutex::new(Entries {
                by_ino,
                by_backing,
                left: HashSet::new(),
                next: SPARE_NUMBERS,
            }),
            root,
        }
    }

    pub(crate) fn root(&self) -> &Arc<Inode> {
        &self.root
    }

    pub(crate) fn get(&self, ino: Ino) -> Option<Arc<Inode>> {
        self.entries
            .lock()
            .by_ino
            .get(&ino)
            .map(|slot| Arc::clone(&slot.inode))
    }

    /// The inode of a backing object, made if it is new, with one more name and `references` more references.
    pub(crate) fn intern(
        &self,
        backing: u64,
        kind: Kind,
        place: Place,
        references: u64,
    ) -> Arc<Inode> {
        let mut guard = self.entries.lock();
        let entries = &mut *guard;
        if let Some(slot) = entries
            .by_backing
            .get(&backing)
            .and_then(|ino| entries.by_ino.get_mut(ino))
            && slot.inode.kind() == kind
        {
            slot.lookups += references;
            slot.inode.add_place(place);
            return Arc::clone(&slot.inode);
        }
        let mut ino = Ino(backing);
        while ino.0 <= Ino::ROOT.0 || entries.by_ino.contains_key(&ino) {
            ino = Ino(entries.next);
            entries.next += 1;
        }
        let inode = Arc::new(Inode::new(ino, backing, kind));
        if place.is_copy() {
            inode.set_copy();
        }
        inode.add_place(place);
        entries.by_backing.insert(backing, ino);
        entries.by_ino.insert(
            ino,
            Slot {
                inode: Arc::clone(&inode),
                lookups: references,
            },
        );
        inode
    }

    /// The inode of a backing object, if it is remembered.
    pub(crate) fn find(&self, backing: u64, kind: Kind) -> Option<Arc<Inode>> {
        let entries = self.entries.lock();
        let slot = entries
            .by_backing
            .get(&backing)
            .and_then(|ino| entries.by_ino.get(ino))?;
        (slot.inode.kind() == kind).then(|| Arc::clone(&slot.inode))
    }

    /// The backing object is gone or is not what it was: its inode number may come back as something else.
    pub(crate) fn detach(&self, inode: &Inode) {
        let mut entries = self.entries.lock();
        if let Entry::Occupied(entry) = entries.by_backing.entry(inode.backing())
            && *entry.get() == inode.ino
        {
            entry.remove();
        }
    }

    /// Another backing object has taken the place of the one this inode stood for, and is the same to programs.
    pub(crate) fn rebind(&self, inode: &Inode, backing: u64) {
        self.detach(inode);
        inode.backing.store(backing, Ordering::Relaxed);
        self.entries.lock().by_backing.insert(backing, inode.ino);
    }

    /// Takes references back; the inode is forgotten when none is left and nobody else holds it.
    pub(crate) fn forget(&self, ino: Ino, references: u64) -> Option<Arc<Inode>> {
        let mut guard = self.entries.lock();
        let entries = &mut *guard;
        let slot = entries.by_ino.get_mut(&ino)?;
        slot.lookups = slot.lookups.saturating_sub(references);
        if slot.lookups > 0 || ino == Ino::ROOT {
            return None;
        }
        if Arc::strong_count(&slot.inode) > 1 {
            entries.left.insert(ino);
            return None;
        }
        entries.left.remove(&ino);
        let slot = entries.by_ino.remove(&ino)?;
        let backing = slot.inode.backing();
        if entries.by_backing.get(&backing) == Some(&ino) {
            entries.by_backing.remove(&backing);
        }
        // Dropped by the caller, outside the lock: it may be the last one to hold a chain of directories.
        Some(slot.inode)
    }

    /// The directories that are known to lie in `dir`.
    pub(crate) fn children(&self, dir: &Arc<Inode>) -> Vec<Arc<Inode>> {
        let entries = self.entries.lock();
        let is_child = |inode: &Arc<Inode>| {
            inode
                .dir()
                .is_some_and(|node| node.unsynced.load(Ordering::Acquire))
                && inode
                    .place()
                    .is_some_and(|place| Arc::ptr_eq(&place.dir, dir))
        };
        entries
            .by_ino
            .values()
            .map(|slot| &slot.inode)
            .filter(|inode| is_child(inode))
            .cloned()
            .collect()
    }

    /// Forgets all inodes that the kernel has let go of and nobody holds any more, as long as there is time for it: the
    /// store may take long to free the room of each.
    pub(crate) fn sweep_left(&self, has_time: impl Fn() -> bool) {
        let left = std::mem::take(&mut self.entries.lock().left);
        for ino in left {
            if !has_time() {
                return;
            }
            drop(self.forget(ino, 0));
        }
    }

    /// Forgets an inode that the kernel has let go of before we had.
    pub(crate) fn sweep(&self, inode: Arc<Inode>) {
        let ino = inode.ino;
        drop(inode);
        drop(self.forget(ino, 0));
    }
}
