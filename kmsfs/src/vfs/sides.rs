//! What is kept beside headers, in `xattr/` and `names/` (FORMAT §3.4.1, §3.6.1), when its object goes.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use kms_crypto::format::{HEADER_LEN, Header, OpenHeader};
use kms_crypto::name::DIR_HEADER;

use super::{Result, Vfs};
use crate::backing::{Kind, OpenMode, Stat};
use crate::inode::{Inode, Place};

/// Where side files are, below the store's root.
pub(super) const SHELVES: [&str; 2] = ["xattr", "names"];

impl Vfs {
    /// The side files of what is about to lose its last name there, as far as they can be told: what does not verify may
    /// go like anything else.
    pub(super) fn sides_going(&self, place: &Place, stat: &Stat) -> Vec<String> {
        let is_last = stat.kind == Kind::Dir || stat.kind == Kind::File && stat.nlink <= 1;
        if !is_last || !self.has_shelves() {
            return Vec::new();
        }
        if let Some(known) = self.table.find(stat.ino, stat.kind)
            && let Some(sides) = sides_in_memory(&known)
        {
            return sides;
        }
        self.dir_fd(&place.dir)
            .and_then(|fd| self.stored_header(fd, &place.name, stat.kind))
            .map(|header| sides_of_stored(&header))
            .unwrap_or_default()
    }

    /// Most stores have none.
    fn has_shelves(&self) -> bool {
        let is_there = |root| {
            SHELVES
                .iter()
                .any(|shelf| self.disk.stat(root, shelf).is_ok())
        };
        self.root_dir().is_ok_and(is_there)
    }

    /// The header that stands there, which may be anybody's.
    pub(super) fn stored_header(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        kind: Kind,
    ) -> Result<Header> {
        let file = match kind {
            Kind::Dir => {
                let dir = self.disk.open_dir(dir, name)?;
                self.disk
                    .open_file(dir.as_fd(), DIR_HEADER, OpenMode::Read)?
            }
            _ => self.disk.open_file(dir, name, OpenMode::Read)?,
        };
        let mut bytes = [0; HEADER_LEN];
        let len = self.disk.read_at(&file, 0, &mut bytes)?;
        Header::parse(&bytes[..len]).map_err(|_| super::Part::Header.into())
    }

    /// The side files of an object that has lost its last name in `dir`. They go when that is durable, as a power cut may
    /// bring the name back and with it a header that needs them; and not while the object is open.
    pub(super) fn drop_sides(
        &self,
        inode: Option<&Arc<Inode>>,
        dir: &Arc<Inode>,
        sides: Vec<String>,
    ) {
        let Some(owner) = self.try_owner().filter(|_| !sides.is_empty()) else {
            return;
        };
        if let Some(file) = inode.and_then(|inode| inode.file()) {
            let mut cell = file.cell.write();
            let (opens, fresh) = (cell.opens, cell.fresh.is());
            if let Some(loaded) = cell.loaded.as_deref_mut().filter(|_| opens > 0) {
                loaded.outdated.extend(sides);
                return;
            }
            if fresh {
                sides.iter().for_each(|path| self.remove_side(path));
                return;
            }
        }
        let mut keeper = owner.keeper.lock();
        keeper.litter.extend(sides);
        keeper.lost_in.push(Arc::clone(dir));
        keeper.last_change = std::time::Instant::now();
    }

    pub(super) fn is_nameless(&self, inode: &Inode) -> bool {
        inode.place().is_none() && inode.ino != super::Ino::ROOT
    }

    /// What has no name is not open any more either.
    pub(super) fn drop_sides_at_close(&self, inode: &Arc<Inode>) {
        let Some(file) = inode.file() else { return };
        let mut cell = file.cell.write();
        let opens = cell.opens;
        let going = cell
            .loaded
            .as_deref_mut()
            .filter(|loaded| opens == 0 && loaded.orphan)
            .map(|loaded| (loaded.lost_in.clone(), std::mem::take(&mut loaded.outdated)));
        drop(cell);
        match going {
            Some((Some(dir), sides)) => self.drop_sides(Some(inode), &dir, sides),
            Some((None, sides)) => sides.iter().for_each(|path| self.remove_side(path)),
            None => {}
        }
    }
}

fn sides_in_memory(inode: &Inode) -> Option<Vec<String>> {
    if let Some(file) = inode.file() {
        let cell = file.cell.read();
        return cell
            .loaded
            .as_deref()
            .map(|loaded| sides_of(&loaded.header));
    }
    let state = inode.dir()?.state.read();
    state.header.as_deref().map(sides_of)
}

/// The side files a header speaks of.
pub(super) fn sides_of(header: &OpenHeader) -> Vec<String> {
    let attributes = header.state.xattrs.side_path(&header.core().id);
    attributes.into_iter().chain(header.names_path()).collect()
}

/// The same of one that was only read.
pub(super) fn sides_of_stored(header: &Header) -> Vec<String> {
    let attributes = header.state().xattrs.side_path(&header.core().id);
    attributes.into_iter().chain(header.names_path()).collect()
}
