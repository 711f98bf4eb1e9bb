//! Reading and verifying everything (CLI 9); with [`Vfs::repair`], putting right what can be.
//!
//! A check goes through the tree once. A directory whose header is lost is rebuilt on the way, so that what is in it
//! is looked at, too; what needs to know the whole tree is dealt with afterwards: objects that are not where they
//! belong ([`stray`]), entries that have vanished, and files that nothing refers to ([`litter`]).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::format::{HEADER_LEN, Header};
use kms_crypto::id::DirId;
use kms_crypto::name::{BackingName, DIR_HEADER, NameTag};
use rustix::io::Errno;

use self::finding::{ConflictFinding, Fate, Finding, Loss, Problem, Remedy, Report};
use self::litter::Unused;
use self::stray::{Gone, Stray};
use super::dirs::Secrets;
use super::file::Loaded;
use super::{Ino, Part, Result, Vfs, VfsError};
use crate::backing::{Kind, OpenMode, RawEntry};
use crate::inode::{Inode, Place, Standing};

mod conflicts;
pub(super) mod finding;
mod flip;
mod found;
mod litter;
mod mend;
mod name;
mod rebuild;
mod stray;

/// How much content is verified at a time.
const STEP: usize = 1 << 20;
/// What stands in a store's root beside encrypted names.
const IN_ROOT: [&str; 4] = ["kmsfs.toml", "shares", "xattr", "names"];
/// What an interrupted change of a link, or of a directory's header, leaves behind.
const TEMPORARY: &str = "kmsfs.new.";

struct Check<'a> {
    report: Report,
    progress: &'a mut dyn FnMut(&Report),
    /// Whether what can be put right is.
    repairs: bool,
    /// The side files that headers speak of.
    sides: HashSet<String>,
    /// Something could not be read: what it may refer to is not known.
    is_unsure: bool,
    strays: Vec<Stray>,
    gone: Vec<Gone>,
    unused: Vec<Unused>,
    /// The places to which something could be put back.
    homes: HashSet<(Option<DirId>, NameTag)>,
    /// Files whose further names are lost.
    nameless: Vec<(Arc<Inode>, PathBuf, PathBuf)>,
}

impl Vfs {
    /// Reads and verifies everything below `path`, changing nothing. `progress` is called with the running totals.
    ///
    /// # Errors
    /// `path` itself cannot be found. Everything else is in the report.
    pub fn fsck(&self, path: &Path, progress: &mut dyn FnMut(&Report)) -> Result<Report> {
        self.refuse_other_store()?;
        let ino = self.resolve(path)?;
        let inode = self.inode(ino)?;
        let backing = inode
            .place()
            .map_or_else(PathBuf::new, |place| PathBuf::from(&*place.name));
        let mut check = Check::new(progress, false);
        self.look_through(&mut check, &inode, path, &backing);
        drop(inode);
        if ino != Ino::ROOT {
            self.forget(ino, 1);
        }
        Ok(check.report)
    }

    /// The same for the whole store, by its owner: what can be put right is. Nothing else may use the filesystem
    /// meanwhile. Doing it again, or after it was killed, goes on where it ended.
    ///
    /// # Errors
    /// This is not the owner's filesystem, or the store cannot be made durable.
    pub fn repair(&self, progress: &mut dyn FnMut(&Report)) -> Result<Report> {
        self.owner()?;
        self.refuse_other_store()?;
        let mut check = Check::new(progress, true);
        let root = Arc::clone(self.table.root());
        self.look_through(&mut check, &root, Path::new(""), Path::new(""));
        if check.report.repaired() > 0 {
            self.carry_all_through();
        }
        self.checkpoint()?;
        self.tidy_jobs()?;
        Ok(check.report)
    }

    /// With another store's configuration in the place of its own, everything in a store looks damaged and nothing is:
    /// it must not be put right.
    fn refuse_other_store(&self) -> Result<()> {
        let Ok(file) = self
            .disk
            .open_file(self.root_dir()?, DIR_HEADER, OpenMode::Read)
        else {
            return Ok(());
        };
        let mut bytes = [0; HEADER_LEN];
        let len = self.disk.read_at(&file, 0, &mut bytes)?;
        let Ok(header) = Header::parse(&bytes[..len]) else {
            return Ok(());
        };
        let (theirs, ours) = (header.core().store, self.info.id);
        let bits = theirs.as_bytes().iter().zip(ours.as_bytes());
        let differing: u32 = bits.map(|(one, other)| (one ^ other).count_ones()).sum();
        // A single flipped bit is damage, and can be put right.
        if differing > 1 {
            return Err(Part::Header.into());
        }
        Ok(())
    }

    /// What was rebuilt may need new keys, or signatures, and so may what is in it. What cannot be done now stays on the
    /// list for the next mount.
    fn carry_all_through(&self) {
        loop {
            match self.rekey_step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "a key change goes on when the store is mounted");
                    return;
                }
            }
        }
    }

    fn look_through(&self, check: &mut Check<'_>, inode: &Arc<Inode>, path: &Path, backing: &Path) {
        if self.is_owner() {
            // What is still on its way into the store would look like damage; what does not get there is found below.
            if let Err(error) = self.checkpoint() {
                tracing::debug!(%error, "not all that was written is in the store");
            }
        }
        self.check(check, inode, path, backing);
        self.settle_names(check);
        self.settle_strays(check);
        self.settle_gone(check);
        self.settle_litter(check, inode.ino == Ino::ROOT);
    }

    fn check(&self, check: &mut Check<'_>, inode: &Arc<Inode>, path: &Path, backing: &Path) {
        let result = match inode.kind() {
            Kind::Dir => {
                check.report.dirs += 1;
                self.check_dir(check, inode, path, backing)
            }
            Kind::File => {
                check.report.files += 1;
                self.check_file(check, inode, path, backing)
            }
            Kind::Symlink => {
                check.report.links += 1;
                self.check_link(inode)
            }
            Kind::Special(_) | Kind::Other => Err(Part::Kind.into()),
        };
        if let Err(problem) = result {
            check.refused(path, backing, problem);
        }
        (check.progress)(&check.report);
    }

    fn check_link(&self, inode: &Arc<Inode>) -> Result<()> {
        let place = self.live_place(inode)?;
        let target = self.target_at(&place)?;
        match self.see_link(&place, &target)? {
            Some(oddity) => Err(oddity.into()),
            None => Ok(()),
        }
    }

    fn check_dir(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
    ) -> Result<()> {
        let mut is_borrowed = false;
        if let Err(problem) = self.secrets(inode) {
            if inode.is_copy() {
                return Err(problem);
            }
            match self.lost_header(check, inode, path, backing, problem)? {
                rebuild::Way::Closed => return Ok(()),
                rebuild::Way::Open => {}
                rebuild::Way::Borrowed => is_borrowed = true,
            }
        }
        let checked = self.check_inside(check, inode, path, backing);
        if is_borrowed {
            self.give_header_back(inode);
        }
        checked
    }

    fn check_inside(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
    ) -> Result<()> {
        let secrets = self.secrets(inode)?;
        self.check_attributes(check, inode, path, backing)?;
        self.note_sides(check, inode)?;
        let entries = self.disk.list(self.dir_fd(inode)?)?;
        if !inode.is_copy() {
            self.find_unused(check, inode, &entries, path, backing);
        }
        let copies = self.check_copies(check, inode, &entries, path, backing);
        let mut listed = Vec::with_capacity(entries.len());
        for entry in entries.iter().filter(|it| !copies.contains(&it.name)) {
            let stored = backing.join(OsStr::from_bytes(&entry.name));
            if let Some((tag, kind, name)) =
                self.check_name(check, inode, &secrets, entry, path, &stored)
            {
                listed.push((tag, kind, name));
            }
        }
        if inode.is_copy() {
            return Ok(());
        }
        let listed = listed.iter().map(|it| (it.0, it));
        for (tag, name) in self.compare_names(inode, &secrets, listed, |it| (it.1, &*it.2)) {
            check.gone.push(Gone {
                dir: secrets.id,
                tag,
                path: path.join(self.name_behind(inode, &name)),
                backing: backing.join(&name),
                at: Arc::clone(inode),
                name,
            });
        }
        Ok(())
    }

    /// One entry of a directory; what it is listed as, if it is one that belongs there by its name.
    fn check_name(
        &self,
        check: &mut Check<'_>,
        dir: &Arc<Inode>,
        secrets: &Secrets,
        entry: &RawEntry,
        path: &Path,
        stored: &Path,
    ) -> Option<(NameTag, Kind, String)> {
        let Ok(name) = std::str::from_utf8(&entry.name) else {
            check.refused(path, stored, Part::Name.into());
            return None;
        };
        let kind = entry.kind.unwrap_or(Kind::File);
        match BackingName::of(&entry.name) {
            BackingName::DirHeader | BackingName::Side(_) | BackingName::LinkSide(_) => {
                return None;
            }
            BackingName::Foreign => {
                let belongs =
                    name.starts_with(TEMPORARY) || dir.ino == Ino::ROOT && IN_ROOT.contains(&name);
                if !belongs {
                    self.found_stray(check, dir, name, path, stored, Part::Name.into());
                }
                return None;
            }
            BackingName::Short(_) | BackingName::Long(_) => {}
        }
        match self.decrypt_name(dir, secrets, name) {
            Ok((plain, tag)) => {
                let path = path.join(OsStr::from_bytes(&plain));
                let place = Place {
                    dir: Arc::clone(dir),
                    name: name.into(),
                    tag,
                    standing: Standing::Original,
                };
                let is_there = self.check_entry(check, place, &path, stored);
                // Of what is not where it belongs, nothing is remembered there.
                let is_stray = check.strays.iter().any(|it| it.is(dir, name));
                (is_there && !is_stray).then(|| (tag, kind, name.to_owned()))
            }
            Err(VfsError::Os(Errno::NOENT) | VfsError::Damaged(_)) => {
                self.found_stray(check, dir, name, path, stored, Part::Name.into());
                None
            }
            Err(problem) => {
                check.refused(path, stored, problem);
                None
            }
        }
    }

    /// Says whether it is there, as far as anybody is to know.
    fn check_entry(
        &self,
        check: &mut Check<'_>,
        place: Place,
        path: &Path,
        backing: &Path,
    ) -> bool {
        let stat = match self.stat_place(&place) {
            // Gone since the directory was read.
            Err(VfsError::Os(Errno::NOENT)) => return false,
            Err(problem) => {
                check.refused(path, backing, problem);
                return true;
            }
            Ok(stat) => stat,
        };
        if self.is_unmade(&place, &stat) {
            self.found_unmade(check, &place, path, backing);
            return false;
        }
        let checked = self
            .intern(&stat, place.clone(), 0)
            // Each name is to lead to the object, whatever others do.
            .and_then(|inode| match self.check_place(&inode, &place) {
                Ok(()) => Ok(inode),
                Err(problem) => {
                    inode.remove_place(&place.dir, &place.name);
                    self.table.sweep(inode);
                    Err(problem)
                }
            });
        match checked {
            Ok(inode) => {
                self.check(check, &inode, path, backing);
                self.table.sweep(inode);
            }
            Err(problem) if is_place(&problem) => {
                self.found_stray(check, &place.dir, &place.name, path, backing, problem);
            }
            Err(problem) => check.refused(path, backing, problem),
        }
        true
    }

    /// Whether the object's header knows the name it was found under.
    fn check_place(&self, inode: &Arc<Inode>, place: &Place) -> Result<()> {
        if inode.kind() != Kind::File {
            return Ok(());
        }
        let secrets = self.secrets(&place.dir)?;
        let is_bound = self.read_header(inode, |header| {
            header
                .bindings()
                .iter()
                .any(|binding| binding.dir == secrets.id && binding.name_tag == place.tag)
        });
        match is_bound {
            Ok(true) => Ok(()),
            Ok(false) => Err(Part::Place.into()),
            Err(problem) if is_place(&problem) => Err(problem),
            // It says so itself when it is looked at.
            Err(_) => Ok(()),
        }
    }

    fn check_file(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
    ) -> Result<()> {
        let file = inode.file().ok_or(Errno::INVAL)?;
        let loaded = {
            let mut cell = file.cell.write();
            let loaded = self.ensure_loaded(inode, &mut cell);
            cell.opens += u32::from(loaded.is_ok());
            loaded
        };
        if let Err(problem) = loaded {
            return if self.mend_file(check, inode, path, backing, &problem)? {
                self.check_file(check, inode, path, backing)
            } else {
                Ok(())
            };
        }
        let result = self.note_sides(check, inode);
        let result = result.and_then(|()| self.check_content(check, inode));
        self.close_one(inode);
        result?;
        let has_all_names = self.read_header(inode, |header| header.has_all_names())?;
        if !has_all_names {
            let known = (Arc::clone(inode), path.to_owned(), backing.to_owned());
            check.nameless.push(known);
        }
        self.check_attributes(check, inode, path, backing)
    }

    fn check_content(&self, check: &mut Check<'_>, inode: &Arc<Inode>) -> Result<()> {
        let file = inode.file().ok_or(Errno::INVAL)?;
        let mut buf = Vec::new();
        let mut at = 0;
        loop {
            let cell = file.cell.read();
            let loaded = cell.loaded.as_deref().ok_or(Errno::IO)?;
            if at == 0 && !loaded.is_busy() {
                self.check_len(loaded, inode.is_copy())?;
            }
            let len = super::read::read_now(&self.disk, loaded, at, STEP, &mut buf)?;
            drop(cell);
            if len == 0 {
                return Ok(());
            }
            at += len as u64;
            check.report.bytes += len as u64;
            (check.progress)(&check.report);
        }
    }

    fn check_len(&self, loaded: &Loaded, is_copy: bool) -> Result<()> {
        let found = self.disk.fstat(&loaded.fd)?.size;
        // As when it was opened.
        let expected = loaded.layout.backing_len(loaded.size());
        let found = if is_copy { found.min(expected) } else { found };
        loaded
            .layout
            .check_len(loaded.size(), found)
            .map_err(|error| loaded.damaged(error.into()))
    }

    fn note_sides(&self, check: &mut Check<'_>, inode: &Arc<Inode>) -> Result<()> {
        let sides = self.read_header(inode, super::sides::sides_of)?;
        check.sides.extend(sides);
        Ok(())
    }
}

/// Whether an object is not where it belongs.
const fn is_place(problem: &VfsError) -> bool {
    matches!(problem, VfsError::Damaged(damage) if matches!(damage.part, Part::Place))
}

impl<'a> Check<'a> {
    fn new(progress: &'a mut dyn FnMut(&Report), repairs: bool) -> Self {
        Self {
            report: Report::default(),
            progress,
            repairs,
            sides: HashSet::new(),
            is_unsure: false,
            strays: Vec::new(),
            gone: Vec::new(),
            unused: Vec::new(),
            homes: HashSet::new(),
            nameless: Vec::new(),
        }
    }

    /// Something about which nothing can be done.
    fn refused(&mut self, path: &Path, backing: &Path, problem: VfsError) {
        let loss = match &problem {
            VfsError::Damaged(damage) => match damage.part {
                Part::Header | Part::Place => Loss::Key,
                Part::Kind | Part::Name => Loss::Foreign,
                _ => Loss::Content,
            },
            VfsError::Older | VfsError::OldConfiguration | VfsError::Odd(_) => Loss::Older,
            VfsError::Os(_) => Loss::System,
            VfsError::Key(_) | VfsError::NotShared | VfsError::Verb(_) => Loss::NotMine,
        };
        self.lost(path, backing, problem.into(), loss);
    }

    fn lost(&mut self, path: &Path, backing: &Path, problem: Problem, loss: Loss) {
        // Of what has a header that verifies, what it refers to has been noted.
        let is_read = matches!(&problem, Problem::Refused(VfsError::Odd(_)));
        self.is_unsure |= !is_read && loss != Loss::Foreign;
        self.found(path, backing, problem, Remedy::None(loss), || Ok(()));
    }

    /// Something that is put right by `mend`, if things are to be put right. Says whether it is.
    fn found(
        &mut self,
        path: &Path,
        backing: &Path,
        problem: Problem,
        remedy: Remedy,
        mend: impl FnOnce() -> Result<()>,
    ) -> bool {
        let is_tried = self.repairs && !matches!(remedy, Remedy::None(_));
        let fate = match is_tried.then(mend) {
            None => Fate::Left,
            Some(Ok(())) => Fate::Repaired,
            Some(Err(error)) => {
                self.is_unsure = true;
                Fate::Failed(error)
            }
        };
        let is_repaired = matches!(fate, Fate::Repaired);
        self.report.findings.push(Finding {
            path: path.to_owned(),
            backing: backing.to_owned(),
            problem,
            remedy,
            fate,
        });
        is_repaired
    }
}
