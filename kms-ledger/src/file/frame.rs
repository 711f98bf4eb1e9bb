//! How records stand in the file: a header, then length, record, checksum (LEDGER §5.2).

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use kms_proto::ledger::{ChainFault, LedgerError, MAX_RECORD_BYTES};

use super::unavailable;

/// Length of the header, and so the place of the first record.
pub(super) const HEADER_BYTES: u64 = 16;
/// What a record needs beside itself.
pub(super) const OVERHEAD_BYTES: usize = 8;

const MAGIC: [u8; 8] = *b"KMSLEDGR";
const VERSION: u16 = 1;

/// The header of every ledger file.
pub(super) fn header() -> [u8; 16] {
    let mut out = [0; 16];
    let (fields, checksum) = out.split_at_mut(12);
    fields[..8].copy_from_slice(&MAGIC);
    fields[8..10].copy_from_slice(&VERSION.to_be_bytes());
    checksum.copy_from_slice(&crc32c::crc32c(fields).to_be_bytes());
    out
}

/// Checks the header. A file that ends inside it is a ledger that was just being made.
pub(super) fn check_header(file: &File) -> Result<bool, LedgerError> {
    let mut buffer = [0; 16];
    let count = file.read_at(&mut buffer, 0).map_err(unavailable)?;
    let found = &buffer[..count];
    let wanted = header();
    if found == wanted {
        Ok(true)
    } else if count < wanted.len() && wanted.starts_with(found) {
        Ok(false)
    } else {
        Err(LedgerError::NotALedger)
    }
}

/// Makes a new file a ledger. Under the lock.
pub(super) fn ensure_header(file: &File) -> Result<(), LedgerError> {
    if check_header(file)? {
        return Ok(());
    }
    file.write_all_at(&header(), 0)
        .and_then(|()| file.sync_all())
        .map_err(unavailable)
}

/// Makes the name of a file durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), LedgerError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(unavailable)
}

/// A record as it stands in the file.
pub(super) fn encode(record: &[u8]) -> Vec<u8> {
    let len = u32::try_from(record.len()).expect("records are far shorter than 4 GiB");
    let mut out = Vec::with_capacity(record.len() + OVERHEAD_BYTES);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(record);
    out.extend_from_slice(&crc32c::crc32c(record).to_be_bytes());
    out
}

/// What stands at the beginning of some bytes of the file.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Frame<'a> {
    /// A record.
    Record(&'a [u8]),
    /// Nothing, or a record that is not all there.
    Unfinished,
    /// Something that no crash explains.
    Damaged(ChainFault),
}

/// Reads the frame at the beginning of `bytes`; `to_end` says whether the file ends with them.
pub(super) fn decode(bytes: &[u8], to_end: bool) -> Frame<'_> {
    match parse(bytes) {
        Parsed::Record(record) => Frame::Record(record),
        Parsed::Short if !to_end => Frame::Unfinished,
        // A crash leaves one unfinished record at the end. A sound one after it means that this
        // one was finished, too, and has been damaged since: it must be named, not cut off.
        Parsed::Short | Parsed::Length
            if to_end && !has_record_within(bytes) && fits_one_record(bytes) =>
        {
            Frame::Unfinished
        }
        Parsed::Checksum { whole: true } if to_end => Frame::Unfinished,
        Parsed::Short | Parsed::Length => Frame::Damaged(ChainFault::Length),
        Parsed::Checksum { .. } => Frame::Damaged(ChainFault::Checksum),
    }
}

enum Parsed<'a> {
    Record(&'a [u8]),
    /// More would have to follow.
    Short,
    /// No record is so long, or so short.
    Length,
    /// The checksum is wrong; `whole` says whether nothing follows.
    Checksum {
        whole: bool,
    },
}

fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else {
        return Parsed::Short;
    };
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
    if len == 0 || len > MAX_RECORD_BYTES {
        return Parsed::Length;
    }
    let Some((record, rest)) = rest.split_at_checked(len) else {
        return Parsed::Short;
    };
    let Some((checksum, after)) = rest.split_first_chunk::<4>() else {
        return Parsed::Short;
    };
    if crc32c::crc32c(record) == u32::from_be_bytes(*checksum) {
        Parsed::Record(record)
    } else {
        Parsed::Checksum {
            whole: after.is_empty(),
        }
    }
}

fn fits_one_record(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_RECORD_BYTES + OVERHEAD_BYTES
}

fn has_record_within(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|at| matches!(parse(&bytes[at..]), Parsed::Record(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_of_a_record_is_unfinished_and_nothing_else() {
        let whole = encode(b"a record");
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len], true), Frame::Unfinished);
        }
        assert_eq!(decode(&whole, true), Frame::Record(b"a record"));
    }

    #[test]
    fn a_length_that_swallows_sound_records_is_damage() {
        let mut bytes = encode(b"one");
        bytes.extend(encode(b"two"));
        bytes.extend(encode(b"three"));
        bytes[2] ^= 0x10;
        assert_eq!(decode(&bytes, true), Frame::Damaged(ChainFault::Length));
    }

    #[test]
    fn a_wrong_byte_is_damage_unless_it_may_have_been_a_crash() {
        let mut bytes = encode(b"one");
        bytes[5] ^= 1;
        assert_eq!(decode(&bytes, true), Frame::Unfinished);
        bytes.extend(encode(b"two"));
        assert_eq!(decode(&bytes, true), Frame::Damaged(ChainFault::Checksum));
    }

    #[test]
    fn zeros_that_a_power_cut_left_are_unfinished() {
        assert_eq!(decode(&[0; 300], true), Frame::Unfinished);
        assert_eq!(
            decode(&[0; 30_000], true),
            Frame::Damaged(ChainFault::Length)
        );
    }
}
