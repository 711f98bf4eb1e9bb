//! Background work that outlives the process: new keys to be carried through ([`super::rekey`]) and trees to be signed
//! ([`super::sign`]).
//!
//! A job is known by the object it starts at, whose header says what there is to do. The list of jobs is kept outside
//! the store. Doing a part of a job twice is harmless: what is done already is passed over.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

use super::{Ino, Result, Vfs};
use crate::backing::Kind;
use crate::inode::{Inode, Place};

const TICK: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_secs(30);

/// What there is to do, and who is told of it.
#[derive(Default)]
pub(super) struct Jobs {
    state: Mutex<State>,
    wake: Condvar,
    /// Objects that are known to wait.
    pub(super) backlog: AtomicU64,
    /// Where the list is kept.
    list: PathBuf,
}

#[derive(Default)]
struct State {
    queue: Vec<Job>,
    stopping: bool,
}

struct Job {
    inode: Arc<Inode>,
    work: Work,
}

/// What a job is about; the later kinds take the earlier ones along.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Work {
    /// What lies in a directory is to be signed.
    Signatures,
    /// Its new key is to be carried through.
    NewKey,
    /// The same, once it has been given one.
    AgedKey,
}

impl Job {
    fn is_for(&self, inode: &Arc<Inode>) -> bool {
        Arc::ptr_eq(&self.inode, inode)
    }
}

impl Jobs {
    /// No jobs yet; their list is kept in the file `list`.
    pub(super) fn new(list: PathBuf) -> Self {
        Self {
            list,
            ..Self::default()
        }
    }
}

impl Vfs {
    /// How many objects still wait for new keys, as far as it is known.
    #[must_use]
    pub fn rekey_backlog(&self) -> u64 {
        let Some(owner) = self.try_owner() else {
            return 0;
        };
        let state = owner.jobs.state.lock();
        let queued = state
            .queue
            .iter()
            .filter(|job| job.work > Work::Signatures)
            .count() as u64;
        queued.max(owner.jobs.backlog.load(Ordering::Relaxed))
    }

    /// Puts an object on the list of what needs its content sealed anew.
    pub(super) fn enqueue_rekey(&self, inode: &Arc<Inode>) -> Result<()> {
        self.enqueue(inode, Work::NewKey)
    }

    /// Puts a directory on the list of what needs its content signed.
    pub(super) fn enqueue_signing(&self, inode: &Arc<Inode>) -> Result<()> {
        self.enqueue(inode, Work::Signatures)
    }

    /// Puts a file on the list of what needs a new key because of its age. A crash may forget it: the next comes in time.
    pub(super) fn enqueue_new_key(&self, inode: &Arc<Inode>) -> Result<()> {
        self.enqueue(inode, Work::AgedKey)
    }

    fn enqueue(&self, inode: &Arc<Inode>, work: Work) -> Result<()> {
        let jobs = &self.owner()?.jobs;
        let mut state = jobs.state.lock();
        let queued = state.queue.iter_mut().find(|job| job.is_for(inode));
        match queued {
            Some(job) => job.work = job.work.max(work),
            None => state.queue.push(Job {
                inode: Arc::clone(inode),
                work,
            }),
        }
        self.keep_list(&state)?;
        jobs.wake.notify_all();
        Ok(())
    }

    /// Writes the list of jobs: one line of stored names for each.
    fn keep_list(&self, state: &State) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let jobs = &self.owner()?.jobs;
        let mut text = String::new();
        for job in &state.queue {
            if let Some(path) = self.stored_place(&job.inode) {
                text.push_str(&path);
                text.push('\n');
            }
        }
        let new = jobs.list.with_extension("new");
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| {
                std::io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| file.sync_all())
            })
            .and_then(|()| std::fs::rename(&new, &jobs.list))
            // The old list must not come back after a power cut: what a revocation began would not be carried through.
            .and_then(|()| match jobs.list.parent() {
                Some(dir) => std::fs::File::open(dir)?.sync_all(),
                None => Ok(()),
            });
        written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO).into())
    }

    fn stored_place(&self, inode: &Inode) -> Option<String> {
        let mut names = Vec::new();
        let mut next = inode.place();
        while let Some(place) = next {
            names.push(place.name.to_string());
            next = place.dir.place();
        }
        names.reverse();
        // The root has no names: an empty line.
        (inode.ino == Ino::ROOT || !names.is_empty()).then(|| names.join("/"))
    }

    /// After a rename: jobs are found by where their objects stand.
    pub(super) fn rekey_moved(&self) {
        let Some(owner) = self.try_owner() else {
            return;
        };
        let state = owner.jobs.state.lock();
        if !state.queue.is_empty()
            && let Err(error) = self.keep_list(&state)
        {
            tracing::warn!(%error, "the list of unfinished key changes could not be written");
        }
    }

    /// Writes the list anew: what is nowhere in the store is dropped from it.
    pub(super) fn tidy_jobs(&self) -> Result<()> {
        let owner = self.owner()?;
        let state = owner.jobs.state.lock();
        self.keep_list(&state)
    }

    /// Whether the list speaks of an object, or of a directory it is in, even of one that cannot be opened.
    pub(super) fn has_noted_job(&self, inode: &Inode) -> bool {
        let (Ok(owner), Some(place)) = (self.owner(), self.stored_place(inode)) else {
            return false;
        };
        let Ok(text) = std::fs::read_to_string(&owner.jobs.list) else {
            return false;
        };
        text.lines().any(|line| {
            place
                .strip_prefix(line)
                .is_some_and(|rest| line.is_empty() || rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Reads the list an earlier process has left.
    pub(super) fn load_rekey_list(&self) -> Result<()> {
        let jobs = &self.owner()?.jobs;
        let Ok(text) = std::fs::read_to_string(&jobs.list) else {
            return Ok(());
        };
        for line in text.lines() {
            match self.resolve_stored(line) {
                Ok(inode) => jobs.state.lock().queue.push(Job {
                    inode,
                    work: Work::NewKey,
                }),
                Err(error) => {
                    tracing::warn!(%error, "something that was to get a new key is not where it was")
                }
            }
        }
        Ok(())
    }

    /// What stands at a path of stored names below the root.
    pub(super) fn resolve_stored(&self, path: &str) -> Result<Arc<Inode>> {
        let mut at = Arc::clone(self.table.root());
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let secrets = self.secrets(&at)?;
            let (_, tag) = self.decrypt_name(&at, &secrets, name)?;
            let stat = self.disk.stat(self.dir_fd(&at)?, name)?;
            let place = Place {
                dir: Arc::clone(&at),
                name: name.into(),
                tag,
                standing: crate::inode::Standing::Original,
            };
            at = self.intern(&stat, place, 0)?;
        }
        Ok(at)
    }

    /// Carries the next key change through, if there is one, and says whether there was.
    ///
    /// # Errors
    /// It could not be carried through now; it stays on the list.
    pub fn rekey_step(&self) -> Result<bool> {
        let next = {
            let state = self.owner()?.jobs.state.lock();
            let job = state.queue.first();
            job.map(|job| (Arc::clone(&job.inode), job.work))
        };
        let Some((inode, work)) = next else {
            return Ok(false);
        };
        let begun = match work {
            Work::AgedKey => self.begin_new_key(&inode),
            Work::NewKey | Work::Signatures => Ok(()),
        };
        match pass_over_damage(begun.and_then(|()| self.carry_through(&inode))) {
            Ok(()) | Err(super::VfsError::Os(Errno::STALE | Errno::NOENT)) => {}
            Err(error) => return Err(error),
        }
        self.dequeue(&inode);
        self.table.sweep(inode);
        Ok(true)
    }

    fn begin_new_key(&self, inode: &Arc<Inode>) -> Result<()> {
        self.finish_rekey_now(inode)?;
        self.rekey_header(inode, |_| Ok(None))
    }

    fn dequeue(&self, inode: &Arc<Inode>) {
        let Some(owner) = self.try_owner() else {
            return;
        };
        let mut state = owner.jobs.state.lock();
        state.queue.retain(|job| !job.is_for(inode));
        owner.jobs.backlog.store(0, Ordering::Relaxed);
        if let Err(error) = self.keep_list(&state) {
            tracing::warn!(%error, "the list of unfinished key changes could not be written");
        }
    }

    /// One turn of the background thread. Says whether to go on.
    pub(super) fn rekey_once(&self) -> bool {
        let Some(owner) = self.try_owner() else {
            return false;
        };
        {
            let mut state = owner.jobs.state.lock();
            if state.queue.is_empty() && !state.stopping {
                owner.jobs.wake.wait_for(&mut state, TICK);
            }
            if state.stopping {
                return false;
            }
        }
        match self.rekey_step() {
            Ok(_) => true,
            Err(super::VfsError::Os(Errno::CANCELED)) => false,
            Err(error) => {
                tracing::warn!(%error, "a key change could not be carried through; it is tried again later");
                let mut state = owner.jobs.state.lock();
                if !state.stopping {
                    owner.jobs.wake.wait_for(&mut state, RETRY);
                }
                !state.stopping
            }
        }
    }

    pub(super) fn stop_rekeying(&self) {
        if let Some(owner) = self.try_owner() {
            owner.jobs.state.lock().stopping = true;
            owner.jobs.wake.notify_all();
        }
    }

    pub(super) fn refuse_if_stopping(&self) -> Result<()> {
        let stopping = self.owner()?.jobs.state.lock().stopping;
        if stopping {
            Err(Errno::CANCELED.into())
        } else {
            Ok(())
        }
    }

    /// Does what an object's header says there is to do: first the keys, then the signatures.
    pub(super) fn carry_through(&self, inode: &Arc<Inode>) -> Result<()> {
        match inode.kind() {
            Kind::Dir => {
                self.rekey_dir(inode)?;
                self.sign_tree(inode)
            }
            Kind::File => self.rekey_file(inode),
            Kind::Symlink | Kind::Special(_) | Kind::Other => Ok(()),
        }
    }
}

/// What does not verify cannot be sealed anew; it stays as unreadable as it is, and keeps nothing else waiting.
pub(super) fn pass_over_damage(result: Result<()>) -> Result<()> {
    if let Err(super::VfsError::Damaged(damage)) = &result {
        tracing::warn!(%damage, "something that does not verify keeps its old key");
        return Ok(());
    }
    result
}
