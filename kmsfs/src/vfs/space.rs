//! Length, holes and room: truncate, fallocate, and looking for data and holes.

use std::sync::Arc;

use kms_crypto::format::{Leaf, MAX_SIZE};
use rustix::io::Errno;

use super::file::{FileCell, Loaded};
use super::{Allocate, Caller, Handle, Result, Seek, Vfs};
use crate::backing::Time;
use crate::inode::Inode;

impl Vfs {
    /// Changes the length of a file, open or not.
    pub(super) fn truncate(
        &self,
        caller: Caller,
        inode: &Arc<Inode>,
        _handle: Option<Handle>,
        size: u64,
    ) -> Result<()> {
        self.throttle();
        let file = inode.file().ok_or(if inode.dir().is_some() {
            Errno::ISDIR
        } else {
            Errno::INVAL
        })?;
        {
            let mut cell = file.cell.write();
            self.ensure_loaded(inode, &mut cell)?;
            self.ensure_writable(inode, &mut cell)?;
            cell.opens += 1;
        }
        let done = self.truncate_open(caller, inode, size);
        let mut cell = file.cell.write();
        cell.opens -= 1;
        let committed = if cell.opens == 0 {
            self.commit(inode, &mut cell)
        } else {
            Ok(())
        };
        self.unload(inode, &mut cell);
        done.and(committed)
    }

    /// The same for a file whose keys are at hand.
    pub(super) fn truncate_open(
        &self,
        caller: Caller,
        inode: &Arc<Inode>,
        size: u64,
    ) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::FBIG.into());
        }
        if caller.uid != 0 {
            self.clear_setid(inode)?;
        }
        self.mark_busy(inode);
        let file = inode.file().ok_or(Errno::INVAL)?;
        {
            let mut cell = file.cell.write();
            let loaded = cell.loaded.as_deref_mut().ok_or(Errno::BADF)?;
            if size > loaded.size() {
                loaded.extend(&self.disk, size, u64::MAX)?;
            } else {
                loaded.shrink(&self.disk, size)?;
            }
            loaded.header_dirty = true;
            loaded.mtime = Some(Time::now());
        }
        Ok(())
    }

    /// Makes room, holes or zeros.
    ///
    /// # Errors
    /// There is no room, or the file would get too large.
    pub fn fallocate(&self, handle: Handle, offset: u64, len: u64, what: Allocate) -> Result<()> {
        let open = self.handle(handle)?;
        if !open.writes() {
            return Err(Errno::BADF.into());
        }
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= MAX_SIZE)
            .ok_or(Errno::FBIG)?;
        if len == 0 {
            return Err(Errno::INVAL.into());
        }
        self.throttle();
        self.mark_busy(&open.inode);
        {
            let mut cell = open.file()?.cell.write();
            // Room in the stored file changes its times.
            cell.identity = None;
            let file = cell.loaded.as_deref_mut().ok_or(Errno::BADF)?;
            match what {
                Allocate::Extend | Allocate::KeepSize => self.reserve(file, offset, end)?,
                Allocate::PunchHole | Allocate::Zero | Allocate::ZeroKeepSize => {
                    file.zero(&self.disk, offset, end.min(file.size()))?;
                }
            }
            if matches!(what, Allocate::Extend | Allocate::Zero) && end > file.size() {
                file.extend(&self.disk, end, u64::MAX)?;
            }
            file.header_dirty = true;
            file.mtime = Some(Time::now());
        }
        Ok(())
    }

    /// Reserves room in the stored file. What stays a hole reads as zeros as before.
    fn reserve(&self, file: &Loaded, offset: u64, end: u64) -> Result<()> {
        let first = file.layout.chunk_at(offset);
        let from = file.layout.chunk_offset(first);
        let to = file.layout.backing_len(end);
        Ok(self
            .disk
            .reserve(&file.fd, from, to.saturating_sub(from).max(1))?)
    }

    /// The next byte of data, or the next hole, from `offset` on.
    ///
    /// # Errors
    /// `ENXIO` when there is none.
    pub fn lseek(&self, handle: Handle, offset: u64, seek: Seek) -> Result<u64> {
        let open = self.handle(handle)?;
        let cell = open.file()?.cell.read();
        let file = cell.loaded.as_deref().ok_or(Errno::BADF)?;
        let size = file.size();
        if offset >= size {
            return Err(Errno::NXIO.into());
        }
        let chunk = file.layout.chunk_at(offset);
        let found = match seek {
            Seek::Data => file.next_data(&self.disk, chunk)?,
            Seek::Hole => file.next_hole(&self.disk, chunk)?,
        };
        match (found, seek) {
            (Some(chunk), _) => Ok(offset.max(chunk * file.layout.chunk_len())),
            (None, Seek::Data) => Err(Errno::NXIO.into()),
            (None, Seek::Hole) => Ok(size),
        }
    }
}

impl Loaded {
    /// Makes a range within the file read as zeros: whole chunks become holes.
    fn zero(&mut self, disk: &crate::backing::Disk, offset: u64, end: u64) -> Result<()> {
        self.read_partial(disk, offset, end)?;
        let chunk_len = self.layout.chunk_len();
        let mut at = offset;
        // Holes are zeros already.
        while let Some(chunk) = self.next_data(disk, self.layout.chunk_at(at))? {
            let start = chunk * chunk_len;
            at = at.max(start);
            if at >= end {
                break;
            }
            let stop = end.min(start + chunk_len);
            let whole =
                at == start && stop - start >= self.layout.chunk_size(self.size(), chunk) as u64;
            if whole {
                self.set_leaf(disk, chunk, Leaf::HOLE)?;
                self.dirty.remove(&chunk);
                self.note_punched(chunk);
            } else {
                let (from, to) = (in_chunk(at - start), in_chunk(stop - start));
                self.dirty_chunk(disk, chunk)?[from..to].fill(0);
            }
            at = stop;
        }
        Ok(())
    }
}

impl Loaded {
    /// Reads what making zeros has to read, so that it is done whole or not at all.
    fn read_partial(&mut self, disk: &crate::backing::Disk, offset: u64, end: u64) -> Result<()> {
        let chunk_len = self.layout.chunk_len();
        let mut chunk = self.layout.chunk_at(offset);
        while let Some(next) = self.next_data(disk, chunk)? {
            let start = next * chunk_len;
            if start >= end {
                break;
            }
            let stop = start + self.layout.chunk_size(self.size(), next) as u64;
            if start < offset || end < stop {
                self.dirty_chunk(disk, next)?;
            }
            chunk = next + 1;
        }
        Ok(())
    }

    /// Whether room or side files are to be given back.
    pub(super) fn has_leftovers(&self) -> bool {
        !self.punched.is_empty() || !self.outdated.is_empty()
    }

    fn note_punched(&mut self, chunk: u64) {
        match self.punched.last_mut() {
            Some((first, count)) if *first + *count == chunk => *count += 1,
            _ => self.punched.push((chunk, 1)),
        }
    }
}

impl Vfs {
    /// Gives the room of what became holes back to the store, once no state that may come back needs it: nothing of
    /// the file is on its way, and the journal speaks of it no more. Says whether nothing is left to be given back.
    pub(super) fn give_back(&self, cell: &mut FileCell) -> Result<bool> {
        let run = self.owner()?.journal.run();
        let Some(file) = cell.loaded.as_deref_mut() else {
            return Ok(true);
        };
        if !file.has_leftovers() {
            return Ok(true);
        }
        if file.is_busy() || file.logged_run.max(file.announced.map(|it| it.run)) >= Some(run) {
            return Ok(false);
        }
        for path in std::mem::take(&mut file.outdated) {
            self.remove_side(&path);
        }
        if file.punched.is_empty() {
            return Ok(true);
        }
        self.owner()?.journal.sync_released()?;
        let before = self.disk.fstat(&file.fd)?;
        cell.identity = None;
        for (first, count) in std::mem::take(&mut file.punched) {
            self.give_back_run(file, first, count)?;
        }
        self.keep_times(cell, &before, None)?;
        Ok(true)
    }

    /// The same for a run of chunks, those that have been written to since left out.
    fn give_back_run(&self, file: &Loaded, first: u64, count: u64) -> Result<()> {
        let len = file.layout.chunk_len();
        let mut range: Option<(u64, u64)> = None;
        for chunk in first..first + count {
            if chunk >= file.layout.chunk_count(file.size())
                || !file.leaf(&self.disk, chunk)?.is_hole()
            {
                continue;
            }
            let at = file.layout.chunk_offset(chunk);
            range = match range {
                Some((start, end)) if end == at => Some((start, end + len)),
                Some((start, end)) => {
                    self.disk.punch(&file.fd, start, end - start)?;
                    Some((at, at + len))
                }
                None => Some((at, at + len)),
            };
        }
        if let Some((start, end)) = range {
            self.disk.punch(&file.fd, start, end - start)?;
        }
        Ok(())
    }
}

fn in_chunk(len: u64) -> usize {
    usize::try_from(len).expect("a chunk is at most 64 KiB")
}
