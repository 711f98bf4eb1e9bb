//! Why a node does not do what it was asked (WIRE §3.4).

use serde::{Deserialize, Serialize};

use crate::ledger::EntryRefusal;

/// A node's refusal. Each reads as the end of "the node says: …".
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// It has no fragment of that policy.
    #[error("it has no fragment of this policy")]
    UnknownPolicy,
    /// The ledger has no grant of that policy, or the grant does not name this node.
    #[error("the ledger has no grant of this policy for it")]
    NotGranted,
    /// The policy was revoked.
    #[error("revoked")]
    Revoked {
        /// When, Unix seconds.
        at: u64,
        /// The label's new epoch.
        epoch: u32,
    },
    /// The policy's time is over.
    #[error("expired")]
    Expired {
        /// When, Unix seconds.
        at: u64,
    },
    /// Its view of the ledger is too old to be trusted.
    #[error("it has lost sight of the ledger")]
    LedgerStale,
    /// The policy outlives what the node has promised.
    #[error("it serves only until {available_until}")]
    Outlives {
        /// The node's own end, Unix seconds.
        available_until: u64,
    },
    /// The request does not parse, or asks for something impossible.
    #[error("the request is malformed")]
    BadRequest,
    /// The signature does not fit the author.
    #[error("the request's signature is wrong")]
    BadSignature,
    /// The key fragment is not one of that policy.
    #[error("the fragment is not sound: {}", quoted(why))]
    BadFragment {
        /// Which check failed.
        why: String,
    },
    /// Addressed to another node, or of another network.
    #[error("the request was meant for another node")]
    NotForMe,
    /// The deadline has passed, lies too far ahead, or the request was already made once.
    #[error(
        "the request is too late, too early or a repetition (the node's clock says {node_time})"
    )]
    TooLate {
        /// The node's clock, Unix seconds.
        node_time: u64,
    },
    /// It keeps no more fragments.
    #[error("it has no room")]
    Full,
    /// It has too much to do; later may work.
    #[error("it is busy")]
    Busy,
    /// There are no such nonces: used, too old, or lost with the process that drew them.
    #[error("it has no such nonces, or not any more")]
    UnknownNonces,
    /// The ledger does not accept the entry.
    #[error("the ledger refuses: {0}")]
    Ledger(EntryRefusal),
    /// Something failed at the node; its log says what.
    #[error("it failed; its log says why")]
    Internal,
}

impl Refusal {
    /// Its name (WIRE §3.4).
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UnknownPolicy => "unknown_policy",
            Self::NotGranted => "not_granted",
            Self::Revoked { .. } => "revoked",
            Self::Expired { .. } => "expired",
            Self::LedgerStale => "ledger_stale",
            Self::Outlives { .. } => "outlives",
            Self::BadRequest => "bad_request",
            Self::BadSignature => "bad_signature",
            Self::BadFragment { .. } => "bad_fragment",
            Self::NotForMe => "not_for_me",
            Self::TooLate { .. } => "too_late",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::UnknownNonces => "unknown_nonces",
            Self::Ledger(_) => "ledger",
            Self::Internal => "internal",
        }
    }
}

/// A node's own words as far as they may be shown: harmless on a terminal, and no longer than a line.
fn quoted(words: &str) -> String {
    words
        .chars()
        .take(MAX_QUOTED)
        .flat_map(char::escape_debug)
        .collect()
}

const MAX_QUOTED: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_cannot_take_a_terminal_over() {
        let why = format!("\u{1b}[2J\u{202e}\n{}", "x".repeat(60_000));
        let shown = Refusal::BadFragment { why }.to_string();
        assert!(shown.len() < 200, "{} bytes", shown.len());
        assert!(shown.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
    }
}
