//! Entries on their way into the ledger (WIRE §3.5): a chain takes its time, and whoever asks again is told how far it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kms_ledger::machine;
use kms_proto::ledger::{SignedEntry, entry_hash};
use kms_proto::message::{Refusal, Response};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::ledger::submit;
use super::work_refusal;
use crate::view::LedgerView;
use crate::work::Workshop;

/// Whoever asks hears so soon that an entry is on its way, if it is not there yet.
const SAID_WITHIN: Duration = Duration::from_millis(500);
/// An outcome that somebody waits for is kept for so long.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Appending waits for a lock between processes, or for blocks of a chain; what waits for that together is written
/// together.
const AT_ONCE: usize = 64;
const WAITING: usize = 192;

type Outcome = Result<Response, Refusal>;

/// What is being written.
#[derive(Debug)]
pub(super) struct Writing {
    workshop: Arc<Workshop>,
    entries: Arc<Mutex<HashMap<[u8; 32], OnItsWay>>>,
}

#[derive(Debug)]
struct OnItsWay {
    outcome: watch::Receiver<Option<Outcome>>,
    /// Whether somebody was told that it is on its way, and has not heard what came of it.
    awaited: bool,
    over: Option<Instant>,
}

impl Default for Writing {
    fn default() -> Self {
        Self {
            workshop: Arc::new(Workshop::new(AT_ONCE, WAITING)),
            entries: Arc::default(),
        }
    }
}

impl Writing {
    /// Writes an entry, or says how far it is, if it is being written already.
    pub(super) async fn write(&self, view: &Arc<LedgerView>, entry: SignedEntry) -> Outcome {
        if machine::is_simulated() {
            return submit(view, &entry);
        }
        let id = entry_hash(entry.claim());
        let known = self.entries.lock().get(&id).map(|it| it.outcome.clone());
        let mut outcome = known.unwrap_or_else(|| self.begin(id, view, entry));
        let said = timeout(SAID_WITHIN, outcome.wait_for(Option::is_some)).await;
        let said = match said {
            Ok(Ok(outcome)) => outcome.clone(),
            // Its thread is gone, and left no word.
            Ok(Err(_)) => Some(Err(Refusal::Internal)),
            Err(_) => None,
        };
        let mut entries = self.entries.lock();
        match said {
            Some(outcome) => {
                // Whoever asks later asks anew.
                if entries.get(&id).is_some_and(|it| it.over.is_some()) {
                    entries.remove(&id);
                }
                outcome
            }
            None => {
                if let Some(it) = entries.get_mut(&id) {
                    it.awaited = true;
                }
                Ok(Response::Accepted)
            }
        }
    }

    fn begin(
        &self,
        id: [u8; 32],
        view: &Arc<LedgerView>,
        entry: SignedEntry,
    ) -> watch::Receiver<Option<Outcome>> {
        let (tell, outcome) = watch::channel(None);
        let mut entries = self.entries.lock();
        // Another one may have asked for it at the same moment.
        if let Some(it) = entries.get(&id) {
            return it.outcome.clone();
        }
        entries.retain(|_, it| it.over.is_none_or(|at| at.elapsed() < KEPT_FOR));
        let it = OnItsWay {
            outcome: outcome.clone(),
            awaited: false,
            over: None,
        };
        entries.insert(id, it);
        let (workshop, all) = (Arc::clone(&self.workshop), Arc::clone(&self.entries));
        // The node may stop meanwhile: its store is not held.
        let view = Arc::clone(view);
        // Whoever asked may hang up; it is written all the same.
        tokio::spawn(async move {
            let written = workshop.run(move || submit(&view, &entry)).await;
            let written = written.unwrap_or_else(|error| Err(work_refusal(error)));
            let mut entries = all.lock();
            if let Some(it) = entries.get_mut(&id) {
                it.over = Some(Instant::now());
                if !it.awaited {
                    entries.remove(&id);
                }
            }
            drop(entries);
            let _ = tell.send(Some(written));
        });
        outcome
    }
}
