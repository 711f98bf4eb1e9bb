//! What a node answers (WIRE §3.3).

use kms_crypto::{id::PolicyId, key::PublicKey};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    codec::{self, DecodeError, Kind},
    ledger::Head,
    message::{AuditReport, Committed, HandoverReceipt, Refusal, Retiring},
    signed::{Signed, Statement},
};

/// A node's answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To `Query::Status`.
    Status(NodeStatus),
    /// To `Query::LedgerRead`.
    Records(Records),
    /// To `Query::LedgerSubmit`: durable, at this height.
    Submitted {
        /// The record's height.
        height: u64,
    },
    /// To `Query::LedgerSubmit`: on its way, and not there yet. Asked again, the node says how far it is, and sends nothing more.
    Accepted,
    /// To `Command::Arrange`: yes.
    Arranged(Arranged),
    /// To `Command::StoreRekey`: verified and durable.
    Stored {
        /// The policy.
        policy: PolicyId,
        /// The fragment's index.
        index: u8,
    },
    /// To `Command::Reencrypt` and `Command::Canary`: one capsule fragment, encoded, or the reason why not, per capsule, in order.
    Reencrypted {
        /// As many as there were capsules.
        fragments: Vec<Result<ByteBuf, Refusal>>,
    },
    /// To `Command::RemoveRekey`: gone, and signed for.
    Removed(RemoveReceipt),
    /// To `Command::Handover`: verified, durable, and signed for.
    Taken(HandoverReceipt),
    /// To `Command::Audit`: signed.
    Audited(AuditReport),
    /// To `Command::ForwardRemovals`: durable.
    Noted,
    /// To `Command::Retire`: under way, or done.
    Retiring(Retiring),
    /// To `Command::SignCommit`: nonces are drawn.
    Committed(Committed),
    /// To `Command::SignShare`: the nonces are used.
    SignedShare {
        /// The node's part of the signature.
        share: ByteBuf,
    },
    /// To anything: no.
    Refused(Refusal),
}

impl Response {
    /// The message as it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode_envelope(Kind::Response, self)
    }

    /// Reads a response.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_envelope(Kind::Response, bytes)
    }
}

/// How a node is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NodeStatus {
    /// Its key.
    pub node: PublicKey,
    /// Its program's version.
    pub version: String,
    /// Its network.
    pub network: String,
    /// Its clock, Unix seconds.
    pub time: u64,
    /// Until when it has promised to serve, Unix seconds.
    pub available_until: u64,
    /// How many fragments it keeps.
    pub fragments: u64,
    /// Whether it needs no other node to open its store (NODE §4).
    pub own_key: bool,
    /// The ledger's head as it sees it; nothing when it has lost sight of the ledger.
    pub head: Option<Head>,
    /// Its addresses, as multiaddresses.
    pub addrs: Vec<String>,
}

/// A piece of the ledger.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Records {
    /// The head as the node sees it.
    pub head: Head,
    /// Consecutive records from the height asked for (LEDGER §3), as many as fit.
    pub records: Vec<ByteBuf>,
}

/// A promise to keep a fragment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Arranged {
    /// The policy.
    pub policy: PolicyId,
    /// Until when the node serves, Unix seconds.
    pub available_until: u64,
}

/// What a node signs after a deletion.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Removed {
    /// The network.
    pub network: String,
    /// The node, who signs.
    pub node: PublicKey,
    /// The policy.
    pub policy: PolicyId,
    /// Whether there was a fragment, or had been one before.
    pub held: bool,
    /// When it was gone, Unix seconds.
    pub at: u64,
}

impl Statement for Removed {
    const DOMAIN: &'static str = "kms/remove-receipt/1";
    const MAX_BYTES: usize = 512;

    fn signer(&self) -> Option<PublicKey> {
        Some(self.node)
    }
}

/// A deletion receipt.
pub type RemoveReceipt = Signed<Removed>;
