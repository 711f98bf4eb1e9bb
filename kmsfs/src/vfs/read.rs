//! Reading content.

use std::ops::Range;
use std::sync::Arc;

use kms_crypto::format::{FileKeys, Layout, Leaf};
use kms_crypto::id::FileId;

use super::file::Loaded;
use super::open::OpenFile;
use super::{Damage, Handle, Part, Result, Vfs, VfsError};
use crate::backing::Disk;

/// What a read has fetched under the lock and opens after it.
struct Fetched {
    keys: Arc<FileKeys>,
    layout: Layout,
    size: u64,
    first: u64,
    id: Option<FileId>,
    /// One for each chunk; `None` where the buffer holds plaintext already.
    leaves: Vec<Option<Leaf>>,
}

impl Vfs {
    /// Reads up to `len` bytes at `offset` into `buf` and says where in `buf` they are: fewer only at the file's end.
    ///
    /// # Errors
    /// The content does not verify, or cannot be read.
    pub fn read(
        &self,
        handle: Handle,
        offset: u64,
        len: usize,
        buf: &mut Vec<u8>,
    ) -> Result<Range<usize>> {
        let open = self.handle(handle)?;
        let mut retries = super::recipient::RETRIES;
        let mut result = self.read_once(&open, offset, len, buf);
        while retries > 0
            && matches!(result, Err(VfsError::Damaged(_)))
            && self.has_moved_on(&open.inode)
        {
            retries -= 1;
            result = self.read_once(&open, offset, len, buf);
        }
        self.note(open.uid, &open.inode, None, "read", result)
    }

    fn read_once(
        &self,
        open: &OpenFile,
        offset: u64,
        len: usize,
        buf: &mut Vec<u8>,
    ) -> Result<Range<usize>> {
        let fetched = {
            let cell = open.file()?.cell.read();
            let loaded = cell.loaded.as_deref().ok_or(rustix::io::Errno::BADF)?;
            fetch(&self.disk, loaded, offset, len, buf)?
        };
        open_chunks(fetched, offset, len, buf)
    }
}

/// Reads and opens a stretch while the file's lock is held; says how many bytes it was.
pub(super) fn read_now(
    disk: &Disk,
    file: &Loaded,
    offset: u64,
    len: usize,
    buf: &mut Vec<u8>,
) -> Result<usize> {
    let fetched = fetch(disk, file, offset, len, buf)?;
    open_chunks(fetched, offset, len, buf).map(|range| range.len())
}

impl Fetched {
    fn damaged(&self, part: Part) -> VfsError {
        VfsError::Damaged(Damage {
            file: self.id,
            part,
        })
    }
}

/// Brings the ciphertext of all chunks the range touches into `buf`, chunk by chunk.
fn fetch(
    disk: &Disk,
    file: &Loaded,
    offset: u64,
    len: usize,
    buf: &mut Vec<u8>,
) -> Result<Option<Fetched>> {
    let size = file.size();
    let end = offset.saturating_add(len as u64).min(size);
    if offset >= end {
        return Ok(None);
    }
    let (first, last) = (file.layout.chunk_at(offset), file.layout.chunk_at(end - 1));
    let chunk_len = file.chunk_len();
    let count = usize::try_from(last - first + 1).map_err(|_| rustix::io::Errno::INVAL)?;
    // Nothing that was in the buffer is ever handed out: each chunk is filled, or an error is returned.
    buf.resize(count * chunk_len, 0);
    let leaves = file.leaves(disk, first..last + 1)?;
    let mut fetched = Fetched {
        keys: Arc::clone(&file.keys),
        layout: file.layout,
        size,
        first,
        id: file.file_id(),
        leaves: leaves.iter().copied().map(Some).collect(),
    };
    let mut at = 0;
    while at < count {
        let run = read_run(
            disk,
            file,
            first + at as u64,
            &leaves[at..],
            &mut buf[at * chunk_len..],
        )?;
        for leaf in &mut fetched.leaves[at..at + run.chunks] {
            if run.is_plain {
                *leaf = None;
            }
        }
        at += run.chunks;
    }
    Ok(Some(fetched))
}

struct Run {
    chunks: usize,
    is_plain: bool,
}

/// Reads the chunks from `first` on that stand side by side in one place, into the front of `buf`.
fn read_run(
    disk: &Disk,
    file: &Loaded,
    first: u64,
    leaves: &[Leaf],
    buf: &mut [u8],
) -> Result<Run> {
    let chunk_len = file.chunk_len();
    if let Some(plain) = file.dirty.get(&first) {
        buf[..chunk_len].copy_from_slice(plain);
        return Ok(Run {
            chunks: 1,
            is_plain: true,
        });
    }
    if leaves[0].is_hole() {
        buf[..chunk_len].fill(0);
        return Ok(Run {
            chunks: 1,
            is_plain: true,
        });
    }
    let len = file.layout.chunk_size(file.size(), first);
    let offset = file.layout.chunk_offset(first);
    if let Some(sealed) = file.overlay.get(offset) {
        if sealed.len() != len {
            return Err(file.damaged(Part::Chunk(first)));
        }
        buf[..len].copy_from_slice(sealed);
        return Ok(Run {
            chunks: 1,
            is_plain: false,
        });
    }
    let mut chunks = 1;
    let mut bytes = len;
    while chunks < leaves.len() {
        let next = first + chunks as u64;
        let at = file.layout.chunk_offset(next);
        let is_beside = at == offset + bytes as u64;
        if !is_beside
            || leaves[chunks].is_hole()
            || file.dirty.contains_key(&next)
            || file.overlay.get(at).is_some()
        {
            break;
        }
        bytes += file.layout.chunk_size(file.size(), next);
        chunks += 1;
    }
    if disk.read_at(&file.fd, offset, &mut buf[..bytes])? < bytes {
        return Err(file.damaged(Part::Length));
    }
    Ok(Run {
        chunks,
        is_plain: false,
    })
}

fn open_chunks(
    fetched: Option<Fetched>,
    offset: u64,
    len: usize,
    buf: &mut [u8],
) -> Result<Range<usize>> {
    let Some(fetched) = fetched else {
        return Ok(0..0);
    };
    let chunk_len = usize::try_from(fetched.layout.chunk_len()).expect("a chunk is at most 64 KiB");
    for (at, leaf) in fetched.leaves.iter().enumerate() {
        let Some(leaf) = leaf else { continue };
        let chunk = fetched.first + at as u64;
        let len = fetched.layout.chunk_size(fetched.size, chunk);
        let bytes = &mut buf[at * chunk_len..at * chunk_len + len];
        fetched
            .keys
            .open_chunk(chunk, leaf, bytes)
            .map_err(|err| fetched.damaged(err.into()))?;
    }
    let skip =
        usize::try_from(offset - fetched.first * fetched.layout.chunk_len()).unwrap_or(usize::MAX);
    let end = fetched.size.min(offset.saturating_add(len as u64));
    let take = usize::try_from(end - offset).unwrap_or(0);
    Ok(skip..skip + take)
}
