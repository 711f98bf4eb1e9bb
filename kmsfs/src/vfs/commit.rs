//! From what was written to a committed state of a file (FORMAT §8, JOURNAL §2).
//!
//! A commit seals the dirty chunks and tag pages and the header. What lies past the committed length goes straight
//! into the stored file; what overwrites committed bytes goes into one journal record and stays in the overlay until
//! the record is durable and [`super::checkpoint`] brings it over. Either way the file is in its old state or in its
//! new one, wherever the process is killed.

use std::ops::Range;
use std::sync::Arc;

use kms_crypto::format::{Leaf, OpenHeader};

use super::file::{FileCell, Identity, Loaded};
use super::{Part, Result, Vfs, rng};
use crate::freshness::Mark;
use crate::inode::Inode;
use crate::journal::{Action, Piece, Record};

/// Up to this many appended bytes go through the journal with the rest of a record: one sync instead of two.
const SMALL_APPEND: usize = 64 << 10;

/// Where sealed bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// Into the stored file.
    Direct,
    /// Into the journal.
    Logged,
}

impl Vfs {
    /// Brings everything written to the file into a committed state; not yet durable.
    pub(super) fn commit(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<()> {
        if cell
            .loaded
            .as_deref()
            .is_some_and(|file| file.is_dirty() && !file.orphan)
        {
            self.refresh_keys(inode, cell)?;
        }
        self.commit_sealed(inode, cell)
    }

    /// The same with the keys the file has.
    pub(super) fn commit_sealed(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<()> {
        let fresh = cell.fresh.is();
        let Some(file) = cell.loaded.as_deref_mut() else {
            return Ok(());
        };
        if !file.is_dirty() {
            return Ok(());
        }
        let small = !fresh
            && !file.orphan
            && file.appended.is_empty()
            && file.appended_len() <= SMALL_APPEND;
        self.seal_chunks(inode, file, fresh, small)?;
        self.seal_pages(inode, file, fresh, small)?;
        if file.orphan {
            // Nothing of it outlives its handles; what is not in the stored file is read through the overlay.
            file.overlay.mark_logged();
            file.append_run = None;
            file.header_dirty = false;
            return Ok(());
        }
        if file.header_dirty {
            let before = file.header.state.generation;
            file.header.count_sealed(file.sealed);
            let names = file.header.names_path();
            let header = self.seal_file_header(&mut file.header, fresh)?;
            let outdated = names.filter(|path| file.header.names_path().as_ref() != Some(path));
            file.outdated.extend(outdated);
            file.sealed = 0;
            file.overlay.put(0, header.to_vec());
            file.header_dirty = false;
            self.end_key_life(inode, &file.header, before)?;
        }
        let generation = file.header.state.generation;
        let sealed = file.overlay.get(0).and_then(|bytes| bytes.first_chunk());
        let mark = sealed.map(|header| Mark::of(generation, header));
        if fresh && file.overlay.is_new_header() {
            self.commit_directly(inode, cell, mark)?;
        } else {
            self.commit_logged(inode, file, mark)?;
        }
        if let (Some(file), Some(mark)) = (cell.loaded.as_deref(), mark) {
            self.wrote(inode, &file.header, mark);
        }
        Ok(())
    }

    /// Has the file get a new key once enough has been sealed under this one.
    fn end_key_life(&self, inode: &Arc<Inode>, header: &OpenHeader, before: u64) -> Result<()> {
        let life = self.owner()?.key_life;
        if header.state.generation / life == before / life || header.is_rekeying() {
            return Ok(());
        }
        self.enqueue_new_key(inode)
    }

    /// A new file that was never synced: one write of one page makes the new state the current one.
    fn commit_directly(
        &self,
        inode: &Arc<Inode>,
        cell: &mut FileCell,
        mark: Option<Mark>,
    ) -> Result<()> {
        let Some(file) = cell.loaded.as_deref_mut() else {
            return Ok(());
        };
        let len = file.layout.backing_len(file.size());
        let stored_len = if file.committed_len != len || file.append_run.is_some() {
            self.disk.fstat(&file.fd)?.size
        } else {
            len
        };
        if stored_len != len {
            self.announce_append(inode, file, true)?;
        }
        if stored_len < len {
            // A tail of holes has no bytes of its own to make the stored file as long as it must be.
            self.disk.set_len(&file.fd, len)?;
        }
        // Another name or attribute is no change of the content: the times told stay as they are.
        let before = if file.mtime.is_none() {
            Some(self.disk.fstat(&file.fd)?)
        } else {
            None
        };
        // Until it is known what the stored file looks like then: no failure is to be taken for somebody else's change.
        cell.identity = None;
        let sealed = file.overlay.get(0).map_or_else(Vec::new, <[u8]>::to_vec);
        if !sealed.is_empty() {
            self.disk.write_at(&file.fd, 0, &sealed)?;
            if let Some(mark) = mark {
                // Whatever fails from here on: the next state follows this one.
                (file.committed, file.stored) = (mark, mark);
            }
        }
        if stored_len > len {
            // Not before: the old header speaks of all of it.
            self.disk.set_len(&file.fd, len)?;
        }
        file.overlay.clear();
        file.appended.clear();
        file.append_run = None;
        if let Some(mark) = mark {
            file.committed(len, mark);
        }
        file.mtime = None;
        for path in std::mem::take(&mut file.outdated) {
            self.remove_side(&path);
        }
        let nlink = match before {
            Some(before) => {
                self.keep_times(cell, &before, None)?;
                before.nlink
            }
            None => {
                let stat = self.disk.fstat(&file.fd)?;
                cell.identity = Some(Identity::of(&stat));
                stat.nlink
            }
        };
        match cell.loaded.as_deref_mut() {
            // Somebody else has put another one in its place, unless it is being removed here: which of the two, the
            // checkpoint tells.
            Some(file) if nlink == 0 && !sealed.is_empty() => {
                file.overlay.put(0, sealed);
                self.commit_logged(inode, file, mark)
            }
            _ => Ok(()),
        }
    }

    /// Everything else: a record in the journal makes the new state the current one.
    fn commit_logged(
        &self,
        inode: &Arc<Inode>,
        file: &mut Loaded,
        mark: Option<Mark>,
    ) -> Result<()> {
        let mark = mark.unwrap_or(file.committed);
        let len = file.layout.backing_len(file.size());
        // What was cut off since is no part of the new state.
        file.overlay.cut(len);
        file.appended.cut(len);
        let pieces = file.overlay.unlogged();
        if let (Some(first), Some(last)) = (
            pieces
                .iter()
                .find(|piece| piece.offset >= file.committed_len),
            pieces.iter().max_by_key(|piece| piece.offset),
        ) {
            // Better no room now than when the program has gone.
            let end = last.offset + last.bytes.len() as u64;
            self.disk
                .reserve(&file.fd, first.offset, end - first.offset)?;
        }
        if file.touches_relied(&pieces, len) {
            // A checksum tells of a stretch as a whole only: what is to be cut or overwritten must be there for good.
            self.disk.sync_data(&file.fd)?;
            file.unsynced = false;
            file.relied = None;
        }
        let direct = file
            .appended
            .to_direct(|offset, len| self.checksum(&file.fd, offset, len))?;
        let relied = direct.iter().map(|it| it.offset..it.offset + it.len);
        let relied = relied.reduce(|all, it| all.start.min(it.start)..all.end.max(it.end));
        let action = Action::Commit {
            base: file.committed,
            mark,
            len,
            pieces,
            direct,
        };
        let record = Record {
            id: file.id(),
            paths: self.stored_paths(inode)?,
            action,
        };
        self.mark_busy(inode);
        let logged = self.owner()?.journal.append(&record)?;
        file.seq = logged.seq;
        file.logged_run = Some(logged.run);
        file.rely_on(relied);
        file.overlay.mark_logged();
        file.appended.clear();
        file.append_run = None;
        file.committed(len, mark);
        Ok(())
    }

    fn checksum(&self, fd: &std::os::fd::OwnedFd, offset: u64, len: u64) -> Result<u32> {
        let mut crc = 0;
        let mut at = offset;
        let mut buf = vec![0; 256 << 10];
        while at < offset + len {
            let want = usize::try_from(offset + len - at)
                .unwrap_or(usize::MAX)
                .min(buf.len());
            let got = self.disk.read_at(fd, at, &mut buf[..want])?;
            if got == 0 {
                return Err(Part::Length.into());
            }
            crc = crc32c::crc32c_append(crc, &buf[..got]);
            at += got as u64;
        }
        Ok(crc)
    }

    /// Seals all dirty chunks, those that stand side by side together.
    pub(super) fn seal_chunks(
        &self,
        inode: &Arc<Inode>,
        file: &mut Loaded,
        fresh: bool,
        small: bool,
    ) -> Result<()> {
        while let Some((&first, _)) = file.dirty.first_key_value() {
            if first >= file.layout.chunk_count(file.size()) {
                // Cut off since it was written.
                file.dirty.pop_first();
                continue;
            }
            let way = file.way(file.layout.chunk_offset(first), small);
            let run = file.dirty_run(first, way, small);
            let size = file.size();
            let mut bytes = Vec::with_capacity(run * file.chunk_len());
            for chunk in first..first + run as u64 {
                let len = file.layout.chunk_size(size, chunk);
                if let Some(plain) = file.dirty.get(&chunk) {
                    bytes.extend_from_slice(&plain[..len]);
                }
            }
            match way {
                Way::Direct => self.append_chunks(inode, file, first, bytes, fresh)?,
                Way::Logged => self.log_chunks(file, first, bytes)?,
            }
            for chunk in first..first + run as u64 {
                file.dirty.remove(&chunk);
            }
        }
        Ok(())
    }

    /// Seals a run of chunks into their places in the stored file, which no committed state speaks of.
    pub(super) fn append_chunks(
        &self,
        inode: &Arc<Inode>,
        file: &mut Loaded,
        first: u64,
        mut bytes: Vec<u8>,
        fresh: bool,
    ) -> Result<()> {
        self.announce_append(inode, file, fresh)?;
        let mut leaves = Vec::with_capacity(bytes.len().div_ceil(file.chunk_len()));
        file.keys
            .seal_chunks(file.layout, first, &mut bytes, &mut leaves, &mut rng());
        file.sealed += leaves.len() as u64;
        let mut at = 0;
        while at < leaves.len() {
            // Up to the next tag page, which stands between two chunks.
            let start = at * file.chunk_len();
            let offset = file.layout.chunk_offset(first + at as u64);
            let mut end = start;
            while at < leaves.len()
                && file.layout.chunk_offset(first + at as u64) == offset + (end - start) as u64
            {
                end = (end + file.chunk_len()).min(bytes.len());
                at += 1;
            }
            self.append_bytes(file, offset, &bytes[start..end], fresh)?;
        }
        self.set_leaves(file, first, &leaves)
    }

    fn append_bytes(
        &self,
        file: &mut Loaded,
        offset: u64,
        bytes: &[u8],
        fresh: bool,
    ) -> Result<()> {
        if let Some(dir) = &file.lost_in {
            // Until it is durable that the name has gone, the file may come back, and then as it was.
            self.disk.sync_dir(self.dir_fd(dir)?)?;
            file.lost_in = None;
        }
        self.disk.write_at(&file.fd, offset, bytes)?;
        file.unsynced = true;
        file.overlay.remove(offset..offset + bytes.len() as u64);
        if !fresh && !file.orphan {
            file.appended.add(offset, bytes);
        }
        Ok(())
    }

    /// Seals a run of chunks for the journal.
    fn log_chunks(&self, file: &mut Loaded, first: u64, mut bytes: Vec<u8>) -> Result<()> {
        let mut leaves = Vec::with_capacity(bytes.len().div_ceil(file.chunk_len()));
        file.keys
            .seal_chunks(file.layout, first, &mut bytes, &mut leaves, &mut rng());
        file.sealed += leaves.len() as u64;
        for (at, sealed) in bytes.chunks(file.chunk_len()).enumerate() {
            file.overlay
                .put(file.layout.chunk_offset(first + at as u64), sealed.to_vec());
        }
        self.set_leaves(file, first, &leaves)
    }

    fn set_leaves(&self, file: &mut Loaded, first: u64, leaves: &[Leaf]) -> Result<()> {
        for (at, leaf) in leaves.iter().enumerate() {
            file.set_leaf(&self.disk, first + at as u64, *leaf)?;
        }
        Ok(())
    }

    pub(super) fn seal_pages(
        &self,
        inode: &Arc<Inode>,
        file: &mut Loaded,
        fresh: bool,
        small: bool,
    ) -> Result<()> {
        let kms_crypto::format::Content::File(content) = &mut file.header.state.content else {
            return Err(Part::Kind.into());
        };
        let pages = file.tree.get_mut().seal(content, file.layout, &file.keys);
        file.forget_pages(MAX_PAGES);
        // First all of them into the overlay: should a write fail, the next commit has them.
        let mut direct = Vec::new();
        for page in pages {
            if file.way(page.offset, small) == Way::Direct {
                direct.push(page.offset);
            }
            file.overlay.put(page.offset, page.bytes.to_vec());
        }
        for offset in direct {
            self.announce_append(inode, file, fresh)?;
            let Some(bytes) = file.overlay.get(offset).map(<[u8]>::to_vec) else {
                continue;
            };
            self.append_bytes(file, offset, &bytes, fresh)?;
        }
        Ok(())
    }

    /// Tells the journal that something is about to be appended that no header speaks of yet.
    pub(super) fn announce_append(
        &self,
        inode: &Arc<Inode>,
        file: &mut Loaded,
        fresh: bool,
    ) -> Result<()> {
        if file.orphan {
            return Ok(());
        }
        self.mark_busy(inode);
        let journal = &self.owner()?.journal;
        let run = journal.run();
        let announced = match file.announced.filter(|known| known.run == run) {
            Some(known) => known,
            None => journal.append(&Record {
                id: file.id(),
                paths: self.stored_paths(inode)?,
                action: Action::Append,
            })?,
        };
        file.announced = Some(announced);
        file.append_run = Some(announced.run);
        if !fresh {
            // Or a power cut could leave the file longer than it is, and nobody would know.
            journal.sync_to(announced.seq)?;
        }
        Ok(())
    }
}

impl Loaded {
    fn committed(&mut self, len: u64, mark: Mark) {
        self.committed_len = len;
        self.protected_len = self.protected_len.max(len);
        self.committed = mark;
    }

    /// Lets go of all tag pages if there are more than so many and all of them are sealed.
    pub(super) fn forget_pages(&mut self, max: usize) {
        let tree = self.tree.get_mut();
        if tree.len() > max && !tree.is_dirty() {
            tree.clear();
        }
    }

    fn rely_on(&mut self, more: Option<Range<u64>>) {
        self.relied = match (self.relied.take(), more) {
            (Some(known), Some(more)) => Some(known.start.min(more.start)..known.end.max(more.end)),
            (known, more) => known.or(more),
        };
    }

    /// Whether a state with these pieces and this length leaves only part of what the journal relies on.
    fn touches_relied(&self, pieces: &[Piece], len: u64) -> bool {
        self.relied.as_ref().is_some_and(|relied| {
            relied.start < len && len < relied.end
                || pieces.iter().any(|piece| relied.contains(&piece.offset))
        })
    }

    /// How sealed bytes for `offset` reach the stored file.
    fn way(&self, offset: u64, small: bool) -> Way {
        if self.orphan || (self.is_free(offset) && !small) {
            Way::Direct
        } else {
            Way::Logged
        }
    }

    /// How many dirty chunks from `first` on are consecutive and go the same way, up to what is sealed in one go.
    fn dirty_run(&self, first: u64, way: Way, small: bool) -> usize {
        let count = self.layout.chunk_count(self.size());
        let max = (1 << 20) / self.chunk_len();
        let mut run = 0;
        for (at, chunk) in (first..count).zip(self.dirty.range(first..)) {
            if at != *chunk.0 || run == max || self.way(self.layout.chunk_offset(at), small) != way
            {
                break;
            }
            run += 1;
        }
        run
    }

    /// How many dirty bytes lie past the committed length.
    fn appended_len(&self) -> usize {
        let past = self
            .dirty
            .keys()
            .rev()
            .take_while(|chunk| self.layout.chunk_offset(**chunk) >= self.committed_len);
        past.take(SMALL_APPEND / 1024).count() * self.chunk_len()
    }
}

/// Pages of a file that stay in memory between commits (4 KiB each).
const MAX_PAGES: usize = 512;
