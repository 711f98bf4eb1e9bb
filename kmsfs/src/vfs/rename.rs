//! Moving names (FORMAT §3.4): the new binding is written, the name is moved, the old binding goes later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_crypto::format::Signs;
use rustix::io::Errno;

use super::dirs::{Secrets, place};
use super::error::header_error;
use super::header::Promise;
use super::hooks::{Moved, Removed, Replaced};
use super::{Caller, Ino, Result, Vfs};
use crate::backing::{Kind, Replace, Stat};
use crate::freshness::Id;
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
    /// Its id, if it is about to lose its last name.
    object: Option<Id>,
    /// What it points to, if it is a symbolic link with a side file.
    link: Option<String>,
    /// What its header keeps beside it.
    sides: Vec<String>,
}

impl Vfs {
    /// Moves a name, possibly over an existing one, or lets two names change places.
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
        if replace == Replace::Exchange {
            return self.exchange((parent, name), (new_parent, new_name));
        }
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
        if let Some(victim) = &it.victim {
            self.before_replacing(victim)?;
        }
        self.will_remove(&from_dir);
        if it.victim.is_some() {
            self.will_remove(&to_dir);
        }
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
        if from.is_copy() || to_dir.is_copy() {
            // Whoever moves it copies it then, and removes it.
            return Err(Errno::XDEV.into());
        }
        let to = place(to_dir, to_keys.encrypt(new_name)?);
        let victim = match self.find(to_dir, new_name) {
            Ok((place, stat)) => Some((place, stat)),
            Err(super::VfsError::Os(Errno::NOENT)) => {
                // Any other move simply replaces what stands there.
                if replace == Replace::No || stat.kind == Kind::Dir {
                    self.clear_unmade(&to)?;
                }
                None
            }
            Err(error) => return Err(error),
        };
        if let Some((at, there)) = &victim {
            if at.is_copy() {
                return Err(Errno::XDEV.into());
            }
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
        let link = self.side_of(&place, &stat);
        let object = self.object_going(&place, &stat);
        let sides = self.sides_going(&place, &stat);
        Ok(Victim {
            link,
            object,
            sides,
            stat,
            place,
            known,
            label,
        })
    }

    fn before_replacing(&self, victim: &Victim) -> Result<()> {
        let Some(known) = &victim.known else {
            return Ok(());
        };
        self.before_losing_name(known, &victim.stat)?;
        if victim.stat.nlink == 1 {
            // One that cannot be opened gives way like any other.
            let _ = self.keep_openable(known, &victim.place);
        }
        Ok(())
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
        it.inode.set_next_place(Some(it.to.clone()));
        let bound = self.bind_for_move(it);
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
                self.drop_binding(&it.inode, &it.to, &it.to_keys);
            }
            self.keep_victim_no_longer(it);
            return Err(error.into());
        }
        Ok(())
    }

    fn bind_for_move(&self, it: &Move) -> Result<()> {
        let (keys, tag) = (&it.to_keys.keys, it.to.tag);
        match self.bind_name(&it.inode, Promise::Stored, keys, tag) {
            Err(super::VfsError::Os(Errno::MLINK)) => {}
            bound => return bound,
        }
        // As many names as there can be: this one goes before the new one comes.
        self.change_header(&it.inode, Promise::Stored, |header| {
            header.unbind(&it.from_keys.id, it.from.tag);
            header.bind(keys, tag).map_err(header_error)
        })
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
                self.keep_apart(&inode)?;
                self.bring_over_now(&inode)?;
                self.sync_stored(&inode)?;
            }
        }
        Ok(())
    }

    /// A symbolic link's target is sealed for its place: a new link is made and takes the place of both.
    fn move_symlink(&self, it: &Move) -> Result<()> {
        let target = self.target_at(&it.from)?;
        self.remake_symlink(&it.inode, &it.from, &it.to, &it.to_keys, &target)
    }

    fn after_move(&self, caller: Caller, it: &Move) {
        self.names_changed(&it.from.dir);
        self.names_changed(&it.to.dir);
        match &it.victim {
            // A link's own entry stands there already.
            Some(victim) if it.kind == Kind::Symlink => self.object_removed(victim.object),
            Some(victim) => self.name_removed(&victim.place, victim.object),
            None => {}
        }
        if it.kind != Kind::Symlink {
            self.name_moved(&it.from, &it.to, it.kind);
        }
        it.inode.remove_place(&it.from.dir, &it.from.name);
        it.inode.add_place(it.to.clone());
        self.rekey_moved();
        if it.kind == Kind::Dir && it.to_keys.keys.signs() != Signs::Nothing {
            // What is in it has to be signed where it is now.
            if let Err(error) = self.enqueue_signing(&it.inode) {
                tracing::warn!(%error, "what was moved into a shared directory stays unsigned");
            }
        }
        if !it.from.is(&it.to.dir, &it.to.name) && it.kind != Kind::Symlink {
            self.drop_side_file(&it.from.dir, &it.from.name);
        }
        if let Some(victim) = &it.victim {
            self.lost_victim(victim);
            if let Some(link) = &victim.link {
                self.drop_link_side(&it.to.dir, link);
            }
        }
        if it.kind != Kind::Symlink && !it.is_rebinding() {
            self.drop_binding(&it.inode, &it.from, &it.from_keys);
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
            let sides = victim.sides.clone();
            return self.lost_name(known, &victim.place, &victim.stat, sides);
        }
        if let Some(inode) = known {
            inode.remove_place(&victim.place.dir, &victim.place.name);
            self.orphan(&inode, &victim.place.dir, victim.sides.clone());
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

/// How old a file may be to pass for the new version of another one.
const SAVE_SPAN: Duration = Duration::from_secs(15);
