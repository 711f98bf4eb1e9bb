//! Reading and verifying everything, changing nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::name::BackingName;
use rustix::io::Errno;

use super::file::Loaded;
use super::{Finding, Ino, Oddity, Part, Report, Result, Vfs, VfsError};
use crate::backing::Kind;
use crate::inode::{Inode, Place};

/// How much content is verified at a time.
const STEP: usize = 1 << 20;
/// What stands in a store's root beside encrypted names.
const IN_ROOT: [&str; 4] = ["kmsfs.toml", "shares", "xattr", "names"];
/// What an interrupted rename of a symbolic link leaves behind.
const TEMPORARY: &str = "kmsfs.new.";

struct Check<'a> {
    report: Report,
    progress: &'a mut dyn FnMut(&Report),
}

impl Vfs {
    /// Reads and verifies everything below `path`, changing nothing. `progress` is called with the running totals.
    ///
    /// # Errors
    /// `path` itself cannot be found. Everything else is in the report.
    pub fn fsck(&self, path: &Path, progress: &mut dyn FnMut(&Report)) -> Result<Report> {
        let ino = self.resolve(path)?;
        let inode = self.inode(ino)?;
        let mut check = Check {
            report: Report::default(),
            progress,
        };
        let backing = inode
            .place()
            .map_or_else(PathBuf::new, |place| PathBuf::from(&*place.name));
        self.check(&mut check, &inode, path, &backing);
        drop(inode);
        if ino != Ino::ROOT {
            self.forget(ino, 1);
        }
        Ok(check.report)
    }

    fn check(&self, check: &mut Check<'_>, inode: &Arc<Inode>, path: &Path, backing: &Path) {
        let result = match inode.kind() {
            Kind::Dir => {
                check.report.dirs += 1;
                self.check_dir(check, inode, path, backing)
            }
            Kind::File => {
                check.report.files += 1;
                self.check_file(check, inode)
            }
            Kind::Symlink => {
                check.report.links += 1;
                self.check_link(inode)
            }
            Kind::Special(_) | Kind::Other => Err(Part::Kind.into()),
        };
        if let Err(problem) = result {
            check.found(path, backing, problem);
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
        let secrets = self.secrets(inode)?;
        self.check_xattrs(inode)?;
        let entries = self.disk.list(self.dir_fd(inode)?)?;
        let mut listed = Vec::with_capacity(entries.len());
        for entry in entries {
            let stored = backing.join(OsStr::from_bytes(&entry.name));
            let Ok(name) = std::str::from_utf8(&entry.name) else {
                check.found(path, &stored, Part::Name.into());
                continue;
            };
            match BackingName::of(&entry.name) {
                BackingName::DirHeader | BackingName::Side(_) | BackingName::LinkSide(_) => {
                    continue;
                }
                BackingName::Foreign => {
                    let belongs = name.starts_with(TEMPORARY)
                        || inode.ino == Ino::ROOT && IN_ROOT.contains(&name);
                    if !belongs {
                        check.found(path, &stored, Part::Name.into());
                    }
                    continue;
                }
                BackingName::Short(_) | BackingName::Long(_) => {}
            }
            match self.decrypt_name(inode, &secrets, name) {
                Ok((plain, tag)) => {
                    listed.push((tag, entry.kind.unwrap_or(Kind::File), name.to_owned()));
                    let path = path.join(OsStr::from_bytes(&plain));
                    let place = Place {
                        dir: Arc::clone(inode),
                        name: name.into(),
                        tag,
                    };
                    self.check_entry(check, place, &path, &stored);
                }
                Err(problem) => check.found(path, &stored, problem),
            }
        }
        let listed = listed.iter().map(|it| (it.0, it));
        for name in self.compare_names(inode, &secrets, listed, |it| (it.1, &*it.2)) {
            let plain = path.join(self.name_behind(inode, &name));
            check.found(&plain, &backing.join(&name), Oddity::Vanished.into());
        }
        Ok(())
    }

    fn check_entry(&self, check: &mut Check<'_>, place: Place, path: &Path, backing: &Path) {
        let stat = match self
            .dir_fd(&place.dir)
            .and_then(|fd| Ok(self.disk.stat(fd, &place.name)?))
        {
            // Gone since the directory was read.
            Err(VfsError::Os(Errno::NOENT)) => return,
            Err(problem) => return check.found(path, backing, problem),
            Ok(stat) => stat,
        };
        match self.intern(&stat, place.clone(), 0) {
            Ok(inode) => {
                // Each name is to lead to the object, whatever others do.
                if let Err(problem) = self.check_place(&inode, &place) {
                    check.found(path, backing, problem);
                } else {
                    self.check(check, &inode, path, backing);
                }
                self.table.sweep(inode);
            }
            Err(problem) => check.found(path, backing, problem),
        }
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
        })?;
        if is_bound {
            Ok(())
        } else {
            Err(Part::Place.into())
        }
    }

    fn check_file(&self, check: &mut Check<'_>, inode: &Arc<Inode>) -> Result<()> {
        let file = inode.file().ok_or(Errno::INVAL)?;
        {
            let mut cell = file.cell.write();
            self.ensure_loaded(inode, &mut cell)?;
            cell.opens += 1;
        }
        let result = self.check_content(check, inode);
        self.close_one(inode);
        result.and_then(|()| self.check_xattrs(inode))
    }

    fn check_content(&self, check: &mut Check<'_>, inode: &Arc<Inode>) -> Result<()> {
        let file = inode.file().ok_or(Errno::INVAL)?;
        let mut buf = Vec::new();
        let mut at = 0;
        loop {
            let cell = file.cell.read();
            let loaded = cell.loaded.as_deref().ok_or(Errno::IO)?;
            if at == 0 && !loaded.is_busy() {
                self.check_len(loaded)?;
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

    fn check_len(&self, loaded: &Loaded) -> Result<()> {
        let found = self.disk.fstat(&loaded.fd)?.size;
        loaded
            .layout
            .check_len(loaded.size(), found)
            .map_err(|error| loaded.damaged(error.into()))
    }

    fn check_xattrs(&self, inode: &Arc<Inode>) -> Result<()> {
        self.xattrs(inode).map(drop)
    }
}

impl Check<'_> {
    fn found(&mut self, path: &Path, backing: &Path, problem: VfsError) {
        let (path, backing) = (path.to_owned(), backing.to_owned());
        self.report.findings.push(Finding {
            path,
            backing,
            problem,
        });
    }
}
