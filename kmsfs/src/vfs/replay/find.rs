//! Where the files stand that the journal tells of, and what is stored there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kms_crypto::format::{Check, DirKeys, HEADER_LEN, Header, OpenHeader, Via, Writers};
use kms_crypto::name::{BackingName, DIR_HEADER, Guess};
use rustix::io::Errno;

use super::Progress;
use super::story::{Chain, Story};
use crate::backing::{Kind, OpenMode};
use crate::freshness::Mark;
use crate::vfs::{Result, Vfs, VfsError};

/// What a disk writes in one go, at least (JOURNAL A3).
const SECTOR: usize = 512;

/// What the places of an object have.
pub(super) enum Found {
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
pub(super) struct Stored {
    pub(super) fd: OwnedFd,
    ino: u64,
    pub(super) path: Vec<String>,
    pub(super) is_copy: bool,
    pub(super) on_disk: OnDisk,
}

impl Stored {
    /// Whether the states follow the one that stands there, or it is one of them.
    pub(super) fn fits(&self, chain: &Chain<'_>) -> bool {
        let Some(mark) = self.on_disk.mark else {
            return !self.is_copy;
        };
        chain.first().is_some_and(|first| first.base == mark)
            || chain.iter().any(|state| state.mark == mark)
    }

    /// Whether what stands there was sealed here, in a generation between those of the states.
    pub(super) fn is_within(&self, chain: &Chain<'_>) -> bool {
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
pub(super) struct OnDisk {
    /// `None`: it cannot be read.
    pub(super) mark: Option<Mark>,
    pub(super) writers: Writers,
    /// It was sealed on another machine.
    pub(super) is_foreign: bool,
    /// How long the stored file should be; `None` where that is not known.
    pub(super) len: Option<u64>,
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

impl Vfs {
    /// The stored files with this id, at the places it may be in, the newest first.
    pub(super) fn find_story(&self, id: &[u8; 16], story: &Story<'_>) -> Result<Found> {
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
                Err(VfsError::Os(errno)) => last = errno,
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
    pub(super) fn find_copies_of(
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

    pub(in crate::vfs) fn open_below(&self, dirs: &[String]) -> Result<Option<OwnedFd>> {
        let mut held: Option<OwnedFd> = None;
        for dir in dirs {
            held = Some(self.disk.open_dir(self.below(held.as_ref())?, dir)?);
        }
        Ok(held)
    }

    pub(super) fn below<'a>(&'a self, held: Option<&'a OwnedFd>) -> Result<BorrowedFd<'a>> {
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
    pub(in crate::vfs) fn open_own_header(&self, header: Header) -> Option<OpenHeader> {
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
}

fn is_stored_name(name: &str) -> bool {
    match BackingName::of(name.as_bytes()) {
        BackingName::Short(_) | BackingName::Long(_) => true,
        BackingName::Foreign => !Guess::all(name).is_empty(),
        _ => name == DIR_HEADER,
    }
}
