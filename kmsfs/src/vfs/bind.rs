//! The names a header is bound to (FORMAT §3.4): a new one is bound before it comes into being, an old one let go once
//! it has gone for good (JOURNAL §2).

use std::sync::Arc;

use kms_crypto::format::DirKeys;
use kms_crypto::id::DirId;
use kms_crypto::name::NameTag;
use rustix::io::Errno;

use super::dirs::Secrets;
use super::error::header_error;
use super::header::Promise;
use super::{Result, Vfs, VfsError};
use crate::inode::{Inode, Place};

/// The binding of a name that has gone, still in the header.
pub(super) struct Unbind {
    inode: Arc<Inode>,
    place: Place,
    id: DirId,
}

/// From this many directories on, one sync of the whole filesystem is cheaper than one for each.
const SYNC_ALL_FROM: usize = 8;

impl Vfs {
    /// Binds an object to one more name.
    pub(super) fn bind_name(
        &self,
        inode: &Arc<Inode>,
        promise: Promise,
        keys: &DirKeys,
        tag: NameTag,
    ) -> Result<()> {
        let bind = || {
            self.change_header(inode, promise, |header| {
                header.bind(keys, tag).map_err(header_error)
            })
        };
        match bind() {
            Err(VfsError::Os(Errno::MLINK)) => {
                // Bindings of names that are gone may stand in the way.
                self.let_go_of_names(Some(inode))?;
                self.let_go_of_strays(inode)?;
                bind()
            }
            bound => bound,
        }
    }

    /// Takes out the bindings that are left over from a mount that was killed, where all names of the object are known.
    fn let_go_of_strays(&self, inode: &Arc<Inode>) -> Result<()> {
        let place = self.live_place(inode)?;
        let stat = self.disk.stat(self.dir_fd(&place.dir)?, &place.name)?;
        let places = inode.places();
        if places.len() as u64 != u64::from(stat.nlink) {
            return Ok(());
        }
        let mut live = Vec::with_capacity(places.len());
        for place in &places {
            live.push((self.secrets(&place.dir)?.id, place.tag));
        }
        self.disk.sync_fs(self.root_dir()?)?;
        self.change_header(inode, Promise::Later, |header| {
            let bound: Vec<_> = header
                .bindings()
                .iter()
                .map(|it| (it.dir, it.name_tag))
                .collect();
            for (dir, tag) in bound.into_iter().filter(|it| !live.contains(it)) {
                header.unbind(&dir, tag);
            }
            Ok(())
        })
    }

    /// A name has gone, or never came into being. Its binding stays until that is durable: after a power cut the name
    /// may be there again. One that stays for good opens nothing that could not be opened before.
    pub(super) fn drop_binding(&self, inode: &Arc<Inode>, place: &Place, secrets: &Secrets) {
        let Some(owner) = self.try_owner() else {
            return;
        };
        let mut keeper = owner.keeper.lock();
        keeper.unbinds.push(Unbind {
            inode: Arc::clone(inode),
            place: place.clone(),
            id: secrets.id,
        });
        inode.add_gone(place.clone());
        keeper.last_change = std::time::Instant::now();
    }

    /// Makes it durable that names have gone, and takes their bindings out of the headers: of one object, or of all.
    pub(super) fn let_go_of_names(&self, only: Option<&Arc<Inode>>) -> Result<()> {
        let owner = self.owner()?;
        let unbinds = std::mem::take(&mut owner.keeper.lock().unbinds);
        let (gone, others): (Vec<_>, Vec<_>) = unbinds
            .into_iter()
            .partition(|it| only.is_none_or(|only| Arc::ptr_eq(only, &it.inode)));
        owner.keeper.lock().unbinds.extend(others);
        if let Err(error) = self.sync_dirs(gone.iter().map(|it| &it.place.dir).collect()) {
            owner.keeper.lock().unbinds.extend(gone);
            return Err(error);
        }
        for it in gone {
            it.inode.remove_gone(&it.place);
            if it.inode.place().is_none() {
                continue;
            }
            let unbound = self.change_header(&it.inode, Promise::Later, |header| {
                if !it.is_back() {
                    header.unbind(&it.id, it.place.tag);
                }
                Ok(())
            });
            if let Err(error) = unbound {
                tracing::debug!(%error, "a binding stays behind");
            }
        }
        Ok(())
    }

    /// Makes durable which names there are in these directories.
    pub(super) fn sync_dirs(&self, mut dirs: Vec<&Arc<Inode>>) -> Result<()> {
        dirs.sort_by_key(|dir| dir.ino);
        dirs.dedup_by_key(|dir| dir.ino);
        if dirs.len() >= SYNC_ALL_FROM {
            return Ok(self.disk.sync_fs(self.root_dir()?)?);
        }
        for dir in dirs {
            match self.dir_fd(dir).and_then(|fd| Ok(self.disk.sync_dir(fd)?)) {
                // Removed since, with all its names.
                Ok(()) | Err(VfsError::Os(Errno::STALE | Errno::NOENT)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Unbind {
    /// Whether the object has the name again, or is about to.
    fn is_back(&self) -> bool {
        let mut places = self
            .inode
            .places()
            .into_iter()
            .chain(self.inode.next_place());
        places.any(|it| Arc::ptr_eq(&it.dir, &self.place.dir) && it.tag == self.place.tag)
    }
}
