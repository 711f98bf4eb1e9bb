//! What the world takes note of: what liars may repeat, and what was given out that must not be.

use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_proto::message::Refusal;
use parking_lot::Mutex;
use serde_bytes::ByteBuf;
use tokio::time::Instant;

use crate::chance;
use crate::ledger::{Contact, SharedLedger};
use crate::node::SimNode;

/// How long a node in contact with the ledger may go on after a revocation is final.
const BITES_WITHIN: Duration = Duration::from_secs(2);
/// How old the last sight of the ledger may be (WIRE §3.2).
const LEASE: Duration = Duration::from_secs(60);

const REMEMBERED: usize = 256;

#[derive(Default)]
pub struct Records {
    heard: Mutex<Vec<ByteBuf>>,
    /// Fragments given out when they must not be any more, in words.
    leaks: Mutex<Vec<String>>,
    releases: Mutex<Releases>,
}

/// How many fragments honest nodes gave out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Releases {
    /// All of them.
    pub all: u64,
    /// Those of policies that were revoked, within the time allowed.
    pub late: u64,
    /// Those of them that came from nodes which were cut off.
    pub cut_off: u64,
}

impl Records {
    /// Takes note of an honest answer.
    pub fn heard(&self, fragments: &[Result<ByteBuf, Refusal>]) {
        let mut heard = self.heard.lock();
        for fragment in fragments.iter().flatten() {
            if heard.len() == REMEMBERED {
                heard.remove(0);
            }
            heard.push(fragment.clone());
        }
    }

    /// The last answer of somebody's, as a rule to the very question; or any other.
    pub fn something_heard(&self) -> Option<ByteBuf> {
        let heard = self.heard.lock();
        if heard.is_empty() || chance::happens(0.5) {
            heard.last().cloned()
        } else {
            Some(chance::one_of(&heard).clone())
        }
    }

    /// An honest node gives out a fragment of this policy, now.
    pub fn released(&self, node: &SimNode, policy: PolicyId, ledger: &SharedLedger) {
        let mut releases = self.releases.lock();
        releases.all += 1;
        let Some(end) = ledger.revoked_at(&policy) else {
            return;
        };
        let now = Instant::now();
        let allowed_until = match node.sight.contact() {
            // Who has just come back has as long as who hears of it for the first time.
            Contact::Since(back) => end.max(back) + BITES_WITHIN,
            Contact::LostAt(at) => {
                releases.cut_off += 1;
                (at + LEASE).max(end + BITES_WITHIN)
            }
        };
        releases.late += 1;
        if now > allowed_until {
            let after = now - end;
            let contact = node.sight.contact();
            self.leaks.lock().push(format!(
                "{policy:?}: a fragment {after:?} after its end, by a node with {contact:?}"
            ));
        }
    }

    pub fn leaks(&self) -> Vec<String> {
        self.leaks.lock().clone()
    }

    pub fn releases(&self) -> Releases {
        *self.releases.lock()
    }
}
