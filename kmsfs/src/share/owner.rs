//! The owner's side: what is granted to whom in this store.
//!
//! The records in the store are the truth; an index of them in memory answers
//! the attributes, which must not wait for a disk or a network.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use kms_client::{
    Kind, OwnerRecord, Records, Step, Threshold,
    record::{RecordError, Status},
};
use kms_crypto::{
    id::{LabelId, StoreId},
    key::{IdentitySecret, PublicKey, StoreKey},
};
use parking_lot::{Mutex, RwLock};

use super::{Network, People, Refused, audit::Told, follow::Leaving, settle::Worker};
use crate::vfs::{
    Ino, LabelInfo, Vfs,
    hooks::{self, Asker, Events, VerbError, Verbs},
};

/// Grants and revokes in one's own store.
pub struct Owner {
    pub(super) root: PathBuf,
    pub(super) store: StoreId,
    pub(super) key: StoreKey,
    pub(super) identity: Arc<IdentitySecret>,
    pub(super) vfs: Weak<Vfs>,
    pub(super) people: People,
    pub(super) network: Network,
    pub(super) threshold: Threshold,
    pub(super) worker: Worker,
    pub(super) left: Mutex<Vec<Leaving>>,
    pub(super) uid: u32,
    pub(super) tunnel: bool,
    records: Records,
    index: RwLock<Index>,
    busy: Mutex<HashMap<LabelId, Arc<Mutex<()>>>>,
    pub(super) told: Told,
    /// What was renamed while some label's place is not known yet.
    pub(super) moved: Mutex<VecDeque<Ino>>,
}

/// What an owner's side is made of.
pub struct Parts {
    /// The store's directory.
    pub root: PathBuf,
    /// The store.
    pub store: StoreId,
    /// Its key.
    pub key: StoreKey,
    /// The owner.
    pub identity: Arc<IdentitySecret>,
    /// The contacts.
    pub people: People,
    /// The way to the nodes.
    pub network: Network,
    /// The quorum of a grant that names none.
    pub threshold: Threshold,
    /// Who may use the verbs, besides root.
    pub uid: u32,
    /// Whether a file that replaces a shared one by being saved takes over its grants.
    pub tunnel: bool,
}

/// The records by label, oldest first.
#[derive(Default)]
struct Index {
    by_label: HashMap<LabelId, Vec<OwnerRecord>>,
}

impl Owner {
    /// Reads the records and begins to follow what happens in the filesystem.
    pub fn start(parts: Parts, vfs: &Arc<Vfs>) -> Result<Arc<Self>, Refused> {
        let records = Records::new(&parts.root, &parts.key, parts.store);
        let owner = Arc::new(Self {
            vfs: Arc::downgrade(vfs),
            root: parts.root,
            store: parts.store,
            key: parts.key,
            identity: parts.identity,
            people: parts.people,
            network: parts.network,
            threshold: parts.threshold,
            worker: Worker::new(),
            left: Mutex::default(),
            uid: parts.uid,
            tunnel: parts.tunnel,
            records,
            index: RwLock::default(),
            busy: Mutex::default(),
            told: Told::default(),
            moved: Mutex::default(),
        });
        owner.read_records()?;
        owner.worker.start(&owner)?;
        Ok(owner)
    }

    /// Reads all records anew.
    fn read_records(&self) -> Result<(), Refused> {
        let list = self.records.list()?;
        for (_, error) in &list.refused {
            tracing::warn!(%error, "a record of a grant is not believed");
        }
        let mut by_label: HashMap<LabelId, Vec<OwnerRecord>> = HashMap::new();
        for record in list.records {
            by_label.entry(record.label).or_default().push(record);
        }
        *self.index.write() = Index { by_label };
        Ok(())
    }

    pub(super) fn vfs(&self) -> Result<Arc<Vfs>, Refused> {
        self.vfs
            .upgrade()
            .ok_or_else(|| Refused::new(libc::EIO, "The store is being unmounted."))
    }

    /// Writes a record, in the store first.
    pub(super) fn put(&self, record: &OwnerRecord) -> Result<(), Refused> {
        self.records.put(record, &mut crate::random())?;
        let mut index = self.index.write();
        let list = index.by_label.entry(record.label).or_default();
        match list.iter_mut().find(|it| it.params == record.params) {
            Some(known) => *known = record.clone(),
            None => list.push(record.clone()),
        }
        Ok(())
    }

    /// Forgets a record.
    pub(super) fn forget(&self, record: &OwnerRecord) -> Result<(), Refused> {
        self.records.remove(&record.policy())?;
        let mut index = self.index.write();
        if let Some(list) = index.by_label.get_mut(&record.label) {
            list.retain(|it| it.params != record.params);
            if list.is_empty() {
                index.by_label.remove(&record.label);
            }
        }
        Ok(())
    }

    /// The records of a label, oldest first.
    pub(super) fn records_of(&self, label: &LabelId) -> Vec<OwnerRecord> {
        let index = self.index.read();
        index.by_label.get(label).cloned().unwrap_or_default()
    }

    /// All records.
    pub fn all_records(&self) -> Vec<OwnerRecord> {
        let index = self.index.read();
        let mut all: Vec<OwnerRecord> = index.by_label.values().flatten().cloned().collect();
        all.sort_by_key(|record| (path_of(&record.path), record.created));
        all
    }

    /// The grants of a label that are live, at most one for each person: the newest.
    pub(super) fn live_of(&self, label: &LabelId, now: u64) -> Vec<OwnerRecord> {
        let mut live: Vec<OwnerRecord> = Vec::new();
        for record in self.records_of(label) {
            if record.is_live(now) {
                live.retain(|it| it.params.recipient != record.params.recipient);
                live.push(record);
            }
        }
        live
    }

    /// The same, with those that are to end and have not been confirmed to.
    pub(super) fn readable_of(&self, label: &LabelId, now: u64) -> Vec<OwnerRecord> {
        let mut readable: Vec<OwnerRecord> = Vec::new();
        for record in self.records_of(label) {
            if may_read(&record, now) {
                readable.retain(|it| it.params.recipient != record.params.recipient);
                readable.push(record);
            }
        }
        readable
    }

    /// The labels with something that is to end.
    pub(super) fn withdrawing(&self) -> Vec<LabelId> {
        let index = self.index.read();
        let labels = index.by_label.iter();
        let labels = labels.filter(|(_, records)| records.iter().any(is_withdrawing));
        labels.map(|(label, _)| *label).collect()
    }

    /// Whether anything is shared at all: answers most listings without a look at the object.
    pub(super) fn shares_anything(&self, now: u64) -> bool {
        let index = self.index.read();
        let mut records = index.by_label.values().flatten();
        records.any(|record| may_read(record, now))
    }

    /// Held while a label's grants are changed, so that two verbs do not mix.
    pub(super) fn hold(&self, label: LabelId) -> Arc<Mutex<()>> {
        let mut busy = self.busy.lock();
        busy.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(busy.entry(label).or_default())
    }

    /// Only the mounting user and root use verbs: others who may look into the
    /// mount must not share what is in it.
    pub(super) fn check_asker(&self, asker: Asker) -> Result<(), Refused> {
        if asker.uid == self.uid || asker.uid == 0 {
            return Ok(());
        }
        Err(Refused::new(
            libc::EPERM,
            "Only the user who mounted the store shares what is in it.",
        ))
    }

    /// Finishes what is under way, for a while; called before the end.
    pub fn finish(&self, patience: std::time::Duration) {
        self.worker.finish(patience);
    }
}

impl Verbs for Owner {
    fn set(&self, ino: Ino, name: &str, value: &[u8], asker: Asker) -> Result<(), VerbError> {
        let result = match name {
            "grant" => self
                .check_asker(asker)
                .and_then(|()| self.grant(ino, value))
                .map(drop),
            "revoke" => self
                .check_asker(asker)
                .and_then(|()| self.revoke(ino, value))
                .map(drop),
            _ => super::info::write_back(name, value),
        };
        result.map_err(VerbError::from)
    }

    fn get(&self, ino: Ino, name: &str, asker: Asker) -> Result<Vec<u8>, VerbError> {
        let text = self.attribute(ino, name, asker).map_err(VerbError::from)?;
        Ok(text.into_bytes())
    }

    fn listed(&self, ino: Ino) -> bool {
        self.is_shared(ino)
    }
}

impl Events for Owner {
    fn watches(&self) -> bool {
        !self.index.read().by_label.is_empty()
    }

    fn moved(&self, moved: hooks::Moved) {
        let at = std::time::Instant::now();
        self.worker.send(super::settle::Job::Moved(moved, at));
    }

    fn replaced(&self, replaced: hooks::Replaced) {
        let job = if replaced.is_save && self.tunnel {
            super::settle::Job::Saved {
                label: replaced.label,
                by: replaced.by,
            }
        } else {
            super::settle::Job::End(replaced.label)
        };
        self.worker.send(job);
    }

    fn removed(&self, removed: hooks::Removed) {
        self.worker.send(super::settle::Job::Removed(removed));
    }
}

impl From<RecordError> for Refused {
    fn from(err: RecordError) -> Self {
        Self::new(libc::EIO, "The store's records of grants cannot be used.")
            .why(super::refusal::capital(&format!("{err}.")))
    }
}

/// What kind of thing a label stands on.
pub(super) fn kind(info: &LabelInfo) -> Kind {
    if info.is_dir { Kind::Dir } else { Kind::File }
}

/// A place in the store, as records and tickets have it.
pub(super) fn steps(path: Vec<hooks::PathStep>) -> Vec<Step> {
    path.into_iter()
        .map(|step| Step {
            plain: step.plain,
            backing: step.backing,
        })
        .collect()
}

/// A place in the store as a path relative to its root.
pub fn path_of(steps: &[Step]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let names = steps
        .iter()
        .map(|step| Path::new(std::ffi::OsStr::from_bytes(&step.plain)));
    names.collect()
}

/// Whether a record is to end, and the ledger has not confirmed it.
pub(super) fn is_withdrawing(record: &OwnerRecord) -> bool {
    matches!(record.status, Status::Revoking { .. })
}

/// Whether somebody can read by a record, or may be able to.
fn may_read(record: &OwnerRecord, now: u64) -> bool {
    record.is_live(now) || (is_withdrawing(record) && now < record.expiry)
}

/// Everybody but the one named in a list of people, for sentences.
pub(super) fn names(people: &People, keys: &[PublicKey]) -> String {
    let book = people.book_for_display();
    let names: Vec<String> = keys.iter().map(|key| book.display(key)).collect();
    match names.as_slice() {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
