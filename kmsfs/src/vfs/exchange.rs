//! Two names that change places (JOURNAL §2). Both objects are bound to both names before the names move, so that
//! each can be opened wherever it stands, whenever the process is killed.

use std::sync::Arc;

use rustix::io::Errno;

use super::error::header_error;
use super::header::Promise;
use super::hooks::Moved;
use super::{Ino, Result, Vfs};
use crate::backing::{Kind, Replace};
use crate::inode::{Inode, Place};

impl Vfs {
    /// Lets two names change places in one step; what they are does not matter.
    ///
    /// # Errors
    /// What renameat2(2) says of `RENAME_EXCHANGE`, or the store does not take it.
    pub(super) fn exchange(
        &self,
        (parent, name): (Ino, &[u8]),
        (other_parent, other_name): (Ino, &[u8]),
    ) -> Result<()> {
        self.owner()?;
        let (dir, other_dir) = (self.dir_inode(parent)?, self.dir_inode(other_parent)?);
        let _tree = self.tree.lock();
        let _names = self.lock_names(&dir)?;
        let _others = if Arc::ptr_eq(&dir, &other_dir) {
            None
        } else {
            Some(self.lock_names(&other_dir)?)
        };
        let ((here, stat), (there, other_stat)) =
            (self.find(&dir, name)?, self.find(&other_dir, other_name)?);
        if here.is_copy() || there.is_copy() {
            return Err(Errno::XDEV.into());
        }
        if stat.ino == other_stat.ino {
            return Ok(());
        }
        let one = self.intern(&stat, here.clone(), 0)?;
        let other = self.intern(&other_stat, there.clone(), 0)?;
        if one.dir().is_some() && other_dir.is_within(&one)
            || other.dir().is_some() && dir.is_within(&other)
        {
            return Err(Errno::INVAL.into());
        }
        self.prepare_for_both(&one, &here, &there)?;
        self.will_remove(&dir);
        self.will_remove(&other_dir);
        let exchanged = self.prepare_for_both(&other, &there, &here).and_then(|()| {
            let from = (self.dir_fd(&dir)?, &*here.name);
            let to = (self.dir_fd(&other_dir)?, &*there.name);
            Ok(self.disk.rename(from, to, Replace::Exchange)?)
        });
        if exchanged.is_err() {
            self.leave(&other, &there, &here);
            self.leave(&one, &here, &there);
            return exchanged;
        }
        self.names_changed(&dir);
        self.names_changed(&other_dir);
        for (inode, from, to) in [(&one, &here, &there), (&other, &there, &here)] {
            inode.remove_place(&from.dir, &from.name);
            inode.add_place(to.clone());
        }
        self.names_exchanged(&here, &there);
        self.rekey_moved();
        self.leave(&one, &there, &here);
        self.leave(&other, &here, &there);
        if let Some(events) = self.events() {
            for inode in [&one, &other] {
                events.moved(Moved {
                    ino: inode.ino,
                    aside: None,
                });
            }
        }
        Ok(())
    }

    /// Makes an object one that opens at both places.
    fn prepare_for_both(&self, inode: &Arc<Inode>, from: &Place, to: &Place) -> Result<()> {
        if inode.kind() == Kind::Symlink {
            return self.seal_link_for_both(inode, from, to);
        }
        if inode.kind() == Kind::Dir {
            self.bring_over_below(inode)?;
        }
        let keys = self.secrets(&to.dir)?;
        inode.set_next_place(Some(to.clone()));
        let bound = self.change_header(inode, Promise::Stored, |header| {
            header.bind(&keys.keys, to.tag).map_err(header_error)
        });
        inode.set_next_place(None);
        bound
    }

    /// The object stays at one place and has nothing to do with the other any more. Should that fail, it could be
    /// opened there by whoever puts it there; no more than that.
    fn leave(&self, inode: &Arc<Inode>, at: &Place, other: &Place) {
        let left = if inode.kind() == Kind::Symlink {
            self.seal_link_for_one(inode, at, other)
        } else {
            self.secrets(&other.dir)
                .map(|keys| self.drop_binding(inode, other, &keys))
        };
        if let Err(error) = left {
            tracing::debug!(%error, "something still opens under the name it had");
        }
    }
}
