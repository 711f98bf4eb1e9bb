//! Taking names away.

use std::sync::Arc;

use kms_crypto::name::{BackingName, DIR_HEADER};
use rustix::io::Errno;

use super::hooks::{Events, Removed};
use super::{Caller, Ino, Result, Vfs};
use crate::backing::{Kind, RawEntry, Stat};
use crate::inode::{Inode, Place};

impl Vfs {
    /// Takes a name of something that is no directory away. What is open stays usable.
    ///
    /// # Errors
    /// There is no such name, or it is a directory's.
    pub fn unlink(&self, _caller: Caller, parent: Ino, name: &[u8]) -> Result<()> {
        self.owner()?;
        let dir = self.dir_inode(parent)?;
        let _names = self.lock_names(&dir)?;
        let (place, stat) = self.find(&dir, name)?;
        if stat.kind == Kind::Dir {
            return Err(Errno::ISDIR.into());
        }
        if place.is_copy() {
            return self.unlink_copy(&place, &stat);
        }
        let known = self.table.find(stat.ino, stat.kind);
        if let Some(inode) = &known {
            self.before_losing_name(inode, &stat)?;
        }
        let label = self.label_going(&place, &stat)?;
        let link = self.side_of(&place, &stat);
        let object = self.object_going(&place, &stat);
        let sides = self.sides_going(&place, &stat);
        self.will_remove(&dir);
        self.disk.unlink(self.dir_fd(&dir)?, &place.name)?;
        self.name_removed(&place, object);
        self.drop_side_file(&dir, &place.name);
        if let Some(link) = link {
            self.drop_link_side(&dir, &link);
        }
        self.names_changed(&dir);
        self.lost_name(known, &place, &stat, sides);
        self.label_gone(label);
        Ok(())
    }

    /// Records in the journal name a file by a path it had: before a path goes while the file stays, they are brought
    /// over.
    pub(super) fn before_losing_name(&self, inode: &Arc<Inode>, stat: &Stat) -> Result<()> {
        let Some(file) = inode.file() else {
            return Ok(());
        };
        if stat.nlink < 2 {
            if inode.has_gone() {
                // It had more names a moment ago: what its header keeps beside it is to go as well. One that does not
                // verify may go like any other.
                let _ = self.ensure_loaded(inode, &mut file.cell.write());
            }
            return Ok(());
        }
        let is_pending = file
            .cell
            .read()
            .loaded
            .as_deref()
            .is_some_and(super::file::Loaded::is_busy);
        if !is_pending {
            return Ok(());
        }
        self.bring_over_now(inode)?;
        self.sync_stored(inode)
    }

    /// After a name has gone: the object goes with its last one, else the name's binding does.
    pub(super) fn lost_name(
        &self,
        known: Option<Arc<Inode>>,
        place: &Place,
        stat: &Stat,
        sides: Vec<String>,
    ) {
        let is_last = stat.nlink <= 1;
        let Some(inode) = known else {
            self.drop_sides(None, &place.dir, sides);
            if !is_last && stat.kind == Kind::File {
                // Nobody knows its other names: the binding that is left over goes when somebody looks there.
                tracing::debug!("a name was taken away from a file known by no other");
            }
            return;
        };
        inode.remove_place(&place.dir, &place.name);
        if is_last {
            self.orphan(&inode, &place.dir, sides);
        } else if let Ok(secrets) = self.secrets(&place.dir) {
            self.drop_binding(&inode, place, &secrets);
        }
    }

    /// An object has no name left: nothing of it has to survive, but what is open goes on working.
    pub(super) fn orphan(&self, inode: &Arc<Inode>, dir: &Arc<Inode>, mut sides: Vec<String>) {
        self.table.detach(inode);
        if let Some(dir) = inode.dir() {
            dir.state.write().lose();
        }
        if let Some(file) = inode.file() {
            let mut cell = file.cell.write();
            let is_fresh = cell.fresh.is();
            let is_pending = cell
                .loaded
                .as_deref()
                .is_some_and(super::file::Loaded::is_busy);
            if let Some(owner) = self.try_owner().filter(|_| is_pending && !is_fresh) {
                owner.keeper.lock().lost_in.push(Arc::clone(dir));
            }
            if let Some(loaded) = cell.loaded.as_deref_mut() {
                loaded.orphan = true;
                loaded.lost_in = (!is_fresh).then(|| Arc::clone(dir));
                sides.append(&mut loaded.outdated);
            }
        }
        self.drop_sides(Some(inode), dir, sides);
        if let Some(file) = inode.file() {
            let mut cell = file.cell.write();
            if cell.opens == 0 && !cell.replaced {
                cell.loaded = None;
            }
        }
        if let Some(owner) = self.try_owner() {
            let mut keeper = owner.keeper.lock();
            keeper.busy.remove(&inode.ino);
            keeper.new_dirs.remove(&inode.ino);
        }
    }

    /// The label of an object whose last name is about to go, if somebody wants to know. One that does not verify may
    /// go like any other.
    pub(super) fn label_going(&self, place: &Place, stat: &Stat) -> Result<Option<Removed>> {
        let is_watched = self.events().is_some_and(|events| events.watches());
        let is_last = stat.kind == Kind::Dir || stat.nlink <= 1;
        if !is_watched || !is_last || stat.kind == Kind::Symlink {
            return Ok(None);
        }
        let inode = self.intern(stat, place.clone(), 0)?;
        let label = self
            .read_header(&inode, |header| header.labels().first().map(|slot| slot.id))
            .unwrap_or(None);
        let ino = inode.ino;
        self.table.sweep(inode);
        Ok(label.map(|label| Removed { label, ino }))
    }

    /// Says that a label has lost its object.
    pub(super) fn label_gone(&self, removed: Option<Removed>) {
        if let Some((removed, events)) = removed.zip(self.events()) {
            events.removed(removed);
        }
    }

    pub(super) fn events(&self) -> Option<Arc<dyn Events>> {
        self.hooks.read().events.clone()
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// There is no such name, it is no directory's, or the directory is not empty.
    pub fn rmdir(&self, _caller: Caller, parent: Ino, name: &[u8]) -> Result<()> {
        self.owner()?;
        let dir = self.dir_inode(parent)?;
        let _tree = self.tree.lock();
        let _names = self.lock_names(&dir)?;
        let (place, stat) = self.find(&dir, name)?;
        if stat.kind != Kind::Dir {
            return Err(Errno::NOTDIR.into());
        }
        if place.is_copy() {
            return self.rmdir_copy(&place, &stat);
        }
        let label = self.label_going(&place, &stat)?;
        let sides = self.sides_going(&place, &stat);
        let inode = self.intern(&stat, place.clone(), 0)?;
        let node = inode.dir().ok_or(Errno::NOTDIR)?;
        let _inner = node.names.lock();
        self.refuse_unless_empty(&inode)?;
        let object = self.object_going(&place, &stat);
        let mut state = node.state.write();
        // The header goes first, as the directory must be empty for the system as well.
        self.will_remove(&dir);
        let header = self.take_header(&inode)?;
        if let Err(error) = self.disk.remove_dir(self.dir_fd(&dir)?, &place.name) {
            self.put_header_back(&inode, header.as_deref());
            return Err(error.into());
        }
        state.lose();
        drop(state);
        self.name_removed(&place, object);
        self.drop_side_file(&dir, &place.name);
        self.names_changed(&dir);
        inode.remove_place(&dir, &place.name);
        self.orphan(&inode, &place.dir, sides);
        self.label_gone(label);
        Ok(())
    }

    /// Refuses a directory that holds names.
    pub(super) fn refuse_unless_empty(&self, inode: &Arc<Inode>) -> Result<()> {
        let entries = self.disk.list(self.dir_fd(inode)?)?;
        // Side files without their names do not count, and go.
        let is_litter = |entry: &RawEntry| match BackingName::of(&entry.name) {
            BackingName::Side(long) => !entries.iter().any(|entry| entry.name == long.as_bytes()),
            BackingName::LinkSide(_) => true,
            BackingName::DirHeader => false,
            BackingName::Short(_) | BackingName::Long(_) => self.is_unmade_entry(inode, entry),
            BackingName::Foreign => super::copies::is_litter(&entry.name),
        };
        let litter: Vec<_> = entries
            .iter()
            .filter(|entry| entry.name != DIR_HEADER.as_bytes())
            .collect();
        if !litter.iter().all(|entry| is_litter(entry)) {
            return Err(Errno::NOTEMPTY.into());
        }
        for entry in litter {
            let name = std::str::from_utf8(&entry.name).map_err(|_| Errno::NOTEMPTY)?;
            self.disk.unlink(self.dir_fd(inode)?, name)?;
        }
        Ok(())
    }

    /// Removes a directory's header file and returns its bytes.
    pub(super) fn take_header(&self, inode: &Inode) -> Result<Option<Vec<u8>>> {
        let fd = self.dir_fd(inode)?;
        let file = match self
            .disk
            .open_file(fd, DIR_HEADER, crate::backing::OpenMode::Read)
        {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = vec![0; kms_crypto::format::HEADER_LEN];
        let len = self.disk.read_at(&file, 0, &mut bytes)?;
        bytes.truncate(len);
        self.disk.unlink(fd, DIR_HEADER)?;
        Ok(Some(bytes))
    }

    pub(super) fn put_header_back(&self, inode: &Inode, header: Option<&[u8]>) {
        let Some(bytes) = header else { return };
        let back = self
            .dir_fd(inode)
            .and_then(|fd| Ok(self.disk.create_file(fd, DIR_HEADER, 0o600)?))
            .and_then(|file| Ok(self.disk.write_at(&file, 0, bytes)?));
        if let Err(error) = back {
            tracing::warn!(%error, "an empty directory lost its header; it gets a new one when it is next used");
        }
    }
}
