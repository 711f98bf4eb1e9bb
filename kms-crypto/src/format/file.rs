//! Whole files in memory: the same bytes a store holds, made and opened without one (FORMAT §9).
//!
//! For programs that encrypt a value and share it. A file made here has no name; its key stands beside a label's
//! capsule, or is known to whoever made it.

use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::core::Core;
use super::error::{BodyError, HeaderError};
use super::header::{Check, FileContent, Header, LabelKey, OpenHeader, Sealer, Via};
use super::keys::FileKeys;
use super::layout::Layout;
use super::tree::{Source, Tree, TreeError};
use super::{DEFAULT_CHUNK_BITS, HEADER_LEN, PAGE_LEN};
use crate::aead::Cipher;
use crate::id::{FileId, StoreId};
use crate::key::{FileKey, IdentitySecret};

/// Why a whole file was not made or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Error)]
#[non_exhaustive]
pub enum FileError {
    /// Something is wrong with its header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Something is wrong behind the header.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// What a file made in memory is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    /// The store or application it belongs to; bound into its capsule.
    pub store: StoreId,
    /// What its content is sealed with.
    pub cipher: Cipher,
    /// The label it is shared by; needs a signer.
    pub label: Option<&'a LabelKey>,
    /// Who signs it.
    pub signer: Option<&'a IdentitySecret>,
}

/// Encrypts `plaintext` under a fresh key and returns the whole file together with that key.
pub fn encrypt(
    plaintext: &[u8],
    new: &NewFile<'_>,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<(Vec<u8>, FileKey), FileError> {
    let layout = Layout::new(DEFAULT_CHUNK_BITS).expect("the default chunk size exists");
    let core = Core::file(new.store, FileId::random(rng), new.cipher, layout);
    let key = FileKey::generate(rng);
    let mut header = OpenHeader::new_file(core, &key, 0o600)?;
    let keys = header.file_keys()?;
    let size = u64::try_from(plaintext.len()).expect("what fits into memory fits into a file");
    let len = usize::try_from(layout.backing_len(size))
        .map_err(|_| HeaderError::Full(super::Part::Envelope))?;
    let mut out = vec![0; len];
    seal_body(plaintext, &mut out, header.file_mut()?, layout, &keys, rng);
    if let Some(label) = new.label {
        header.renew_label(label, rng)?;
    }
    let sealed = header.seal(
        &Sealer {
            owner: None,
            signer: new.signer,
            machine: None,
        },
        rng,
    )?;
    out[..HEADER_LEN].copy_from_slice(&sealed);
    Ok((out, key))
}

/// Reads the header of a whole file, whose labels say what key to ask for. Nothing is verified yet.
pub fn inspect(file: &[u8]) -> Result<Header, FileError> {
    Ok(Header::parse(file)?)
}

/// Decrypts a whole file, verifying every byte of it.
pub fn decrypt(
    file: &[u8],
    via: Via<'_>,
    check: Check<'_>,
) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let header = Header::parse(file)?.open(via, check)?;
    let (layout, content, keys) = (header.layout()?, header.file()?, header.file_keys()?);
    let found = u64::try_from(file.len()).expect("what is in memory is shorter than 2^64");
    layout.check_len(content.size, found)?;
    // The length has been compared with the size: nothing is reserved that is not there.
    let size =
        usize::try_from(content.size).map_err(|_| HeaderError::Full(super::Part::Envelope))?;
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    let mut tree = Tree::new();
    let read = &mut |offset, page: &mut [u8; PAGE_LEN]| read_page(file, offset, page);
    let source = &mut Source {
        layout,
        keys: &keys,
        read,
    };
    for index in 0..layout.chunk_count(content.size) {
        let leaf = tree.leaf(content, index, source).map_err(|err| match err {
            TreeError::Read(err) | TreeError::Body(err) => err,
        })?;
        let chunk = range(layout, content.size, index).and_then(|range| file.get(range));
        let chunk = chunk.ok_or(BodyError::Chunk { index })?;
        let at = out.len();
        out.extend_from_slice(chunk);
        keys.open_chunk(index, &leaf, &mut out[at..])?;
    }
    Ok(out)
}

fn seal_body(
    plaintext: &[u8],
    out: &mut [u8],
    content: &mut FileContent,
    layout: Layout,
    keys: &FileKeys,
    rng: &mut (impl CryptoRng + ?Sized),
) {
    let mut tree = Tree::new();
    let read = &mut |_: u64, _: &mut [u8; PAGE_LEN]| -> Result<(), BodyError> {
        unreachable!("a new file has only pages of holes, which are not read")
    };
    let source = &mut Source { layout, keys, read };
    let size = u64::try_from(plaintext.len()).expect("what fits into memory fits into a file");
    tree.resize(content, size, source).expect(NO_READ);
    let chunk_len = usize::try_from(layout.chunk_len()).expect("a chunk is at most 64 KiB");
    for (index, chunk) in (0..).zip(plaintext.chunks(chunk_len)) {
        let place = range(layout, size, index).expect("the whole file fits into memory");
        let place = &mut out[place];
        place.copy_from_slice(chunk);
        let leaf = keys.seal_chunk(index, place, rng);
        tree.set_leaf(content, index, leaf, source).expect(NO_READ);
    }
    for page in tree.seal(content, layout, keys) {
        let at = usize::try_from(page.offset).expect("the whole file fits into memory");
        out[at..at + PAGE_LEN].copy_from_slice(page.bytes.as_slice());
    }
}

const NO_READ: &str = "nothing is read of a new file";

fn range(layout: Layout, size: u64, index: u64) -> Option<core::ops::Range<usize>> {
    let start = usize::try_from(layout.chunk_offset(index)).ok()?;
    Some(start..start.checked_add(layout.chunk_size(size, index))?)
}

fn read_page(file: &[u8], offset: u64, page: &mut [u8; PAGE_LEN]) -> Result<(), BodyError> {
    let found = file.len() as u64;
    let bytes = usize::try_from(offset)
        .ok()
        .and_then(|at| file.get(at..)?.first_chunk::<PAGE_LEN>());
    let bytes = bytes.ok_or(BodyError::Truncated {
        expected: offset + PAGE_LEN as u64,
        found,
    })?;
    page.copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests;
