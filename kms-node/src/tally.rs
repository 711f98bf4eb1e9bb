//! How often a node has answered what, for `/metrics`.

use std::collections::BTreeMap;

use kms_proto::message::Response;
use parking_lot::Mutex;

/// Counters, one for each kind of answer and each refusal.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    /// Counts an answer.
    pub fn count(&self, response: &Response) {
        let name = match response {
            Response::Status(_) => "status",
            Response::Records(_) => "records",
            Response::Submitted { .. } => "submitted",
            Response::Accepted => "accepted",
            Response::Arranged(_) => "arranged",
            Response::Stored { .. } => "stored",
            Response::Reencrypted { .. } => "reencrypted",
            Response::Removed(_) => "removed",
            Response::Taken(_) => "taken",
            Response::Audited(_) => "audited",
            Response::Noted => "noted",
            Response::Retiring(_) => "retiring",
            Response::Committed(_) => "committed",
            Response::SignedShare { .. } => "signed_share",
            Response::Refused(refusal) => refusal.name(),
        };
        *self.0.lock().entry(name).or_default() += 1;
    }

    /// Every answer given so far, and how often.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock();
        counts.iter().map(|(name, count)| (*name, *count)).collect()
    }
}
