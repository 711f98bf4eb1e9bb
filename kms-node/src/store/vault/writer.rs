//! The one thread that writes: takes orders, commits them together, answers.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use kms_crypto::id::PolicyId;
use tokio::sync::{mpsc, oneshot};

use super::{Identity, Memory, Removal, Shared, Stored};
use crate::store::slots::WrappedKey;
use crate::store::{Change, Note, Row, StoreError, Tombstone};

/// How many orders are committed together at most.
pub(super) const ORDERS_TOGETHER: usize = 128;
/// How long a removal is remembered if nobody else knows of the policy: longer than any request can be under way.
const SHORT_SECONDS: u64 = 60 * 60;
/// How long a removal is remembered after its policy's end.
const REMOVAL_SECONDS: u64 = 24 * 60 * 60;
/// How far ahead an end is believed that nobody has promised to be there for.
const YEAR_SECONDS: u64 = 366 * 24 * 60 * 60;

pub(super) enum Order {
    Put {
        policy: PolicyId,
        identity: Identity,
        key: WrappedKey,
        row: Row,
        reply: oneshot::Sender<Result<Stored, StoreError>>,
    },
    Remove {
        policy: PolicyId,
        now: u64,
        why: Reason,
        reply: oneshot::Sender<Result<Removal, StoreError>>,
    },
    Forget {
        policies: Vec<PolicyId>,
        now: u64,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Note {
        note: Note,
        value: Vec<u8>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// Why a fragment goes, and how long that is remembered.
pub(super) struct Reason {
    pub(super) memory: Memory,
    /// The owner's signed request, or nothing.
    pub(super) request: Vec<u8>,
}

impl Reason {
    pub(super) const fn unasked() -> Self {
        Self {
            memory: Memory::Long,
            request: Vec::new(),
        }
    }
}

impl Order {
    fn policy(&self) -> Option<PolicyId> {
        match self {
            Self::Put { policy, .. } | Self::Remove { policy, .. } => Some(*policy),
            Self::Forget { .. } | Self::Note { .. } => None,
        }
    }
}

/// What one commit does.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    /// New rows and their slots, to be freed if the commit fails.
    fresh: Vec<(PolicyId, u64)>,
    /// Slots of replaced rows, to be erased when the commit has succeeded.
    replaced: Vec<u64>,
    /// How many rows come.
    added: u64,
    /// How many rows go.
    removed: u64,
    /// What to say to whom afterwards.
    replies: Vec<Box<dyn FnOnce(Option<StoreError>) + Send>>,
}

impl Batch {
    /// Answers with `outcome` when the commit has succeeded.
    fn answer<T: Send + 'static>(
        &mut self,
        reply: oneshot::Sender<Result<T, StoreError>>,
        outcome: Result<T, StoreError>,
    ) {
        // Who no longer waits for the reply has gone.
        match outcome {
            Ok(outcome) => self.replies.push(Box::new(move |failure| {
                drop(reply.send(failure.map_or(Ok(outcome), Err)))
            })),
            Err(error) => drop(reply.send(Err(error))),
        }
    }
}

impl Shared {
    pub(super) fn write_orders(&self, mut inbox: mpsc::Receiver<Order>) {
        let mut next = None;
        while let Some(first) = next.take().or_else(|| inbox.blocking_recv()) {
            let mut policies = BTreeSet::new();
            policies.extend(first.policy());
            let mut orders = vec![first];
            while orders.len() < ORDERS_TOGETHER
                && let Ok(order) = inbox.try_recv()
            {
                // Two orders about one policy depend on each other: the second waits for the next commit.
                if order
                    .policy()
                    .is_some_and(|policy| !policies.insert(policy))
                {
                    next = Some(order);
                    break;
                }
                orders.push(order);
            }
            self.commit(orders);
        }
    }

    pub(super) fn commit(&self, orders: Vec<Order>) {
        let mut batch = Batch::default();
        for order in orders {
            self.plan(&mut batch, order);
        }
        let synced = self.slots.lock().sync().map_err(StoreError::from);
        let done = synced.and_then(|()| self.store.apply(&batch.changes));
        let obsolete = if done.is_ok() {
            std::mem::take(&mut batch.replaced)
        } else {
            self.unnamed(&batch.fresh)
        };
        let mut slots = self.slots.lock();
        let erased = obsolete
            .iter()
            .try_for_each(|slot| slots.erase(*slot))
            .and_then(|()| slots.sync());
        if done.is_ok() && erased.is_ok() {
            slots.reuse_erased();
        }
        drop(slots);
        if done.is_ok() {
            self.held.fetch_add(batch.added, Ordering::Relaxed);
            self.held.fetch_sub(batch.removed, Ordering::Relaxed);
        } else if let Ok(rows) = self.store.rows() {
            let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            self.held.store(count, Ordering::Relaxed);
        }
        self.has_failed.store(done.is_err(), Ordering::Relaxed);
        let failure = done.err().map(|error| error.to_string());
        if let Some(error) = &failure {
            tracing::error!(%error, "fragments could not be stored or removed");
        }
        if let Err(error) = erased {
            tracing::error!(%error, "the key of a replaced fragment could not be erased");
        }
        for reply in batch.replies {
            reply(
                failure
                    .clone()
                    .map(|error| StoreError::Database(error.into())),
            );
        }
    }

    /// The new slots that no row names. A change that is said to have failed may have been made all the same, and then
    /// the row in it is the only one its policy has.
    fn unnamed(&self, fresh: &[(PolicyId, u64)]) -> Vec<u64> {
        let is_unnamed = |(policy, slot): &&(PolicyId, u64)| match self.store.row(policy) {
            Ok(row) => row.is_none_or(|row| row.slot != *slot),
            // Not known now: found out at the next start.
            Err(_) => false,
        };
        fresh.iter().filter(is_unnamed).map(|it| it.1).collect()
    }

    /// Adds an order to a batch. One that cannot be done is answered at once and leaves the others alone.
    fn plan(&self, batch: &mut Batch, order: Order) {
        match order {
            Order::Put {
                policy,
                identity,
                key,
                row,
                reply,
            } => {
                let outcome = self.plan_put(batch, policy, &identity, &key, row);
                batch.answer(reply, outcome);
            }
            Order::Remove {
                policy,
                now,
                why,
                reply,
            } => {
                let outcome = self.plan_remove(batch, policy, now, why);
                batch.answer(reply, outcome);
            }
            Order::Forget {
                policies,
                now,
                reply,
            } => {
                let outcome = self.plan_forget(batch, policies, now);
                batch.answer(reply, outcome);
            }
            Order::Note { note, value, reply } => {
                batch.changes.push(Change::Note(note, value));
                batch.answer(reply, Ok(()));
            }
        }
    }

    fn plan_put(
        &self,
        batch: &mut Batch,
        policy: PolicyId,
        identity: &Identity,
        key: &WrappedKey,
        mut row: Row,
    ) -> Result<Stored, StoreError> {
        if let Some(tombstone) = self.store.tombstone(&policy)? {
            return Ok(Stored::RemovedBefore(tombstone));
        }
        let earlier = self.store.row(&policy)?;
        // Found out here and nowhere before: two may be on their way at once.
        let kept = earlier.as_ref().and_then(|row| self.open(&policy, row));
        if kept.is_some_and(|kept| kept.identity() != *identity) {
            return Ok(Stored::OtherKept);
        }
        let mut slots = self.slots.lock();
        row.slot = slots.put(key)?;
        match earlier {
            Some(earlier) if self.owns(&slots, &policy, earlier.slot) => {
                batch.replaced.push(earlier.slot);
            }
            Some(_) => {}
            None => batch.added += 1,
        }
        batch.fresh.push((policy, row.slot));
        batch.changes.push(Change::Put(policy, row));
        Ok(Stored::Durable)
    }

    fn plan_remove(
        &self,
        batch: &mut Batch,
        policy: PolicyId,
        now: u64,
        why: Reason,
    ) -> Result<Removal, StoreError> {
        let row = self.store.row(&policy)?;
        let earlier = self.store.tombstone(&policy)?;
        if let Some(row) = &row {
            let mut slots = self.slots.lock();
            // An empty slot is emptied again: the disk may have failed when it was first.
            if slots.key(row.slot).is_none() || self.owns(&slots, &policy, row.slot) {
                slots.erase(row.slot)?;
            }
            batch.removed += 1;
        }
        let (change, removal) = removal_of(policy, row.as_ref(), earlier, now, why);
        batch.changes.push(change);
        Ok(removal)
    }

    /// A removal that has been made anew since it was found to be over stays.
    fn plan_forget(
        &self,
        batch: &mut Batch,
        policies: Vec<PolicyId>,
        now: u64,
    ) -> Result<(), StoreError> {
        let mut over = Vec::new();
        for policy in policies {
            let anew = |it: &Change| matches!(it, Change::Remove(removed, _) if *removed == policy);
            let stone = self.store.tombstone(&policy)?;
            if stone.is_some_and(|it| it.until < now) && !batch.changes.iter().any(anew) {
                over.push(Change::Forget(policy));
            }
        }
        batch.changes.extend(over);
        Ok(())
    }
}

/// The change that removes a row, and what to say about it. An earlier removal keeps its time.
pub(super) fn removal_of(
    policy: PolicyId,
    row: Option<&Row>,
    earlier: Option<Tombstone>,
    now: u64,
    why: Reason,
) -> (Change, Removal) {
    let short = now.saturating_add(SHORT_SECONDS);
    let until = match (why.memory, row) {
        (Memory::Until(end), _) => {
            let end = end.clamp(now, now.saturating_add(YEAR_SECONDS));
            end.saturating_add(REMOVAL_SECONDS)
        }
        (Memory::Long | Memory::HandedOver, Some(row)) => {
            row.expiry.max(now).saturating_add(REMOVAL_SECONDS)
        }
        _ => short,
    };
    let tombstone = match (row, earlier) {
        (None, Some(earlier)) if earlier.request.is_empty() => Tombstone {
            until: earlier.until.max(until),
            request: why.request,
            ..earlier
        },
        (None, Some(earlier)) => earlier,
        (row, _) => Tombstone {
            at: now,
            until,
            held: row.is_some() && why.memory != Memory::HandedOver,
            request: why.request,
        },
    };
    let removal = Removal {
        held: tombstone.held,
        at: tombstone.at,
    };
    (Change::Remove(policy, tombstone), removal)
}
