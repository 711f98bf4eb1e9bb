//! Taking in what keepers show: each entry once, in a sensible order, as of the time they say (LEDGER §5.5.1).

use std::collections::{BTreeMap, HashMap, btree_map};

use kms_proto::ledger::{ChainFault, Entry, EntryRefusal, LedgerError, VerifiedEntry, entry_hash};

use super::{
    DhtLedger, State,
    follow::{Fault, Shown},
};

/// How many entries of one keeper may wait for others.
const WAITING_PER_KEEPER: usize = 1024;

/// Entries that do not fit yet, by their hashes.
#[derive(Default)]
pub(super) struct Waiting(HashMap<[u8; 32], Found>);

/// A genuine entry, who has shown it first, and when each says it was there.
struct Found {
    entry: VerifiedEntry,
    keeper: usize,
    times: Vec<u64>,
}

impl Found {
    /// The middle one: a single keeper cannot move it far.
    fn time(&self) -> u64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let middle = times.len().saturating_sub(1) / 2;
        times.get(middle).copied().unwrap_or_default()
    }

    /// What of the same time is taken in first: who is named before what names him, and what ends last.
    fn rank(&self) -> (u8, u64) {
        match &self.entry.entry {
            Entry::RegisterNode(it) => (0, it.seq),
            Entry::Grant(it) => (1, it.seq.into()),
            Entry::Handover(it) => (2, it.after),
            Entry::Revoke(it) => (3, it.epoch.into()),
            Entry::Release(it) => (3, it.epoch.into()),
        }
    }
}

impl DhtLedger {
    /// Takes in all that is new and genuine.
    pub(super) fn merge(&self, state: &mut State, shown: Vec<Shown>) -> Result<(), LedgerError> {
        let mut found: BTreeMap<[u8; 32], Found> = BTreeMap::new();
        for it in shown {
            let hash = entry_hash(it.entry.claim());
            match found.entry(hash) {
                btree_map::Entry::Occupied(mut known) => known.get_mut().times.push(it.time),
                btree_map::Entry::Vacant(_) if self.replica.has(it.entry.claim())? => {}
                btree_map::Entry::Vacant(place) => match it.entry.admit(&self.network) {
                    Ok(entry) => {
                        place.insert(Found {
                            entry,
                            keeper: it.keeper,
                            times: vec![it.time],
                        });
                    }
                    Err(refusal) => {
                        if let Some(standing) = state.standings.get_mut(it.keeper) {
                            standing.distrust(Fault::Forged {
                                height: it.height,
                                fault: ChainFault::Rule(refusal),
                            });
                        }
                    }
                },
            }
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(hash, it)| (it.time(), it.rank(), *hash));
        let any = !found.is_empty();
        let mut left = self.take_in(found)?;
        // What has come may be what others have waited for.
        if any {
            loop {
                let mut again: Vec<_> = state.waiting.0.drain().chain(left).collect();
                let before = again.len();
                again.sort_by_key(|(hash, it)| (it.time(), it.rank(), *hash));
                left = self.take_in(again)?;
                if left.len() == before {
                    break;
                }
            }
        }
        for (hash, it) in left {
            let of_the_same = state.waiting.0.values();
            let of_the_same = of_the_same.filter(|other| other.keeper == it.keeper);
            if of_the_same.count() < WAITING_PER_KEEPER {
                state.waiting.0.insert(hash, it);
            }
        }
        Ok(())
    }

    /// Takes in what fits; what may fit later is returned.
    fn take_in(
        &self,
        found: Vec<([u8; 32], Found)>,
    ) -> Result<Vec<([u8; 32], Found)>, LedgerError> {
        let now = (self.clock)();
        let mut left = Vec::new();
        for (hash, it) in found {
            match self.replica.append(it.entry.clone(), it.time().min(now)) {
                Ok(_) => {}
                Err(LedgerError::Refused(refusal)) if may_fit_later(&refusal) => {
                    left.push((hash, it));
                }
                Err(LedgerError::Refused(refusal)) => {
                    tracing::debug!(%refusal, "an entry comes too late");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }
}

/// Whether entries that are still on their way could change the answer.
pub(super) fn may_fit_later(refusal: &EntryRefusal) -> bool {
    matches!(
        refusal,
        EntryRefusal::NotHolder
            | EntryRefusal::NotTheSecret
            | EntryRefusal::Unserved
            | EntryRefusal::Shortened { .. }
    )
}
