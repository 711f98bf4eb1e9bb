//! Signing what lies in a shared directory (FORMAT §3.6.2), in the background.
//!
//! Whoever may read a directory holds the keys of everything in it; without signatures he could forge towards the
//! others who may. What comes into the directory after its first grant is signed when it is sealed; what was there
//! before is signed here. Then the directory says so, and from then on its readers insist.

use std::sync::Arc;

use kms_crypto::format::Signs;
use rustix::io::Errno;

use super::error::header_error;
use super::header::Promise;
use super::jobs::pass_over_damage;
use super::{Result, Vfs};
use crate::backing::Kind;
use crate::inode::{Inode, Place};

impl Vfs {
    /// Signs everything below a directory that has begun to, and has all directories say so.
    pub(super) fn sign_tree(&self, top: &Arc<Inode>) -> Result<()> {
        if self.read_header(top, |header| header.signs())? != Signs::WhatIsNew {
            return Ok(());
        }
        let mut dirs = vec![Arc::clone(top)];
        let mut next = 0;
        while let Some(dir) = dirs.get(next).cloned() {
            next += 1;
            pass_over_damage(self.sign_entries(&dir, &mut dirs))?;
        }
        // A reader insists as soon as a directory says so: by then the signatures are in the store.
        self.checkpoint()?;
        for dir in dirs.into_iter().rev() {
            let said = self.change_header(&dir, Promise::Committed, |header| {
                header.set_signs(Signs::Everything).map_err(header_error)
            });
            pass_over_damage(said)?;
            self.table.sweep(dir);
        }
        Ok(())
    }

    /// Signs what lies in one directory; directories in it that are still to be gone through are added to `dirs`.
    fn sign_entries(&self, dir: &Arc<Inode>, dirs: &mut Vec<Arc<Inode>>) -> Result<()> {
        let entries = {
            // Whoever looked at the directory before it began to sign has finished making his file.
            let _names = self.lock_names(dir)?;
            self.disk.list(self.dir_fd(dir)?)?
        };
        for entry in entries {
            self.refuse_if_stopping()?;
            self.throttle();
            let Some(child) = self.child_to_sign(dir, &entry.name)? else {
                continue;
            };
            let is_dir = child.kind() == Kind::Dir;
            match pass_over_damage(self.sign_one(&child).map(|is_over| {
                if is_dir && !is_over {
                    dirs.push(Arc::clone(&child));
                }
            })) {
                // Removed or replaced meanwhile.
                Ok(()) | Err(super::VfsError::Os(Errno::STALE | Errno::NOENT)) => {}
                Err(error) => return Err(error),
            }
            self.table.sweep(child);
        }
        Ok(())
    }

    fn child_to_sign(&self, dir: &Arc<Inode>, backing: &[u8]) -> Result<Option<Arc<Inode>>> {
        let Ok(backing) = std::str::from_utf8(backing) else {
            return Ok(None);
        };
        let _names = self.lock_names(dir)?;
        let secrets = self.secrets(dir)?;
        let Ok((_, tag)) = self.decrypt_name(dir, &secrets, backing) else {
            return Ok(None);
        };
        let stat = match self.disk.stat(self.dir_fd(dir)?, backing) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !matches!(stat.kind, Kind::File | Kind::Dir) {
            return Ok(None);
        }
        let place = Place {
            dir: Arc::clone(dir),
            name: backing.into(),
            tag,
            standing: crate::inode::Standing::Original,
        };
        self.intern(&stat, place, 0).map(Some)
    }

    /// Has one object signed; says whether everything in it is as well.
    fn sign_one(&self, inode: &Arc<Inode>) -> Result<bool> {
        let (is_signed, signs) =
            self.read_header(inode, |header| (header.needs_signature(), header.signs()))?;
        if inode.kind() == Kind::Dir {
            if signs == Signs::Nothing {
                self.change_header(inode, Promise::Committed, |header| {
                    header.set_signs(Signs::WhatIsNew).map_err(header_error)
                })?;
            }
            return Ok(signs == Signs::Everything);
        }
        if !is_signed {
            self.change_header(inode, Promise::Committed, |header| {
                header.sign();
                Ok(())
            })?;
        }
        Ok(true)
    }
}
