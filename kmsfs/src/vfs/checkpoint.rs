//! Bringing what the journal holds into the store, and doing so in the background (JOURNAL §4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::file::{FileCell, Identity};
use super::owner::Keeper;
use super::{Result, Vfs, VfsError};
use crate::backing::{Stat, Time, TimeChange};
use crate::inode::{Inode, Node};

/// How long nothing must have been logged before the journal is emptied.
const IDLE: Duration = Duration::from_millis(900);
const TICK: Duration = Duration::from_millis(500);
/// From this many files on, one sync of the whole filesystem is cheaper than one for each.
const SYNC_ALL_FROM: usize = 8;
/// How long the system takes at most to write what it was given.
const SETTLED: Duration = Duration::from_secs(60);
/// How often a checkpoint begins again at once when something goes while it runs.
const PATIENT_TURNS: usize = 20;
/// How long a writer waits for the journal to get shorter, at most, before it goes on regardless.
const PATIENCE: Duration = Duration::from_secs(2);

impl Keeper {
    /// Directories made so long ago that the system has written their headers by itself.
    fn take_settled_dirs(&mut self) -> Vec<Arc<Inode>> {
        let settled = self
            .new_dirs
            .extract_if(|_, (made, _)| made.elapsed() > SETTLED);
        settled.map(|(_, (_, inode))| inode).collect()
    }
}

impl Vfs {
    /// Remembers that something of this object is on its way.
    pub(super) fn mark_busy(&self, inode: &Arc<Inode>) {
        let Some(owner) = self.try_owner() else {
            return;
        };
        let mut keeper = owner.keeper.lock();
        keeper
            .busy
            .entry(inode.ino)
            .or_insert_with(|| Arc::clone(inode));
        keeper.last_change = Instant::now();
        if owner.journal.is_long() && !keeper.wanted {
            keeper.wanted = true;
            owner.wake.notify_all();
        }
    }

    /// Waits a moment while the journal is much too long. Called before any lock is taken: the checkpointer needs
    /// those locks.
    pub(super) fn throttle(&self) {
        let Some(owner) = self.try_owner() else {
            return;
        };
        if !owner.journal.is_overlong() {
            return;
        }
        let until = Instant::now() + PATIENCE;
        let mut keeper = owner.keeper.lock();
        while owner.journal.is_overlong() && !keeper.stopping {
            keeper.wanted = true;
            owner.wake.notify_all();
            if owner.shorter.wait_until(&mut keeper, until).timed_out() {
                return;
            }
        }
    }

    /// One turn of the background thread: commits what was left uncommitted and empties the journal, when idle or when
    /// it is long. Says whether to go on.
    pub(super) fn keep_once(&self) -> bool {
        let Some(owner) = self.try_owner() else {
            return false;
        };
        let mut keeper = owner.keeper.lock();
        if !keeper.wanted && !keeper.stopping {
            owner.wake.wait_for(&mut keeper, TICK);
        }
        if keeper.stopping {
            return false;
        }
        let settled = keeper.take_settled_dirs();
        let has_work =
            !keeper.busy.is_empty() || !keeper.unbinds.is_empty() || !keeper.litter.is_empty();
        let is_idle = keeper.last_change.elapsed() >= IDLE && has_work;
        if keeper.wanted || is_idle {
            keeper.wanted = false;
            drop(keeper);
            if let Err(error) = self.checkpoint() {
                tracing::warn!(%error, "the store does not take what the journal holds; trying again");
                // Not at once.
                owner.keeper.lock().last_change = Instant::now();
            }
            owner.shorter.notify_all();
        } else {
            drop(keeper);
        }
        drop(settled);
        self.table.sweep_left(|| !owner.keeper.lock().stopping);
        true
    }

    /// Commits everything and brings it into the store, durably; the journal is empty afterwards, except for what came
    /// in meanwhile.
    ///
    /// # Errors
    /// What the store does not take; it stays in the journal.
    pub fn checkpoint(&self) -> Result<()> {
        for _ in 0..PATIENT_TURNS {
            match self.checkpoint_once() {
                // Something lost its last name just now, and whoever took it is about to say so.
                Err(VfsError::Os(Errno::STALE)) => std::thread::yield_now(),
                done => return done,
            }
        }
        self.checkpoint_once()
    }

    fn checkpoint_once(&self) -> Result<()> {
        let owner = self.owner()?;
        let _turn = owner.checkpointing.lock();
        self.let_go_of_names(None)?;
        let busy: Vec<_> = owner.keeper.lock().busy.values().cloned().collect();
        let mut uncommitted = Ok(());
        for inode in &busy {
            if let Err(error) = self.commit_any(inode) {
                uncommitted = uncommitted.and(Err(error));
            }
        }
        let half = owner.journal.switch()?;
        // Whoever announced a new file in the old half gets done with it first.
        drop(owner.making.write());
        let busy: Vec<_> = owner.keeper.lock().busy.values().cloned().collect();
        let mut touched = Vec::new();
        let mut first_error = Ok(());
        for inode in &busy {
            match self.keep_apart(inode).and_then(|()| self.bring_over(inode)) {
                Ok(true) => touched.push(Arc::clone(inode)),
                Ok(false) => {}
                Err(error) => first_error = first_error.and(Err(error)),
            }
        }
        first_error?;
        self.sync_touched(&touched)?;
        self.sync_losses()?;
        owner.journal.release(half)?;
        for inode in busy {
            self.settle(inode);
        }
        uncommitted
    }

    /// Makes it durable that names of what the journal holds have gone.
    fn sync_losses(&self) -> Result<()> {
        let keeper = &self.owner()?.keeper;
        let (lost_in, litter) = {
            let mut keeper = keeper.lock();
            let keeper = &mut *keeper;
            (
                std::mem::take(&mut keeper.lost_in),
                std::mem::take(&mut keeper.litter),
            )
        };
        let synced = self.sync_dirs(lost_in.iter().collect());
        if synced.is_err() {
            let mut keeper = keeper.lock();
            keeper.lost_in.extend(lost_in);
            keeper.litter.extend(litter);
        } else {
            litter.iter().for_each(|path| self.remove_side(path));
        }
        synced
    }

    fn commit_any(&self, inode: &Arc<Inode>) -> Result<()> {
        match inode.file() {
            Some(file) => self.commit(inode, &mut file.cell.write()),
            None => self.commit_dir(inode),
        }
    }

    /// Writes an object's overlay into its stored file. Says whether the stored file was changed.
    fn bring_over(&self, inode: &Arc<Inode>) -> Result<bool> {
        match inode.file() {
            Some(file) => self.apply_file(inode, &mut file.cell.write()),
            None => self.apply_dir(inode),
        }
    }

    /// The same for a file whose lock is held: afterwards the stored file is its last committed state.
    pub(super) fn apply_file(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<bool> {
        let fresh = cell.fresh.is();
        let Some(file) = cell.loaded.as_deref_mut().filter(|file| !file.orphan) else {
            // Of a file without a name nothing is committed: what its overlay holds is read from there.
            return Ok(false);
        };
        if file.overlay.has_unlogged() {
            self.commit(inode, cell)?;
        }
        let Some(file) = cell.loaded.as_deref_mut() else {
            return Ok(false);
        };
        if file.append_run.take().is_some() {
            // Appended and not committed: the announcement has to be in the half that stays.
            self.announce_append(inode, file, fresh)?;
        }
        if file.overlay.is_empty() {
            return Ok(file.applied);
        }
        if !fresh {
            self.owner()?.journal.sync_to(file.seq)?;
            if file.unsynced {
                // The header must not get there before what it speaks of.
                self.disk.sync_data(&file.fd)?;
                file.unsynced = false;
                file.relied = None;
            }
        }
        let stored = self.disk.fstat(&file.fd)?;
        // As in `commit_directly`.
        cell.identity = None;
        for (offset, bytes) in file.overlay.header_last() {
            self.disk.write_at(&file.fd, offset, bytes)?;
        }
        if file.append_run.is_none() && stored.size.max(file.overlay.end()) != file.committed_len
            || stored.size < file.committed_len
        {
            self.disk.set_len(&file.fd, file.committed_len)?;
        }
        file.overlay.clear();
        file.stored = file.committed;
        file.protected_len = file.committed_len;
        file.unsynced = true;
        file.applied |= !fresh;
        let applied = file.applied;
        let mtime = if file.dirty.is_empty() {
            file.mtime.take()
        } else {
            file.mtime
        };
        self.keep_times(cell, &stored, mtime)?;
        Ok(applied)
    }

    /// After the stored file was changed without a program's doing: programs go on seeing the times they have been
    /// told, or those of their last write.
    pub(super) fn keep_times(
        &self,
        cell: &mut FileCell,
        before: &Stat,
        written: Option<Time>,
    ) -> Result<()> {
        let Some(file) = cell.loaded.as_deref() else {
            return Ok(());
        };
        let mtime = written.unwrap_or(before.mtime);
        cell.identity = None;
        self.disk
            .set_times_of(&file.fd, TimeChange::Keep, TimeChange::To(mtime))?;
        let after = self.disk.fstat(&file.fd)?;
        let told = cell.shown_ctime(before);
        cell.ctime = Some((
            after.ctime,
            written.map_or(told, |written| told.max(written)),
        ));
        cell.identity = Some(Identity::of(&after));
        Ok(())
    }

    fn sync_touched(&self, touched: &[Arc<Inode>]) -> Result<()> {
        if touched.len() < SYNC_ALL_FROM {
            return touched.iter().try_for_each(|inode| self.sync_stored(inode));
        }
        for inode in touched {
            self.set_applied(inode, false);
        }
        let synced = self
            .root_dir()
            .and_then(|root| Ok(self.disk.sync_fs(root)?));
        if synced.is_err() {
            for inode in touched {
                self.set_applied(inode, true);
            }
        }
        synced
    }

    /// Makes what was brought over durable, if anything was.
    pub(super) fn sync_stored(&self, inode: &Arc<Inode>) -> Result<()> {
        // Before the sync: what is brought over meanwhile needs another one.
        if !self.set_applied(inode, false) {
            return Ok(());
        }
        let synced = match inode.file() {
            Some(file) => {
                let fd = file
                    .cell
                    .read()
                    .loaded
                    .as_deref()
                    .map(|loaded| Arc::clone(&loaded.fd));
                fd.map_or(Ok(()), |fd| Ok(self.disk.sync_data(&fd)?))
            }
            None => self.sync_dir_header(inode),
        };
        if synced.is_err() {
            self.set_applied(inode, true);
        }
        synced
    }

    /// Notes whether pieces were brought over that may not be durable, and says whether it was so before.
    fn set_applied(&self, inode: &Inode, applied: bool) -> bool {
        match &inode.node {
            Node::File(file) => {
                let mut cell = file.cell.write();
                cell.loaded
                    .as_deref_mut()
                    .is_some_and(|loaded| std::mem::replace(&mut loaded.applied, applied))
            }
            Node::Dir(dir) => std::mem::replace(&mut dir.state.write().applied, applied),
            Node::Symlink => false,
        }
    }

    /// Lets go of an object nothing of which is on its way any more.
    fn settle(&self, inode: Arc<Inode>) {
        let Some(owner) = self.try_owner() else {
            return;
        };
        let is_busy = match inode.file() {
            Some(file) => {
                let mut cell = file.cell.write();
                let gave_back = self.give_back(&mut cell).unwrap_or_else(|error| {
                    tracing::debug!(%error, "the room of a hole is not given back");
                    true
                });
                let loaded = cell.loaded.as_deref();
                let is_orphan = loaded.is_some_and(|loaded| loaded.orphan);
                let is_busy =
                    !is_orphan && (!gave_back || loaded.is_some_and(super::file::Loaded::is_busy));
                if !is_busy {
                    if cell.opens == 0 && !is_orphan {
                        cell.loaded = None;
                    }
                    owner.keeper.lock().busy.remove(&inode.ino);
                }
                is_busy
            }
            None => {
                let is_busy = self.is_dir_busy(&inode);
                if !is_busy {
                    owner.keeper.lock().busy.remove(&inode.ino);
                }
                is_busy
            }
        };
        if !is_busy {
            self.table.sweep(inode);
        }
    }

    /// Brings one object over now: before it is moved, or because somebody else must see it.
    pub(super) fn bring_over_now(&self, inode: &Arc<Inode>) -> Result<()> {
        self.commit_any(inode)?;
        self.bring_over(inode).map(drop)
    }
}
