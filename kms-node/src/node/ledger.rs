//! The ledger at a node: reading it to others, appending what they signed (WIRE §3.1).

use kms_proto::codec::MAX_RESPONSE_BYTES;
use kms_proto::ledger::{EntryRefusal, LedgerError, Receipt, SignedEntry};
use kms_proto::message::{MAX_READ, Records, Refusal, Response};
use serde_bytes::ByteBuf;

use super::{Node, Step};
use crate::view::LedgerView;

/// Room for everything in a response beside the records.
const OVERHEAD_BYTES: usize = 512;
/// How many records are read from the ledger in one go.
const RECORDS_AT_ONCE: usize = 16;
/// Room for each record's own length.
const RECORD_OVERHEAD_BYTES: usize = 5;

impl Node {
    pub(super) fn read_ledger(&self, from: u64, max: u32) -> Result<Response, Refusal> {
        let mut wanted = usize::try_from(max.min(MAX_READ)).map_err(|_| Refusal::BadRequest)?;
        // Of a ledger in replicas, this node's: others ask others for theirs.
        let ledger = self.view.ledger();
        let ledger = ledger.replica().unwrap_or(&**ledger);
        let head = ledger.head().map_err(ledger_refusal)?;
        let mut room = MAX_RESPONSE_BYTES - OVERHEAD_BYTES;
        let mut records = Vec::new();
        let mut next = from.max(1);
        // A few at a time: anybody may ask, and what does not fit into the answer is not worth reading.
        'reading: while wanted > 0 {
            let some = ledger
                .read(next, wanted.min(RECORDS_AT_ONCE))
                .map_err(ledger_refusal)?;
            if some.is_empty() {
                break;
            }
            for record in some {
                let Some(left) = room.checked_sub(record.len() + RECORD_OVERHEAD_BYTES) else {
                    break 'reading;
                };
                room = left;
                wanted = wanted.saturating_sub(1);
                next = next.saturating_add(1);
                records.push(ByteBuf::from(record));
            }
        }
        Ok(Response::Records(Records { head, records }))
    }

    pub(super) fn consider_entry(&self, bytes: &[u8]) -> Result<Step, Refusal> {
        let entry = SignedEntry::from_bytes(bytes).map_err(|_| Refusal::BadRequest)?;
        // Refused here, it need not wait in the queue of those that append.
        entry.admit(&self.network).map_err(Refusal::Ledger)?;
        Ok(Step::Submit(Box::new(entry)))
    }
}

/// Writes an entry for whoever brings it. May block for as long as the ledger takes.
pub(super) fn submit(view: &LedgerView, entry: &SignedEntry) -> Result<Response, Refusal> {
    let receipt = take(view, entry).map_err(ledger_refusal)?;
    Ok(Response::Submitted {
        height: receipt.height,
    })
}

fn take(view: &LedgerView, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
    let ledger = view.ledger();
    let Some(replica) = ledger.replica() else {
        return ledger.submit(entry);
    };
    match replica.submit(entry) {
        // What it needs may be on its way here.
        Err(LedgerError::Refused(
            EntryRefusal::NotHolder | EntryRefusal::NotTheSecret | EntryRefusal::Unserved,
        )) => {
            drop(ledger.head());
            replica.submit(entry)
        }
        taken => taken,
    }
}

fn ledger_refusal(error: LedgerError) -> Refusal {
    match error {
        LedgerError::Refused(refusal) => Refusal::Ledger(refusal),
        LedgerError::Busy => Refusal::Busy,
        error => {
            tracing::warn!(%error, "the ledger does not answer");
            Refusal::LedgerStale
        }
    }
}
