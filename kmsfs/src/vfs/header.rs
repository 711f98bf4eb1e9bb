//! Changing what stands in an object's header: names, mode, labels, attributes.

use std::sync::Arc;

use kms_crypto::format::OpenHeader;
use rustix::io::Errno;

use super::file::FileCell;
use super::{Result, Vfs};
use crate::inode::{Inode, Node};

/// What holds when a change of a header returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Promise {
    /// The change is made with the next commit.
    Later,
    /// The change survives the process.
    Committed,
    /// The change is in the stored file, and survives a power cut unless the object is fresh.
    Stored,
}

impl Vfs {
    /// Looks something up in an object's verified header.
    pub(super) fn read_header<T>(
        &self,
        inode: &Arc<Inode>,
        look: impl FnOnce(&OpenHeader) -> T,
    ) -> Result<T> {
        match &inode.node {
            Node::File(file) => {
                let mut cell = file.cell.write();
                self.ensure_loaded(inode, &mut cell)?;
                let loaded = cell.loaded.as_deref().ok_or(Errno::IO)?;
                let found = look(&loaded.header);
                self.unload(inode, &mut cell);
                Ok(found)
            }
            Node::Dir(dir) => {
                if !self.is_owner() {
                    self.glance(inode)?;
                }
                let mut state = dir.state.write();
                self.load_dir(inode, &mut state)?;
                Ok(look(state.header.as_deref().ok_or(Errno::IO)?))
            }
            Node::Symlink => Err(Errno::OPNOTSUPP.into()),
        }
    }

    /// Changes an object's header. When `change` fails, nothing is changed: it looks before it leaps.
    pub(super) fn change_header<T>(
        &self,
        inode: &Arc<Inode>,
        promise: Promise,
        change: impl FnOnce(&mut OpenHeader) -> Result<T>,
    ) -> Result<T> {
        self.owner()?;
        self.refuse_copy(inode)?;
        let changed = match &inode.node {
            Node::File(file) => {
                let mut cell = file.cell.write();
                self.ensure_loaded(inode, &mut cell)?;
                self.ensure_writable(inode, &mut cell)?;
                let loaded = cell.loaded.as_deref_mut().ok_or(Errno::IO)?;
                let changed = change(&mut loaded.header)?;
                loaded.keys_changed()?;
                loaded.header_dirty = true;
                self.keep_file_promise(inode, &mut cell, promise)?;
                self.unload(inode, &mut cell);
                changed
            }
            Node::Dir(dir) => {
                self.refresh_dir(inode)?;
                let mut state = dir.state.write();
                self.load_dir(inode, &mut state)?;
                let header = state.header.as_deref_mut().ok_or(Errno::IO)?;
                let changed = change(header)?;
                state.secrets = Some(Arc::new(super::dirs::Secrets::of(header)?));
                state.header_dirty = true;
                if promise != Promise::Later {
                    self.commit_dir_state(inode, &mut state)?;
                }
                drop(state);
                if promise == Promise::Stored {
                    self.apply_dir(inode)?;
                }
                changed
            }
            Node::Symlink => return Err(Errno::OPNOTSUPP.into()),
        };
        self.mark_busy(inode);
        Ok(changed)
    }

    fn keep_file_promise(
        &self,
        inode: &Arc<Inode>,
        cell: &mut FileCell,
        promise: Promise,
    ) -> Result<()> {
        match promise {
            Promise::Later => Ok(()),
            Promise::Committed => self.commit(inode, cell),
            Promise::Stored => {
                self.commit(inode, cell)?;
                self.apply_file(inode, cell).map(drop)
            }
        }
    }

    /// Lets go of a file's keys once nobody has it open and nothing of it is on its way.
    pub(super) fn unload(&self, inode: &Arc<Inode>, cell: &mut FileCell) {
        // What has no name any more goes when the kernel forgets it.
        let stays =
            |file: &super::file::Loaded| file.is_busy() || file.orphan || file.has_leftovers();
        if cell.opens > 0 || cell.loaded.as_deref().is_none_or(stays) {
            return;
        }
        cell.loaded = None;
        if let Some(owner) = self.try_owner() {
            owner.keeper.lock().busy.remove(&inode.ino);
        }
    }
}
