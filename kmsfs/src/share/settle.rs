//! What follows a verb or a rename and must not hold it up: nodes delete
//! fragments, tickets learn new places, a saved file takes over its grants.
//! Two threads, so that a dead node does not hold up a ticket.

use std::{
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use kms_client::{OwnerRecord, record::Status, revoke::RevokeRequest};
use kms_crypto::id::LabelId;
use parking_lot::Mutex;

use super::{
    Owner, Refused,
    grant::{Terms, place},
    owner::path_of,
};
use crate::vfs::{
    Ino,
    hooks::{Moved, Removed},
};

/// Something to do afterwards.
pub(super) enum Job {
    /// A labelled object, or a directory above one, has a new place.
    Moved(Moved, Instant),
    /// A labelled file was replaced by being saved.
    Saved {
        /// The label it had.
        label: LabelId,
        /// The file that is there now.
        by: Ino,
    },
    /// A labelled object is gone.
    Removed(Removed),
    /// Its grants go with it.
    End(LabelId),
    /// The nodes delete the fragments of a policy that has ended.
    Delete(Box<OwnerRecord>),
    /// The same for a grant that failed half-way.
    TakeBack(Box<OwnerRecord>),
    /// A newer grant for the same person has taken this one's place.
    Supersede(Box<OwnerRecord>),
    /// What is to end and has not been confirmed to is tried again.
    Withdraw,
    /// The work of an earlier mount that was interrupted is finished.
    Resume,
    /// Nothing more comes.
    Stop(Sender<()>),
}

/// The two threads.
pub(super) struct Worker {
    local: Sender<Job>,
    remote: Sender<Job>,
    waiting: Mutex<Option<(Receiver<Job>, Receiver<Job>)>>,
}

impl Worker {
    pub(super) fn new() -> Self {
        let (local, local_jobs) = channel();
        let (remote, remote_jobs) = channel();
        Self {
            local,
            remote,
            waiting: Mutex::new(Some((local_jobs, remote_jobs))),
        }
    }

    pub(super) fn start(&self, owner: &Arc<Owner>) -> Result<(), Refused> {
        let Some((local, remote)) = self.waiting.lock().take() else {
            return Ok(());
        };
        let threads = [
            ("share-local", local, None),
            ("share-nodes", remote, Some(FIRST_RETRY)),
        ];
        for (name, jobs, retry) in threads {
            let owner = Arc::downgrade(owner);
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || work(&owner, &jobs, retry))
                .map_err(|err| Refused::new(libc::EIO, "No thread for sharing.").why(err))?;
        }
        self.send(Job::Resume);
        Ok(())
    }

    /// Hands over something to do; never waits.
    pub(super) fn send(&self, job: Job) {
        let to = match job {
            Job::Moved(..) | Job::Saved { .. } | Job::Removed(_) => &self.local,
            _ => &self.remote,
        };
        // After the end there is nobody to do it; the next mount resumes.
        let _ = to.send(job);
    }

    /// Waits until what was handed over is done, at most `patience` for each thread.
    pub(super) fn finish(&self, patience: Duration) {
        for to in [&self.local, &self.remote] {
            let (done, wait) = channel();
            if to.send(Job::Stop(done)).is_ok() {
                let _ = wait.recv_timeout(patience);
            }
        }
    }
}

/// How soon a withdrawal is tried again; each time after twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Does what it is given, and between that, if `retry` says so, what has not succeeded yet.
fn work(owner: &Weak<Owner>, jobs: &Receiver<Job>, retry: Option<Duration>) {
    let mut pause = retry.unwrap_or(LAST_RETRY);
    loop {
        let job = match jobs.recv_timeout(pause) {
            Ok(Job::Stop(done)) => {
                let _ = done.send(());
                return;
            }
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => Job::Withdraw,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Some(owner) = owner.upgrade() else { return };
        if matches!(job, Job::Withdraw) && (retry.is_none() || owner.withdrawing().is_empty()) {
            pause = retry.unwrap_or(LAST_RETRY);
            continue;
        }
        if matches!(job, Job::Withdraw) {
            pause = (pause * 2).min(LAST_RETRY);
        }
        if let Err(refused) = owner.settle(job) {
            // Names stay out of the log; whoever asks is told by `shares` and `status`.
            tracing::warn!(errno = refused.errno, "sharing work is left for later");
        }
    }
}

impl Owner {
    fn settle(&self, job: Job) -> Result<(), Refused> {
        match job {
            Job::Moved(moved, at) => {
                self.note_leaving(&moved, at);
                self.follow_move(moved.ino)
            }
            Job::Saved { label, by } => self.follow_save(label, by),
            Job::Removed(removed) => self.follow_removal(removed),
            Job::End(label) => self.end_all(&label),
            Job::Delete(record) => self.delete_fragments(*record),
            Job::TakeBack(record) => self.take_back(&record),
            Job::Supersede(record) => self.supersede(&record),
            Job::Withdraw => self.withdraw_again().map(drop),
            Job::Resume => self.resume(),
            Job::Stop(_) => Ok(()),
        }
    }

    /// Has the nodes delete what they hold for an ended policy, and writes down
    /// who has confirmed it.
    fn delete_fragments(&self, mut record: OwnerRecord) -> Result<(), Refused> {
        if record.nodes.is_empty() {
            return Ok(());
        }
        let removal = self.remove(&record, 0)?;
        let Status::Revoked { at, epoch, .. } = record.status else {
            return Ok(());
        };
        let leaves_quorum = removal.leaves_quorum();
        record.status = Status::Revoked {
            at,
            epoch,
            removed: removal.removed,
        };
        self.put(&record)?;
        if leaves_quorum {
            self.renew(&record)?;
        }
        Ok(())
    }

    /// Has the nodes that can be reached delete what they hold for a policy that is to end.
    pub(super) fn ask_to_delete(&self, record: &OwnerRecord) {
        if !record.nodes.is_empty()
            && let Err(refused) = self.remove(record, 0)
        {
            tracing::debug!(errno = refused.errno, "no node could be asked");
        }
    }

    fn remove(
        &self,
        record: &OwnerRecord,
        epoch: u32,
    ) -> Result<kms_client::revoke::Removal, Refused> {
        let client = self.network.client()?;
        Ok(client.remove_fragments(&RevokeRequest {
            ledger_key: &self.key.ledger_key(&record.params.salt),
            params: record.params,
            threshold: record.threshold()?,
            nodes: &record.nodes,
            epoch,
        }))
    }

    /// Nodes that may have kept their fragments are enough to help a reader who was cut off: the
    /// label gets another delegating key, for which those fragments are worth nothing. The others
    /// get new fragments first, so that nobody is left without any.
    fn renew(&self, ended: &OwnerRecord) -> Result<(), Refused> {
        let vfs = self.vfs()?;
        let Ok(ino) = vfs.resolve(&path_of(&ended.path)) else {
            return Ok(());
        };
        let lock = self.hold(ended.label);
        let _held = lock.lock();
        let Some(mut info) = vfs.label_of(ino)? else {
            return Ok(());
        };
        if info.label != ended.label || info.generation != ended.generation {
            return Ok(());
        }
        info.generation = info.generation.saturating_add(1);
        info.key = self
            .key
            .delegating_key_for(info.scheme, &info.label, info.generation)?
            .public();
        let (now, client) = (crate::time::now(), self.network.client()?);
        let path = place(&vfs, ino)?;
        for reader in self.live_of(&info.label, now) {
            let terms = Terms {
                client: &client,
                info: &info,
                path: &path,
                threshold: reader.threshold()?,
                expiry: reader.expiry,
                now,
            };
            self.grant_one(&terms, reader.params.recipient)?;
        }
        vfs.renew_label(ino)?;
        Ok(())
    }

    /// Ends a policy that stands in nobody's way, without a new secret: the
    /// same person can read by another one, or nobody ever could by this one.
    fn supersede(&self, record: &OwnerRecord) -> Result<(), Refused> {
        let client = self.network.client()?;
        let request = RevokeRequest {
            ledger_key: &self.key.ledger_key(&record.params.salt),
            params: record.params,
            threshold: record.threshold()?,
            nodes: &record.nodes,
            epoch: self.known_epoch(&record.label),
        };
        if record.expiry > crate::time::now() {
            client.record_revocation(&request)?;
        }
        client.remove_fragments(&request);
        self.forget(record)
    }

    /// A grant that failed before its entry was in the ledger, as far as was seen.
    fn take_back(&self, record: &OwnerRecord) -> Result<(), Refused> {
        // If the entry got there after all, it has to be ended; if not, the ledger
        // refuses to end what never was, and the fragments are worth nothing.
        match self.supersede(record) {
            Ok(()) => Ok(()),
            Err(refused) if refused.errno == libc::EHOSTUNREACH => Err(refused),
            Err(_) => self.forget(record),
        }
    }

    /// The highest epoch the records name for a label.
    pub(super) fn known_epoch(&self, label: &LabelId) -> u32 {
        let records = self.records_of(label);
        let epochs = records.iter().map(|record| match record.status {
            Status::Revoked { epoch, .. } => epoch,
            _ => 1,
        });
        epochs.max().unwrap_or(1)
    }

    /// The labelled object is gone: nobody needs its grants any more.
    fn end_all(&self, label: &LabelId) -> Result<(), Refused> {
        let now = crate::time::now();
        for record in self.records_of(label) {
            let owner = &self.identity;
            let recipient = &record.params.recipient;
            kms_client::ticket::remove_ticket(&self.root, owner, self.store, recipient, label)?;
            match record.status {
                Status::Revoked { .. } => self.forget(&record)?,
                _ if record.expiry <= now => self.forget(&record)?,
                _ => self.supersede(&record)?,
            }
        }
        Ok(())
    }

    /// Finishes what an earlier mount began: grants without an end, revocations
    /// whose fragments are still out, secrets not yet renewed.
    fn resume(&self) -> Result<(), Refused> {
        let now = crate::time::now();
        for record in self.all_records() {
            match &record.status {
                Status::Preparing if self.network.is_set_up() => self.take_back(&record)?,
                Status::Revoked { epoch, removed, .. } => {
                    self.renew_if_behind(&record, *epoch)?;
                    let complete = removed.len() >= record.nodes.len();
                    if !complete && record.expiry > now && self.network.is_set_up() {
                        self.delete_fragments(record)?;
                    }
                }
                Status::Live { .. } if self.is_superseded(&record) && self.network.is_set_up() => {
                    self.supersede(&record)?;
                }
                _ => {}
            }
        }
        if !self.withdrawing().is_empty() {
            self.withdraw_again()?;
        }
        Ok(())
    }

    /// Whether a newer grant for the same person stands in this one's place.
    fn is_superseded(&self, record: &OwnerRecord) -> bool {
        self.standing(&record.label).iter().any(|other| {
            matches!(other.status, Status::Live { .. })
                && other.params.recipient == record.params.recipient
                && other.sequence > record.sequence
        })
    }

    /// A crash between the ledger's entry and the new secret: nothing more may be
    /// written under the old one.
    fn renew_if_behind(&self, record: &OwnerRecord, epoch: u32) -> Result<(), Refused> {
        let vfs = self.vfs()?;
        let Ok(ino) = vfs.resolve(&path_of(&record.path)) else {
            return Ok(());
        };
        let lock = self.hold(record.label);
        let _held = lock.lock();
        match vfs.label_of(ino)? {
            Some(info) if info.label == record.label && info.epoch < epoch => {
                vfs.rotate(ino)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The policies of a label that stand, for whoever moves it.
    pub(super) fn standing(&self, label: &LabelId) -> Vec<OwnerRecord> {
        let mut records = self.records_of(label);
        records.retain(OwnerRecord::is_pending_or_live);
        records
    }
}
