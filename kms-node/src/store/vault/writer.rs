//! The one thread that writes: takes orders, commits them together, answers.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use kms_crypto::id::PolicyId;
use tokio::sync::{mpsc, oneshot};

use super::{Removal, Shared, Stored};
use crate::store::slots::WrappedKey;
use crate::store::{Change, Note, Row, StoreError, Tombstone};

/// How many orders are committed together at most.
pub(super) const ORDERS_TOGETHER: usize = 128;
/// How long a removal of what was never there is remembered: longer than any request can be under way.
const EMPTY_REMOVAL_SECONDS: u64 = 60 * 60;
/// How long a removal is remembered after its policy's end.
const REMOVAL_SECONDS: u64 = 24 * 60 * 60;

pub(super) enum Order {
    Put {
        policy: PolicyId,
        key: WrappedKey,
        row: Row,
        reply: oneshot::Sender<Result<Stored, StoreError>>,
    },
    Remove {
        policy: PolicyId,
        now: u64,
        reply: oneshot::Sender<Result<Removal, StoreError>>,
    },
    Forget {
        now: u64,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Note {
        note: Note,
        value: Vec<u8>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
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
    /// Slots of new rows, to be freed if the commit fails.
    fresh: Vec<u64>,
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
    fn reply<T: Send + 'static>(
        &mut self,
        reply: oneshot::Sender<Result<T, StoreError>>,
        outcome: T,
    ) {
        // Who no longer waits for the reply has gone.
        self.replies.push(Box::new(move |failure| {
            drop(reply.send(failure.map_or(Ok(outcome), Err)))
        }));
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

    fn commit(&self, orders: Vec<Order>) {
        let mut batch = Batch::default();
        let done = orders
            .into_iter()
            .try_for_each(|order| self.plan(&mut batch, order))
            .and_then(|()| {
                self.slots.lock().sync()?;
                self.store.apply(&batch.changes)
            });
        let mut slots = self.slots.lock();
        let obsolete = if done.is_ok() {
            &batch.replaced
        } else {
            &batch.fresh
        };
        let erased = obsolete
            .iter()
            .try_for_each(|slot| slots.erase(*slot))
            .and_then(|()| slots.sync());
        slots.reuse_erased();
        drop(slots);
        if done.is_ok() {
            self.held.fetch_add(batch.added, Ordering::Relaxed);
            self.held.fetch_sub(batch.removed, Ordering::Relaxed);
        }
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

    fn plan(&self, batch: &mut Batch, order: Order) -> Result<(), StoreError> {
        match order {
            Order::Put {
                policy,
                key,
                mut row,
                reply,
            } => {
                if let Some(tombstone) = self.store.tombstone(&policy)? {
                    batch.reply(reply, Stored::RemovedBefore(tombstone));
                    return Ok(());
                }
                match self.store.row(&policy)? {
                    Some(earlier) => batch.replaced.push(earlier.slot),
                    None => batch.added += 1,
                }
                row.slot = self.slots.lock().put(&key)?;
                batch.fresh.push(row.slot);
                batch.changes.push(Change::Put(policy, row));
                batch.reply(reply, Stored::Durable);
            }
            Order::Remove { policy, now, reply } => {
                let row = self.store.row(&policy)?;
                if let Some(row) = &row {
                    self.slots.lock().erase(row.slot)?;
                    batch.removed += 1;
                }
                let (change, removal) =
                    removal_of(policy, row.as_ref(), self.store.tombstone(&policy)?, now);
                batch.changes.push(change);
                batch.reply(reply, removal);
            }
            Order::Forget { now, reply } => {
                let over = self
                    .store
                    .tombstones()?
                    .into_iter()
                    .filter(|(_, stone)| stone.until < now);
                batch
                    .changes
                    .extend(over.map(|(policy, _)| Change::Forget(policy)));
                batch.reply(reply, ());
            }
            Order::Note { note, value, reply } => {
                batch.changes.push(Change::Note(note, value));
                batch.reply(reply, ());
            }
        }
        Ok(())
    }
}

/// The change that removes a row, and what to say about it. An earlier removal keeps its time.
pub(super) fn removal_of(
    policy: PolicyId,
    row: Option<&Row>,
    earlier: Option<Tombstone>,
    now: u64,
) -> (Change, Removal) {
    let tombstone = match (row, earlier) {
        (Some(row), _) => Tombstone {
            at: now,
            until: row.expiry.max(now).saturating_add(REMOVAL_SECONDS),
            held: true,
        },
        (None, Some(earlier)) => earlier,
        (None, None) => Tombstone {
            at: now,
            until: now.saturating_add(EMPTY_REMOVAL_SECONDS),
            held: false,
        },
    };
    (
        Change::Remove(policy, tombstone),
        Removal {
            held: tombstone.held,
            at: tombstone.at,
        },
    )
}
