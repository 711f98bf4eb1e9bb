//! Small damage to one object: something behind its end, and lost side files.

use std::path::Path;
use std::sync::Arc;

use kms_crypto::format::{Check as Whose, HEADER_LEN, OpenHeader, Via, Xattrs};
use rustix::io::Errno;

use super::super::header::Promise;
use super::super::{Part, Result, Vfs, VfsError, error::header_error};
use super::finding::{Problem, Remedy};
use super::{Check, Loss, is_place};
use crate::backing::OpenMode;
use crate::inode::Inode;

impl Vfs {
    /// A file that could not be opened. Says whether it can be now.
    pub(super) fn mend_file(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
        problem: &VfsError,
    ) -> Result<bool> {
        let VfsError::Damaged(damage) = problem else {
            return Err(problem.clone());
        };
        match damage.part {
            Part::Length => self.mend_length(check, inode, path, backing, problem),
            Part::Header => {
                if self.is_blank(inode)? {
                    let place = self.live_place(inode)?;
                    self.found_unmade(check, &place, path, backing);
                    return Ok(false);
                }
                let named = self.mend_names(check, inode, path, backing, problem);
                if named.is_ok() {
                    return named;
                }
                match self.mend_bit(check, inode, path, backing, problem)? {
                    Some((is_set, _)) => Ok(is_set),
                    None => named,
                }
            }
            _ => Err(problem.clone()),
        }
    }

    /// Whether zeros stand where the header of a file should, and nothing else has as far as this client knows: some
    /// filesystems write what comes behind it first.
    fn is_blank(&self, inode: &Arc<Inode>) -> Result<bool> {
        let place = self.live_place(inode)?;
        let fd = self.dir_fd(&place.dir)?;
        let file = self.disk.open_file(fd, &place.name, OpenMode::Read)?;
        let mut bytes = [0; HEADER_LEN];
        let len = self.disk.read_at(&file, 0, &mut bytes)?;
        let is_blank = len == HEADER_LEN && bytes.iter().all(|byte| *byte == 0);
        Ok(is_blank && self.was_never_opened(&place))
    }

    fn mend_length(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
        problem: &VfsError,
    ) -> Result<bool> {
        let Ok(header) = self.header_alone(inode) else {
            return Err(problem.clone());
        };
        check.sides.extend(super::super::sides::sides_of(&header));
        let layout = header.layout().map_err(header_error)?;
        let len = layout.backing_len(header.file().map_err(header_error)?.size);
        let place = self.live_place(inode)?;
        let fd = self.dir_fd(&place.dir)?;
        if self.disk.stat(fd, &place.name)?.size <= len {
            return Err(problem.clone());
        }
        Ok(
            check.found(path, backing, Problem::Surplus, Remedy::Cut, || {
                let file = self.disk.open_file(fd, &place.name, OpenMode::ReadWrite)?;
                self.disk.set_len(&file, len)?;
                Ok(self.disk.sync_all(&file)?)
            }),
        )
    }

    /// A header may be sound and the list of names it has no room for not.
    fn mend_names(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
        problem: &VfsError,
    ) -> Result<bool> {
        let alone = self.header_alone(inode);
        if let Err(elsewhere) = &alone
            && is_place(elsewhere)
        {
            // Its name was one of those that are lost.
            let place = self.live_place(inode)?;
            let (at, name) = (&place.dir, &place.name);
            self.found_stray(check, at, name, path, backing, elsewhere.clone());
            inode.remove_place(at, name);
            return Ok(false);
        }
        let side = alone.ok().and_then(|header| {
            check.sides.extend(super::super::sides::sides_of(&header));
            header.names_path()
        });
        let Some(side) = side else {
            return Err(problem.clone());
        };
        if !check.repairs {
            let known = (Arc::clone(inode), path.to_owned(), backing.to_owned());
            check.nameless.push(known);
            return Ok(false);
        }
        // As if it had never been there; then the file can be opened by the names it has.
        self.remove_side(&side);
        match self.read_side(&side) {
            Err(VfsError::Os(Errno::NOENT | Errno::NOTDIR)) => Ok(true),
            _ => Err(problem.clone()),
        }
    }

    /// The header of a file without what is kept beside it.
    fn header_alone(&self, inode: &Arc<Inode>) -> Result<OpenHeader> {
        let owner = self.owner()?;
        let place = self.live_place(inode)?;
        let secrets = self.secrets(&place.dir)?;
        let header = self.stored_header(self.dir_fd(&place.dir)?, &place.name, inode.kind())?;
        if self
            .seen
            .is_older(header.core().id.as_bytes(), header.state().generation)
        {
            return Err(VfsError::Older);
        }
        let via = Via::Dir {
            keys: &secrets.keys,
            tag: place.tag,
        };
        header
            .open(via, Whose::Owner(&owner.mac))
            .map_err(header_error)
    }

    pub(super) fn check_attributes(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
    ) -> Result<()> {
        let Err(problem) = self.xattrs(inode) else {
            return Ok(());
        };
        let is_lost = match &problem {
            VfsError::Os(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => true,
            VfsError::Damaged(damage) => damage.part == Part::Attributes,
            _ => false,
        };
        if !is_lost {
            return Err(problem);
        }
        let problem = Problem::AttributesLost;
        if !self.is_owner() {
            check.lost(path, backing, problem, Loss::NotMine);
            return Ok(());
        }
        let mut old = None;
        check.found(path, backing, problem, Remedy::GoWithout, || {
            self.change_header(inode, Promise::Stored, |header| {
                old = header.state.xattrs.side_path(&header.core().id);
                header.state.xattrs = Xattrs::None;
                Ok(())
            })
        });
        if let Some(old) = old {
            check.sides.remove(&old);
        }
        Ok(())
    }

    /// Files that have lost the list of their further names: the names this client has last seen them under are theirs.
    /// Whatever else stands there for them is not where it belongs.
    pub(super) fn settle_names(&self, check: &mut Check<'_>) {
        let mut settled: Vec<super::super::Ino> = Vec::new();
        for (inode, path, backing) in std::mem::take(&mut check.nameless) {
            // It was found under each of the names it has left.
            if settled.contains(&inode.ino) {
                continue;
            }
            settled.push(inode.ino);
            if let Err(problem) = self.settle_names_of(check, &inode, &path, &backing) {
                check.refused(&path, &backing, problem);
            }
            self.table.sweep(inode);
        }
    }

    fn settle_names_of(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
    ) -> Result<()> {
        let id = *self.header_alone(inode)?.core().id.as_bytes();
        let mut names = Vec::new();
        let mut others = Vec::new();
        for stray in std::mem::take(&mut check.strays) {
            match self.known_name(&stray, inode, &id) {
                Some(name) => names.push(name),
                None => others.push(stray),
            }
        }
        check.strays = others;
        let is_done = check.found(path, backing, Problem::NamesLost, Remedy::Rebind, || {
            self.change_header(inode, Promise::Stored, |header| {
                header.give_up_names();
                for (secrets, tag) in &names {
                    header.bind(&secrets.keys, *tag).map_err(header_error)?;
                }
                Ok(())
            })
        });
        if is_done {
            self.note_sides(check, inode)?;
        }
        Ok(())
    }
}
