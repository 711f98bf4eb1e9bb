//! Who asked for which policy when, for its owner: chained for each policy (WIRE §3.3, NODE §4).
//!
//! Nothing here can be taken back unnoticed by an owner who has looked before. A node that lies from the beginning is not
//! found out by this. What an owner is told is on the disk first: after a power cut an honest node would else look like
//! one that has taken something back. What had to be dropped is said: no policy takes more than its share.

mod shelf;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::Path;

use kms_crypto::id::PolicyId;
use kms_crypto::key::PublicKey;
use kms_proto::message::{AuditEntry, MAX_AUDIT_ENTRIES, audit_hash};
use parking_lot::Mutex;

use self::shelf::{Chain, Change, Database, Shelf};
use crate::store::StoreError;
use crate::store::database::Handle;

/// So many entries of one policy are kept at most: its share.
const SHARE: u64 = 1 << 14;
/// So many of all policies, about 1.4 GiB on the disk. When there are more, everybody's share is halved.
const ENTRIES: u64 = 1 << 21;
/// How long entries are kept after their policy's end.
pub(crate) const KEPT_SECONDS: u64 = 90 * 24 * 60 * 60;
/// So many may wait for the disk.
const WAITING: usize = 1 << 16;
/// Of so many policies what has been asked within the minute is in mind.
const RECENT: usize = 1 << 14;
/// So many chains are looked at in one go.
const CHAINS_AT_ONCE: usize = 1 << 12;
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Room for entries in one report.
const REPORT_BYTES: usize = 48 * 1024;
const MINUTE: u64 = 60;
/// Somebody whose answer was lost asks for the same again within this time (WIRE §5).
const SAME_SECONDS: u64 = 10;

/// What is to be noted.
#[derive(Clone, Copy, Debug)]
pub struct AuditNote {
    /// When, Unix seconds.
    pub at: u64,
    /// Who asked.
    pub recipient: PublicKey,
    /// `ok`, or the refusal's name.
    pub outcome: &'static str,
    /// For how many capsules.
    pub capsules: usize,
    /// A hash of what was asked, if it may be asked again because an answer was lost.
    pub content: Option<[u8; 32]>,
}

/// A part of what was noted about one policy.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Extract {
    /// The number of the oldest entry that is kept.
    pub first: u64,
    /// How many entries there were in all.
    pub total: u64,
    /// How many notes, of whatever policy, could not be kept since the node has started.
    pub lost: u64,
    /// The hash before the first one here.
    pub prev: [u8; 32],
    /// Encoded entries.
    pub entries: Vec<Vec<u8>>,
}

/// How full the log is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fill {
    /// How many entries there are.
    pub entries: u64,
    /// How many of one policy are kept.
    pub share: u64,
    /// How many notes could not be kept since the node has started.
    pub lost: u64,
}

/// The log.
pub struct AuditLog {
    shelf: Box<dyn Shelf>,
    desk: Mutex<Desk>,
    /// Held by whoever writes to the shelf.
    room: Mutex<Room>,
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditLog").finish_non_exhaustive()
    }
}

/// What is not on the shelf yet.
#[derive(Default)]
struct Desk {
    recent: HashMap<PolicyId, Recent>,
    waiting: Vec<(PolicyId, AuditEntry)>,
    lost: u64,
    failed: bool,
}

/// What was last asked about a policy.
struct Recent {
    /// When, the latest time.
    at: u64,
    content: Option<[u8; 32]>,
    recipient: PublicKey,
    outcome: &'static str,
    /// The latest of those that were like it; none of them has an entry. It counts the others.
    repeated: Option<AuditEntry>,
}

impl Recent {
    /// How many have no entry.
    /// Whether it is the same request, made once more.
    fn is_repeated_by(&self, note: &AuditNote) -> bool {
        self.is_like(note)
            && self.content.is_some()
            && self.content == note.content
            && note.at <= self.at + SAME_SECONDS
    }

    fn is_like(&self, note: &AuditNote) -> bool {
        self.recipient == note.recipient && self.outcome == note.outcome
    }

    fn is_over(&self, now: u64) -> bool {
        self.at / MINUTE < now / MINUTE && self.at + SAME_SECONDS < now
    }

    fn unwritten(&self) -> u64 {
        self.repeated.as_ref().map_or(0, |it| it.before + 1)
    }
}

impl Desk {
    /// Gives those that were only counted an entry, of the minutes that are over.
    fn close(&mut self, is_over: impl Fn(&Recent) -> bool) {
        let over = self.recent.extract_if(|_, it| is_over(it));
        let repeated: Vec<_> = over
            .filter_map(|(policy, it)| Some((policy, it.repeated?)))
            .collect();
        for (policy, entry) in repeated {
            self.put(policy, entry);
        }
    }

    fn put(&mut self, policy: PolicyId, entry: AuditEntry) {
        if self.waiting.len() < WAITING {
            self.waiting.push((policy, entry));
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

/// How much is on the shelf, and how much may be.
#[derive(Debug)]
struct Room {
    entries: u64,
    most: u64,
    share: u64,
    /// The share became smaller, and what is after this policy has yet to be cut.
    cutting: Option<Option<PolicyId>>,
    /// What is after this policy is looked at next.
    tending: Option<PolicyId>,
}

impl AuditLog {
    /// A log that ends with the process.
    pub fn in_memory() -> Self {
        Self::on(Box::<shelf::Memory>::default(), 0)
    }

    /// Opens the file, or makes it. One that is damaged is put aside.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let handle = match Handle::open(path.to_owned(), CACHE_BYTES) {
            Err(error) if is_damage(&error) => {
                tracing::error!(%error, "the audit log is damaged and put aside");
                fs::rename(path, path.with_extension("damaged"))?;
                Handle::open(path.to_owned(), CACHE_BYTES)?
            }
            opened => opened?,
        };
        let shelf = Database::on(handle)?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        let entries = shelf.sum()?;
        Ok(Self::on(Box::new(shelf), entries))
    }

    fn on(shelf: Box<dyn Shelf>, entries: u64) -> Self {
        let room = Room {
            entries,
            most: ENTRIES,
            share: SHARE,
            cutting: None,
            tending: None,
        };
        Self {
            shelf,
            desk: Mutex::default(),
            room: Mutex::new(room),
        }
    }

    /// Notes one request; durable later. Repetitions within a minute are counted, and told with the next entry.
    pub fn note(&self, policy: &PolicyId, note: &AuditNote) {
        let mut desk = self.desk.lock();
        let mut entry = AuditEntry {
            at: note.at,
            recipient: note.recipient,
            outcome: note.outcome.to_owned(),
            capsules: u32::try_from(note.capsules).unwrap_or(u32::MAX),
            before: 0,
        };
        if let Some(last) = desk.recent.get_mut(policy) {
            if last.is_repeated_by(note) {
                return;
            }
            entry.before = last.unwritten();
            if last.is_like(note) && last.at / MINUTE == note.at / MINUTE {
                (last.at, last.content) = (note.at, note.content);
                last.repeated = Some(entry);
                return;
            }
        } else if desk.recent.len() >= RECENT {
            desk.close(|_| true);
        }
        let recent = Recent {
            at: note.at,
            content: note.content,
            recipient: note.recipient,
            outcome: note.outcome,
            repeated: None,
        };
        desk.recent.insert(*policy, recent);
        desk.put(*policy, entry);
    }

    /// Gives those that were only counted an entry: nobody counts on.
    pub fn finish(&self) {
        self.desk.lock().close(|_| true);
        self.write();
    }

    /// Makes durable what was noted, and goes on cutting what is more than a policy's share. Blocks on the disk.
    pub fn sync(&self, now: u64) {
        self.desk.lock().close(|it| it.is_over(now));
        self.write();
        let cut = self.cut_some();
        if let Err(error) = cut {
            tracing::error!(%error, "the audit log cannot be cut");
        }
    }

    fn write(&self) {
        let mut room = self.room.lock();
        let waiting = std::mem::take(&mut self.desk.lock().waiting);
        if waiting.is_empty() {
            return;
        }
        let written = self.append(&mut room, &waiting);
        let mut desk = self.desk.lock();
        match written {
            Ok(lost) => {
                desk.failed = false;
                desk.lost = desk.lost.saturating_add(lost);
            }
            Err(error) => {
                if !desk.failed {
                    tracing::error!(%error, "the audit log cannot be written");
                }
                desk.failed = true;
                let later = std::mem::replace(&mut desk.waiting, waiting);
                for (policy, entry) in later {
                    desk.put(policy, entry);
                }
            }
        }
    }

    /// Writes entries to the ends of their chains. How many have found no room.
    fn append(
        &self,
        room: &mut Room,
        waiting: &[(PolicyId, AuditEntry)],
    ) -> Result<u64, StoreError> {
        let mut chains: BTreeMap<PolicyId, Chain> = BTreeMap::new();
        let mut changes = Vec::with_capacity(waiting.len());
        let (mut entries, mut lost) = (room.entries, 0);
        for (policy, entry) in waiting {
            let chain = match chains.get_mut(policy) {
                Some(chain) => chain,
                None => {
                    let known = self.shelf.chain(policy)?;
                    // Nobody has more than one any more: others keep theirs.
                    if known.is_none() && entries >= room.most && room.share <= 1 {
                        lost += 1;
                        continue;
                    }
                    chains.entry(*policy).or_insert(known.unwrap_or_default())
                }
            };
            let bytes = entry.to_bytes();
            let kept = [&chain.hash[..], &bytes].concat();
            changes.push(Change::Add(*policy, chain.total, kept));
            chain.hash = audit_hash(&chain.hash, &bytes);
            chain.total += 1;
            chain.last_at = chain.last_at.max(entry.at);
            entries += 1;
        }
        for (policy, mut chain) in chains {
            entries -= cut(&mut changes, policy, &mut chain, room.share);
            changes.push(Change::Set(policy, chain));
        }
        self.shelf.apply(&changes, entries)?;
        room.entries = entries;
        Ok(lost)
    }

    /// Makes room, some of it: everybody's share is halved as often as it takes.
    fn cut_some(&self) -> Result<(), StoreError> {
        let mut room = self.room.lock();
        if room.cutting.is_none() {
            if room.entries <= room.most || room.share <= 1 {
                return Ok(());
            }
            room.share /= 2;
            tracing::warn!(
                share = room.share,
                "the audit log is full: of each policy so many entries are kept"
            );
            room.cutting = Some(None);
        }
        let some = self.shelf.chains(room.cutting.flatten(), CHAINS_AT_ONCE)?;
        let next = some.last().map(|(policy, _)| *policy);
        let (mut changes, mut entries) = (Vec::new(), room.entries);
        for (policy, mut chain) in some {
            let dropped = cut(&mut changes, policy, &mut chain, room.share);
            if dropped > 0 {
                entries -= dropped;
                changes.push(Change::Set(policy, chain));
            }
        }
        if !changes.is_empty() {
            self.shelf.apply(&changes, entries)?;
        }
        room.entries = entries;
        room.cutting = next.map(Some);
        Ok(())
    }

    /// Looks at some chains, and forgets those of which `is_over` says so; it is told when the last entry was made. Blocks.
    pub fn tend(&self, is_over: impl Fn(&PolicyId, u64) -> bool) -> Result<(), StoreError> {
        let after = self.room.lock().tending;
        let some = self.shelf.chains(after, CHAINS_AT_ONCE)?;
        let next = some.last().map(|(policy, _)| *policy);
        let over = some.iter().filter(|(id, chain)| is_over(id, chain.last_at));
        let over: Vec<_> = over.map(|(policy, _)| *policy).collect();
        let mut room = self.room.lock();
        let (mut changes, mut entries) = (Vec::new(), room.entries);
        for policy in over {
            let Some(chain) = self.shelf.chain(&policy)? else {
                continue;
            };
            entries -= chain.kept().min(entries);
            changes.push(Change::Cut(policy, chain.first..chain.total));
            changes.push(Change::Forget(policy));
        }
        if !changes.is_empty() {
            self.shelf.apply(&changes, entries)?;
        }
        room.entries = entries;
        room.tending = next;
        if room.cutting.is_none() && room.entries < room.most / 4 {
            room.share = SHARE.min(room.share * 2);
        }
        Ok(())
    }

    /// The entries of a policy from number `from` on that are durable, as many as fit into a report. Blocks on the disk.
    pub fn extract(&self, policy: &PolicyId, from: u64) -> Result<Extract, StoreError> {
        self.write();
        let lost = self.desk.lock().lost;
        // Nothing is cut while it is read.
        let _room = self.room.lock();
        let chain = self.shelf.chain(policy)?.unwrap_or_default();
        let from = from.max(chain.first);
        let most = u64::try_from(MAX_AUDIT_ENTRIES).unwrap_or(u64::MAX);
        let to = chain.total.min(from.saturating_add(most));
        let mut extract = Extract {
            first: chain.first,
            total: chain.total,
            lost,
            prev: chain.hash,
            entries: Vec::new(),
        };
        let mut room = REPORT_BYTES;
        for kept in self.shelf.entries(policy, from..to)? {
            let damaged = || StoreError::Damaged(*policy);
            let (before, entry) = kept.split_first_chunk::<32>().ok_or_else(damaged)?;
            let Some(left) = room.checked_sub(entry.len() + 5) else {
                break;
            };
            room = left;
            if extract.entries.is_empty() {
                extract.prev = *before;
            }
            extract.entries.push(entry.to_vec());
        }
        Ok(extract)
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        let lost = self.desk.lock().lost;
        let room = self.room.lock();
        Fill {
            entries: room.entries,
            share: room.share,
            lost,
        }
    }
}

/// Drops the oldest entries of a chain that has more than its share, and some more, so that it is not cut again at once.
/// How many.
fn cut(changes: &mut Vec<Change>, policy: PolicyId, chain: &mut Chain, share: u64) -> u64 {
    if chain.kept() <= share {
        return 0;
    }
    let first = chain.total - (share - share / 8);
    let dropped = chain.first..first;
    let count = first - chain.first;
    chain.first = first;
    changes.push(Change::Cut(policy, dropped));
    count
}

fn is_damage(error: &StoreError) -> bool {
    match error {
        StoreError::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        StoreError::Database(error) => matches!(
            error.downcast_ref(),
            Some(redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_))
        ),
        _ => false,
    }
}
