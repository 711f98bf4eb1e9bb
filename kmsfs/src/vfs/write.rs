//! Writing content: into dirty chunks, or sealed and appended at once where nothing committed stands in the way.

use std::ops::Range;
use std::sync::Arc;

use kms_crypto::format::MAX_SIZE;
use rustix::io::Errno;

use super::file::{DIRTY_MAX, FileCell, Loaded};
use super::{Handle, Result, Vfs};
use crate::backing::{Disk, Time};
use crate::inode::Inode;

/// Runs of at least this many bytes of whole chunks are sealed from the caller's buffer without a detour.
const STREAM_MIN: usize = 64 << 10;
/// At most so many at once: what stays in the processor's cache between sealing and writing is quicker, and takes less
/// memory.
const STREAM_MAX: usize = 256 << 10;
/// How many tag pages (4 KiB each, for 512 KiB of content) such writing fills before they are sealed and forgotten.
const STREAM_PAGES: usize = 128;

impl Vfs {
    /// Writes all of `data` at `offset`. `clear_setid` is set where the writer may not keep set-id bits alive.
    ///
    /// # Errors
    /// What stands there does not verify, there is no room, or the file is too large.
    pub fn write(&self, handle: Handle, offset: u64, data: &[u8], clear_setid: bool) -> Result<()> {
        let open = self.handle(handle)?;
        if !open.writes() {
            return Err(Errno::BADF.into());
        }
        let inode = &open.inode;
        self.throttle();
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= MAX_SIZE)
            .ok_or(Errno::FBIG)?;
        self.mark_busy(inode);
        if clear_setid {
            self.clear_setid(inode)?;
        }
        {
            let mut cell = open.file()?.cell.write();
            let fresh = cell.fresh.is();
            if data.len() >= STREAM_MIN {
                self.settle_cut(inode, &mut cell)?;
            }
            let loaded = cell.loaded.as_deref_mut().ok_or(Errno::BADF)?;
            let old = loaded.size();
            if end > old {
                loaded.extend(&self.disk, end, offset)?;
            }
            loaded.mtime = Some(Time::now());
            if let Err(error) = self.write_chunks(inode, loaded, offset, data, fresh) {
                if end > old {
                    // The last chunk's leaf fits its old length only.
                    loaded.shrink(&self.disk, old)?;
                }
                return Err(error);
            }
            if loaded.dirty_len() >= DIRTY_MAX {
                self.spill(inode, &mut cell)?;
            }
        }
        Ok(())
    }

    /// A file that was cut short and is now written at length: makes the cut a durable state, so that what comes next
    /// can go straight into the stored file.
    fn settle_cut(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<()> {
        let fresh = cell.fresh.is();
        let Some(file) = cell.loaded.as_deref_mut() else {
            return Ok(());
        };
        if file.is_cut() && !file.orphan {
            self.commit(inode, cell)?;
        }
        let Some(file) = cell.loaded.as_deref_mut() else {
            return Ok(());
        };
        if file.protected_len > file.committed_len && !file.orphan {
            if !fresh {
                self.owner()?.journal.sync_to(file.seq)?;
            }
            file.protected_len = file.committed_len;
        }
        Ok(())
    }

    /// Makes room in memory: what can go into the stored file goes there, the rest is committed.
    fn spill(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<()> {
        self.settle_cut(inode, cell)?;
        let fresh = cell.fresh.is();
        let Some(file) = cell.loaded.as_deref_mut() else {
            return Ok(());
        };
        self.seal_chunks(inode, file, fresh, false)?;
        if file.overlay.unlogged_len() >= DIRTY_MAX {
            self.commit(inode, cell)?;
        }
        Ok(())
    }

    fn write_chunks(
        &self,
        inode: &Arc<Inode>,
        file: &mut Loaded,
        offset: u64,
        data: &[u8],
        fresh: bool,
    ) -> Result<()> {
        let chunk_len = file.chunk_len();
        // What has to be read is read first: a write that fails for that has written nothing.
        for edge in [offset, offset + (data.len() as u64).saturating_sub(1)] {
            file.read_edge(&self.disk, edge, offset..offset + data.len() as u64)?;
        }
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let chunk = file.layout.chunk_at(at);
            let within = usize::try_from(at - chunk * file.layout.chunk_len()).unwrap_or(0);
            if within == 0 && rest.len() >= STREAM_MIN {
                let most = rest.len().min(STREAM_MAX) / chunk_len;
                let whole = file.streamable(chunk, most) * chunk_len;
                if whole >= STREAM_MIN {
                    self.append_chunks(inode, file, chunk, rest[..whole].to_vec(), fresh)?;
                    if file.tree.get_mut().len() > STREAM_PAGES {
                        self.seal_pages(inode, file, fresh, false)?;
                        file.forget_pages(STREAM_PAGES);
                    }
                    at += whole as u64;
                    rest = &rest[whole..];
                    continue;
                }
            }
            let take = rest.len().min(chunk_len - within);
            // What the write covers up to the file's end need not be read.
            let covers = within == 0 && take >= file.layout.chunk_size(file.size(), chunk);
            if covers && !file.dirty.contains_key(&chunk) {
                let mut plain = vec![0; chunk_len];
                plain[..take].copy_from_slice(&rest[..take]);
                file.dirty.insert(chunk, plain);
            } else {
                let plain = file.dirty_chunk(&self.disk, chunk)?;
                plain[within..within + take].copy_from_slice(&rest[..take]);
            }
            at += take as u64;
            rest = &rest[take..];
        }
        Ok(())
    }
}

impl Loaded {
    /// Makes the chunk at `edge` a dirty one if writing `range` leaves some of it as it is.
    fn read_edge(&mut self, disk: &Disk, edge: u64, range: Range<u64>) -> Result<()> {
        let chunk = self.layout.chunk_at(edge);
        let start = chunk * self.layout.chunk_len();
        let end = start + self.layout.chunk_size(self.size(), chunk) as u64;
        if range.is_empty() || range.start <= start && end <= range.end {
            return Ok(());
        }
        self.dirty_chunk(disk, chunk).map(drop)
    }

    /// Makes the file longer. A last chunk that was not full becomes dirty, as its length changes; what lies between
    /// the old end and the new one is a hole. A chunk that begins at `keep_from` or later will be written anyway.
    pub(super) fn extend(&mut self, disk: &Disk, size: u64, keep_from: u64) -> Result<()> {
        let old = self.size();
        let last = self.layout.chunk_at(old);
        let start = last * self.layout.chunk_len();
        if old > start && keep_from > start {
            self.dirty_chunk(disk, last)?;
        }
        self.set_size(disk, size)
    }

    /// Makes the file shorter. A last chunk that is cut becomes dirty, as its length changes.
    pub(super) fn shrink(&mut self, disk: &Disk, size: u64) -> Result<()> {
        let last = self.layout.chunk_at(size);
        let within = usize::try_from(size - last * self.layout.chunk_len()).unwrap_or(0);
        let old_len = self.layout.chunk_size(self.size(), last);
        let is_cut = within > 0 && (old_len > within || self.dirty.contains_key(&last));
        // What can fail comes first, and leaves everything as it is.
        if is_cut {
            self.dirty_chunk(disk, last)?;
        }
        self.set_size(disk, size)?;
        self.dirty.split_off(&self.layout.chunk_count(size));
        if let Some(plain) = self.dirty.get_mut(&last).filter(|_| is_cut) {
            plain[within..].fill(0);
        }
        Ok(())
    }

    /// Whether the file is shorter than its committed state, and that is not committed yet.
    fn is_cut(&self) -> bool {
        self.committed_len > self.layout.backing_len(self.size())
    }

    /// How many of the `count` chunks from `first` on may be sealed into their places right away: those past
    /// everything committed and not dirty.
    fn streamable(&self, first: u64, count: usize) -> usize {
        if !self.is_free(self.layout.chunk_offset(first)) {
            return 0;
        }
        let end = first + count as u64;
        let until = self
            .dirty
            .range(first..end)
            .next()
            .map_or(end, |(chunk, _)| *chunk);
        usize::try_from(until - first).unwrap_or(0)
    }
}
