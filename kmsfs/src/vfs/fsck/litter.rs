//! Files of the store that nothing in it refers to.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::name::BackingName;

use super::super::sides::SHELVES;
use super::super::{Oddity, Part, Result, Vfs};
use super::finding::{Loss, Problem, Remedy};
use super::{Check, TEMPORARY};
use crate::backing::{Kind, RawEntry};
use crate::inode::{Inode, Place};

/// A file beside entries that seems to be of no use.
pub(super) struct Unused {
    at: Arc<Inode>,
    name: String,
    /// The entry it would be of use to.
    of: Option<String>,
    path: PathBuf,
    backing: PathBuf,
}

impl Vfs {
    /// Notes what in a directory belongs to no entry. It is looked at again when everything is where it belongs.
    pub(super) fn find_unused(
        &self,
        check: &mut Check<'_>,
        dir: &Arc<Inode>,
        entries: &[RawEntry],
        path: &Path,
        backing: &Path,
    ) {
        if !self.is_owner() {
            return;
        }
        let mut targets = None;
        for entry in entries {
            let Ok(name) = std::str::from_utf8(&entry.name) else {
                continue;
            };
            let of = match BackingName::of(&entry.name) {
                BackingName::Side(long) => {
                    if entries.iter().any(|it| it.name == long.as_bytes()) {
                        continue;
                    }
                    Some(long.to_owned())
                }
                BackingName::LinkSide(link) => {
                    let targets = targets.get_or_insert_with(|| self.link_texts(dir, entries));
                    if targets.contains(link) {
                        continue;
                    }
                    None
                }
                BackingName::Foreign if name.starts_with(TEMPORARY) => None,
                _ => continue,
            };
            check.unused.push(Unused {
                at: Arc::clone(dir),
                name: name.to_owned(),
                of,
                path: path.to_owned(),
                backing: backing.join(OsStr::from_bytes(&entry.name)),
            });
        }
    }

    /// A file of which nothing but the name was stored.
    pub(super) fn found_unmade(
        &self,
        check: &mut Check<'_>,
        place: &Place,
        path: &Path,
        backing: &Path,
    ) {
        check.found(path, backing, Problem::Unmade, Remedy::Remove, || {
            self.remove_unmade(place)?;
            self.drop_side_file(&place.dir, &place.name);
            Ok(())
        });
    }

    /// What the symbolic links of a directory point to in the store.
    fn link_texts(&self, dir: &Inode, entries: &[RawEntry]) -> HashSet<String> {
        let text = |entry: &RawEntry| {
            let name = std::str::from_utf8(&entry.name).ok()?;
            let text = self.disk.read_link(self.dir_fd(dir).ok()?, name).ok()?;
            String::from_utf8(text).ok()
        };
        let is_link = |entry: &&RawEntry| matches!(entry.kind, None | Some(Kind::Symlink));
        entries.iter().filter(is_link).filter_map(text).collect()
    }

    pub(super) fn settle_litter(&self, check: &mut Check<'_>, is_whole: bool) {
        for it in std::mem::take(&mut check.unused) {
            let Ok(fd) = self.dir_fd(&it.at) else {
                continue;
            };
            let is_used = it.of.is_some_and(|of| self.disk.stat(fd, &of).is_ok());
            if is_used || self.disk.stat(fd, &it.name).is_err() {
                continue;
            }
            check.found(
                &it.path,
                &it.backing,
                Problem::Unused,
                Remedy::Remove,
                || Ok(self.disk.unlink(fd, &it.name)?),
            );
        }
        if is_whole && self.is_owner() {
            for shelf in SHELVES {
                if let Err(problem) = self.check_shelf(check, shelf) {
                    check.refused(Path::new(""), Path::new(shelf), problem);
                }
            }
        }
    }

    /// `xattr/` or `names/`: two levels, and nothing but side files in the second.
    fn check_shelf(&self, check: &mut Check<'_>, top: &str) -> Result<()> {
        let root = self.root_dir()?;
        let Ok(top_dir) = self.disk.open_dir(root, top) else {
            return Ok(());
        };
        for shelf in self.disk.list(top_dir.as_fd())? {
            let Some(shelf) = std::str::from_utf8(&shelf.name).ok() else {
                continue;
            };
            let at = Path::new(top).join(shelf);
            let Ok(dir) = self.disk.open_dir(top_dir.as_fd(), shelf) else {
                check.refused(Path::new(""), &at, Part::Name.into());
                continue;
            };
            for entry in self.disk.list(dir.as_fd())? {
                let backing = at.join(OsStr::from_bytes(&entry.name));
                let Some(name) = std::str::from_utf8(&entry.name)
                    .ok()
                    .filter(|it| is_side(it))
                else {
                    if is_of_side(&entry.name) {
                        check.copy(Path::new(""), &backing, Oddity::Copy);
                    } else {
                        check.refused(Path::new(""), &backing, Part::Name.into());
                    }
                    continue;
                };
                if check.sides.contains(&format!("{top}/{shelf}/{name}")) {
                    continue;
                }
                let remedy = if check.is_unsure {
                    Remedy::None(Loss::Unsure)
                } else {
                    Remedy::Remove
                };
                check.found(Path::new(""), &backing, Problem::Unused, remedy, || {
                    Ok(self.disk.unlink(dir.as_fd(), name)?)
                });
            }
        }
        Ok(())
    }
}

/// Whether a synchroniser has put something into the name of a side file.
fn is_of_side(name: &[u8]) -> bool {
    name.split_first_chunk::<32>()
        .is_some_and(|(id, _)| id.iter().all(u8::is_ascii_hexdigit))
}

/// `<32 hex digits>.<generation>`
fn is_side(name: &str) -> bool {
    name.split_once('.').is_some_and(|(id, generation)| {
        id.len() == 32
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !generation.is_empty()
            && generation.bytes().all(|byte| byte.is_ascii_digit())
    })
}
