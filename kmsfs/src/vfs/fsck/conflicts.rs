//! Conflict copies (FORMAT §7.4): listed and verified, never put right, as nothing is wrong with them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use kms_crypto::name::{BackingName, Guess};

use super::super::copies::{ConflictCopy, is_litter, is_strange};
use super::super::dirs::Secrets;
use super::super::{Ino, Oddity, Vfs};
use super::{Check, ConflictFinding, IN_ROOT};
use crate::backing::RawEntry;
use crate::inode::{Inode, Standing};

impl Vfs {
    /// Looks at the copies in a directory, and says which of its entries need no other look.
    pub(super) fn check_copies(
        &self,
        check: &mut Check<'_>,
        dir: &Arc<Inode>,
        entries: &[RawEntry],
        path: &Path,
        backing: &Path,
    ) -> HashSet<Vec<u8>> {
        let mut seen = HashSet::new();
        let Ok(secrets) = self.secrets(dir) else {
            return seen;
        };
        let mut strange = Vec::new();
        for entry in entries.iter().filter(|entry| is_strange(entry)) {
            let Ok(name) = std::str::from_utf8(&entry.name) else {
                continue;
            };
            if is_unused(dir, name) {
                check.copy(path, &backing.join(name), Oddity::Unused);
                seen.insert(entry.name.clone());
            } else if self.decrypt_name(dir, &secrets, name).is_err() {
                strange.push(entry.clone());
            }
        }
        if strange.is_empty() {
            return seen;
        }
        let copies = self.name_copies(dir, &secrets, &strange);
        let merged = self.merged_into(dir, &copies);
        for entry in strange {
            let stored = backing.join(OsStr::from_bytes(&entry.name));
            let is_it = |copy: &&ConflictCopy| copy.stored.as_bytes() == entry.name;
            if let Some(copy) = copies.iter().find(is_it) {
                let path = path.join(OsStr::from_bytes(&copy.name));
                check.copy(&path, &stored, Oddity::Copy);
                let repairs = std::mem::replace(&mut check.repairs, false);
                self.check_entry(check, copy.place(dir), &path, &stored);
                check.repairs = repairs;
            } else if is_litter(&entry.name) {
                check.copy(path, &stored, Oddity::Unused);
            } else if !is_merged(dir) && !self.is_in_one_of(&merged, &entry.name) {
                // Something else, that has no place there.
                continue;
            }
            seen.insert(entry.name);
        }
        seen
    }

    /// The directories that were merged into this one, with what it takes to read their names.
    fn merged_into(
        &self,
        dir: &Arc<Inode>,
        copies: &[ConflictCopy],
    ) -> Vec<(Arc<Inode>, Arc<Secrets>)> {
        let headers = copies
            .iter()
            .filter(|copy| copy.standing == Standing::Header);
        let open = |copy: &ConflictCopy| {
            let place = copy.place(dir);
            let stat = self.stat_place(&place).ok()?;
            let merged = self.intern(&stat, place, 0).ok()?;
            let secrets = self.secrets(&merged).ok()?;
            Some((merged, secrets))
        };
        headers.filter_map(open).collect()
    }

    fn is_in_one_of(&self, merged: &[(Arc<Inode>, Arc<Secrets>)], name: &[u8]) -> bool {
        let Ok(name) = std::str::from_utf8(name) else {
            return false;
        };
        let opens = |name: &str| {
            let is_it = |(dir, secrets): &(Arc<Inode>, Arc<Secrets>)| {
                self.decrypt_name(dir, secrets, name).is_ok()
            };
            merged.iter().any(is_it)
        };
        opens(name) || Guess::all(name).iter().any(|guess| opens(&guess.original))
    }
}

impl Check<'_> {
    pub(super) fn copy(&mut self, path: &Path, backing: &Path, what: Oddity) {
        let (path, backing) = (path.to_owned(), backing.to_owned());
        self.report.copies.push(ConflictFinding {
            path,
            backing,
            what,
        });
    }
}

/// Whether this is what another directory of the same name has left in one.
fn is_merged(dir: &Inode) -> bool {
    dir.place()
        .is_some_and(|place| place.standing == Standing::Header)
}

/// Whether this is a copy of something that is not a name: of a side file, or of what stands in the store's root.
fn is_unused(dir: &Inode, name: &str) -> bool {
    if BackingName::of(name.as_bytes()) != BackingName::Foreign {
        return false;
    }
    let is_of = |own: &str| {
        let (head, tail) = own.split_at(own.find('.').unwrap_or(own.len()));
        name != own
            && (name.starts_with(own)
                || !tail.is_empty() && name.starts_with(head) && name.ends_with(tail))
    };
    Guess::is_of_side(name) || dir.ino == Ino::ROOT && IN_ROOT.iter().any(|own| is_of(own))
}
