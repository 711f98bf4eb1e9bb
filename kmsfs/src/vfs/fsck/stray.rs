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

use kms_crypto::format::{Binding, ObjectId, OpenHeader};
use kms_crypto::id::DirId;
use kms_crypto::name::{BackingName, EncryptedName, NameTag};
use rustix::io::Errno;

use super::super::dirs::Secrets;
use super::super::lookup::stored_path;
use super::super::sides::sides_of_stored;
use super::super::{Oddity, Result, Vfs, VfsError};
use super::Check;
use super::finding::{Loss, Remedy};
use super::found::LOST_AND_FOUND;
use super::name::Name;
use crate::backing::{Kind, Replace, Stat};
use crate::inode::{Inode, Place};

/// Something that is not where it belongs.
#[derive(Clone)]
pub(super) struct Stray {
    pub(super) at: Arc<Inode>,
    pub(super) name: String,
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
                standing: crate::inode::Standing::Original,
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
        let is_ours = matches!(
            BackingName::of(stray.name.as_bytes()),
            BackingName::Short(_) | BackingName::Long(_)
        );
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
            let is_of_no_use = dirs.contains_key(&id)
                && (is_ours || stray.name.starts_with(super::rebuild::ASIDE));
            return is_of_no_use
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
                    standing: crate::inode::Standing::Original,
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
                    standing: crate::inode::Standing::Original,
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

    pub(super) fn put_back(
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

    pub(super) fn is_at(&self, place: &Place) -> bool {
        self.is(&place.dir, &place.name)
    }
}
