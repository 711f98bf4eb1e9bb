//! Length, holes and room: truncate, fallocate, and looking for data and holes.

use std::sync::Arc;

use kms_crypto::format::{Leaf, MAX_SIZE};
use rustix::io::Errno;

use super::file::Loaded;
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
        let mut chunk = file.layout.chunk_at(offset);
        let count = file.layout.chunk_count(size);
        while chunk < count {
            let is_data =
                file.dirty.contains_key(&chunk) || !file.leaf(&self.disk, chunk)?.is_hole();
            if is_data == (seek == Seek::Data) {
                return Ok(offset.max(chunk * file.layout.chunk_len()));
            }
            chunk += 1;
        }
        match seek {
            Seek::Data => Err(Errno::NXIO.into()),
            Seek::Hole => Ok(size),
        }
    }
}

impl Loaded {
    /// Makes a range within the file read as zeros: whole chunks become holes.
    fn zero(&mut self, disk: &crate::backing::Disk, offset: u64, end: u64) -> Result<()> {
        let chunk_len = self.layout.chunk_len();
        let mut at = offset;
        while at < end {
            let chunk = self.layout.chunk_at(at);
            let start = chunk * chunk_len;
            let stop = end.min(start + chunk_len);
            let whole =
                at == start && stop - start >= self.layout.chunk_size(self.size(), chunk) as u64;
            if whole {
                self.dirty.remove(&chunk);
                self.set_leaf(disk, chunk, Leaf::HOLE)?;
            } else if self.dirty.contains_key(&chunk) || !self.leaf(disk, chunk)?.is_hole() {
                let (from, to) = (in_chunk(at - start), in_chunk(stop - start));
                self.dirty_chunk(disk, chunk)?[from..to].fill(0);
            }
            at = stop;
        }
        Ok(())
    }
}

fn in_chunk(len: u64) -> usize {
    usize::try_from(len).expect("a chunk is at most 64 KiB")
}
