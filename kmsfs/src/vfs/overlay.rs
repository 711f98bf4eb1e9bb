//! What is on its way into a stored file: pieces that only the journal holds so far, and appended stretches that no
//! journalled state vouches for yet. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::journal::{Direct, Piece};

/// New bytes for places in a stored file, by offset. Chunks, pages and the header never overlap, so that a piece is
/// replaced whole or not at all.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pieces: BTreeMap<u64, Vec<u8>>,
    /// The pieces that are not in the journal yet.
    unlogged: BTreeSet<u64>,
    /// The journal holds a state, its length at least, that was not brought over.
    is_logged: bool,
}

impl Overlay {
    /// Puts new bytes at `offset`, to be logged with the next record.
    pub(crate) fn put(&mut self, offset: u64, bytes: Vec<u8>) {
        self.pieces.insert(offset, bytes);
        self.unlogged.insert(offset);
    }

    /// The bytes that stand at `offset`, if they are not in the stored file yet.
    pub(crate) fn get(&self, offset: u64) -> Option<&[u8]> {
        self.pieces.get(&offset).map(Vec::as_slice)
    }

    /// Forgets everything that reaches past `len`: a last chunk that is shorter now has been put again, or is a hole.
    pub(crate) fn cut(&mut self, len: u64) {
        self.pieces
            .retain(|offset, bytes| offset + bytes.len() as u64 <= len);
        self.unlogged
            .retain(|offset| self.pieces.contains_key(offset));
    }

    /// Forgets the pieces in a stretch: something else was written there directly.
    pub(crate) fn remove(&mut self, stretch: std::ops::Range<u64>) {
        let gone: Vec<u64> = self.pieces.range(stretch).map(|(at, _)| *at).collect();
        for offset in gone {
            self.pieces.remove(&offset);
            self.unlogged.remove(&offset);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Where the last piece ends.
    pub(crate) fn end(&self) -> u64 {
        self.pieces
            .last_key_value()
            .map_or(0, |(offset, bytes)| offset + bytes.len() as u64)
    }

    pub(crate) fn has_unlogged(&self) -> bool {
        !self.unlogged.is_empty()
    }

    /// How many bytes are not in the journal yet.
    pub(crate) fn unlogged_len(&self) -> usize {
        self.unlogged
            .iter()
            .filter_map(|offset| self.pieces.get(offset))
            .map(Vec::len)
            .sum()
    }

    /// Whether there is nothing but a header, and no state before it that the stored file does not have yet.
    pub(crate) fn is_new_header(&self) -> bool {
        !self.is_logged && self.pieces.keys().all(|offset| *offset == 0)
    }

    /// The pieces the next record has to hold.
    pub(crate) fn unlogged(&self) -> Vec<Piece> {
        self.unlogged
            .iter()
            .filter_map(|offset| {
                let bytes = self.pieces.get(offset)?.clone();
                Some(Piece {
                    offset: *offset,
                    bytes,
                })
            })
            .collect()
    }

    /// They are in the journal now.
    pub(crate) fn mark_logged(&mut self) {
        self.unlogged.clear();
        self.is_logged = true;
    }

    /// Everything, in order of offset but the header last: it vouches for the rest.
    pub(crate) fn header_last(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let header = self.pieces.get_key_value(&0);
        let rest = self.pieces.range(1..);
        rest.chain(header)
            .map(|(offset, bytes)| (*offset, bytes.as_slice()))
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.unlogged.clear();
        self.is_logged = false;
    }
}

/// Stretches appended to the stored file since the last journalled state, with their checksums.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    /// By offset: length, and the checksum unless part of the stretch was written twice.
    ranges: BTreeMap<u64, (u64, Option<u32>)>,
}

impl Appended {
    /// `bytes` were written at `offset`.
    pub(crate) fn add(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        if let Some((start, (len, Some(crc)))) = self.before(offset)
            && start + len == offset
            && self.ranges.range(offset..end).next().is_none()
        {
            let joined = (
                len + bytes.len() as u64,
                Some(crc32c::crc32c_append(crc, bytes)),
            );
            self.ranges.insert(start, joined);
            return;
        }
        self.join(offset, end, Some(crc32c::crc32c(bytes)));
    }

    fn before(&self, offset: u64) -> Option<(u64, (u64, Option<u32>))> {
        self.ranges
            .range(..offset)
            .next_back()
            .map(|(start, range)| (*start, *range))
    }

    /// Makes one range of this one and all that touch it; its checksum is unknown unless it was alone.
    fn join(&mut self, mut start: u64, mut end: u64, mut crc: Option<u32>) {
        if let Some((at, (len, _))) = self.before(start)
            && at + len > start
        {
            (start, end, crc) = (at, end.max(at + len), None);
        }
        let inside: Vec<u64> = self.ranges.range(start..end).map(|(at, _)| *at).collect();
        for at in inside {
            if let Some((len, _)) = self.ranges.remove(&at) {
                // Written over from end to end: what was there before no longer counts.
                let covered = at >= start && at + len <= end && crc.is_some();
                if !covered {
                    (end, crc) = (end.max(at + len), None);
                }
            }
        }
        self.ranges.insert(start, (end - start, crc));
    }

    /// Everything at or past `len` was cut off.
    pub(crate) fn cut(&mut self, len: u64) {
        self.ranges.split_off(&len);
        if let Some((start, (range, _))) = self.before(len)
            && start + range > len
        {
            self.ranges.insert(start, (len - start, None));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// The ranges with their checksums; `read` gives that of a stretch of the stored file.
    pub(crate) fn to_direct<E>(
        &self,
        mut read: impl FnMut(u64, u64) -> Result<u32, E>,
    ) -> Result<Vec<Direct>, E> {
        let mut out = Vec::with_capacity(self.ranges.len());
        for (&offset, &(len, crc)) in &self.ranges {
            let crc = match crc {
                Some(crc) => crc,
                None => read(offset, len)?,
            };
            out.push(Direct { offset, len, crc });
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(appended: &Appended, stored: &[u8]) -> Vec<(u64, u64)> {
        let at = |at: u64| usize::try_from(at).unwrap();
        let crc = |from: u64, len: u64| crc32c::crc32c(&stored[at(from)..at(from + len)]);
        let direct = appended
            .to_direct(|at, len| Ok::<_, ()>(crc(at, len)))
            .unwrap();
        for range in &direct {
            assert_eq!(
                range.crc,
                crc(range.offset, range.len),
                "range at {}",
                range.offset
            );
        }
        direct
            .iter()
            .map(|range| (range.offset, range.len))
            .collect()
    }

    fn write(appended: &mut Appended, stored: &mut [u8], at: usize, bytes: &[u8]) {
        stored[at..at + bytes.len()].copy_from_slice(bytes);
        appended.add(at as u64, bytes);
    }

    #[test]
    fn appending_in_order_makes_one_range() {
        let (mut appended, mut stored) = (Appended::default(), vec![0; 100]);
        write(&mut appended, &mut stored, 10, &[1; 20]);
        write(&mut appended, &mut stored, 30, &[2; 5]);
        write(&mut appended, &mut stored, 50, &[3; 5]);
        assert_eq!(check(&appended, &stored), [(10, 25), (50, 5)]);
    }

    #[test]
    fn ranges_written_twice_keep_a_right_checksum() {
        let (mut appended, mut stored) = (Appended::default(), vec![0; 100]);
        write(&mut appended, &mut stored, 10, &[1; 20]);
        write(&mut appended, &mut stored, 15, &[2; 5]);
        assert_eq!(check(&appended, &stored), [(10, 20)]);
        write(&mut appended, &mut stored, 25, &[3; 20]);
        assert_eq!(check(&appended, &stored), [(10, 35)]);
        write(&mut appended, &mut stored, 5, &[4; 60]);
        assert_eq!(check(&appended, &stored), [(5, 60)]);
        appended.cut(20);
        assert_eq!(check(&appended, &stored), [(5, 15)]);
        appended.cut(0);
        assert!(appended.is_empty());
    }

    #[test]
    fn the_header_comes_last() {
        let mut overlay = Overlay::default();
        overlay.put(0, vec![0]);
        assert!(overlay.is_new_header());
        overlay.put(4096, vec![1]);
        overlay.put(8192, vec![2]);
        assert!(!overlay.is_new_header());
        let order: Vec<u64> = overlay.header_last().map(|(offset, _)| offset).collect();
        assert_eq!(order, [4096, 8192, 0]);
        overlay.mark_logged();
        overlay.put(8192, vec![3]);
        assert_eq!(
            overlay.unlogged(),
            [Piece {
                offset: 8192,
                bytes: vec![3]
            }]
        );
        overlay.cut(8192);
        assert!(!overlay.has_unlogged() && !overlay.is_empty());
    }
}
