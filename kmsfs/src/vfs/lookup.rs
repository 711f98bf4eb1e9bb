//! From names to objects and back.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kms_crypto::name::DIR_HEADER;
use rustix::io::Errno;

use super::hooks::PathStep;
use super::recipient::Reach;
use super::{Attr, Ino, Part, Result, Vfs};
use crate::backing::{Kind, Stat};
use crate::inode::{Inode, Place, Standing};

impl Vfs {
    /// Finds a name in a directory. The object is remembered until as many references are given back by
    /// [`Self::forget`] as lookups (and other operations that return attributes of a name) have taken.
    ///
    /// # Errors
    /// There is no such name, or the directory cannot be read.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        let dir = self.dir_inode(parent)?;
        if self.is_owner() {
            let found = self.find(&dir, name).and_then(|(place, stat)| {
                let inode = self.intern(&stat, place, 1)?;
                self.attr_from(&inode, &stat)
            });
            return self.note(self.uid, &dir, Some(name), "lookup", found);
        }
        let found = self.lookup_as_reader(&dir, name);
        self.note(self.uid, &dir, Some(name), "lookup", found)
    }

    fn lookup_as_reader(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Attr> {
        let reach = dir.reach();
        let found = match &reach {
            Reach::Way(way) => self.find_shared(dir, way, name),
            Reach::Inherited => self.find_inherited(dir, name),
            Reach::Shared { path, .. } => match self.find_inherited(dir, name) {
                // Withdrawn, but something in it may be shared by itself.
                Err(error @ super::VfsError::Key(_)) => {
                    self.find_shared(dir, path, name).map_err(|_| error)
                }
                result => result,
            },
        };
        let (place, stat, reach) = found?;
        let inode = self.intern(&stat, place, 1)?;
        inode.set_reach(reach);
        self.attr_from(&inode, &stat)
    }

    /// Finds a name by the directory's keys; those are looked at again before a name is said not to be there.
    fn find_inherited(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<(Place, Stat, Reach)> {
        let found = match self.find(dir, name) {
            Err(super::VfsError::Os(Errno::NOENT)) => {
                self.reader_secrets(dir, Duration::ZERO)?;
                self.find(dir, name)
            }
            found => found,
        };
        found.map(|(place, stat)| (place, stat, Reach::Inherited))
    }

    /// Gives references back.
    pub fn forget(&self, ino: Ino, references: u64) {
        drop(self.table.forget(ino, references));
    }

    /// The object a backing name stands for; what kmsfs never puts there is refused.
    pub(super) fn intern(&self, stat: &Stat, place: Place, references: u64) -> Result<Arc<Inode>> {
        if stat.kind == Kind::Other {
            return Err(Part::Kind.into());
        }
        let mut known = self.table.find(stat.ino, stat.kind);
        if known.as_ref().is_none_or(|known| !known.is_at(&place)) {
            if let Some(moved) = known.take_if(|known| known.is_copy() != place.is_copy()) {
                self.let_go_of_moved(&moved, &place)?;
            }
            // Whoever can write into the store can give an object another name, which then is one object's with it.
            let is_elsewhere = known.as_ref().is_some_and(|known| known.place().is_some());
            let is_shared = stat.kind != Kind::Dir && stat.nlink > 1;
            if (is_elsewhere || is_shared) && !self.is_bound(known.as_deref(), &place, stat)? {
                return Err(Part::Place.into());
            }
        }
        Ok(self.table.intern(stat.ino, stat.kind, place, references))
    }

    /// The object at a path relative to the root, symbolic links not followed. Takes a reference, which
    /// [`Self::forget`] gives back.
    ///
    /// # Errors
    /// There is no such path, or a directory on it cannot be read.
    pub fn resolve(&self, path: &Path) -> Result<Ino> {
        let mut at = Ino::ROOT;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name.as_bytes(),
                Component::RootDir | Component::CurDir => continue,
                Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
            };
            let next = self.lookup(at, name);
            if at != Ino::ROOT {
                self.forget(at, 1);
            }
            at = next?.ino;
        }
        Ok(at)
    }

    /// A path of an object, relative to the root; `None` once it has no name left.
    #[must_use]
    pub fn path_of(&self, ino: Ino) -> Option<PathBuf> {
        self.path_of_inode(&*self.table.get(ino)?)
    }

    pub(super) fn path_of_inode(&self, inode: &Inode) -> Option<PathBuf> {
        let steps = self.locate_inode(inode)?;
        Some(
            steps
                .iter()
                .map(|step| OsStr::from_bytes(&step.plain))
                .collect(),
        )
    }

    /// The same as plain and stored names.
    #[must_use]
    pub fn locate(&self, ino: Ino) -> Option<Vec<PathStep>> {
        self.locate_inode(&*self.table.get(ino)?)
    }

    fn locate_inode(&self, inode: &Inode) -> Option<Vec<PathStep>> {
        let mut steps = Vec::new();
        let mut reach = inode.reach();
        let mut next = inode.place();
        if next.is_none() && inode.ino != Ino::ROOT {
            return None;
        }
        while let (None, Some(place)) = (reach.path(), next) {
            let plain = self.plain_name(&place).ok()?;
            steps.push(PathStep {
                plain,
                backing: place.name.to_string(),
            });
            reach = place.dir.reach();
            next = place.dir.place();
        }
        steps.extend(reach.path().unwrap_or_default().iter().rev().cloned());
        steps.reverse();
        Some(steps)
    }

    /// The name people see at a place.
    pub(super) fn plain_name(&self, place: &Place) -> Result<Vec<u8>> {
        if place.standing != Standing::Original {
            return self.name_of_copy(place);
        }
        let secrets = self.secrets(&place.dir)?;
        self.decrypt_name(&place.dir, &secrets, &place.name)
            .map(|(name, _)| name)
    }

    /// Where the stored file of an object may be, as names from the store's root: at the names it has, the one it is
    /// about to get, and those whose loss is not durable.
    pub(super) fn stored_paths(&self, inode: &Arc<Inode>) -> Result<Vec<Vec<String>>> {
        let mut paths = possible_paths(inode, &mut Vec::new());
        if inode.dir().is_some() {
            for path in &mut paths {
                path.push(DIR_HEADER.to_owned());
            }
        }
        if paths.is_empty() {
            Err(Errno::STALE.into())
        } else {
            Ok(paths)
        }
    }
}

/// So many places are plenty: names go durably before long.
const MAX_PATHS: usize = 64;

/// `below` is what lies below, from the object on: names that have gone may lead round in a circle, as when two
/// directories have been within each other by turns.
fn possible_paths(inode: &Inode, below: &mut Vec<Ino>) -> Vec<Vec<String>> {
    if inode.ino == Ino::ROOT {
        return vec![Vec::new()];
    }
    if below.contains(&inode.ino) {
        return Vec::new();
    }
    below.push(inode.ino);
    let mut paths = Vec::with_capacity(1);
    // The newest first, should there be too many.
    for place in inode.possible_places().into_iter().rev() {
        for mut path in possible_paths(&place.dir, below) {
            path.push(place.name.to_string());
            if !paths.contains(&path) && paths.len() < MAX_PATHS {
                paths.push(path);
            }
        }
    }
    below.pop();
    paths
}

/// Where a place is, as names from the store's root.
pub(super) fn stored_path(place: &Place) -> Vec<String> {
    let mut path = vec![place.name.to_string()];
    let mut next = place.dir.place();
    while let Some(place) = next {
        path.push(place.name.to_string());
        next = place.dir.place();
    }
    path.reverse();
    path
}
