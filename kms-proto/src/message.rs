//! What is asked of a node and what it answers (WIRE §3).

mod audit;
mod command;
mod handover;
mod query;
mod refusal;
mod response;
mod signing;

pub use audit::{
    Audit, AuditEntry, AuditError, AuditReport, Audited, Continued, MAX_AUDIT_ENTRIES, audit_hash,
};
pub use command::{Arrange, Canary, Command, MAX_CAPSULES, Reencrypt, RemoveRekey, StoreRekey};
pub use handover::{
    ForwardRemovals, Handover, HandoverReceipt, MAX_REMOVAL_BYTES, MAX_REMOVALS, Parcel,
    RemovalError, Retire, Retiring, Taken, forwarded_removal,
};
pub use query::{MAX_READ, Query};
pub use refusal::Refusal;
pub use response::{Arranged, NodeStatus, Records, RemoveReceipt, Removed, Response};
pub use signing::{
    COMMITMENT_BYTES, Committed, MAX_SIGNED_BYTES, MAX_SIGNERS, SIGNER_BYTES, SignCommit, SignShare,
};
