//! Encrypting and decrypting what does not fit into memory (FORMAT §9): the bytes are those of [`crate::sealed`].
//!
//! Everything is done in runs: the 16 chunks behind the header, then 126 chunks and the tag page before them. A run is
//! read at once, sealed or opened, and written at once. The header comes first and is known last, and pages stand before
//! what they cover: whoever is written to when encrypting, and read from when decrypting, must be able to seek.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kms_crypto::format::file::{FileError, NewFile};
use kms_crypto::format::{
    BodyError, Check, Core, DEFAULT_CHUNK_BITS, HEADER_LEAVES, HEADER_LEN, Header, HeaderError,
    Layout, OpenHeader, PAGE_ENTRIES, PAGE_LEN, Sealer, Source, Tree, TreeError, Via,
};
use kms_crypto::id::FileId;
use kms_crypto::key::FileKey;
use zeroize::Zeroizing;

use crate::client::rng;

/// The largest plaintext that is encrypted here: 4 TiB. Its key is then far from used up (FORMAT §5.1).
pub const MAX_STREAM_BYTES: u64 = 1 << 42;

/// So many runs share one sealing of the pages above them.
const RUNS_A_SEAL: u64 = 16;
/// So many pages of leaves are kept when reading.
const MAX_PAGES: usize = 64;

/// Why a stream was not encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// What is read from fails.
    #[error("cannot read: {0}")]
    Read(#[source] io::Error),
    /// What is written to fails.
    #[error("cannot write: {0}")]
    Write(#[source] io::Error),
    /// It is no encrypted file, or has been altered.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is too much of it.
    #[error("more than {MAX_STREAM_BYTES} bytes")]
    TooLarge,
    /// Whoever wanted it does not want it any more.
    #[error("cancelled")]
    Cancelled,
}

impl From<HeaderError> for StreamError {
    fn from(error: HeaderError) -> Self {
        Self::File(error.into())
    }
}

impl From<BodyError> for StreamError {
    fn from(error: BodyError) -> Self {
        Self::File(error.into())
    }
}

/// Says to a stream that is being worked on elsewhere that nobody waits for it. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the work at the next run.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), StreamError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(StreamError::Cancelled);
        }
        Ok(())
    }
}

/// How much a stream was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sizes {
    /// Bytes of plaintext.
    pub plain: u64,
    /// Bytes of the encrypted file.
    pub sealed: u64,
}

/// Encrypts all of `from` into `to`, from where it stands on.
pub fn seal(
    from: &mut (impl Read + ?Sized),
    to: &mut (impl Write + Seek + ?Sized),
    new: &NewFile<'_>,
    stop: &Stop,
) -> Result<Sizes, StreamError> {
    let start = to.stream_position().map_err(StreamError::Write)?;
    let layout = Layout::new(DEFAULT_CHUNK_BITS).expect("the default chunk size exists");
    let mut rng = rng();
    let core = Core::file(new.store, FileId::random(&mut rng), new.cipher, layout);
    let mut header = OpenHeader::new_file(core, &FileKey::generate(&mut rng), 0o600)?;
    let keys = header.file_keys()?;
    let mut tree = Tree::new();
    let mut put = |offset: u64, bytes: &[u8]| -> Result<(), StreamError> {
        let put = to
            .seek(SeekFrom::Start(start + offset))
            .and_then(|_| to.write_all(bytes));
        put.map_err(StreamError::Write)
    };
    let mut buffer = Zeroizing::new(Vec::new());
    let mut size = 0;
    for run in 0.. {
        stop.check()?;
        let chunks = chunks_of(run);
        let len = layout.chunk_len() * (chunks.end - chunks.start);
        buffer.clear();
        Read::take(&mut *from, len)
            .read_to_end(&mut buffer)
            .map_err(StreamError::Read)?;
        let got = buffer.len() as u64;
        if size + got > MAX_STREAM_BYTES {
            return Err(StreamError::TooLarge);
        }
        if got > 0 {
            size += got;
            let content = header.file_mut()?;
            // Every page is a new one.
            let read = &mut |_: u64, _: &mut [u8; PAGE_LEN]| -> Result<(), BodyError> {
                Err(BodyError::Page {
                    level: 1,
                    index: run,
                })
            };
            let source = &mut Source {
                layout,
                keys: &keys,
                read,
            };
            tree.resize(content, size, source).map_err(flatten)?;
            let pieces = buffer.chunks_mut(chunk_len(layout));
            for (index, chunk) in chunks.clone().zip(pieces) {
                let leaf = keys.seal_chunk(index, chunk, &mut rng);
                tree.set_leaf(content, index, leaf, source)
                    .map_err(flatten)?;
            }
            put(layout.chunk_offset(chunks.start), &buffer)?;
        }
        let is_last = got < len;
        if is_last || run % RUNS_A_SEAL == RUNS_A_SEAL - 1 {
            for page in tree.seal(header.file_mut()?, layout, &keys) {
                put(page.offset, page.bytes.as_slice())?;
            }
            tree.trim(0);
        }
        if is_last {
            break;
        }
    }
    header.count_sealed(layout.chunk_count(size));
    if let Some(label) = new.label {
        header.renew_label(label, &mut rng)?;
    }
    let sealer = Sealer {
        owner: None,
        signer: new.signer,
        machine: None,
    };
    let sealed = header.seal(&sealer, &mut rng)?;
    put(0, sealed.as_slice())?;
    to.flush().map_err(StreamError::Write)?;
    Ok(Sizes {
        plain: size,
        sealed: layout.backing_len(size),
    })
}

/// How long the encrypted file of so many bytes is.
pub(crate) fn sealed_len(size: usize) -> Result<usize, StreamError> {
    let layout = Layout::new(DEFAULT_CHUNK_BITS).expect("the default chunk size exists");
    let size = u64::try_from(size)
        .ok()
        .filter(|it| *it <= MAX_STREAM_BYTES);
    let len = layout.backing_len(size.ok_or(StreamError::TooLarge)?);
    usize::try_from(len).map_err(|_| StreamError::TooLarge)
}

/// How many bytes were encrypted into a file with this header that is so long.
pub(crate) fn plain_len(header: &Header, len: usize) -> Result<usize, StreamError> {
    let layout = Layout::new(header.core().chunk_bits).ok_or(HeaderError::OtherKind)?;
    let size = u64::try_from(len)
        .ok()
        .and_then(|len| layout.plain_len(len));
    // A length that no file has: cut off inside what has to be there.
    let cut_off = BodyError::Truncated {
        expected: layout.backing_len(0),
        found: len as u64,
    };
    let size = size.and_then(|size| usize::try_from(size).ok());
    Ok(size.ok_or(cut_off)?)
}

/// Reads the header of an encrypted file, whose labels say what key to ask for, and leaves `from` where it was.
pub fn inspect(from: &mut (impl Read + Seek + ?Sized)) -> Result<Header, StreamError> {
    let start = from.stream_position().map_err(StreamError::Read)?;
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    Read::take(&mut *from, HEADER_LEN as u64)
        .read_to_end(&mut bytes)
        .and_then(|_| from.seek(SeekFrom::Start(start)))
        .map_err(StreamError::Read)?;
    Ok(Header::parse(&bytes)?)
}

/// Decrypts all of `from`, from where it stands on, into `to`. What has been written when it fails is the verified
/// beginning of the plaintext.
pub fn open(
    from: &mut (impl Read + Seek + ?Sized),
    to: &mut (impl Write + ?Sized),
    via: Via<'_>,
    check: Check<'_>,
    stop: &Stop,
) -> Result<Sizes, StreamError> {
    let start = from.stream_position().map_err(StreamError::Read)?;
    let header = inspect(from)?.open(via, check)?;
    let (layout, content, keys) = (header.layout()?, header.file()?, header.file_keys()?);
    let end = from.seek(SeekFrom::End(0)).map_err(StreamError::Read)?;
    let sealed = end.saturating_sub(start);
    layout.check_len(content.size, sealed)?;
    let count = layout.chunk_count(content.size);
    let mut tree = Tree::new();
    let mut buffer = Zeroizing::new(Vec::new());
    for run in 0.. {
        stop.check()?;
        let chunks = chunks_of(run);
        let chunks = chunks.start..chunks.end.min(count);
        if chunks.is_empty() {
            break;
        }
        let first = chunks.start << layout.chunk_bits();
        let last = (chunks.end << layout.chunk_bits()).min(content.size);
        // The length of the file has been compared with its size: nothing is reserved that is not there.
        buffer.resize(usize::try_from(last - first).unwrap_or(0), 0);
        read_at(from, start + layout.chunk_offset(chunks.start), &mut buffer)?;
        let read = &mut |offset, page: &mut [u8; PAGE_LEN]| read_at(from, start + offset, page);
        let source = &mut Source {
            layout,
            keys: &keys,
            read,
        };
        let pieces = buffer.chunks_mut(chunk_len(layout));
        for (index, chunk) in chunks.zip(pieces) {
            let leaf = tree.leaf(content, index, source).map_err(|err| match err {
                TreeError::Read(err) => err,
                TreeError::Body(err) => err.into(),
            })?;
            keys.open_chunk(index, &leaf, chunk)?;
        }
        to.write_all(&buffer).map_err(StreamError::Write)?;
        tree.trim(MAX_PAGES);
    }
    to.flush().map_err(StreamError::Write)?;
    Ok(Sizes {
        plain: content.size,
        sealed,
    })
}

/// The chunks of a run: those whose leaves are in the header, then those of one page.
fn chunks_of(run: u64) -> Range<u64> {
    let (inline, page) = (HEADER_LEAVES as u64, PAGE_ENTRIES as u64);
    match run.checked_sub(1) {
        None => 0..inline,
        Some(before) => {
            let first = inline + before * page;
            first..first + page
        }
    }
}

fn chunk_len(layout: Layout) -> usize {
    usize::try_from(layout.chunk_len()).expect("a chunk is at most 64 KiB")
}

fn read_at(
    from: &mut (impl Read + Seek + ?Sized),
    at: u64,
    bytes: &mut [u8],
) -> Result<(), StreamError> {
    let read = from
        .seek(SeekFrom::Start(at))
        .and_then(|_| from.read_exact(bytes));
    read.map_err(|err| match err.kind() {
        // It had the right length a moment ago.
        ErrorKind::UnexpectedEof => BodyError::Truncated {
            expected: at + bytes.len() as u64,
            found: at,
        }
        .into(),
        _ => StreamError::Read(err),
    })
}

fn flatten(err: TreeError<BodyError>) -> BodyError {
    match err {
        TreeError::Read(err) | TreeError::Body(err) => err,
    }
}

#[cfg(test)]
mod tests;
