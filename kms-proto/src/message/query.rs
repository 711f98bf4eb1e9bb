//! Requests that anybody may make (WIRE §3.1).

use serde::{Deserialize, Serialize};

use crate::codec::{self, Kind};

/// The most ledger records asked for at once.
pub const MAX_READ: u32 = 1024;

/// A request that needs no signature.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// How is the node? Answered by `Response::Status`.
    Status,
    /// The ledger's records from a height on. Answered by `Response::Records`.
    LedgerRead {
        /// The first height wanted; the first record has height 1.
        from: u64,
        /// At most so many records, and never more than [`MAX_READ`] or fit into a response.
        max: u32,
    },
    /// Appends a signed entry, which carries its own authority. Answered by `Response::Submitted`.
    LedgerSubmit {
        /// A `SignedEntry`, encoded (LEDGER §2).
        #[serde(with = "serde_bytes")]
        entry: Vec<u8>,
    },
}

impl Query {
    /// The message as it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode_envelope(Kind::Query, self)
    }
}
