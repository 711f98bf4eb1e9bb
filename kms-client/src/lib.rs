//! The public API of kms: generate keys, encrypt, grant, revoke, fetch keys, decrypt.
//!
//! * [`session`]: one person at work: everything below in the operations that all languages have (API §2).
//! * [`keyring`], [`contact`], [`home`]: a person's identities, the people they know, where it all is.
//! * [`local`]: a person on this machine; [`call`]: operations by their names, with documents for [`params`]: what other
//!   languages are made of; [`settings`]: what a person has said about the network.
//! * [`catalogue`]: the errors of the operations, the same in all languages.
//! * [`stream`]: encrypting what does not fit into memory.
//! * [`grammar`]: `bob,@team r ttl=7d m=3/5`, the one grammar for sharing.
//! * [`client`]: [`Client`], what it is connected to; [`blocking`] is the same without `async`.
//! * [`grant`], [`revoke`], [`decrypt`]: the three operations that need nodes.
//! * [`audit`]: who has used a grant, as its nodes have noted it; [`Client::policy_health`]: how many of them serve.
//! * [`relay`]: passing requests on for those who cannot reach nodes themselves.
//! * `signing` (behind a feature): signatures by m of n nodes.
//! * [`sealed`]: encrypting a value that is shared without a filesystem.
//! * [`ticket`], [`record`]: what a recipient is told, and what an owner keeps, in the store itself.
//! * [`error`]: what can go wrong, with each node's own answer.
//!
//! Nothing here knows a filesystem or libp2p: [`connect`] is the only place that names a transport and a ledger.

pub mod audit;
pub mod blocking;
pub mod call;
mod canary;
pub mod catalogue;
pub mod client;
pub mod connect;
pub mod contact;
pub mod decrypt;
pub mod error;
#[cfg(feature = "test-util")]
pub mod fake;
pub mod grammar;
pub mod grant;
pub mod home;
pub mod keyring;
pub mod ledger;
pub mod local;
pub mod params;
pub mod pieces;
pub mod record;
pub mod relay;
pub mod revoke;
pub mod sealed;
pub mod session;
pub mod settings;
#[cfg(feature = "signing")]
pub mod signing;
pub mod stream;
pub mod ticket;

mod disk;
mod drive;
mod health;
mod standing;
mod submit;
mod survey;

pub use audit::{AuditEntry, Bookmark, NodeAudit};
pub use catalogue::{ApiError, Code};
pub use client::{Client, ClientConfig};
pub use connect::NetworkConfig;
pub use decrypt::KeyRequest;
pub use error::{Answer, Answers, ClientError, ConnectError, NodeAnswer, Quorum, RequestError};
pub use grammar::{GrantSpec, RevokeSpec, Who};
pub use grant::{Grant, GrantRequest};
pub use keyring::Keyring;
pub use kms_crypto::id::{LabelId, PolicyId};
pub use kms_crypto::policy::Threshold;
pub use kms_ledger::Compacted;
pub use kms_proto::ledger::Cost;
pub use kms_proto::message::NodeStatus;
pub use kms_proto::place;
pub use place::{Kind, NodeAddress, Step};
pub use record::{OwnerRecord, Records};
pub use relay::RelayError;
pub use revoke::{Revocation, RevokeOutcome, RevokeRequest};
pub use session::{Contacts, Opened, Opening, Session, SessionConfig};
pub use ticket::Ticket;
