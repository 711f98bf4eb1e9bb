//! A directory whose header is lost gets it back from what is in the directory (FORMAT §6.1).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use kms_crypto::format::{
    Check as Whose, Core, DirKeys, HEADER_LEN, Header, ObjectId, OpenHeader, Remains, Signs, Via,
};
use kms_crypto::id::DirId;
use kms_crypto::name::{BackingName, DIR_HEADER, NameCipher, NameTag};

use super::super::error::header_error;
use super::super::{Ino, Part, Result, Vfs, VfsError};
use super::finding::{Loss, Remedy};
use super::{Check, TEMPORARY, is_place};
use crate::backing::{Kind, RawEntry, Replace};
use crate::freshness::Mark;
use crate::inode::Inode;

/// Whether one can go on into a directory whose header was lost.
pub(super) enum Way {
    /// No.
    Closed,
    /// It has a header again.
    Open,
    /// By a header that is in memory only, to be given back.
    Borrowed,
}

/// What could be told of a directory.
struct Told {
    remains: Remains,
    /// One change of its key was under way: what one more may have begun with comes after it.
    is_behind: bool,
}

/// What the objects in a directory say of it.
#[derive(Default)]
struct Votes {
    count: usize,
    epochs: BTreeSet<u32>,
    is_signed: bool,
}

/// What was found in the place of a header is called so, until it is where it belongs.
pub(super) const ASIDE: &str = "kmsfs.aside.";
/// So many epochs of name keys are tried back from the last one known.
const LOOK_BACK: u32 = 16;

impl Vfs {
    /// A directory whose header cannot be opened.
    pub(super) fn lost_header(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
        problem: VfsError,
    ) -> Result<Way> {
        let is_lost = matches!(&problem, VfsError::Damaged(damage)
            if matches!(damage.part, Part::Header | Part::Place | Part::Kind));
        if !self.is_owner() || !is_lost {
            return Err(problem);
        }
        if let Ok(Some((is_set, header))) = self.mend_bit(check, inode, path, backing, &problem) {
            if !is_set && check.repairs {
                return Ok(Way::Closed);
            }
            if !is_set {
                self.borrow_header(inode, header)?;
                return Ok(Way::Borrowed);
            }
            // As it is in the store now.
            return self.secrets(inode).map(|_| Way::Open);
        }
        let entries = self.disk.list(self.dir_fd(inode)?)?;
        let told = self.remains_of(inode, &entries);
        if is_place(&problem) && self.is_stray_dir(inode, told.as_ref().ok()) {
            let place = inode.place().ok_or(Part::Place)?;
            self.found_stray(check, &place.dir, &place.name, path, backing, problem);
            return Ok(Way::Closed);
        }
        if entries
            .iter()
            .all(|entry| entry.name == DIR_HEADER.as_bytes())
            && inode.ino != Ino::ROOT
        {
            let made = check.found(path, backing, problem.into(), Remedy::Remake, || {
                self.remake_header(inode)
            });
            return Ok(if made { Way::Open } else { Way::Closed });
        }
        let (mut header, is_behind) = match told {
            Ok(told) => (self.rebuilt(inode, &told.remains)?, told.is_behind),
            Err(loss) => {
                check.lost(path, backing, problem.into(), loss);
                return Ok(Way::Closed);
            }
        };
        let is_put = check.found(path, backing, problem.into(), Remedy::Rebuild, || {
            self.put_dir_header(inode, &mut header)
        });
        if check.repairs && !is_put {
            return Ok(Way::Closed);
        }
        let is_rekeying = header.is_rekeying();
        let signs = header.signs();
        self.borrow_header(inode, header)?;
        if !is_put {
            return Ok(Way::Borrowed);
        }
        if is_rekeying && is_behind {
            self.enqueue_new_key(inode)?;
        } else if is_rekeying {
            self.enqueue_rekey(inode)?;
        } else if signs != Signs::Nothing {
            self.enqueue_signing(inode)?;
        }
        Ok(Way::Open)
    }

    /// Takes a header that was in memory only out again.
    pub(super) fn give_header_back(&self, inode: &Inode) {
        if let Some(dir) = inode.dir() {
            let mut state = dir.state.write();
            (state.secrets, state.header) = (None, None);
            (state.committed, state.stored) = (Mark::ZERO, Mark::ZERO);
        }
    }

    fn remake_header(&self, inode: &Arc<Inode>) -> Result<()> {
        let dir = inode.dir().ok_or(Part::Kind)?;
        self.remake_dir_header(inode, &mut dir.state.write())?;
        self.sync_dir_header(inode)?;
        Ok(self.disk.sync_dir(self.dir_fd(inode)?)?)
    }

    /// Whether the header found is that of the directory, which is not where it belongs.
    fn is_stray_dir(&self, inode: &Arc<Inode>, told: Option<&Told>) -> bool {
        let Some(place) = inode.place() else {
            return false;
        };
        let header = self
            .dir_fd(&place.dir)
            .and_then(|fd| self.stored_header(fd, &place.name, Kind::Dir));
        let Some((header, _)) = header.ok().and_then(|header| self.authentic(header)) else {
            return false;
        };
        let id = header.core().id;
        told.is_none_or(|told| *id.as_bytes() == told.remains.id.0)
    }

    /// Opens a header by any of its names: as the owner can, without the headers of the directories they are in. `None`
    /// if it is not one the owner has made.
    pub(super) fn authentic(&self, header: Header) -> Option<(OpenHeader, DirId)> {
        let owner = self.try_owner()?;
        let bindings = header.bindings().to_vec();
        let open = |binding: kms_crypto::format::Binding| {
            let keys = DirKeys::derived(&owner.key, binding.dir, binding.dir_epoch);
            let via = Via::Dir {
                keys: &keys,
                tag: binding.name_tag,
            };
            let opened = header.clone().open(via, Whose::Owner(&owner.mac));
            opened.ok().map(|header| (header, binding.dir))
        };
        bindings.into_iter().find_map(open)
    }

    /// What can be told of a directory without its header.
    fn remains_of(&self, inode: &Arc<Inode>, entries: &[RawEntry]) -> Result<Told, Loss> {
        let votes = self.votes(inode, entries);
        let known = self.known_dir_id(inode);
        let id = match known {
            Some(id) if votes.is_empty() || votes.contains_key(&id) => id,
            Some(_) => return Err(Loss::OtherDirectory),
            None => {
                let most = votes.iter().max_by_key(|(_, votes)| votes.count);
                *most.ok_or(Loss::NoTrace)?.0
            }
        };
        if known.is_none() && self.index_dirs().contains_key(&id) {
            return Err(Loss::OtherDirectory);
        }
        let none = Votes::default();
        let votes = votes.get(&id).unwrap_or(&none);
        let top = votes.epochs.last().copied();
        let names = self.name_epochs(inode, id, top.unwrap_or(LOOK_BACK), entries);
        let mut epochs: Vec<u32> = votes.epochs.union(&names).copied().collect();
        if epochs.is_empty() && inode.ino == Ino::ROOT && !entries.iter().any(is_entry) {
            epochs.push(OF_EMPTY_ROOT);
        }
        let highest = epochs.pop().ok_or(Loss::NoTrace)?;
        let parent = inode.place().map(|place| self.secrets(&place.dir));
        let parent_signs = match parent {
            Some(parent) => parent.map_err(|_| Loss::NoTrace)?.keys.signs(),
            None => Signs::Nothing,
        };
        let is_signed = votes.is_signed || parent_signs != Signs::Nothing;
        let may_be_shared = is_signed || highest > 1 || self.has_noted_job(inode);
        let is_behind = may_be_shared && !epochs.is_empty();
        let (epoch, prev) = match epochs.pop() {
            Some(lower) => (highest, Some(lower)),
            // Another change may have begun of which nothing in the directory tells yet.
            None if may_be_shared => (highest.saturating_add(1), Some(highest)),
            None => (highest, None),
        };
        let mut names: Vec<u32> = names.into_iter().collect();
        let stat = self
            .dir_fd(inode)
            .and_then(|fd| Ok(self.disk.fstat(fd)?))
            .map_err(|_| Loss::System)?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let remains = Remains {
            id,
            epoch,
            prev,
            names: names.pop().unwrap_or(highest),
            prev_names: names.pop(),
            generation: self.seen.known_generation(&id.0).max(now << 16),
            signs: if is_signed {
                Signs::WhatIsNew
            } else {
                Signs::Nothing
            },
            mode: self.seen_mode(inode).unwrap_or(stat.mode & 0o777),
        };
        Ok(Told { remains, is_behind })
    }

    fn known_dir_id(&self, inode: &Inode) -> Option<DirId> {
        let Some(place) = inode.place() else {
            return Some(self.root_id());
        };
        let dir = self.secrets(&place.dir).ok()?.id;
        let entry = self.seen.entry(&dir.0, &place.tag.0)?;
        entry.object.filter(|_| entry.kind == DIR).map(DirId)
    }

    /// The directories that the objects in this one belong to, by their own authentic word.
    fn votes(&self, inode: &Arc<Inode>, entries: &[RawEntry]) -> HashMap<DirId, Votes> {
        let mut all: HashMap<DirId, Votes> = HashMap::new();
        let Ok(fd) = self.dir_fd(inode) else {
            return all;
        };
        let Some(owner) = self.try_owner() else {
            return all;
        };
        for entry in entries {
            let Some((name, tag)) = self.tag_of_stored(inode, entry) else {
                continue;
            };
            let Ok(stat) = self.disk.stat(fd, name) else {
                continue;
            };
            if !matches!(stat.kind, Kind::File | Kind::Dir) {
                continue;
            }
            let Ok(header) = self.stored_header(fd, name, stat.kind) else {
                continue;
            };
            for binding in header.bindings().to_vec() {
                if binding.name_tag != tag {
                    continue;
                }
                let keys = DirKeys::derived(&owner.key, binding.dir, binding.dir_epoch);
                let is_signed = header.is_signed();
                let via = Via::Dir { keys: &keys, tag };
                if header.clone().open(via, Whose::Owner(&owner.mac)).is_ok() {
                    let votes = all.entry(binding.dir).or_default();
                    votes.count += 1;
                    votes.epochs.insert(binding.dir_epoch);
                    votes.is_signed |= is_signed;
                }
            }
        }
        all
    }

    /// The epochs whose name keys open names in a directory.
    fn name_epochs(
        &self,
        inode: &Inode,
        id: DirId,
        top: u32,
        entries: &[RawEntry],
    ) -> BTreeSet<u32> {
        let mut ciphers = self.name_ciphers(id, top);
        let mut found = BTreeSet::new();
        for entry in entries {
            let Ok(name) = std::str::from_utf8(&entry.name) else {
                continue;
            };
            let Some(whole) = self.whole_name(inode, name) else {
                continue;
            };
            let opens = |(_, cipher): &(u32, NameCipher)| cipher.decrypt(name, whole.as_deref());
            if let Some(at) = ciphers.iter().position(|it| opens(it).is_ok()) {
                // Most names are of one epoch.
                ciphers.swap(0, at);
                found.insert(ciphers[0].0);
            }
        }
        found
    }

    /// The name keys a directory may have had, up to the epoch after `top`.
    pub(super) fn name_ciphers(&self, id: DirId, top: u32) -> Vec<(u32, NameCipher)> {
        let Some(owner) = self.try_owner() else {
            return Vec::new();
        };
        let first = top.saturating_sub(LOOK_BACK).max(1);
        (first..=top.saturating_add(1))
            .rev()
            .map(|epoch| (epoch, NameCipher::new(&owner.key.name_key(&id, epoch), id)))
            .collect()
    }

    /// What is kept beside a stored name if it is a long one; `None` if it is none, or that is not there.
    pub(super) fn whole_name(&self, dir: &Inode, name: &str) -> Option<Option<String>> {
        match BackingName::of(name.as_bytes()) {
            BackingName::Short(_) => Some(None),
            BackingName::Long(long) => self.read_side_file(dir, long).ok().map(Some),
            _ => None,
        }
    }

    /// A stored name and the tag in it.
    fn tag_of_stored<'a>(&self, dir: &Inode, entry: &'a RawEntry) -> Option<(&'a str, NameTag)> {
        let name = std::str::from_utf8(&entry.name).ok()?;
        let whole = self.whole_name(dir, name)?;
        tag_of(whole.as_deref().unwrap_or(name)).map(|tag| (name, tag))
    }

    fn rebuilt(&self, inode: &Arc<Inode>, remains: &Remains) -> Result<OpenHeader> {
        let core = Core::dir(self.info.id, remains.id, self.info.cipher);
        let mut header =
            OpenHeader::rebuild_dir(core, &self.owner()?.key, remains).map_err(header_error)?;
        if let Some(place) = inode.place() {
            let parent = self.secrets(&place.dir)?;
            header.bind(&parent.keys, place.tag).map_err(header_error)?;
        }
        Ok(header)
    }

    /// What stands in the place of a header may be another object, which is to be found again.
    fn put_aside(&self, inode: &Inode) -> Result<()> {
        let fd = self.dir_fd(inode)?;
        let kind = match self.disk.stat(fd, DIR_HEADER) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            stat => stat?.kind,
        };
        let header = self.stored_header(fd, DIR_HEADER, kind);
        let is_file = header.is_ok_and(|it| matches!(it.core().id, ObjectId::File(_)));
        let is_worth_it = match kind {
            Kind::Dir => true,
            Kind::File => is_file || self.disk.stat(fd, DIR_HEADER)?.size > HEADER_LEN as u64,
            _ => false,
        };
        if !is_worth_it {
            return Ok(());
        }
        let aside = |n: u32| format!("{ASIDE}{n}");
        let free = (0..)
            .map(aside)
            .find(|name| self.disk.stat(fd, name).is_err());
        let free = free.unwrap_or_default();
        Ok(self
            .disk
            .rename((fd, DIR_HEADER), (fd, &free), Replace::No)?)
    }

    /// Puts a directory's header in the place of whatever is there: the old one or the new one, never neither.
    fn put_dir_header(&self, inode: &Arc<Inode>, header: &mut OpenHeader) -> Result<()> {
        let bytes = self.seal_header(header)?;
        let fd = self.dir_fd(inode)?;
        let temporary = format!("{TEMPORARY}{DIR_HEADER}");
        match self.disk.unlink(fd, &temporary) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let file = self.disk.create_file(fd, &temporary, 0o600)?;
        self.disk.write_at(&file, 0, &bytes)?;
        self.disk.sync_all(&file)?;
        self.put_aside(inode)?;
        self.disk
            .rename((fd, &temporary), (fd, DIR_HEADER), Replace::Yes)?;
        self.disk.sync_dir(fd)?;
        self.wrote(inode, header, Mark::of(header.state.generation, &bytes));
        Ok(())
    }
}

/// Whether it stands for an object.
fn is_entry(entry: &RawEntry) -> bool {
    matches!(
        BackingName::of(&entry.name),
        BackingName::Short(_) | BackingName::Long(_)
    )
}

/// The epoch of a root that has lost its header and holds nothing: above any it can have had.
const OF_EMPTY_ROOT: u32 = 1 << 16;
/// A directory, among what is remembered of entries (FRESHNESS §3).
const DIR: u8 = 2;

/// The tag in a whole sealed name.
pub(super) fn tag_of(whole: &str) -> Option<NameTag> {
    let sealed = BASE64URL_NOPAD.decode(whole.as_bytes()).ok()?;
    sealed.first_chunk().copied().map(NameTag)
}
