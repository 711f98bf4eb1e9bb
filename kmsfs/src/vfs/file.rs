//! A regular file while it is in use: its keys, its header, its tag tree, and what has been written to it and is not
//! in the stored file yet.
//!
//! Content comes from four places, the first that has it: `dirty` (plaintext, as written), the overlay (sealed and
//! journalled, or about to be), the stored file, or nowhere (a hole).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use kms_crypto::format::{
    Content, FileContent, FileKeys, HEADER_LEN, Layout, Leaf, ObjectId, OpenHeader, PAGE_LEN,
    Source, Tree, TreeError,
};
use parking_lot::Mutex;
use rustix::io::Errno;

use super::overlay::{Appended, Overlay};
use super::{Part, Result, VfsError};
use crate::backing::{Disk, Stat, Time};
use crate::freshness::Mark;
use crate::inode::{Inode, Place};
use crate::journal::{Logged, Seq};

/// What is remembered of a file.
#[derive(Default)]
pub(crate) struct FileCell {
    /// While it is open or something is on its way into it; now and then a little longer.
    pub(crate) loaded: Option<Box<Loaded>>,
    /// What a replaced file can still be opened by.
    pub(crate) kept: Option<(Arc<OwnedFd>, Place)>,
    /// Its last name was taken by another file: those who looked it up before may still open it.
    pub(crate) replaced: bool,
    /// How many handles are open.
    pub(crate) opens: u32,
    /// When it was made by this mount, unless it has been made durable since.
    pub(crate) fresh: Fresh,
    /// The stored file's change time after we changed it on our own account, and the one to show instead.
    pub(crate) ctime: Option<(Time, Time)>,
    /// Who made it, and when, if this mount did.
    pub(crate) made_by: Option<u32>,
    pub(crate) made_at: Option<std::time::Instant>,
    /// The stored file was synced by this mount; what was appended since is marked on its own.
    pub(crate) durable: bool,
    /// The stored file as we last left or found it; tells whether somebody else changed it.
    pub(crate) identity: Option<Identity>,
}

impl FileCell {
    /// The change time to show for what the store says.
    pub(crate) fn shown_ctime(&self, stat: &Stat) -> Time {
        match self.ctime {
            Some((stored, shown)) if stored == stat.ctime => shown,
            _ => stat.ctime,
        }
    }
}

/// Whether a file is so new that nobody was promised anything about it.
///
/// A file made by this mount a moment ago and never synced may be changed without the journal where one write does
/// it: a power cut may cost such a file, as on any filesystem. After a while the system will have written it by itself
/// (or somebody has called `sync`), and the exception ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fresh(Option<std::time::Instant>);

impl Fresh {
    const SPAN: std::time::Duration = std::time::Duration::from_secs(20);

    pub(crate) fn now() -> Self {
        Self(Some(std::time::Instant::now()))
    }

    pub(crate) fn is(self) -> bool {
        self.0.is_some_and(|made| made.elapsed() < Self::SPAN)
    }
}

/// What tells one state of a stored file from another without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    ino: u64,
    size: u64,
    mtime: Time,
}

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            ino: stat.ino,
            size: stat.size,
            mtime: stat.mtime,
        }
    }
}

/// A file with its keys at hand.
pub(crate) struct Loaded {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) header: OpenHeader,
    pub(crate) keys: Arc<FileKeys>,
    pub(crate) layout: Layout,
    pub(super) tree: Mutex<Tree>,
    /// Chunks as written, each of the full chunk length with zeros behind its end.
    pub(super) dirty: BTreeMap<u64, Vec<u8>>,
    pub(super) overlay: Overlay,
    pub(super) appended: Appended,
    /// Something was appended to the stored file that its committed header does not speak of, and the journal says so
    /// in the run with this number.
    pub(super) append_run: Option<u64>,
    /// The last time the journal was told of this file's appending, or making.
    pub(super) announced: Option<Logged>,
    /// Appended stretches may not be durable yet.
    pub(super) unsynced: bool,
    /// Where the appended stretches are that the journal relies on and that may not be durable yet.
    pub(super) relied: Option<std::ops::Range<u64>>,
    /// Pieces were brought over from the journal and may not be durable in the stored file yet.
    pub(super) applied: bool,
    /// The length of the stored file in the last committed state: what lies below may be overwritten through the
    /// journal only.
    pub(super) committed_len: u64,
    /// The same for the state that a power cut would bring back: more than `committed_len` between a commit that cut
    /// the file and the sync of its record.
    pub(super) protected_len: u64,
    /// The last committed state.
    pub(super) committed: Mark,
    /// The state whose header stands in the stored file, as far as this mount has seen to it.
    pub(super) stored: Mark,
    /// The header differs from the last sealed one.
    pub(super) header_dirty: bool,
    /// How many chunks were sealed since the header was.
    pub(super) sealed: u64,
    /// The file has no name left: nothing of it has to survive.
    pub(super) orphan: bool,
    /// The directory where it had its last name, while that may come back after a power cut.
    pub(super) lost_in: Option<Arc<Inode>>,
    /// The last record about this file.
    pub(super) seq: Seq,
    /// When a program last wrote, while the stored file does not show it.
    pub(super) mtime: Option<Time>,
    /// Chunks that were made holes, by first and count, whose room in the stored file is to be given back.
    pub(super) punched: Vec<(u64, u64)>,
    /// Side files of names that older headers speak of.
    pub(super) outdated: Vec<String>,
    /// The run of the journal that holds the last record about this file.
    pub(super) logged_run: Option<u64>,
    /// Why the stored file could be opened for reading only.
    pub(super) read_only: Option<Errno>,
}

/// How many pages of a file that are as stored stay in memory (4 KiB each).
const MAX_PAGES: usize = 2048;
/// How many bytes of dirty chunks a file gathers before they are sealed.
pub(super) const DIRTY_MAX: usize = 4 << 20;

impl Loaded {
    pub(crate) fn new(
        fd: Arc<OwnedFd>,
        header: OpenHeader,
        mark: Mark,
        stored_len: u64,
    ) -> Result<Self> {
        let keys = Arc::new(header.file_keys().map_err(|_| Part::Kind)?);
        let layout = header.layout().map_err(|_| Part::Kind)?;
        let size = header.file().map_err(|_| Part::Kind)?.size;
        // What stands past the committed length was appended and never vouched for.
        let committed_len = layout
            .backing_len(size)
            .min(stored_len.max(HEADER_LEN as u64));
        Ok(Self {
            fd,
            header,
            keys,
            layout,
            tree: Mutex::default(),
            dirty: BTreeMap::new(),
            overlay: Overlay::default(),
            appended: Appended::default(),
            append_run: None,
            announced: None,
            unsynced: false,
            relied: None,
            applied: false,
            committed_len,
            protected_len: committed_len,
            committed: mark,
            stored: mark,
            header_dirty: false,
            sealed: 0,
            orphan: false,
            lost_in: None,
            seq: Seq::default(),
            mtime: None,
            punched: Vec::new(),
            outdated: Vec::new(),
            logged_run: None,
            read_only: None,
        })
    }

    pub(crate) fn content(&self) -> &FileContent {
        match &self.header.state.content {
            Content::File(content) => content,
            Content::Dir(_) => unreachable!("a file's header was opened as one"),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.content().size
    }

    pub(crate) fn id(&self) -> [u8; 16] {
        *self.header.core().id.as_bytes()
    }

    pub(crate) fn file_id(&self) -> Option<kms_crypto::id::FileId> {
        match self.header.core().id {
            ObjectId::File(id) => Some(id),
            ObjectId::Dir(_) => None,
        }
    }

    /// The header got other keys, perhaps.
    pub(super) fn keys_changed(&mut self) -> Result<()> {
        if self.header.key_epoch() != self.keys.epoch()
            || !self.header.is_rekeying() && self.keys.prev_epoch().is_some()
        {
            self.keys = Arc::new(self.header.file_keys().map_err(|_| Part::Kind)?);
        }
        Ok(())
    }

    /// Whether anything is not in a committed state yet.
    pub(crate) fn is_dirty(&self) -> bool {
        self.header_dirty
            || !self.dirty.is_empty()
            || self.overlay.has_unlogged()
            || self.append_run.is_some()
    }

    /// Whether anything is on its way: uncommitted, or committed in the journal only.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_dirty() || self.applied || !self.overlay.is_empty()
    }

    /// Whether no state that may come back has anything at `offset` or beyond.
    pub(super) fn is_free(&self, offset: u64) -> bool {
        self.orphan || offset >= self.committed_len.max(self.protected_len)
    }

    pub(super) fn dirty_len(&self) -> usize {
        self.dirty.len() * self.chunk_len()
    }

    pub(super) fn chunk_len(&self) -> usize {
        usize::try_from(self.layout.chunk_len()).expect("a chunk is at most 64 KiB")
    }

    /// The names a damage report gives.
    pub(super) fn damaged(&self, part: Part) -> VfsError {
        let error = VfsError::from(part);
        match self.file_id() {
            Some(id) => error.of(id),
            None => error,
        }
    }

    /// The leaf of a chunk.
    pub(super) fn leaf(&self, disk: &Disk, chunk: u64) -> Result<Leaf> {
        let mut tree = self.tree.lock();
        trim(&mut tree);
        let mut read = reader(disk, &self.fd, &self.overlay);
        let mut source = Source {
            layout: self.layout,
            keys: &self.keys,
            read: &mut read,
        };
        tree.leaf(self.content(), chunk, &mut source)
            .map_err(|err| self.tree_error(err))
    }

    /// The leaves of a run of chunks.
    pub(super) fn leaves(&self, disk: &Disk, chunks: std::ops::Range<u64>) -> Result<Vec<Leaf>> {
        let mut tree = self.tree.lock();
        trim(&mut tree);
        let mut read = reader(disk, &self.fd, &self.overlay);
        let mut source = Source {
            layout: self.layout,
            keys: &self.keys,
            read: &mut read,
        };
        chunks
            .map(|chunk| {
                tree.leaf(self.content(), chunk, &mut source)
                    .map_err(|err| self.tree_error(err))
            })
            .collect()
    }

    /// The first chunk from `chunk` on that holds data.
    pub(super) fn next_data(&self, disk: &Disk, chunk: u64) -> Result<Option<u64>> {
        let count = self.layout.chunk_count(self.size());
        let mut tree = self.tree.lock();
        let mut read = reader(disk, &self.fd, &self.overlay);
        let mut source = Source {
            layout: self.layout,
            keys: &self.keys,
            read: &mut read,
        };
        let mut at = chunk;
        while at < count {
            trim(&mut tree);
            let holes = tree
                .holes_from(self.content(), at, &mut source)
                .map_err(|err| self.tree_error(err))?;
            let next = at.saturating_add(holes.max(1));
            if let Some((dirty, _)) = self.dirty.range(at..next).next() {
                return Ok(Some(*dirty));
            }
            if holes == 0 {
                return Ok(Some(at));
            }
            at = next;
        }
        Ok(None)
    }

    /// The first chunk from `chunk` on that is a hole.
    pub(super) fn next_hole(&self, disk: &Disk, chunk: u64) -> Result<Option<u64>> {
        let count = self.layout.chunk_count(self.size());
        let mut tree = self.tree.lock();
        let mut read = reader(disk, &self.fd, &self.overlay);
        let mut source = Source {
            layout: self.layout,
            keys: &self.keys,
            read: &mut read,
        };
        for at in chunk..count {
            if self.dirty.contains_key(&at) {
                continue;
            }
            trim(&mut tree);
            let leaf = tree.leaf(self.content(), at, &mut source);
            if leaf.map_err(|err| self.tree_error(err))?.is_hole() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Replaces the leaf of a chunk.
    pub(super) fn set_leaf(&mut self, disk: &Disk, chunk: u64, leaf: Leaf) -> Result<()> {
        let mut read = reader(disk, &self.fd, &self.overlay);
        let mut source = Source {
            layout: self.layout,
            keys: &self.keys,
            read: &mut read,
        };
        let Content::File(content) = &mut self.header.state.content else {
            return Err(Part::Kind.into());
        };
        let set = self
            .tree
            .get_mut()
            .set_leaf(content, chunk, leaf, &mut source);
        self.header_dirty = true;
        set.map_err(|err| self.tree_error(err))
    }

    /// Changes the size in header and tree; chunks whose own length changes are the caller's business.
    pub(super) fn set_size(&mut self, disk: &Disk, size: u64) -> Result<()> {
        let mut read = reader(disk, &self.fd, &self.overlay);
        let mut source = Source {
            layout: self.layout,
            keys: &self.keys,
            read: &mut read,
        };
        let Content::File(content) = &mut self.header.state.content else {
            return Err(Part::Kind.into());
        };
        let set = self.tree.get_mut().resize(content, size, &mut source);
        self.header_dirty = true;
        set.map_err(|err| self.tree_error(err))
    }

    pub(super) fn tree_error(&self, error: TreeError<VfsError>) -> VfsError {
        match error {
            TreeError::Read(error) => match error {
                VfsError::Damaged(damage) => self.damaged(damage.part),
                other => other,
            },
            TreeError::Body(body) => self.damaged(body.into()),
        }
    }

    /// The plaintext of a chunk, of the full chunk length with zeros behind its end.
    pub(super) fn chunk(&self, disk: &Disk, chunk: u64) -> Result<Vec<u8>> {
        if let Some(plain) = self.dirty.get(&chunk) {
            return Ok(plain.clone());
        }
        let mut plain = vec![0; self.chunk_len()];
        let len = self.layout.chunk_size(self.size(), chunk);
        let leaf = self.leaf(disk, chunk)?;
        if len == 0 || leaf.is_hole() {
            return Ok(plain);
        }
        let offset = self.layout.chunk_offset(chunk);
        match self.overlay.get(offset) {
            Some(sealed) if sealed.len() == len => plain[..len].copy_from_slice(sealed),
            Some(_) => return Err(self.damaged(Part::Chunk(chunk))),
            None => {
                if disk.read_at(&self.fd, offset, &mut plain[..len])? < len {
                    return Err(self.damaged(Part::Length));
                }
            }
        }
        self.keys
            .open_chunk(chunk, &leaf, &mut plain[..len])
            .map_err(|err| self.damaged(err.into()))?;
        Ok(plain)
    }

    /// The dirty buffer of a chunk, filled with what the chunk holds now.
    pub(super) fn dirty_chunk(&mut self, disk: &Disk, chunk: u64) -> Result<&mut Vec<u8>> {
        if !self.dirty.contains_key(&chunk) {
            let plain = self.chunk(disk, chunk)?;
            self.dirty.insert(chunk, plain);
        }
        Ok(self
            .dirty
            .get_mut(&chunk)
            .expect("it was there or has just been put there"))
    }
}

/// Lets go of pages when many are in memory; not while some of them are yet to be sealed, which a commit soon does.
fn trim(tree: &mut Tree) {
    if tree.len() > MAX_PAGES && !tree.is_dirty() {
        tree.trim(MAX_PAGES);
    }
}

/// Reads tag pages from the overlay or the stored file.
fn reader<'a>(
    disk: &'a Disk,
    fd: &'a OwnedFd,
    overlay: &'a Overlay,
) -> impl FnMut(u64, &mut [u8; PAGE_LEN]) -> Result<(), VfsError> + 'a {
    move |offset, page| {
        if let Some(bytes) = overlay.get(offset) {
            let bytes = <&[u8; PAGE_LEN]>::try_from(bytes).map_err(|_| Errno::IO)?;
            *page = *bytes;
            return Ok(());
        }
        if disk.read_at(fd, offset, page)? < PAGE_LEN {
            return Err(Part::Length.into());
        }
        Ok(())
    }
}
