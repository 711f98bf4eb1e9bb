//! Revocations that a reorganisation took away are written again, together (LEDGER §5.4.3).

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use kms_proto::ledger::{Entry, SignedEntry, VerifiedEntry, entry_hash};

use super::{Sent, TOGETHER};
use crate::{
    Account, EvmLedger,
    entry::{self, Promise},
};

/// How often to look whether they have to be.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So many blocks whoever has not written a revocation himself leaves it to others, and to the chain, which takes up by
/// itself most of what a reorganisation has put out.
const BLOCKS_LEFT_TO_OTHERS: u32 = 3;

/// What is lost, and since when.
#[derive(Default)]
pub(crate) struct Mending {
    since: HashMap<[u8; 32], Instant>,
    looked: Option<Instant>,
}

impl EvmLedger {
    /// Writes revocations again whose block is gone, and does not wait for them.
    pub(crate) fn mend(&self, lost: Vec<SignedEntry>) {
        let Some(account) = &self.account else { return };
        let Some(mut mending) = self.mending.try_lock() else {
            return;
        };
        if lost.is_empty() {
            mending.since.clear();
            return;
        }
        if mending.looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return;
        }
        let lost: Vec<VerifiedEntry> = lost
            .iter()
            .filter_map(|entry| entry.admit(&self.network).ok())
            .collect();
        let ids: HashSet<_> = lost.iter().map(id).collect();
        mending.since.retain(|id, _| ids.contains(id));
        let pace = self.pace();
        let due = lost.into_iter().filter_map(|entry| {
            let since = *mending.since.entry(id(&entry)).or_insert_with(Instant::now);
            let before = self.sent.lock().get(&entry);
            let is_due = match &before {
                // What was sent after it was lost is on its way.
                Some(sent) if sent.at >= since => self.is_over(sent, pace),
                Some(_) => since.elapsed() >= pace.block,
                None => since.elapsed() >= self.others_first(account, pace.block),
            };
            is_due.then_some((entry, before))
        });
        let due: Vec<_> = due.collect();
        self.write_lost(account, due);
        mending.looked = Some(Instant::now());
    }

    /// How long others come first: not for all the same time, so that not all come at once.
    fn others_first(&self, account: &Account, block: Duration) -> Duration {
        let [.., last] = account.address();
        let some = block * BLOCKS_LEFT_TO_OTHERS;
        some + some * u32::from(*last) / 256
    }

    fn write_lost(&self, account: &Account, due: Vec<(VerifiedEntry, Option<Sent>)>) {
        let _turn = self.turn.lock();
        // A call takes many releases, and one word that is signed.
        let is_release = |it: &(VerifiedEntry, _)| matches!(it.0.entry, Entry::Release(_));
        let (releases, others): (Vec<_>, Vec<_>) = due.into_iter().partition(is_release);
        for some in releases.chunks(TOGETHER) {
            if some.len() < 2 || self.write_at_once(account, some).is_none() {
                // The contract takes all or none. If one is no longer needed, each goes alone.
                some.iter().for_each(|it| {
                    self.write_at_once(account, std::slice::from_ref(it));
                });
            }
        }
        for it in &others {
            self.write_at_once(account, std::slice::from_ref(it));
        }
    }

    /// One transaction for all of them.
    fn write_at_once(
        &self,
        account: &Account,
        entries: &[(VerifiedEntry, Option<Sent>)],
    ) -> Option<()> {
        let mut call = Vec::new();
        for (entry, _) in entries {
            let one = entry::call(entry.signed(), Promise::Kept).ok()?;
            // The function is named once.
            let skipped = if call.is_empty() { 0 } else { 4 };
            call.extend_from_slice(one.get(skipped..)?);
        }
        // What one transaction of one's own was to carry is replaced by another; of several, the first.
        let before = entries.iter().filter_map(|(_, before)| before.as_ref());
        let before = before.min_by_key(|sent| sent.nonce);
        match self.send_call(account, &call, before) {
            Ok(sent) => {
                let count = entries.len();
                tracing::info!(
                    count,
                    "revocations that a reorganisation took away are written again"
                );
                let mut lately = self.sent.lock();
                for (entry, _) in entries {
                    lately.note(entry, sent.clone());
                }
                Some(())
            }
            Err(error) => {
                tracing::warn!(%error, "lost revocations could not be written again");
                None
            }
        }
    }
}

fn id(entry: &VerifiedEntry) -> [u8; 32] {
    entry_hash(entry.signed().claim())
}
