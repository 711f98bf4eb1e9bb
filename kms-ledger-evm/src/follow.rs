//! Following the contract's events: what is there, what is confirmed, what a reorganisation took away (LEDGER §5.4.3).
//!
//! Two chains of records are kept, of which the one is the other's beginning: what is confirmed never changes again; what
//! came after it is dropped and read anew when the blocks it stood in are no longer there.

mod source;

use std::{collections::HashMap, mem};

use kms_crypto::id::PolicyId;
use kms_proto::ledger::{Chain, LedgerError, Prepared, SignedEntry, VerifiedEntry};

pub(crate) use source::{Block, Source};

use crate::{entry, rpc::Fault};

/// How many blocks are read at once: providers set limits.
const BLOCKS_AT_ONCE: u64 = 2000;

/// A block's number and hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark {
    pub(crate) number: u64,
    pub(crate) hash: [u8; 32],
}

/// Why following ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// This provider is of no use; another may be.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The ledger itself is not what it was.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Entries that stand in one block.
struct Found {
    mark: Mark,
    time: u64,
    entries: Vec<VerifiedEntry>,
}

/// What is known of the contract.
pub(crate) struct View {
    network: String,
    confirmations: u64,
    from: u64,
    confirmed: Chain,
    records: Vec<Vec<u8>>,
    latest: Chain,
    /// Not yet confirmed, in the order of the chain.
    recent: Vec<Found>,
    /// Blocks that were part of the chain when they were read, the last one last; the first one is confirmed.
    marks: Vec<Mark>,
    /// Revocations seen and not yet confirmed: they count even if their block goes.
    revocations: HashMap<PolicyId, Withdrawn>,
}

/// A revocation that is not yet confirmed.
#[derive(Clone)]
pub(crate) struct Withdrawn {
    pub(crate) entry: SignedEntry,
    pub(crate) at: u64,
    pub(crate) epoch: u32,
}

impl View {
    pub(crate) fn new(network: &str, confirmations: u64, from: u64) -> Self {
        Self {
            network: network.to_owned(),
            confirmations,
            from,
            confirmed: Chain::new(network),
            records: Vec::new(),
            latest: Chain::new(network),
            recent: Vec::new(),
            marks: Vec::new(),
            revocations: HashMap::new(),
        }
    }

    /// The records that count.
    pub(crate) const fn confirmed(&self) -> &Chain {
        &self.confirmed
    }

    /// The records, and those that will count if nothing happens to their blocks.
    pub(crate) const fn latest(&self) -> &Chain {
        &self.latest
    }

    /// The records that count, encoded.
    pub(crate) fn records(&self) -> &[Vec<u8>] {
        &self.records
    }

    /// A revocation that was seen, whatever has become of its block.
    pub(crate) fn withdrawn(&self, policy: &PolicyId) -> Option<&Withdrawn> {
        self.revocations.get(policy)
    }

    /// Revocations whose block is gone.
    pub(crate) fn lost(&self) -> Vec<SignedEntry> {
        let there = |it: &&Withdrawn| self.latest.height_of(it.entry.claim()).is_some();
        let lost = self.revocations.values().filter(|it| !there(it));
        lost.map(|it| it.entry.clone()).collect()
    }

    /// The last block known.
    pub(crate) fn tip(&self) -> Option<Mark> {
        self.marks.last().copied()
    }

    /// Reads what is new from one provider. After a fault what was known before is still known.
    pub(crate) fn follow(&mut self, source: &Source<'_>) -> Result<(), FollowError> {
        let head = source.head()?;
        if let Some(tip) = self.tip() {
            if tip == head.mark {
                return Ok(());
            }
            if head.mark.number < tip.number {
                return self.tolerate(tip, &head);
            }
        }
        self.go_back(source)?;
        let mut next = self.tip().map_or(self.from, |tip| tip.number + 1);
        while next <= head.mark.number {
            let last = head.mark.number.min(next + BLOCKS_AT_ONCE - 1);
            let end = source.hash(last)?.ok_or(Fault::Unsettled)?;
            let found = self.read(source, next, last)?;
            // Between two questions the chain may have become another.
            if source.hash(last)? != Some(end) {
                return Err(Fault::Unsettled.into());
            }
            self.take(
                found,
                Mark {
                    number: last,
                    hash: end,
                },
            );
            next = last + 1;
        }
        // A reorganisation while reading is found now, or the next time.
        if self
            .tip()
            .is_some_and(|tip| tip.number >= head.mark.number && tip != head.mark)
        {
            return Err(Fault::Unsettled.into());
        }
        self.confirm(head.mark.number);
        Ok(())
    }

    /// A provider that is a little late says nothing new; one that is far behind says nothing at all.
    fn tolerate(&self, tip: Mark, head: &Block) -> Result<(), FollowError> {
        if tip.number - head.mark.number <= self.confirmations.max(1) {
            return Ok(());
        }
        Err(Fault::Behind {
            at: head.mark.number,
            seen: tip.number,
        }
        .into())
    }

    /// Forgets what stood in blocks that are no longer there.
    fn go_back(&mut self, source: &Source<'_>) -> Result<(), FollowError> {
        let mut stands = self.marks.len();
        while let Some(mark) = stands.checked_sub(1).and_then(|last| self.marks.get(last)) {
            if source.hash(mark.number)? == Some(mark.hash) {
                break;
            }
            stands -= 1;
        }
        if stands == self.marks.len() {
            return Ok(());
        }
        if stands == 0 {
            return Err(LedgerError::Forked {
                height: self.confirmed.head().height,
            }
            .into());
        }
        self.marks.truncate(stands);
        let last = self.tip().map_or(0, |tip| tip.number);
        tracing::info!(block = last, "the chain was reorganised after this block");
        self.recent.retain(|found| found.mark.number <= last);
        self.latest = self.confirmed.clone();
        for found in &self.recent {
            append(&mut self.latest, found, |_| {});
        }
        Ok(())
    }

    fn read(&self, source: &Source<'_>, from: u64, to: u64) -> Result<Vec<Found>, Fault> {
        let mut found: Vec<Found> = Vec::new();
        for log in source.logs(from, to)? {
            let entries = entry::from_event(&self.network, &log.topic, &log.data);
            // Whoever pays may have nonsense written; it is passed over.
            let entries: Vec<_> = entries
                .into_iter()
                .filter_map(|entry| entry.admit(&self.network).ok())
                .collect();
            if entries.is_empty() {
                tracing::debug!(
                    block = log.mark.number,
                    "an event that is no entry is passed over"
                );
                continue;
            }
            match found.last_mut().filter(|last| last.mark == log.mark) {
                Some(last) => last.entries.extend(entries),
                None => {
                    let block = source.block(log.mark.number)?.ok_or(Fault::Unsettled)?;
                    if block.mark != log.mark {
                        return Err(Fault::Unsettled);
                    }
                    found.push(Found {
                        mark: log.mark,
                        time: block.time,
                        entries,
                    });
                }
            }
        }
        Ok(found)
    }

    fn take(&mut self, found: Vec<Found>, end: Mark) {
        for it in found {
            append(&mut self.latest, &it, |_| {});
            for entry in &it.entries {
                let Some((id, epoch)) = entry.entry.revoked() else {
                    continue;
                };
                // Anybody can say that he has the secret: the rules have looked at it.
                if self.latest.height_of(entry).is_none() {
                    continue;
                }
                let known = self.revocations.get(&id);
                if known.is_some_and(|known| known.epoch >= epoch) {
                    continue;
                }
                let at = known.map_or(it.time, |known| known.at);
                let entry = entry.signed().clone();
                self.revocations.insert(id, Withdrawn { entry, at, epoch });
            }
            if it.mark != end {
                self.marks.push(it.mark);
            }
            self.recent.push(it);
        }
        self.marks.push(end);
    }

    /// What lies deep enough counts.
    fn confirm(&mut self, head: u64) {
        let deep = |mark: &Mark| mark.number.saturating_add(self.confirmations) <= head;
        let count = self
            .recent
            .iter()
            .take_while(|found| deep(&found.mark))
            .count();
        let rest = self.recent.split_off(count);
        for found in mem::replace(&mut self.recent, rest) {
            append(&mut self.confirmed, &found, |record| {
                self.records.push(record)
            });
            let stands = |entry: &&VerifiedEntry| self.confirmed.height_of(entry).is_some();
            let revoked = found.entries.iter().filter(stands);
            for (id, _) in revoked.filter_map(|entry| entry.entry.revoked()) {
                self.revocations.remove(&id);
            }
        }
        // One confirmed block stays, by which a chain that is another is known.
        let confirmed = self.marks.iter().take_while(|mark| deep(mark)).count();
        self.marks.drain(..confirmed.saturating_sub(1));
    }
}

/// Appends a block's entries; those that the rules refuse are passed over.
fn append(chain: &mut Chain, found: &Found, mut keep: impl FnMut(Vec<u8>)) {
    for entry in &found.entries {
        match chain.prepare(entry.clone(), found.time) {
            Ok(Prepared::New(record)) => {
                keep(record.bytes().to_vec());
                chain.commit(record);
            }
            Ok(Prepared::Known { .. }) => {}
            Err(refusal) => tracing::debug!(%refusal, "an entry is passed over"),
        }
    }
}
