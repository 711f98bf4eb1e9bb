//! After a crash: brings what the journal holds into the store (JOURNAL §5).
//!
//! Records of one file are taken together. The last state whose directly appended bytes are really there becomes the
//! file's state; what was appended beyond it is cut off. Doing it twice is the same as doing it once. What follows
//! another state than the one found is set aside ([`super::aside`]).

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kms_crypto::format::{Check, DirKeys, HEADER_LEN, Header, OpenHeader, Via, Writers};
use kms_crypto::id::MachineId;
use kms_crypto::name::{BackingName, DIR_HEADER, Guess};
use rustix::io::Errno;

use super::{Oddity, Result, Vfs};
use crate::backing::{Kind, OpenMode};
use crate::freshness::Mark;
use crate::journal::{Action, Direct, Record};

/// One state of a file that a record describes.
struct State<'a> {
    base: Mark,
    mark: Mark,
    len: u64,
    pieces: &'a [crate::journal::Piece],
    direct: &'a [Direct],
}

impl State<'_> {
    /// Who sealed it, as its header says.
    fn writer(&self) -> Option<(MachineId, u64)> {
        let header = self.pieces.iter().find(|piece| piece.offset == 0)?;
        Header::parse(&header.bytes).ok()?.state().writers.last()
    }
}

/// States each of which follows the one before.
type Chain<'a> = Vec<&'a State<'a>>;

/// What there is to do about one file.
#[derive(Default)]
struct Story<'a> {
    paths: Vec<&'a [String]>,
    states: Vec<State<'a>>,
    /// The file was being made.
    is_new: bool,
}

/// What was set aside, or lost, and where it was.
type Conflict = (Vec<String>, Oddity);

/// What a replay finds out as it goes along.
#[derive(Default)]
struct Progress {
    conflicts: Vec<Conflict>,
    /// The copies in each directory that was looked at, with the stored names they were made from.
    copies: HashMap<Vec<String>, Vec<(String, String)>>,
}

impl<'a> Story<'a> {
    /// The states in the order in which they follow each other. Where a chain ends, the file was changed directly, or it
    /// is another file of the same id, made when two machines wrote at once.
    fn chains(&self) -> Vec<Chain<'_>> {
        let mut chains: Vec<Chain<'_>> = Vec::new();
        for state in &self.states {
            let follows =
                |chain: &&mut Chain<'_>| chain.last().is_some_and(|last| last.mark == state.base);
            match chains.iter_mut().rev().find(follows) {
                Some(chain) => chain.push(state),
                None => chains.push(vec![state]),
            }
        }
        chains
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
        let (order, stories) = stories(&records);
        let mut progress = Progress::default();
        let mut replayed = 0u64;
        for id in order {
            let Some(story) = stories.get(&id) else {
                continue;
            };
            match self.replay_story(&id, story, &mut progress) {
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
        // Not before: names are read by headers that the journal may hold.
        for (path, what) in progress.conflicts {
            self.notice(self.path_of_stored(&path), what);
        }
        tracing::info!(
            records = records.len(),
            files = replayed,
            "unfinished writes were brought into the store"
        );
        Ok(())
    }

    fn replay_story(
        &self,
        id: &[u8; 16],
        story: &Story<'_>,
        progress: &mut Progress,
    ) -> Result<bool> {
        let mut found = match self.find_story(id, story)? {
            Found::Files(found) => found,
            Found::Unmade => return Ok(true),
            Found::Nothing(errno) if story.states.is_empty() || !is_gone(errno) => {
                return Err(errno.into());
            }
            Found::Nothing(_) => Vec::new(),
        };
        let chains = story.chains();
        let mut changed = false;
        let mut is_done = vec![false; found.len()];
        for chain in chains.iter().rev() {
            let mut at = found.iter().position(|it| it.fits(chain));
            if let (None, [it]) = (at, &found[..]) {
                // Sealed here between two of them, by a write that failed when it had been made.
                at = it.is_within(chain).then_some(0);
            }
            if at.is_none() && self.is_missing(chain, &found) {
                // Somebody else has put another version in its place, and perhaps this one aside.
                if found.iter().all(|it| !it.is_copy) {
                    found.extend(self.find_copies_of(id, story, progress));
                    is_done.resize(found.len(), false);
                    at = found.iter().position(|it| it.fits(chain));
                }
                if at.is_none() && self.is_missing(chain, &found) {
                    changed |= self.salvage(chain, &found, progress)?;
                    continue;
                }
            }
            // An earlier chain has nothing to say where a later one was.
            if let Some(at) = at
                && !std::mem::replace(&mut is_done[at], true)
            {
                changed |= self.replay_chain(&found[at], chain)?;
            }
        }
        if found.is_empty() {
            return Err(Errno::NOENT.into());
        }
        for (it, is_done) in found.iter().zip(is_done) {
            if !is_done && !it.is_copy && !it.on_disk.is_foreign {
                changed |= self.cut_to(it, it.on_disk.len, false)?;
            }
        }
        Ok(changed)
    }

    /// Whether what these states end with is in none of the stored files, because somebody else has written them.
    fn is_missing(&self, chain: &Chain<'_>, found: &[Stored]) -> bool {
        let Some(last) = chain.last().and_then(|last| last.writer()) else {
            return false;
        };
        // One that was made there of what was written here is none.
        let is_beside =
            |it: &Stored| it.on_disk.is_foreign && it.on_disk.writers.has(last) != Some(true);
        found.iter().all(is_beside)
    }

    fn replay_chain(&self, it: &Stored, chain: &Chain<'_>) -> Result<bool> {
        let Some(state) = self.best_state(&it.fd, chain)? else {
            return self.cut_to(it, it.on_disk.len, false);
        };
        let (pieces, len) = merged(&chain[..=state]);
        let header = pieces.iter().filter(|(offset, _)| **offset == 0);
        for (offset, bytes) in pieces.range(1..).chain(header) {
            self.disk.write_at(&it.fd, *offset, bytes)?;
        }
        self.cut_to(it, Some(len), true)?;
        Ok(true)
    }

    /// Whatever stands beyond the length of a file's state was never vouched for.
    fn cut_to(&self, it: &Stored, len: Option<u64>, changed: bool) -> Result<bool> {
        let Some(len) = len else { return Ok(false) };
        let size = self.disk.fstat(&it.fd)?.size;
        let is_cut = size > len || (changed && size < len);
        if is_cut {
            self.disk.set_len(&it.fd, len)?;
        }
        Ok(is_cut)
    }

    /// What follows a state that is not there any more becomes a file beside what took its place.
    fn salvage(
        &self,
        chain: &Chain<'_>,
        found: &[Stored],
        progress: &mut Progress,
    ) -> Result<bool> {
        let Some(there) = found.iter().find(|it| !it.is_copy) else {
            return Ok(false);
        };
        let path = there.path.clone();
        let Some((name, dirs)) = path.split_last() else {
            return Ok(false);
        };
        let (pieces, len) = merged(chain);
        let held = self.open_below(dirs)?;
        let dir = self.below(held.as_ref())?;
        let what = match self.salvage_beside(dir, name, &there.fd, &pieces, len) {
            Ok(true) => Oddity::SetAside,
            Ok(false) => Oddity::Lost,
            Err(super::VfsError::Os(Errno::NAMETOOLONG)) => Oddity::Lost,
            Err(error) => return Err(error),
        };
        progress.conflicts.push((path, what));
        Ok(true)
    }

    /// The stored files with this id, at the places it may be in, the newest first.
    fn find_story(&self, id: &[u8; 16], story: &Story<'_>) -> Result<Found> {
        let mut last = Errno::NOENT;
        let mut unmade = None;
        let mut found: Vec<Stored> = Vec::new();
        let mut seen: Vec<&[String]> = Vec::new();
        for path in story.paths.iter().rev() {
            if seen.contains(path) {
                continue;
            }
            seen.push(path);
            match self.open_story(id, story, path, false) {
                // Another file perhaps that was being made there: this one may have stood somewhere else.
                Ok(Look::Unmade) => unmade = Some(path),
                Ok(Look::It(it)) if found.iter().all(|other| other.ino != it.ino) => found.push(it),
                Ok(Look::It(_) | Look::Another) => {}
                Err(super::VfsError::Os(errno)) => last = errno,
                Err(error) => return Err(error),
            }
        }
        if !found.is_empty() {
            return Ok(Found::Files(found));
        }
        match unmade.and_then(|path| path.split_last()) {
            Some((name, dirs)) => {
                // Killed while it was being made: nobody was told that it is there.
                let held = self.open_below(dirs)?;
                self.disk.unlink(self.below(held.as_ref())?, name)?;
                Ok(Found::Unmade)
            }
            None => Ok(Found::Nothing(last)),
        }
    }

    /// Conflict copies of the file that stand beside it: a synchroniser may have set aside what the journal is about.
    fn find_copies_of(
        &self,
        id: &[u8; 16],
        story: &Story<'_>,
        progress: &mut Progress,
    ) -> Vec<Stored> {
        let mut found = Vec::new();
        let mut paths: Vec<&[String]> = Vec::new();
        for path in story.paths.iter().rev() {
            if !paths.contains(path) {
                paths.push(path);
            }
        }
        for path in paths {
            let Some((name, dirs)) = path.split_last() else {
                continue;
            };
            let copies = progress
                .copies
                .entry(dirs.to_vec())
                .or_insert_with(|| self.copies_in(dirs).unwrap_or_default());
            for (copy, _) in copies.iter().filter(|(_, original)| original == name) {
                let path = [dirs, std::slice::from_ref(copy)].concat();
                if let Ok(Look::It(it)) = self.open_story(id, story, &path, true) {
                    found.push(it);
                }
            }
        }
        found
    }

    /// The names in a stored directory that may be copies, and of what.
    fn copies_in(&self, dirs: &[String]) -> Result<Vec<(String, String)>> {
        let held = self.open_below(dirs)?;
        let mut copies = Vec::new();
        for entry in self.disk.list(self.below(held.as_ref())?)? {
            let Ok(name) = String::from_utf8(entry.name) else {
                continue;
            };
            for guess in Guess::all(&name) {
                copies.push((name.clone(), guess.original));
            }
        }
        Ok(copies)
    }

    fn open_story(
        &self,
        id: &[u8; 16],
        story: &Story<'_>,
        path: &[String],
        is_copy: bool,
    ) -> Result<Look> {
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
            return Ok(Look::Another);
        }
        let mut header = [0; HEADER_LEN];
        let len = self.disk.read_at(&fd, 0, &mut header)?;
        if story.is_new && !is_copy && (len < HEADER_LEN || header.iter().all(|byte| *byte == 0)) {
            return Ok(Look::Unmade);
        }
        let on_disk = self.look_at_header(&header, len, id);
        Ok(on_disk.map_or(Look::Another, |on_disk| {
            Look::It(Stored {
                fd,
                ino: stat.ino,
                path: path.to_vec(),
                is_copy,
                on_disk,
            })
        }))
    }

    pub(super) fn open_below(&self, dirs: &[String]) -> Result<Option<OwnedFd>> {
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
    fn look_at_header(
        &self,
        bytes: &[u8; HEADER_LEN],
        len: usize,
        id: &[u8; 16],
    ) -> Option<OnDisk> {
        match Header::parse(&bytes[..len])
            .ok()
            .and_then(|header| self.open_own_header(header))
        {
            Some(header) => (header.core().id.as_bytes() == id).then(|| {
                let mark = Mark::of(header.state.generation, bytes);
                let machine = self
                    .try_owner()
                    .map(|owner| owner.machine_of(header.bindings()));
                let sealed_by = header.state.writers.last().map(|(machine, _)| machine);
                OnDisk {
                    is_foreign: sealed_by.is_some() && sealed_by != machine,
                    ..OnDisk::of(&header, mark)
                }
            }),
            // Torn when the power was cut: the record has it whole. The id stands in its first sector and never
            // changes, so that it is not another file's, made since in the same place.
            None => bytes[..len]
                .get(..SECTOR)?
                .windows(id.len())
                .any(|window| window == id)
                .then(OnDisk::torn),
        }
    }

    /// Opens a header wherever it stands, by what the owner can derive.
    pub(super) fn open_own_header(&self, header: Header) -> Option<OpenHeader> {
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
    fn best_state(&self, fd: &OwnedFd, chain: &Chain<'_>) -> Result<Option<usize>> {
        for state in (0..chain.len()).rev() {
            if self.is_whole(fd, &chain[..=state])? {
                return Ok(Some(state));
            }
        }
        Ok(None)
    }

    fn is_whole(&self, fd: &OwnedFd, states: &[&State<'_>]) -> Result<bool> {
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

/// The records by object, and the order in which the objects first come.
fn stories(records: &[Record]) -> (Vec<[u8; 16]>, HashMap<[u8; 16], Story<'_>>) {
    let mut order = Vec::new();
    let mut stories: HashMap<[u8; 16], Story<'_>> = HashMap::new();
    for record in records {
        let story = stories.entry(record.id).or_insert_with(|| {
            order.push(record.id);
            Story::default()
        });
        story.paths.extend(record.paths.iter().map(Vec::as_slice));
        story.is_new |= record.action == Action::Create;
        if let Action::Commit {
            base,
            mark,
            len,
            pieces,
            direct,
        } = &record.action
        {
            story.states.push(State {
                base: *base,
                mark: *mark,
                len: *len,
                pieces,
                direct,
            });
        }
    }
    (order, stories)
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

/// What the places of an object have.
enum Found {
    Files(Vec<Stored>),
    /// A file without a header, which has gone.
    Unmade,
    /// Nothing, and why.
    Nothing(Errno),
}

/// What stands where a record says.
enum Look {
    It(Stored),
    /// A file without a header, which goes unless the object is found elsewhere.
    Unmade,
    Another,
}

/// A stored file of the object.
struct Stored {
    fd: OwnedFd,
    ino: u64,
    path: Vec<String>,
    is_copy: bool,
    on_disk: OnDisk,
}

impl Stored {
    /// Whether the states follow the one that stands there, or it is one of them.
    fn fits(&self, chain: &Chain<'_>) -> bool {
        let Some(mark) = self.on_disk.mark else {
            return !self.is_copy;
        };
        chain.first().is_some_and(|first| first.base == mark)
            || chain.iter().any(|state| state.mark == mark)
    }
}

impl Stored {
    /// Whether what stands there was sealed here, in a generation between those of the states.
    fn is_within(&self, chain: &Chain<'_>) -> bool {
        let (Some(mark), Some(first), Some(last)) =
            (self.on_disk.mark, chain.first(), chain.last())
        else {
            return false;
        };
        let generations = first.base.generation..=last.mark.generation;
        !self.on_disk.is_foreign && generations.contains(&mark.generation)
    }
}

/// What the header in the store says.
struct OnDisk {
    /// `None`: it cannot be read.
    mark: Option<Mark>,
    writers: Writers,
    /// It was sealed on another machine.
    is_foreign: bool,
    /// How long the stored file should be; `None` where that is not known.
    len: Option<u64>,
}

impl OnDisk {
    fn of(header: &OpenHeader, mark: Mark) -> Self {
        let len = match (header.file(), header.layout()) {
            (Ok(content), Ok(layout)) => layout.backing_len(content.size),
            _ => HEADER_LEN as u64,
        };
        Self {
            mark: Some(mark),
            writers: header.state.writers.clone(),
            is_foreign: false,
            len: Some(len),
        }
    }

    fn torn() -> Self {
        Self {
            mark: None,
            writers: Writers::NONE,
            is_foreign: false,
            len: None,
        }
    }
}

/// The directly appended ranges that the last of these states still relies on.
fn live_ranges(states: &[&State<'_>]) -> Vec<Direct> {
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
fn merged<'a>(states: &[&'a State<'_>]) -> (BTreeMap<u64, &'a [u8]>, u64) {
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
        BackingName::Foreign => !Guess::all(name).is_empty(),
        _ => name == DIR_HEADER,
    }
}
