//! Objects that are not where they belong, and entries that are not there any more.
//!
//! An object's header says, sealed by its owner, which names it has. One that stands elsewhere was put there by
//! somebody with no more than the store at hand. It goes back to where it belongs; where that is not known any more, or
//! taken, into `lost+found`, by a name it is given there. Nothing is believed of the place where it was found.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::format::{Binding, HEADER_LEN, ObjectId, OpenHeader};
use kms_crypto::id::DirId;
use kms_crypto::name::{DIR_HEADER, EncryptedName, NAME_MAX, NameTag};
use rustix::io::Errno;

use super::super::dirs::Secrets;
use super::super::error::header_error;
use super::super::lookup::stored_path;
use super::super::sides::sides_of_stored;
use super::super::{Caller, Ino, Oddity, Result, Vfs, VfsError};
use super::Check;
use super::finding::{Loss, Remedy};
use super::rebuild::tag_of;
use crate::backing::{Kind, OpenMode, Replace, Stat};
use crate::freshness::Mark;
use crate::inode::{Inode, Place};
use crate::journal::{Action, Piece, Record};

/// Something that is not where it belongs.
#[derive(Clone)]
pub(super) struct Stray {
    at: Arc<Inode>,
    name: String,
    path: PathBuf,
    backing: PathBuf,
    problem: VfsError,
}

/// An entry that was known and is not there.
pub(super) struct Gone {
    pub(super) dir: DirId,
    pub(super) tag: NameTag,
    pub(super) path: PathBuf,
    pub(super) backing: PathBuf,
    pub(super) at: Arc<Inode>,
    pub(super) name: String,
}

/// A name in the store, and what it stands for.
struct Name {
    stored: EncryptedName,
    plain: Vec<u8>,
}

/// Where something goes.
enum Step {
    /// To where it belongs; what stands there by mistake comes here.
    Home(Arc<Inode>, Name, Replace),
    /// Into `lost+found`.
    Found(Vec<u8>),
    /// Nowhere: by now it is where it belongs.
    Here(Vec<u8>, NameTag),
    /// Away: it stands where it belongs as well.
    Remove,
}

struct Plan {
    stat: Stat,
    header: OpenHeader,
    base: u64,
    step: Step,
}

const LOST_AND_FOUND: &str = "lost+found";

impl Vfs {
    /// Notes something that is not where it belongs.
    pub(super) fn found_stray(
        &self,
        check: &mut Check<'_>,
        at: &Arc<Inode>,
        name: &str,
        path: &Path,
        backing: &Path,
        problem: VfsError,
    ) {
        if !self.is_owner() {
            return check.refused(path, backing, problem);
        }
        check.strays.push(Stray {
            at: Arc::clone(at),
            name: name.to_owned(),
            path: path.to_owned(),
            backing: backing.to_owned(),
            problem,
        });
    }

    /// The name a stray file has by this client's memory, if it is this object.
    pub(super) fn known_name(
        &self,
        stray: &Stray,
        inode: &Inode,
        id: &[u8; 16],
    ) -> Option<(Arc<Secrets>, NameTag)> {
        let secrets = self.secrets(&stray.at).ok()?;
        let stat = self.disk.stat(self.dir_fd(&stray.at).ok()?, &stray.name);
        if stat.ok()?.ino != inode.backing() {
            return None;
        }
        let (_, tag) = self.decrypt_name(&stray.at, &secrets, &stray.name).ok()?;
        let known = self.seen.entry(&secrets.id.0, &tag.0)?;
        (known.object.as_ref() == Some(id)).then_some((secrets, tag))
    }

    /// All directories that verify where they stand, by id, each with its place in the store.
    pub(super) fn index_dirs(&self) -> HashMap<DirId, String> {
        let mut found = HashMap::new();
        self.index_below(self.table.root(), "", &mut found);
        found
    }

    fn index_below(&self, dir: &Arc<Inode>, path: &str, found: &mut HashMap<DirId, String>) {
        let Ok(secrets) = self.secrets(dir) else {
            return;
        };
        found.insert(secrets.id, path.to_owned());
        let entries = self.dir_fd(dir).and_then(|fd| Ok(self.disk.list(fd)?));
        for entry in entries.unwrap_or_default() {
            let Ok(name) = std::str::from_utf8(&entry.name) else {
                continue;
            };
            let Ok((_, tag)) = self.decrypt_name(dir, &secrets, name) else {
                continue;
            };
            let stat = self
                .dir_fd(dir)
                .and_then(|fd| Ok(self.disk.stat(fd, name)?));
            let Some(stat) = stat.ok().filter(|stat| stat.kind == Kind::Dir) else {
                continue;
            };
            let place = Place {
                dir: Arc::clone(dir),
                name: name.into(),
                tag,
            };
            if let Ok(inode) = self.intern(&stat, place, 0) {
                self.index_below(&inode, &format!("{path}/{name}"), found);
                self.table.sweep(inode);
            }
        }
    }

    /// Deals with everything that is not where it belongs.
    pub(super) fn settle_strays(&self, check: &mut Check<'_>) {
        let mut strays: VecDeque<_> = std::mem::take(&mut check.strays).into();
        if strays.is_empty() {
            return;
        }
        let mut dirs = self.index_dirs();
        while let Some(stray) = strays.pop_front() {
            self.note_stored_sides(check, &stray);
            match self.plan(&stray, &dirs, &strays) {
                Err(loss) => check.lost(&stray.path, &stray.backing, stray.problem.into(), loss),
                Ok(plan) => {
                    let is_dir = plan.stat.kind == Kind::Dir;
                    self.carry_out(check, &stray, plan, &mut strays);
                    if is_dir && check.repairs {
                        dirs = self.index_dirs();
                    }
                }
            }
            strays.extend(check.strays.drain(..));
        }
    }

    /// Whatever becomes of it, what it refers to is of use.
    fn note_stored_sides(&self, check: &mut Check<'_>, stray: &Stray) {
        let header = self.dir_fd(&stray.at).and_then(|fd| {
            let kind = self.disk.stat(fd, &stray.name)?.kind;
            self.stored_header(fd, &stray.name, kind)
        });
        if let Ok(header) = header {
            check.sides.extend(sides_of_stored(&header));
        }
    }

    fn plan(
        &self,
        stray: &Stray,
        dirs: &HashMap<DirId, String>,
        others: &VecDeque<Stray>,
    ) -> Result<Plan, Loss> {
        let fd = self.dir_fd(&stray.at).map_err(|_| Loss::System)?;
        let stat = self.disk.stat(fd, &stray.name).map_err(|_| Loss::System)?;
        if !matches!(stat.kind, Kind::File | Kind::Dir) {
            return Err(Loss::Foreign);
        }
        let is_ours =
            tag_of(&stray.name).is_some() || self.whole_name(&stray.at, &stray.name).is_some();
        let unread = if is_ours { Loss::Key } else { Loss::Foreign };
        let header = self
            .stored_header(fd, &stray.name, stat.kind)
            .map_err(|_| unread)?;
        let base = header.state().generation;
        let with_names = self.with_names(header.clone()).ok();
        let (header, _) = with_names
            .and_then(|header| self.authentic(header))
            .or_else(|| self.authentic(header))
            .ok_or(Loss::Foreign)?;
        if let (Kind::File, ObjectId::Dir(id)) = (stat.kind, header.core().id) {
            // A header alone is of no use to a directory that has one.
            let step = Step::Remove;
            let has_one = dirs.contains_key(&id);
            return has_one
                .then_some(Plan {
                    stat,
                    header,
                    base,
                    step,
                })
                .ok_or(Loss::Copy);
        }
        if self.seen.is_older(header.core().id.as_bytes(), base) {
            return Err(Loss::Older);
        }
        let step = self.way_of(stray, &stat, &header, dirs, others)?;
        Ok(Plan {
            stat,
            header,
            base,
            step,
        })
    }

    fn way_of(
        &self,
        stray: &Stray,
        stat: &Stat,
        header: &OpenHeader,
        dirs: &HashMap<DirId, String>,
        others: &VecDeque<Stray>,
    ) -> Result<Step, Loss> {
        for binding in header.bindings() {
            let Some(home) = dirs
                .get(&binding.dir)
                .and_then(|path| self.resolve_stored(path).ok())
            else {
                continue;
            };
            let Some(name) = self.name_at_home(stray, &home, binding) else {
                continue;
            };
            let stored = &name.stored.backing;
            if Arc::ptr_eq(&home, &stray.at) && *stored == stray.name {
                return Ok(Step::Here(name.plain, name.stored.tag));
            }
            let there = self
                .dir_fd(&home)
                .and_then(|fd| Ok(self.disk.stat(fd, stored)?));
            let there = match there {
                Err(VfsError::Os(Errno::NOENT)) => {
                    return Ok(Step::Home(home, name, Replace::No));
                }
                Err(_) => return Err(Loss::System),
                Ok(there) => there,
            };
            if there.ino == stat.ino && there.nlink > 1 {
                return Ok(Step::Remove);
            }
            if others.iter().any(|it| it.is(&home, stored)) {
                return Ok(Step::Home(home, name, Replace::Exchange));
            }
            let fd = self.dir_fd(&home).map_err(|_| Loss::System)?;
            let is_same = self
                .stored_header(fd, stored, there.kind)
                .is_ok_and(|it| it.core().id == header.core().id);
            if is_same {
                let is_copy = self.is_copy(stray, (&home, stored)).unwrap_or(false);
                return if is_copy {
                    Ok(Step::Remove)
                } else {
                    Err(Loss::Copy)
                };
            }
        }
        let plain = self.plain_in_lost_and_found(stray).or_else(|| {
            let mut bindings = header.bindings().iter();
            bindings.find_map(|binding| self.plain_by(stray, binding))
        });
        let hex = data_encoding::HEXLOWER.encode(header.core().id.as_bytes());
        Ok(Step::Found(
            plain.unwrap_or_else(|| format!("#{hex}").into_bytes()),
        ))
    }

    /// The name of what a repair that was killed has moved to `lost+found`, its header not having been told yet.
    fn plain_in_lost_and_found(&self, stray: &Stray) -> Option<Vec<u8>> {
        let root = self.table.root();
        let (place, _) = self.find(root, LOST_AND_FOUND.as_bytes()).ok()?;
        if !stray.at.is_at(&place) {
            return None;
        }
        let secrets = self.secrets(&stray.at).ok()?;
        let (plain, _) = self.decrypt_name(&stray.at, &secrets, &stray.name).ok()?;
        Some(plain)
    }

    /// The stored names that may go with a binding: the one the object has, and the one remembered.
    fn stored_names(&self, stray: &Stray, binding: &Binding) -> Vec<(String, Option<String>)> {
        let whole = self.whole_name(&stray.at, &stray.name).flatten();
        let own = (stray.name.clone(), whole);
        let known = self.remembered_name(binding).map(|name| (name, None));
        std::iter::once(own).chain(known).collect()
    }

    fn name_at_home(&self, stray: &Stray, home: &Arc<Inode>, binding: &Binding) -> Option<Name> {
        let secrets = self.secrets(home).ok()?;
        let mut names = self.stored_names(stray, binding);
        let entries = self.disk.list(self.dir_fd(home).ok()?).ok()?;
        let there = entries.iter().find_map(|entry| {
            let name = std::str::from_utf8(&entry.name).ok()?;
            let whole = self.whole_name(home, name)?;
            let tag = tag_of(whole.as_deref().unwrap_or(name))?;
            (tag == binding.name_tag).then(|| (name.to_owned(), whole))
        });
        names.extend(there);
        names.into_iter().find_map(|(backing, whole)| {
            let long = whole.or_else(|| self.whole_name(home, &backing).flatten());
            let ciphers = std::iter::once(&secrets.names).chain(&secrets.prev_names);
            let plain = ciphers
                .filter_map(|names| names.decrypt(&backing, long.as_deref()).ok())
                .find(|(_, tag)| *tag == binding.name_tag)?
                .0;
            let tag = binding.name_tag;
            let stored = EncryptedName { backing, long, tag };
            Some(Name { stored, plain })
        })
    }

    /// The name people knew an object by whose directory may be gone.
    fn plain_by(&self, stray: &Stray, binding: &Binding) -> Option<Vec<u8>> {
        let ciphers = self.name_ciphers(binding.dir, binding.dir_epoch);
        self.stored_names(stray, binding)
            .into_iter()
            .find_map(|(backing, whole)| {
                ciphers
                    .iter()
                    .filter_map(|(_, names)| names.decrypt(&backing, whole.as_deref()).ok())
                    .find(|(_, tag)| *tag == binding.name_tag)
            })
            .map(|(plain, _)| plain)
    }

    /// Whether two stored files are the same, byte for byte.
    fn is_copy(&self, stray: &Stray, (home, name): (&Arc<Inode>, &str)) -> Result<bool> {
        let open = |dir: &Arc<Inode>, name: &str| -> Result<_> {
            Ok(self
                .disk
                .open_file(self.dir_fd(dir)?, name, OpenMode::Read)?)
        };
        let (one, other) = (open(&stray.at, &stray.name)?, open(home, name)?);
        let (mut first, mut second) = (vec![0; 1 << 18], vec![0; 1 << 18]);
        let mut at = 0;
        loop {
            let len = self.disk.read_at(&one, at, &mut first)?;
            let other_len = self.disk.read_at(&other, at, &mut second)?;
            if len != other_len || first[..len] != second[..len] {
                return Ok(false);
            }
            if len == 0 {
                return Ok(true);
            }
            at += len as u64;
        }
    }

    fn carry_out(
        &self,
        check: &mut Check<'_>,
        stray: &Stray,
        plan: Plan,
        others: &mut VecDeque<Stray>,
    ) {
        if !check.repairs && plan.stat.kind == Kind::Dir {
            // What is in it is looked at where it goes.
            check.is_unsure = true;
        }
        if check.repairs && !matches!(plan.step, Step::Here(..)) {
            let missed = self.may_be_missed(stray, plan.header.bindings());
            check.gone.extend(missed);
        }
        let (path, backing, problem) = (&stray.path, &stray.backing, stray.problem.clone().into());
        let (place, shown) = match plan.step {
            Step::Remove => {
                check.found(path, backing, problem, Remedy::Remove, || {
                    let fd = self.dir_fd(&stray.at)?;
                    self.disk.unlink(fd, &stray.name)?;
                    self.drop_side_file(&stray.at, &stray.name);
                    Ok(self.disk.sync_dir(fd)?)
                });
                return;
            }
            Step::Here(plain, tag) => {
                let above = self.path_of_inode(&stray.at).unwrap_or_default();
                let shown = above.join(OsStr::from_bytes(&plain));
                let remedy = Remedy::PutBack(shown.clone());
                check.found(path, backing, problem, remedy, || Ok(()));
                let place = Place {
                    dir: Arc::clone(&stray.at),
                    name: stray.name.as_str().into(),
                    tag,
                };
                (place, shown)
            }
            Step::Home(home, name, how) => {
                let above = self.path_of_inode(&home).unwrap_or_default();
                let shown = above.join(OsStr::from_bytes(&name.plain));
                let place = Place {
                    dir: home,
                    name: name.stored.backing.as_str().into(),
                    tag: name.stored.tag,
                };
                let remedy = Remedy::PutBack(shown.clone());
                let put = || self.put_back(stray, &place, &name.stored, how);
                if !check.found(path, backing, problem, remedy, put) {
                    check.homes.insert((self.id_of(&place.dir), place.tag));
                    return;
                }
                if how == Replace::Exchange {
                    for other in others.iter_mut().filter(|it| it.is_at(&place)) {
                        other.at = Arc::clone(&stray.at);
                        other.name.clone_from(&stray.name);
                    }
                }
                (place, shown)
            }
            Step::Found(plain) => {
                let mut header = plan.header;
                let name = self.name_in_lost_and_found(stray, &plain, &header);
                let shown = Path::new(LOST_AND_FOUND).join(OsStr::from_bytes(&name));
                let remedy = Remedy::LostAndFound(shown.clone());
                let mut place = None;
                let moved = check.found(path, backing, problem, remedy, || {
                    place = Some(self.move_to_lost_and_found(
                        stray,
                        &plan.stat,
                        &name,
                        &mut header,
                        plan.base,
                    )?);
                    Ok(())
                });
                match place.filter(|_| moved) {
                    Some(place) => (place, shown),
                    None => return,
                }
            }
        };
        let backing = stored_path(&place).iter().collect::<PathBuf>();
        self.check_entry(check, place, &shown, &backing);
    }

    /// What is to move away may stand under a name that this client knew as something else's: if nothing comes there, that
    /// has vanished.
    fn may_be_missed(&self, stray: &Stray, bindings: &[Binding]) -> Vec<Gone> {
        let Ok(secrets) = self.secrets(&stray.at) else {
            return Vec::new();
        };
        let by_name = self.decrypt_name(&stray.at, &secrets, &stray.name).ok();
        // A long name that has lost its other half is known to the header only.
        let by_header = bindings.iter().find(|it| {
            it.dir == secrets.id && self.remembered_name(it).as_ref() == Some(&stray.name)
        });
        let tag = by_name
            .map(|(_, tag)| tag)
            .or(by_header.map(|it| it.name_tag));
        let known = tag.filter(|tag| self.seen.entry(&secrets.id.0, &tag.0).is_some());
        let gone = known.map(|tag| Gone {
            dir: secrets.id,
            tag,
            path: stray.path.clone(),
            backing: stray.backing.clone(),
            at: Arc::clone(&stray.at),
            name: stray.name.clone(),
        });
        gone.into_iter().collect()
    }

    fn id_of(&self, dir: &Arc<Inode>) -> Option<DirId> {
        self.secrets(dir).ok().map(|secrets| secrets.id)
    }

    fn put_back(
        &self,
        stray: &Stray,
        place: &Place,
        name: &EncryptedName,
        how: Replace,
    ) -> Result<()> {
        self.put_side_file(&place.dir, name)?;
        let (from, to) = (self.dir_fd(&stray.at)?, self.dir_fd(&place.dir)?);
        self.disk
            .rename((from, &stray.name), (to, &place.name), how)?;
        if how == Replace::No {
            self.drop_side_file(&stray.at, &stray.name);
        }
        self.disk.sync_dir(to)?;
        Ok(self.disk.sync_dir(from)?)
    }

    /// The directory for what belongs nowhere, made when it is needed.
    fn lost_and_found(&self) -> Result<Arc<Inode>> {
        let root = Arc::clone(self.table.root());
        let name = LOST_AND_FOUND.as_bytes();
        if let Err(VfsError::Os(Errno::NOENT)) = self.find(&root, name) {
            let (uid, gid) = (self.uid, self.gid);
            self.mkdir(Caller { uid, gid, pid: 0 }, Ino::ROOT, name, 0o700)?;
            self.sync_new_dirs(&root)?;
            self.disk.sync_dir(self.dir_fd(&root)?)?;
        }
        let (place, stat) = self.find(&root, name)?;
        if stat.kind != Kind::Dir {
            return Err(Errno::NOTDIR.into());
        }
        self.intern(&stat, place, 0)
    }

    /// A name there that is free, or that the object has already: a repair may have ended in the middle.
    fn name_in_lost_and_found(&self, stray: &Stray, plain: &[u8], header: &OpenHeader) -> Vec<u8> {
        let hex = data_encoding::HEXLOWER.encode(header.core().id.as_bytes());
        let suffix = format!(" #{hex}").into_bytes();
        let cut = plain.len().min(NAME_MAX - suffix.len());
        let second = [&plain[..cut], &suffix].concat();
        let root = self.table.root();
        let Ok((place, stat)) = self.find(root, LOST_AND_FOUND.as_bytes()) else {
            return plain.to_vec();
        };
        let is_free = |name: &[u8]| {
            let dir = self.intern(&stat, place.clone(), 0)?;
            match self.find(&dir, name) {
                Err(VfsError::Os(Errno::NOENT)) => Ok(true),
                Err(error) => Err(error),
                Ok((at, _)) => Ok(stray.is_at(&at)),
            }
        };
        match is_free(plain) {
            Ok(true) | Err(_) => plain.to_vec(),
            Ok(false) => second,
        }
    }

    /// First the object gets a name there, then its header is told: wherever this ends, it is found and goes on.
    fn move_to_lost_and_found(
        &self,
        stray: &Stray,
        stat: &Stat,
        name: &[u8],
        header: &mut OpenHeader,
        base: u64,
    ) -> Result<Place> {
        let dir = self.lost_and_found()?;
        let secrets = self.secrets(&dir)?;
        let stored = secrets.encrypt(name)?;
        let place = Place {
            dir: Arc::clone(&dir),
            name: stored.backing.as_str().into(),
            tag: stored.tag,
        };
        if !stray.is_at(&place) {
            self.put_back(stray, &place, &stored, Replace::No)?;
        }
        if stat.kind == Kind::Dir || stat.nlink <= 1 {
            let old: Vec<_> = header
                .bindings()
                .iter()
                .map(|it| (it.dir, it.name_tag))
                .collect();
            for (dir, tag) in old {
                header.unbind(&dir, tag);
            }
            header.give_up_names();
        }
        header
            .bind(&secrets.keys, place.tag)
            .map_err(header_error)?;
        self.write_header(&place, stat.kind, header, base)?;
        self.names_changed(&dir);
        Ok(place)
    }

    /// Puts the header of an object that is not in use in the place of the one it has, by way of the journal.
    fn write_header(
        &self,
        place: &Place,
        kind: Kind,
        header: &mut OpenHeader,
        base: u64,
    ) -> Result<()> {
        use std::os::fd::AsFd;
        let mut path = stored_path(place);
        let parent = self.dir_fd(&place.dir)?;
        let file = if kind == Kind::Dir {
            path.push(DIR_HEADER.to_owned());
            let dir = self.disk.open_dir(parent, &place.name)?;
            self.disk
                .open_file(dir.as_fd(), DIR_HEADER, OpenMode::ReadWrite)?
        } else {
            self.disk
                .open_file(parent, &place.name, OpenMode::ReadWrite)?
        };
        let len = self.disk.fstat(&file)?.size;
        let bytes: [u8; HEADER_LEN] = self.seal_header(header)?;
        let generation = header.state.generation;
        let record = Record {
            id: *header.core().id.as_bytes(),
            paths: vec![path],
            action: Action::Commit {
                base,
                generation,
                len,
                pieces: vec![Piece {
                    offset: 0,
                    bytes: bytes.to_vec(),
                }],
                direct: Vec::new(),
            },
        };
        let journal = &self.owner()?.journal;
        let logged = journal.append(&record)?;
        journal.sync_to(logged.seq)?;
        self.disk.write_at(&file, 0, &bytes)?;
        self.disk.sync_all(&file)?;
        let mark = Mark::of(generation, &bytes);
        self.seen.wrote(*header.core().id.as_bytes(), mark);
        Ok(())
    }

    /// Entries that were known and are not there, and that have not been put back.
    pub(super) fn settle_gone(&self, check: &mut Check<'_>) {
        for gone in std::mem::take(&mut check.gone) {
            let there = self
                .dir_fd(&gone.at)
                .and_then(|fd| Ok(self.disk.stat(fd, &gone.name)?));
            if there.is_ok() || check.homes.contains(&(Some(gone.dir), gone.tag)) {
                continue;
            }
            let problem = VfsError::from(Oddity::Vanished).into();
            if !self.is_owner() {
                let (path, backing) = (&gone.path, &gone.backing);
                check.found(path, backing, problem, Remedy::None(Loss::NotMine), || {
                    Ok(())
                });
                continue;
            }
            check.found(&gone.path, &gone.backing, problem, Remedy::Forget, || {
                self.seen.remove_entry(gone.dir.0, gone.tag.0);
                Ok(())
            });
        }
    }
}

impl Stray {
    pub(super) fn is(&self, dir: &Arc<Inode>, name: &str) -> bool {
        Arc::ptr_eq(&self.at, dir) && self.name == name
    }

    fn is_at(&self, place: &Place) -> bool {
        self.is(&place.dir, &place.name)
    }
}
