//! What is asked of a node and what it answers (WIRE §3).

mod command;
mod query;
mod refusal;
mod response;

pub use command::{Arrange, Command, MAX_CAPSULES, Reencrypt, RemoveRekey, StoreRekey};
pub use query::{MAX_READ, Query};
pub use refusal::Refusal;
pub use response::{Arranged, NodeStatus, Records, RemoveReceipt, Removed, Response};
