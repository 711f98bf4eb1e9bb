//! What a recorded disk has been told, and the disks a power cut may leave behind.
//!
//! A log is records one after the other: the offset (8 bytes, little-endian; all ones: a flush), the length (8), the data.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEAD: usize = 16;
const FLUSH: u64 = u64::MAX;

/// What reached a disk.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// Bytes were written.
    Write {
        /// Where to.
        offset: u64,
        /// What.
        data: &'a [u8],
    },
    /// All that was written before is durable.
    Flush,
}

impl Record<'_> {
    /// As it stands in the log.
    pub fn encode(&self) -> Vec<u8> {
        let (offset, data) = match *self {
            Self::Write { offset, data } => (offset, data),
            Self::Flush => (FLUSH, &[][..]),
        };
        let length = u64::try_from(data.len()).expect("a length");
        [&offset.to_le_bytes(), &length.to_le_bytes(), data].concat()
    }
}

/// Which of the writes after the last flush a power cut leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// All of them.
    Everything,
    /// None.
    Flushed,
    /// Any of their pieces of 4 KiB.
    Pieces,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Everything, Self::Flushed, Self::Pieces];
}

/// A log that has been read.
pub struct Log {
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
}

impl Log {
    /// Reads a log.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        let mut ends = Vec::new();
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + HEAD) {
            let length = u64::from_le_bytes(head[8..].try_into().expect("eight bytes"));
            at += HEAD + usize::try_from(length).expect("a length");
            if at <= bytes.len() {
                ends.push(at);
            }
        }
        Ok(Self { bytes, ends })
    }

    /// The positions after which power may be cut, with `from` as the first.
    pub fn positions(&self, from: u64) -> Vec<u64> {
        let ends = self
            .ends
            .iter()
            .map(|end| u64::try_from(*end).expect("a length"));
        ends.filter(|end| *end >= from).collect()
    }

    /// How many flushes there were.
    pub fn flushes(&self) -> usize {
        self.records()
            .filter(|(_, record)| matches!(record, Record::Flush))
            .count()
    }

    fn records(&self) -> impl Iterator<Item = (u64, Record<'_>)> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let record = &self.bytes[start..*end];
            start = *end;
            let offset = u64::from_le_bytes(record[..8].try_into().expect("eight bytes"));
            let data = &record[HEAD..];
            let record = if offset == FLUSH {
                Record::Flush
            } else {
                Record::Write { offset, data }
            };
            (u64::try_from(*end).expect("a length"), record)
        })
    }

    /// Makes the empty disk `image` what the recorded one may be when power is cut at `position`. `keep` decides on pieces.
    pub fn replay(
        &self,
        image: &File,
        position: u64,
        cut: Cut,
        mut keep: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let until = |end: &(u64, Record<'_>)| end.0 <= position;
        let flushed = self
            .records()
            .take_while(until)
            .filter(|(_, record)| matches!(record, Record::Flush))
            .last()
            .map_or(0, |(end, _)| end);
        for (end, record) in self.records().take_while(until) {
            let Record::Write { offset, data } = record else {
                continue;
            };
            if end <= flushed || cut == Cut::Everything {
                image.write_all_at(data, offset)?;
            } else if cut == Cut::Pieces {
                for (piece, at) in data.chunks(4096).zip((offset..).step_by(4096)) {
                    if keep() {
                        image.write_all_at(piece, at)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_what_was_flushed_and_some_of_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let write = |offset, data| Record::Write { offset, data };
        let (old, new) = ([1; 8192], [2; 8192]);
        let records = [write(0, &old), Record::Flush, write(0, &new)];
        let encoded: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        fs::write(dir.path().join("log"), &encoded).unwrap();
        let log = Log::read(&dir.path().join("log")).unwrap();
        assert_eq!(log.positions(0).len(), 3);
        assert_eq!(log.flushes(), 1);
        let disk = |position: u64, cut| {
            let path = dir.path().join("disk");
            let file = File::create(&path).unwrap();
            let mut odd = false;
            let keep = || {
                odd = !odd;
                odd
            };
            log.replay(&file, position, cut, keep).unwrap();
            fs::read(path).unwrap()
        };
        let end = u64::try_from(encoded.len()).unwrap();
        assert!(disk(end, Cut::Everything) == new);
        assert!(disk(end, Cut::Flushed) == old);
        assert!(disk(end, Cut::Pieces) == [[2; 4096], [1; 4096]].concat());
        assert!(disk(end - 1, Cut::Everything) == old);
    }
}
