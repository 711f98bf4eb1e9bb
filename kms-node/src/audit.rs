//! Who asked for which policy when, for its owner: appended to one file, chained for each policy (WIRE §3.3, NODE §4).
//!
//! Nothing here can be taken back unnoticed by an owner who has looked before. A node that lies from the beginning is not
//! found out by this. What an owner is told is on the disk first: after a power cut an honest node would else look like
//! one that has taken something back.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use kms_crypto::id::PolicyId;
use kms_crypto::key::PublicKey;
use kms_proto::message::{AuditEntry, MAX_AUDIT_ENTRIES, audit_hash};
use parking_lot::Mutex;

/// What a frame has beside the entry: policy, length, checksum.
const OVERHEAD_BYTES: usize = 32 + 2 + 4;
const CHECKSUM_BYTES: u64 = 4;
/// At this size nothing is added any more.
const MAX_BYTES: u64 = 1 << 30;
/// Room for entries in one report.
const REPORT_BYTES: usize = 48 * 1024;
const MINUTE: u64 = 60;

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
}

/// A part of what was noted about one policy.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Extract {
    /// How many entries there are in all.
    pub total: u64,
    /// The hash before the first one here.
    pub prev: [u8; 32],
    /// Encoded entries.
    pub entries: Vec<Vec<u8>>,
}

/// The log.
#[derive(Debug)]
pub struct AuditLog(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    /// None for a log in memory.
    file: Option<Arc<File>>,
    memory: Vec<u8>,
    end: u64,
    /// What stands before this is on the disk.
    durable: u64,
    policies: HashMap<PolicyId, Chain>,
    failed: bool,
    /// The disk has not taken what stands between `durable` and the end, and may have forgotten that it has not.
    unsynced: bool,
}

/// The entries of one policy.
#[derive(Debug, Default)]
struct Chain {
    /// Of each entry, where it stands, how long it is, and the hash before it.
    entries: Vec<(u64, u16, [u8; 32])>,
    hash: [u8; 32],
    last: Option<AuditEntry>,
    /// The latest of those that were like the last one; none of them has an entry. It counts the others.
    repeated: Option<AuditEntry>,
}

impl Chain {
    /// How many have no entry.
    fn unwritten(&self) -> u64 {
        self.repeated.as_ref().map_or(0, |it| it.before + 1)
    }
}

impl AuditLog {
    /// A log that ends with the process.
    pub fn in_memory() -> Self {
        Self(Mutex::default())
    }

    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let mut log = Log::default();
        let mut rest = bytes.as_slice();
        while let Some((policy, entry, after)) = frame(rest) {
            log.take(&policy, entry);
            rest = after;
        }
        // A crash leaves one frame that is not whole. More than the longest one is something else.
        if rest.len() > OVERHEAD_BYTES + usize::from(u16::MAX) || is_damaged(rest) {
            tracing::error!("the audit log is damaged and put aside");
            fs::write(path.with_extension("damaged"), &bytes)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        file.set_len(log.end)?;
        // What a process has left that was killed is here, and may not be on the disk.
        file.sync_all()?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        log.durable = log.end;
        log.file = Some(Arc::new(file));
        Ok(Self(Mutex::new(log)))
    }

    /// Notes one request. Repetitions within a minute are counted, and told with the next entry.
    pub fn note(&self, policy: &PolicyId, note: &AuditNote) {
        let mut log = self.0.lock();
        let chain = log.policies.entry(*policy).or_default();
        let is_like = |last: &AuditEntry| {
            last.at / MINUTE == note.at / MINUTE
                && last.recipient == note.recipient
                && last.outcome == note.outcome
        };
        let entry = AuditEntry {
            at: note.at,
            recipient: note.recipient,
            outcome: note.outcome.to_owned(),
            capsules: u32::try_from(note.capsules).unwrap_or(u32::MAX),
            before: chain.unwritten(),
        };
        if chain.last.as_ref().is_some_and(is_like) {
            chain.repeated = Some(entry);
        } else {
            log.write(policy, &entry);
        }
    }

    /// Gives those that were only counted an entry: nobody counts on.
    pub fn finish(&self) {
        let mut log = self.0.lock();
        let repeated = log.policies.iter();
        let repeated =
            repeated.filter_map(|(policy, chain)| Some((*policy, chain.repeated.clone()?)));
        for (policy, entry) in repeated.collect::<Vec<_>>() {
            log.write(&policy, &entry);
        }
        drop(log);
        self.sync();
    }

    /// Makes durable what was noted. Blocks on the disk; nobody else waits for it.
    pub fn sync(&self) {
        let (file, from, end, again) = {
            let log = self.0.lock();
            let Some(file) = log.file.clone().filter(|_| log.durable < log.end) else {
                return;
            };
            (file, log.durable, log.end, log.unsynced)
        };
        let written = if again {
            write_again(&file, from, end)
        } else {
            Ok(())
        };
        let synced = written.and_then(|()| file.sync_data());
        let mut log = self.0.lock();
        match synced {
            Ok(()) => {
                log.durable = log.durable.max(end);
                log.unsynced = false;
            }
            Err(error) => {
                if !log.unsynced {
                    tracing::error!(%error, "the audit log is not made durable");
                }
                log.unsynced = true;
            }
        }
    }

    /// The entries of a policy from number `from` on that are durable, as many as fit into a report. Blocks on the disk.
    pub fn extract(&self, policy: &PolicyId, from: u64) -> io::Result<Extract> {
        let mut log = self.0.lock();
        let last = log.policies.get(policy).and_then(|it| it.entries.last());
        if last.is_some_and(|it| !log.is_durable(it)) {
            drop(log);
            self.sync();
            log = self.0.lock();
        }
        let Some(chain) = log.policies.get(policy) else {
            return Ok(Extract::default());
        };
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        let durable = chain.entries.partition_point(|it| log.is_durable(it));
        let wanted = chain.entries[..durable].get(skip..).unwrap_or_default();
        let next = chain.entries.get(skip);
        let mut extract = Extract {
            total: u64::try_from(durable).unwrap_or(u64::MAX),
            prev: next.map_or(chain.hash, |(_, _, before)| *before),
            entries: Vec::new(),
        };
        let mut room = REPORT_BYTES;
        for (at, length, _) in wanted.iter().take(MAX_AUDIT_ENTRIES) {
            let Some(left) = room.checked_sub(usize::from(*length) + 5) else {
                break;
            };
            room = left;
            extract.entries.push(log.read(*at, *length)?);
        }
        Ok(extract)
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        let log = self.0.lock();
        log.policies.values().map(|chain| chain.entries.len()).sum()
    }
}

impl Log {
    fn is_durable(&self, (at, length, _): &(u64, u16, [u8; 32])) -> bool {
        self.file.is_none() || at + u64::from(*length) + CHECKSUM_BYTES <= self.durable
    }

    fn write(&mut self, policy: &PolicyId, entry: &AuditEntry) {
        match self.append(policy, &entry.to_bytes()) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(%error, "the audit log cannot be written");
            }
            Err(_) => {}
        }
    }

    fn append(&mut self, policy: &PolicyId, entry: &[u8]) -> io::Result<()> {
        if self.end >= MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = u16::try_from(entry.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(entry.len() + OVERHEAD_BYTES);
        bytes.extend_from_slice(policy.as_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        match &self.file {
            Some(file) => file.write_all_at(&bytes, self.end)?,
            None => self.memory.write_all(&bytes)?,
        }
        self.take(policy, entry);
        Ok(())
    }

    fn take(&mut self, policy: &PolicyId, entry: &[u8]) {
        let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
        let chain = self.policies.entry(*policy).or_default();
        let at = self.end + 34;
        chain.entries.push((at, length, chain.hash));
        chain.hash = audit_hash(&chain.hash, entry);
        chain.last = AuditEntry::from_bytes(entry).ok();
        chain.repeated = None;
        self.end += u64::from(length) + OVERHEAD_BYTES as u64;
    }

    fn read(&self, at: u64, length: u16) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::from(length)];
        match &self.file {
            Some(file) => file.read_exact_at(&mut bytes, at)?,
            None => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                let found = self.memory.get(at..at + bytes.len());
                bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
        }
        Ok(bytes)
    }
}

/// Writes a part of the file once more: a disk that has failed takes it for written.
fn write_again(file: &File, from: u64, end: u64) -> io::Result<()> {
    let mut piece = [0; 4096];
    let mut at = from;
    while at < end {
        let length = piece
            .len()
            .min(usize::try_from(end - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut piece[..length], at)?;
        file.write_all_at(&piece[..length], at)?;
        at += length as u64;
    }
    Ok(())
}

/// The first frame, if it is whole and sound: its policy, its entry, and what comes after it.
fn frame(bytes: &[u8]) -> Option<(PolicyId, &[u8], &[u8])> {
    let (policy, rest) = bytes.split_first_chunk::<32>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (entry, rest) = rest.split_at_checked(length)?;
    let (checksum, after) = rest.split_first_chunk::<4>()?;
    let sound = crc32c::crc32c(bytes.get(..34 + length)?) == u32::from_be_bytes(*checksum);
    sound.then_some((PolicyId(*policy), entry, after))
}

/// Whether bytes that are no frame are more than the beginning of one.
fn is_damaged(bytes: &[u8]) -> bool {
    let length = bytes
        .get(32..34)
        .and_then(|length| length.try_into().ok())
        .map(u16::from_be_bytes);
    length.is_some_and(|length| bytes.len() > OVERHEAD_BYTES + usize::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use kms_crypto::key::IdentitySecret;
    use kms_proto::message::Audited;

    fn note(at: u64, outcome: &'static str, recipient: PublicKey) -> AuditNote {
        AuditNote {
            at,
            recipient,
            outcome,
            capsules: 1,
        }
    }

    #[test]
    fn entries_are_chained_and_there_again_and_a_torn_end_costs_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let bob = IdentitySecret::generate(&mut rng()).public();
        let (one, other) = (PolicyId([1; 32]), PolicyId([2; 32]));
        let log = AuditLog::open(&path).unwrap();
        log.note(&one, &note(0, "ok", bob));
        log.note(&other, &note(1, "ok", bob));
        log.note(&one, &note(2, "ok", bob));
        log.note(&one, &note(3, "ok", bob));
        log.note(&one, &note(60, "revoked", bob));
        drop(log);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&[1; 50]).unwrap();
        let log = AuditLog::open(&path).unwrap();
        log.note(&one, &note(120, "ok", bob));
        drop(log);
        let log = AuditLog::open(&path).unwrap();
        let all = log.extract(&one, 0).unwrap();
        let report = |extract: &Extract, from| Audited {
            network: "test".to_owned(),
            node: bob,
            policy: one,
            at: 0,
            from,
            total: extract.total,
            prev: extract.prev,
            entries: extract.entries.iter().cloned().map(Into::into).collect(),
        };
        let (entries, after) = report(&all, 0).entries_after(&[0; 32]).unwrap();
        let told: Vec<_> = entries
            .iter()
            .map(|it| (it.at, it.outcome.as_str(), it.before))
            .collect();
        assert_eq!(told, [(0, "ok", 0), (60, "revoked", 2), (120, "ok", 0)]);
        // Who has seen the first one can tell that the rest goes on from it.
        let first = audit_hash(&[0; 32], &all.entries[0]);
        let rest = log.extract(&one, 1).unwrap();
        assert_eq!(report(&rest, 1).entries_after(&first).unwrap().1, after);
        assert!(report(&rest, 1).entries_after(&after).is_err());
        assert!(!path.with_extension("damaged").exists());
    }

    /// A report was of what had been appended. A power cut took the last seconds of it away, and who had been told
    /// found an honest node to have altered what it said.
    #[test]
    fn an_owner_is_told_nothing_that_a_power_cut_takes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let bob = IdentitySecret::generate(&mut rng()).public();
        let policy = PolicyId([1; 32]);
        let log = AuditLog::open(&path).unwrap();
        log.note(&policy, &note(0, "ok", bob));
        log.sync();
        log.note(&policy, &note(60, "ok", bob));
        let before = log.0.lock().durable;
        assert_eq!(log.extract(&policy, 0).unwrap().total, 2);
        let after = log.0.lock().durable;
        assert!(before < after, "told before it was durable");
        // A disk that refuses to sync.
        log.note(&policy, &note(120, "ok", bob));
        let broken = OpenOptions::new().read(true).open("/dev/zero").unwrap();
        let sound = log.0.lock().file.replace(Arc::new(broken)).unwrap();
        log.sync();
        assert!(log.0.lock().unsynced);
        log.0.lock().file = Some(sound);
        {
            let log = log.0.lock();
            let entries = &log.policies[&policy].entries;
            assert!(log.is_durable(&entries[1]) && !log.is_durable(&entries[2]));
        }
        // It is whole again, and nothing was lost.
        assert_eq!(log.extract(&policy, 2).unwrap().entries.len(), 1);
        let told = log.extract(&policy, 0).unwrap();
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(log.0.lock().durable)
            .unwrap();
        drop(log);
        assert_eq!(
            AuditLog::open(&path).unwrap().extract(&policy, 0).unwrap(),
            told
        );
    }

    /// How often somebody had repeated a request was told with the next entry, and forgotten when the node stopped.
    #[test]
    fn what_was_only_counted_is_there_when_a_node_has_stopped_and_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let bob = IdentitySecret::generate(&mut rng()).public();
        let policy = PolicyId([1; 32]);
        let log = AuditLog::open(&path).unwrap();
        for at in [0, 1, 2, 5] {
            log.note(&policy, &note(at, "ok", bob));
        }
        log.finish();
        drop(log);
        let log = AuditLog::open(&path).unwrap();
        log.note(&policy, &note(7, "ok", bob));
        log.note(&policy, &note(61, "ok", bob));
        let entries = log.extract(&policy, 0).unwrap().entries;
        let told = entries.iter().map(|it| AuditEntry::from_bytes(it).unwrap());
        let told: Vec<_> = told.map(|it| (it.at, it.before)).collect();
        assert_eq!(told, [(0, 0), (5, 2), (61, 1)]);
    }

    #[test]
    fn a_damaged_log_is_put_aside_and_what_stood_before_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let bob = IdentitySecret::generate(&mut rng()).public();
        let log = AuditLog::open(&path).unwrap();
        for minute in 0..5 {
            log.note(&PolicyId([1; 32]), &note(60 * minute, "ok", bob));
        }
        drop(log);
        let mut bytes = fs::read(&path).unwrap();
        let third = 2 * bytes.len() / 5 + 40;
        bytes[third] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let log = AuditLog::open(&path).unwrap();
        assert_eq!(log.extract(&PolicyId([1; 32]), 0).unwrap().total, 2);
        assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), bytes);
    }
}
