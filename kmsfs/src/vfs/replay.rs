//! After a crash: brings what the journal holds into the store (JOURNAL §5).
//!
//! Records of one file are taken together. The last state whose directly appended bytes are really there becomes the
//! file's state; what was appended beyond it is cut off. Doing it twice is the same as doing it once. What follows
//! another state than the one found is set aside ([`super::aside`]).

mod find;
mod story;

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use self::find::{Found, Stored};
use self::story::{Chain, State, Story, live_ranges, merged, stories};
use super::{Oddity, Result, Vfs};
use crate::journal::Record;

/// What was set aside, or lost, and where it was.
type Conflict = (Vec<String>, Oddity);

/// What a replay finds out as it goes along.
#[derive(Default)]
struct Progress {
    conflicts: Vec<Conflict>,
    /// The copies in each directory that was looked at, with the stored names they were made from.
    copies: HashMap<Vec<String>, Vec<(String, String)>>,
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

/// Whether this says that there is no such file: that its place is empty, or taken by something else.
const fn is_gone(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::XDEV
    )
}
