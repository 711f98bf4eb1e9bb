//! After a crash: brings what the journal holds into the store (JOURNAL §5).
//!
//! Records of one file are taken together. The last state whose directly appended bytes are really there becomes the
//! file's state; what was appended beyond it is cut off. Doing it twice is the same as doing it once.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kms_crypto::format::{Check, DirKeys, HEADER_LEN, Header, OpenHeader, Via};
use kms_crypto::name::{BackingName, DIR_HEADER};
use rustix::io::Errno;

use super::{Result, Vfs};
use crate::backing::{Kind, OpenMode};
use crate::journal::{Action, Direct, Record};

/// One state of a file that a record describes.
struct State<'a> {
    base: u64,
    generation: u64,
    len: u64,
    pieces: &'a [crate::journal::Piece],
    direct: &'a [Direct],
}

/// What there is to do about one file.
#[derive(Default)]
struct Story<'a> {
    paths: Vec<&'a [String]>,
    states: Vec<State<'a>>,
    /// The file was being made.
    is_new: bool,
}

impl<'a> Story<'a> {
    /// The states that count for a stored file of this generation: the last ones that follow each other, where they
    /// fit. Between two that do not, the file was changed directly, over what the earlier one wrote.
    fn chain_for(&self, found: Option<u64>) -> Option<&[State<'a>]> {
        let follows = |one: &State<'_>, next: &State<'_>| one.generation == next.base;
        self.states.chunk_by(follows).rev().find(|chain| {
            let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
                return false;
            };
            found.is_none_or(|found| first.base <= found && found <= last.generation)
        })
    }
}

impl Vfs {
    /// Replays the journal. What cannot be replayed is reported and left as it is.
    pub(super) fn replay(&self, records: Vec<Record>) -> Result<()> {
        // Of a process that was killed nothing may be durable yet: neither a record nor what it relies on may get lost
        // once its pieces are in the store, and of what this mount acknowledges nothing may rest on a header that is not
        // there.
        self.owner()?.journal.sync_found()?;
        self.disk.sync_fs(self.root_dir()?)?;
        if records.is_empty() {
            return Ok(());
        }
        let mut order = Vec::new();
        let mut stories: HashMap<[u8; 16], Story<'_>> = HashMap::new();
        for record in &records {
            let story = stories.entry(record.id).or_insert_with(|| {
                order.push(record.id);
                Story::default()
            });
            story.paths.extend(record.paths.iter().map(Vec::as_slice));
            story.is_new |= record.action == Action::Create;
            if let Action::Commit {
                base,
                generation,
                len,
                pieces,
                direct,
            } = &record.action
            {
                let (base, generation, len) = (*base, *generation, *len);
                story.states.push(State {
                    base,
                    generation,
                    len,
                    pieces,
                    direct,
                });
            }
        }
        let mut replayed = 0u64;
        for id in order {
            let Some(story) = stories.get(&id) else {
                continue;
            };
            match self.replay_story(&id, story) {
                Ok(true) => replayed += 1,
                Ok(false) => {}
                Err(super::VfsError::Os(errno)) if is_gone(errno) => {
                    tracing::debug!("a file the journal speaks of is gone");
                }
                // The store itself cannot be written: the journal must not be thrown away.
                Err(super::VfsError::Os(errno)) => return Err(errno.into()),
                Err(error) => {
                    tracing::warn!(%error, "a file is not what the journal says it was; it is left alone")
                }
            }
        }
        self.disk.sync_fs(self.root_dir()?)?;
        tracing::info!(
            records = records.len(),
            files = replayed,
            "unfinished writes were brought into the store"
        );
        Ok(())
    }

    fn replay_story(&self, id: &[u8; 16], story: &Story<'_>) -> Result<bool> {
        let (fd, on_disk) = match self.find_story(id, story)? {
            Found::File(fd, on_disk) => (fd, on_disk),
            Found::Unmade => return Ok(true),
        };
        let stored = self.disk.fstat(&fd)?;
        let mut len = on_disk.len;
        let mut changed = false;
        if let Some(chain) = story.chain_for(on_disk.generation) {
            if let Some(state) = self.best_state(&fd, chain)? {
                let (pieces, state_len) = merged(&chain[..=state]);
                let header = pieces.iter().filter(|(offset, _)| **offset == 0);
                for (offset, bytes) in pieces.range(1..).chain(header) {
                    self.disk.write_at(&fd, *offset, bytes)?;
                }
                len = Some(state_len);
                changed = true;
            }
        } else if story
            .states
            .first()
            .is_some_and(|first| on_disk.generation < Some(first.base))
        {
            tracing::warn!("a file is older than the journal says it was; it is left alone");
        }
        if let Some(len) = len {
            // Whatever stands beyond was never vouched for.
            if stored.size > len || (changed && stored.size < len) {
                self.disk.set_len(&fd, len)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// The stored file with this id, at one of the places it may be in.
    fn find_story(&self, id: &[u8; 16], story: &Story<'_>) -> Result<Found> {
        let mut last = Err(Errno::NOENT.into());
        let mut unmade = None;
        for path in story.paths.iter().rev() {
            match self.open_story(id, story, path) {
                // Another file perhaps that was being made there: this one may have stood somewhere else.
                Ok(Some(Found::Unmade)) => unmade = Some(path),
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => last = Err(error),
            }
        }
        match unmade.and_then(|path| path.split_last()) {
            Some((name, dirs)) => {
                // Killed while it was being made: nobody was told that it is there.
                let held = self.open_below(dirs)?;
                self.disk.unlink(self.below(held.as_ref())?, name)?;
                Ok(Found::Unmade)
            }
            None => last,
        }
    }

    fn open_story(
        &self,
        id: &[u8; 16],
        story: &Story<'_>,
        path: &[String],
    ) -> Result<Option<Found>> {
        let (name, dirs) = path.split_last().ok_or(Errno::INVAL)?;
        if !path.iter().all(|name| is_stored_name(name)) {
            return Err(Errno::INVAL.into());
        }
        let held = self.open_below(dirs)?;
        let fd = self
            .disk
            .open_file(self.below(held.as_ref())?, name, OpenMode::ReadWrite)?;
        let stat = self.disk.fstat(&fd)?;
        if stat.kind != Kind::File {
            return Ok(None);
        }
        let mut header = [0; HEADER_LEN];
        let len = self.disk.read_at(&fd, 0, &mut header)?;
        if story.is_new && (len < HEADER_LEN || header.iter().all(|byte| *byte == 0)) {
            return Ok(Some(Found::Unmade));
        }
        let on_disk = self.look_at_header(&header[..len], id);
        Ok(on_disk.map(|on_disk| Found::File(fd, on_disk)))
    }

    fn open_below(&self, dirs: &[String]) -> Result<Option<OwnedFd>> {
        let mut held: Option<OwnedFd> = None;
        for dir in dirs {
            held = Some(self.disk.open_dir(self.below(held.as_ref())?, dir)?);
        }
        Ok(held)
    }

    fn below<'a>(&'a self, held: Option<&'a OwnedFd>) -> Result<BorrowedFd<'a>> {
        held.map_or_else(|| self.root_dir(), |fd| Ok(fd.as_fd()))
    }

    /// What the stored header says, if it is that of the object with this id.
    fn look_at_header(&self, bytes: &[u8], id: &[u8; 16]) -> Option<OnDisk> {
        match Header::parse(bytes)
            .ok()
            .and_then(|header| self.open_own_header(header))
        {
            Some(header) => (header.core().id.as_bytes() == id).then(|| OnDisk::of(&header)),
            // Torn when the power was cut: the record has it whole. The id stands in its first sector and never
            // changes, so that it is not another file's, made since in the same place.
            None => bytes
                .get(..SECTOR)?
                .windows(id.len())
                .any(|window| window == id)
                .then_some(OnDisk {
                    generation: None,
                    len: None,
                }),
        }
    }

    /// Opens a header wherever it stands, by what the owner can derive.
    fn open_own_header(&self, header: Header) -> Option<OpenHeader> {
        let owner = self.try_owner()?;
        let check = Check::Owner(&owner.mac);
        let Some(binding) = header.bindings().first().cloned() else {
            return header
                .open(
                    Via::Store {
                        key: &owner.key,
                        id: self.root_id(),
                    },
                    check,
                )
                .ok();
        };
        let keys = DirKeys::derived(&owner.key, binding.dir, binding.dir_epoch);
        header
            .open(
                Via::Dir {
                    keys: &keys,
                    tag: binding.name_tag,
                },
                check,
            )
            .ok()
    }

    /// The last state all of whose directly appended bytes are there.
    fn best_state(&self, fd: &OwnedFd, chain: &[State<'_>]) -> Result<Option<usize>> {
        for state in (0..chain.len()).rev() {
            if self.is_whole(fd, &chain[..=state])? {
                return Ok(Some(state));
            }
        }
        Ok(None)
    }

    fn is_whole(&self, fd: &OwnedFd, states: &[State<'_>]) -> Result<bool> {
        for range in live_ranges(states) {
            let mut bytes = vec![0; usize::try_from(range.len).map_err(|_| Errno::FBIG)?];
            let len = self.disk.read_at(fd, range.offset, &mut bytes)?;
            if len < bytes.len() || crc32c::crc32c(&bytes) != range.crc {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether this says that there is no such file: that its place is empty, or taken by something else.
const fn is_gone(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::XDEV
    )
}

/// What a disk writes in one go, at least (JOURNAL A3).
const SECTOR: usize = 512;

/// What stands where a record says.
enum Found {
    File(OwnedFd, OnDisk),
    /// A file without a header, which goes unless the object is found elsewhere.
    Unmade,
}

/// What the header in the store says.
struct OnDisk {
    generation: Option<u64>,
    /// How long the stored file should be; `None` where that is not known.
    len: Option<u64>,
}

impl OnDisk {
    fn of(header: &OpenHeader) -> Self {
        let len = match (header.file(), header.layout()) {
            (Ok(content), Ok(layout)) => layout.backing_len(content.size),
            _ => HEADER_LEN as u64,
        };
        Self {
            generation: Some(header.state.generation),
            len: Some(len),
        }
    }
}

/// The directly appended ranges that the last of these states still relies on.
fn live_ranges(states: &[State<'_>]) -> Vec<Direct> {
    let mut live: Vec<Direct> = Vec::new();
    for state in states {
        // A later state that is shorter has given up what lies beyond, one that wrote there again has replaced it.
        live.retain(|range| {
            let end = range.offset + range.len;
            let is_cut = end > state.len;
            let is_rewritten = state
                .direct
                .iter()
                .any(|newer| newer.offset < end && range.offset < newer.offset + newer.len);
            let is_overwritten = state
                .pieces
                .iter()
                .any(|piece| piece.offset >= range.offset && piece.offset < end);
            !is_cut && !is_rewritten && !is_overwritten
        });
        live.extend_from_slice(state.direct);
    }
    live
}

/// All pieces of these states, later ones over earlier ones, and the length of the last state.
fn merged<'a>(states: &[State<'a>]) -> (BTreeMap<u64, &'a [u8]>, u64) {
    let mut pieces: BTreeMap<u64, &[u8]> = BTreeMap::new();
    let mut len = HEADER_LEN as u64;
    for state in states {
        for range in state.direct {
            pieces
                .retain(|offset, _| *offset < range.offset || *offset >= range.offset + range.len);
        }
        for piece in state.pieces {
            pieces.insert(piece.offset, &piece.bytes);
        }
        // What reaches past the end stood there before: what is left of it has been put again, or is a hole.
        pieces.retain(|offset, bytes| offset + bytes.len() as u64 <= state.len);
        len = state.len;
    }
    (pieces, len)
}

fn is_stored_name(name: &str) -> bool {
    match BackingName::of(name.as_bytes()) {
        BackingName::Short(_) | BackingName::Long(_) => true,
        _ => name == DIR_HEADER,
    }
}
