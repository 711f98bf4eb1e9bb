//! Moving names (FORMAT §3.4): the new binding is written, the name is moved, the old binding goes later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_crypto::name::NameTag;
use rustix::io::Errno;

use super::dirs::{Secrets, place};
use super::error::header_error;
use super::header::Promise;
use super::hooks::{Moved, Removed, Replaced};
use super::{Caller, Ino, Part, Result, Vfs};
use crate::backing::{Kind, Replace, Stat, TimeChange};
use crate::inode::{Inode, Place};

/// One rename, looked up.
struct Move {
    inode: Arc<Inode>,
    kind: Kind,
    from: Place,
    to: Place,
    from_keys: Arc<Secrets>,
    to_keys: Arc<Secrets>,
    /// What stands at the destination.
    victim: Option<Victim>,
}

/// A directory and the bytes of the header it had.
type TakenHeader = (Arc<Inode>, Option<Vec<u8>>);

struct Victim {
    stat: Stat,
    place: Place,
    known: Option<Arc<Inode>>,
    label: Option<Removed>,
}

impl Vfs {
    /// Moves a name, possibly over an existing one.
    ///
    /// # Errors
    /// What rename(2) says, or the store does not take it.
    pub fn rename(
        &self,
        caller: Caller,
        (parent, name): (Ino, &[u8]),
        (new_parent, new_name): (Ino, &[u8]),
        replace: Replace,
    ) -> Result<()> {
        self.owner()?;
        let (from_dir, to_dir) = (self.dir_inode(parent)?, self.dir_inode(new_parent)?);
        let is_same_dir = Arc::ptr_eq(&from_dir, &to_dir);
        let _tree = self.tree.lock();
        let _from = self.lock_names(&from_dir)?;
        let _to = if is_same_dir {
            None
        } else {
            Some(self.lock_names(&to_dir)?)
        };

        let Some(it) = self.look_up_move((&from_dir, name), (&to_dir, new_name), replace)? else {
            // Two names of one file: nothing happens, says POSIX.
            return Ok(());
        };
        self.put_new_side_file(&to_dir, new_name)?;
        if it.kind == Kind::Symlink {
            self.move_symlink(&it)?;
        } else {
            self.move_object(&it, replace)?;
        }
        self.after_move(caller, &it);
        Ok(())
    }

    fn look_up_move(
        &self,
        (from_dir, name): (&Arc<Inode>, &[u8]),
        (to_dir, new_name): (&Arc<Inode>, &[u8]),
        replace: Replace,
    ) -> Result<Option<Move>> {
        let (from, stat) = self.find(from_dir, name)?;
        let (from_keys, to_keys) = (self.secrets(from_dir)?, self.secrets(to_dir)?);
        let to = place(to_dir, to_keys.encrypt(new_name)?);
        let victim = match self.find(to_dir, new_name) {
            Ok((place, stat)) => Some((place, stat)),
            Err(super::VfsError::Os(Errno::NOENT)) => None,
            Err(error) => return Err(error),
        };
        if let Some((_, there)) = &victim {
            if replace == Replace::No {
                return Err(Errno::EXIST.into());
            }
            if there.ino == stat.ino {
                return Ok(None);
            }
            match (stat.kind == Kind::Dir, there.kind == Kind::Dir) {
                (true, false) => return Err(Errno::NOTDIR.into()),
                (false, true) => return Err(Errno::ISDIR.into()),
                _ => {}
            }
        }
        let inode = self.intern(&stat, from.clone(), 0)?;
        if stat.kind == Kind::Dir && to_dir.is_within(&inode) {
            return Err(Errno::INVAL.into());
        }
        let victim = victim
            .map(|(place, stat)| self.look_at_victim(place, stat))
            .transpose()?;
        Ok(Some(Move {
            kind: stat.kind,
            inode,
            from,
            to,
            from_keys,
            to_keys,
            victim,
        }))
    }

    fn look_at_victim(&self, place: Place, stat: Stat) -> Result<Victim> {
        let known = self.table.find(stat.ino, stat.kind);
        let label = self.label_going(&place, &stat)?;
        Ok(Victim {
            stat,
            place,
            known,
            label,
        })
    }

    fn put_new_side_file(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<()> {
        let secrets = self.secrets(dir)?;
        self.put_side_file(dir, &secrets.encrypt(name)?)
    }

    /// Files and directories: their header gets the new binding before their name moves.
    fn move_object(&self, it: &Move, replace: Replace) -> Result<()> {
        let (from_fd, to_fd) = (self.dir_fd(&it.from.dir)?, self.dir_fd(&it.to.dir)?);
        if it.kind == Kind::Dir {
            self.bring_over_below(&it.inode)?;
        }
        if let Some(victim) = &it.victim
            && let Some(known) = &victim.known
        {
            self.before_losing_name(known, &victim.place, &victim.stat)?;
            if victim.stat.nlink == 1 {
                // One that cannot be opened gives way like any other.
                let _ = self.keep_openable(known, &victim.place);
            }
        }
        it.inode.set_next_place(Some(it.to.clone()));
        let bound = self.change_header(&it.inode, Promise::Stored, |header| {
            match header.bind(&it.to_keys.keys, it.to.tag) {
                Err(kms_crypto::format::HeaderError::Full(_)) if header.bindings().len() > 1 => {
                    // Bindings of names that are gone, perhaps: this one is going.
                    header.unbind(&it.from_keys.id, it.from.tag);
                    header.bind(&it.to_keys.keys, it.to.tag)
                }
                result => result,
            }
            .map_err(header_error)
        });
        it.inode.set_next_place(None);
        if let Err(error) = bound {
            self.keep_victim_no_longer(it);
            return Err(error);
        }
        let header = self.take_victims_header(it)?;
        let moved = self
            .disk
            .rename((from_fd, &*it.from.name), (to_fd, &*it.to.name), replace);
        if let Err(error) = moved {
            if let Some((inode, bytes)) = header {
                self.put_header_back(&inode, bytes.as_deref());
            }
            if !it.is_rebinding() {
                self.drop_binding(&it.inode, &it.to_keys, it.to.tag);
            }
            self.keep_victim_no_longer(it);
            return Err(error.into());
        }
        Ok(())
    }

    fn keep_victim_no_longer(&self, it: &Move) {
        if let Some(known) = it.victim.as_ref().and_then(|victim| victim.known.as_ref()) {
            self.keep_no_longer(known);
        }
    }

    /// An empty directory that gives way must be empty for the system as well.
    fn take_victims_header(&self, it: &Move) -> Result<Option<TakenHeader>> {
        let Some(victim) = it
            .victim
            .as_ref()
            .filter(|victim| victim.stat.kind == Kind::Dir)
        else {
            return Ok(None);
        };
        let inode = self.intern(&victim.stat, victim.place.clone(), 0)?;
        self.refuse_unless_empty(&inode)?;
        let bytes = self.take_header(&inode)?;
        Ok(Some((inode, bytes)))
    }

    /// What the journal holds of files below a directory names them by the directory's path.
    pub(super) fn bring_over_below(&self, dir: &Arc<Inode>) -> Result<()> {
        let busy: Vec<_> = self.owner()?.keeper.lock().busy.values().cloned().collect();
        for inode in busy {
            if !Arc::ptr_eq(&inode, dir) && inode.is_within(dir) {
                self.bring_over_now(&inode)?;
                self.sync_stored(&inode)?;
            }
        }
        Ok(())
    }

    /// A symbolic link's target is sealed for its place: a new link is made and takes the place of both.
    fn move_symlink(&self, it: &Move) -> Result<()> {
        let sealed = self
            .disk
            .read_link(self.dir_fd(&it.from.dir)?, &it.from.name)?;
        let target = open_target(&it.from_keys, it.from.tag, &sealed)?;
        self.remake_symlink(&it.inode, &it.from, &it.to, &it.to_keys, &target)
    }

    /// Makes a symbolic link anew at another place, with the owner and times of the old one, which goes.
    pub(super) fn remake_symlink(
        &self,
        inode: &Arc<Inode>,
        from: &Place,
        to: &Place,
        to_keys: &Secrets,
        target: &[u8],
    ) -> Result<()> {
        let (from_fd, to_fd) = (self.dir_fd(&from.dir)?, self.dir_fd(&to.dir)?);
        let stat = self.disk.stat(from_fd, &from.name)?;
        let sealed = to_keys
            .names
            .encrypt_target(to.tag, target)
            .map_err(|_| Errno::NAMETOOLONG)?;
        let temporary = format!("kmsfs.new.{:016x}", stat.ino);
        match self.disk.unlink(to_fd, &temporary) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        self.disk.symlink(&sealed, to_fd, &temporary)?;
        let (atime, mtime) = (TimeChange::To(stat.atime), TimeChange::To(stat.mtime));
        let done = self
            .disk
            .set_owner(to_fd, &temporary, Some(stat.uid), Some(stat.gid))
            .and_then(|()| self.disk.set_times(to_fd, &temporary, atime, mtime))
            .and_then(|()| {
                self.disk
                    .rename((to_fd, &temporary), (to_fd, &to.name), Replace::Yes)
            })
            .and_then(|()| self.disk.unlink(from_fd, &from.name));
        if let Err(error) = done {
            let _ = self.disk.unlink(to_fd, &temporary);
            return Err(error.into());
        }
        self.table
            .rebind(inode, self.disk.stat(to_fd, &to.name)?.ino);
        inode.remove_place(&from.dir, &from.name);
        inode.add_place(to.clone());
        self.drop_side_file(&from.dir, &from.name);
        Ok(())
    }

    fn after_move(&self, caller: Caller, it: &Move) {
        self.names_changed(&it.from.dir);
        self.names_changed(&it.to.dir);
        it.inode.remove_place(&it.from.dir, &it.from.name);
        it.inode.add_place(it.to.clone());
        self.rekey_moved();
        if !it.from.is(&it.to.dir, &it.to.name) && it.kind != Kind::Symlink {
            self.drop_side_file(&it.from.dir, &it.from.name);
        }
        if let Some(victim) = &it.victim {
            self.lost_victim(victim);
        }
        if it.kind != Kind::Symlink && !it.is_rebinding() {
            self.drop_binding(&it.inode, &it.from_keys, it.from.tag);
        }
        let Some(events) = self.events() else { return };
        let is_aside =
            it.kind == Kind::File && Arc::ptr_eq(&it.from.dir, &it.to.dir) && events.watches();
        let name = is_aside.then(|| self.plain_name(&it.from).ok()).flatten();
        events.moved(Moved {
            ino: it.inode.ino,
            aside: name.map(|name| (it.from.dir.ino, name)),
        });
        let label = it.victim.as_ref().and_then(|victim| victim.label);
        if it.kind == Kind::Dir {
            return self.label_gone(label);
        }
        if let Some(Removed { label, .. }) = label {
            let is_save = self.is_save(caller, it);
            events.replaced(Replaced {
                label,
                by: it.inode.ino,
                uid: caller.uid,
                is_save,
            });
        }
    }

    fn lost_victim(&self, victim: &Victim) {
        let known = self
            .table
            .find(victim.stat.ino, victim.stat.kind)
            .or_else(|| victim.known.clone());
        if victim.stat.kind != Kind::Dir {
            return self.lost_name(known, &victim.place, &victim.stat);
        }
        if let Some(inode) = known {
            inode.remove_place(&victim.place.dir, &victim.place.name);
            self.orphan(&inode);
        }
    }

    /// Whether a rename is how an editor saves: the replacement was made in the same directory moments before, by the
    /// same user, and has no label of its own.
    fn is_save(&self, caller: Caller, it: &Move) -> bool {
        let Some(since) = Instant::now().checked_sub(SAVE_SPAN) else {
            return false;
        };
        Arc::ptr_eq(&it.from.dir, &it.to.dir) && self.is_made_since(&it.inode, caller.uid, since)
    }

    /// Whether a file was made by this user, after a moment, in this mount, and has no label.
    ///
    /// # Errors
    /// The file is gone.
    pub fn made_since(&self, ino: Ino, uid: u32, since: Instant) -> Result<bool> {
        Ok(self.is_made_since(&self.inode(ino)?, uid, since))
    }

    fn is_made_since(&self, inode: &Arc<Inode>, uid: u32, since: Instant) -> bool {
        let Some(file) = inode.file() else {
            return false;
        };
        let (made_by, made_at) = {
            let cell = file.cell.read();
            (cell.made_by, cell.made_at)
        };
        made_by == Some(uid)
            && made_at.is_some_and(|made| made >= since)
            && self
                .read_header(inode, |header| header.labels().is_empty())
                .unwrap_or(false)
    }
}

impl Move {
    /// Whether old and new binding are the same: the same name, under an old and the new name key perhaps.
    fn is_rebinding(&self) -> bool {
        self.from_keys.id == self.to_keys.id && self.from.tag == self.to.tag
    }
}

/// The target of a symbolic link found at a place with this tag.
pub(super) fn open_target(secrets: &Secrets, tag: NameTag, sealed: &[u8]) -> Result<Vec<u8>> {
    let sealed = std::str::from_utf8(sealed).map_err(|_| Part::Target)?;
    let opened = secrets.names.decrypt_target(tag, sealed);
    let opened = match (&secrets.prev_names, opened) {
        (Some(prev), Err(_)) => prev.decrypt_target(tag, sealed),
        (_, opened) => opened,
    };
    opened.map_err(|_| Part::Target.into())
}

/// How old a file may be to pass for the new version of another one.
const SAVE_SPAN: Duration = Duration::from_secs(15);
