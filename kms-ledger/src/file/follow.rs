//! What a process has read of a ledger file, and how it reads on (LEDGER §5.3).

use std::{
    fs::{File, Metadata},
    io, mem,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use kms_proto::ledger::{
    Chain, ChainFault, Head, LedgerError, MAX_RECORD_BYTES, Order, Places, record_hash,
};

use super::{
    Access,
    frame::{self, Frame, HEADER_BYTES, OVERHEAD_BYTES},
    lock, unavailable,
};

/// How much is read at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// The longest frame.
const MAX_FRAME_BYTES: usize = MAX_RECORD_BYTES + OVERHEAD_BYTES;

/// The part of a ledger file that has been read and found good.
pub(super) struct View {
    file: File,
    id: FileId,
    writer: bool,
    chain: Chain,
    places: Places,
    /// The file when there was nothing more to read in it.
    settled: Option<Stamp>,
    /// A head that was seen when all before it had been checked.
    believed: Option<Head>,
}

/// Whether this process holds the file's lock already.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Held {
    Yes,
    No,
}

#[derive(Clone, Copy, Eq, PartialEq)]
struct FileId {
    dev: u64,
    ino: u64,
}

#[derive(Clone, Copy, Eq, PartialEq)]
struct Stamp {
    id: FileId,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileId {
    fn of(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
        }
    }
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            id: FileId::of(meta),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl View {
    pub(super) fn new(file: File, network: &str, order: Order, writer: bool) -> io::Result<Self> {
        let id = FileId::of(&file.metadata()?);
        let chain = Chain::with_order(network, order);
        Ok(Self {
            file,
            id,
            writer,
            chain,
            places: Places {
                starts: Vec::new(),
                end: HEADER_BYTES,
            },
            settled: None,
            believed: None,
        })
    }

    /// Up to a head that was seen before, hashes are enough: what they lead to was checked then.
    pub(super) fn believe(&mut self, seen: Option<Head>) {
        self.believed = seen;
    }

    fn accept(&mut self, record: &[u8], now: u64) -> Result<(), LedgerError> {
        let height = self.chain.head().height;
        let Some(believed) = self.believed.filter(|it| height < it.height) else {
            self.chain.accept(record, now)?;
            return Ok(());
        };
        let head = self.chain.accept_seen(record, now)?;
        if head.height == believed.height && head.hash != believed.hash {
            return Err(LedgerError::Forked {
                height: head.height,
            });
        }
        Ok(())
    }

    /// Goes on from what an index says, if it is of what stands in the file.
    pub(super) fn resume(&mut self, chain: Chain, places: Places) -> Result<(), LedgerError> {
        let fresh = (
            mem::replace(&mut self.chain, chain),
            mem::replace(&mut self.places, places),
        );
        let len = self.file.metadata().map_err(unavailable)?.len();
        let stands = frame::check_header(&self.file).and_then(|_| self.check_seen(len));
        if stands.is_err() {
            (self.chain, self.places) = fresh;
        }
        stands
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    pub(super) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the frame of a record that has been read holds now.
    pub(super) fn record(&self, height: u64) -> io::Result<Vec<u8>> {
        let index = usize::try_from(height)
            .ok()
            .and_then(|height| height.checked_sub(1));
        let index = index.ok_or(io::ErrorKind::NotFound)?;
        let start = *self
            .places
            .starts
            .get(index)
            .ok_or(io::ErrorKind::NotFound)?;
        let end = self.places.starts.get(index + 1);
        let len = end.unwrap_or(&self.places.end).saturating_sub(start);
        let mut frame = vec![
            0;
            usize::try_from(len)
                .unwrap_or(usize::MAX)
                .min(MAX_FRAME_BYTES)
        ];
        self.file.read_exact_at(&mut frame, start)?;
        frame.truncate(frame.len().saturating_sub(4));
        Ok(frame.split_off(frame.len().min(4)))
    }

    /// Reads a record back, as it was when it was checked.
    pub(super) fn checked_record(&self, height: u64) -> Result<Vec<u8>, LedgerError> {
        let record = self.record(height).map_err(unavailable)?;
        if self.stands(&record, height) {
            Ok(record)
        } else {
            Err(LedgerError::Tampered {
                height,
                fault: ChainFault::Checksum,
            })
        }
    }

    /// Reads what is new. Costs one `stat` when nothing is.
    pub(super) fn follow(
        &mut self,
        path: &Path,
        now: u64,
        lock_held: Held,
    ) -> Result<(), LedgerError> {
        let meta = path.metadata().map_err(unavailable)?;
        let stamp = Stamp::of(&meta);
        if self.settled == Some(stamp) {
            return Ok(());
        }
        if stamp.id != self.id {
            return self.replace(path, now);
        }
        self.check_seen(stamp.len)?;
        let before = self.places.end;
        let unlocked = self.read_on(now);
        let settled = match unlocked {
            // Another process may have been in the middle of a repair: only what is seen under the
            // lock counts as damage.
            Err(LedgerError::Tampered { .. }) if lock_held == Held::No => {
                let locked = lock(&self.file, Access::Shared)?;
                let again = self.read_on(now);
                drop(locked);
                again?
            }
            other => other?,
        };
        if self.writer && self.places.end != before {
            // A node may remember this head for ever, so it must outlive a power cut.
            self.file.sync_data().map_err(unavailable)?;
        }
        self.settled = (settled == stamp.len).then_some(stamp);
        Ok(())
    }

    /// Another file stands at the path: good if it says all that the old one did.
    fn replace(&mut self, path: &Path, now: u64) -> Result<(), LedgerError> {
        let file = File::open(path).map_err(unavailable)?;
        let chain = &self.chain;
        let mut other =
            Self::new(file, chain.network(), chain.order(), self.writer).map_err(unavailable)?;
        if self.writer {
            // Whoever put it there may have died before its name was durable.
            frame::sync_directory(path)?;
        }
        other.believe(Some(self.chain.head()));
        other.read_on(now)?;
        other.chain.contains(&self.chain.head())?;
        *self = other;
        Ok(())
    }

    /// Checks that the file still ends, or goes on, as it was seen.
    fn check_seen(&self, len: u64) -> Result<(), LedgerError> {
        let seen = self.chain.head().height;
        let Some(last) = self.places.starts.last().copied() else {
            return Ok(());
        };
        if len < self.places.end {
            let ends = self.places.starts.iter().skip(1).chain([&self.places.end]);
            let height = ends.take_while(|end| **end <= len).count();
            return Err(LedgerError::Shorter {
                height: u64::try_from(height).unwrap_or(u64::MAX),
                seen,
            });
        }
        let len = usize::try_from(self.places.end.saturating_sub(last)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(MAX_FRAME_BYTES)];
        self.file
            .read_exact_at(&mut bytes, last)
            .map_err(unavailable)?;
        match frame::decode(&bytes, true) {
            Frame::Record(record) if self.stands(record, seen) => Ok(()),
            _ => Err(LedgerError::Forked { height: seen }),
        }
    }

    /// Whether this is the record at a height that was read, or what is left of it.
    fn stands(&self, record: &[u8], height: u64) -> bool {
        let prev = self.chain.hash_at(height.saturating_sub(1));
        let hash = prev.and_then(|prev| record_hash(record, &prev, height).ok());
        hash.is_some() && hash == self.chain.hash_at(height)
    }

    /// Takes in the records after those known, and says where the file ended.
    fn read_on(&mut self, now: u64) -> Result<u64, LedgerError> {
        if self.places.end == HEADER_BYTES && !frame::check_header(&self.file)? {
            return Ok(0);
        }
        loop {
            let (window, to_end) = self.read_window().map_err(unavailable)?;
            let mut rest = window.as_slice();
            let begun = self.places.end;
            loop {
                match frame::decode(rest, to_end) {
                    Frame::Record(record) => {
                        self.accept(record, now)?;
                        self.places.starts.push(self.places.end);
                        let taken = record.len() + OVERHEAD_BYTES;
                        self.places.end += u64::try_from(taken).unwrap_or(u64::MAX);
                        rest = rest.get(taken..).unwrap_or_default();
                    }
                    Frame::Unfinished => break,
                    Frame::Damaged(fault) => {
                        return Err(LedgerError::Tampered {
                            height: self.chain.head().height + 1,
                            fault,
                        });
                    }
                }
            }
            if to_end || self.places.end == begun {
                let height = self.chain.head().height;
                // Of a ledger that is too short something else is to be said.
                if self.believed.is_none_or(|it| it.height <= height) {
                    self.chain.settled()?;
                }
                return Ok(self.places.end);
            }
        }
    }

    /// Reads up to a window from the end of what is known; says whether the file ended with it.
    fn read_window(&self) -> io::Result<(Vec<u8>, bool)> {
        let len = self.file.metadata()?.len().saturating_sub(self.places.end);
        let mut window = vec![0; usize::try_from(len.min(WINDOW_BYTES)).unwrap_or_default()];
        let mut filled = 0;
        while filled < window.len() {
            let at = self.places.end + u64::try_from(filled).unwrap_or(u64::MAX);
            match self.file.read_at(&mut window[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        // It may have been cut while it was read.
        let cut = filled < window.len();
        window.truncate(filled);
        Ok((window, cut || len <= WINDOW_BYTES))
    }
}
