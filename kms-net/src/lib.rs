//! The kms network over libp2p.
//!
//! [`NetServer`] is the node's side: it listens, takes part in Kademlia as a server and hands requests to a
//! [`Handler`]. [`NetClient`] is everybody else's: it only dials, keeps nothing, and implements
//! [`Transport`](kms_proto::transport::Transport). Both move opaque byte strings of bounded length; what is in them is
//! the business of `kms-proto`. No other crate names libp2p.
//!
//! Kademlia answers two questions only: which addresses has this node, and which nodes are close to this value. It
//! stores nothing; who holds what is said by the ledger. Framing and protocol names: NODE §1.

mod address;
mod behaviour;
mod bounds;
mod client;
mod codec;
mod limit;
mod names;
mod peer;
mod routing;
mod server;

pub use address::AddressScope;
pub use client::{ClientConfig, Found, NetClient};
pub use codec::{Manners, REQUEST_LIMIT, RESPONSE_LIMIT};
pub use limit::RateLimit;
pub use peer::{PeerKey, distance, peer_id, public_key};
pub use routing::Members;
pub use server::{Handler, Neighbours, NetServer, ServerConfig};

/// Why the network could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// An address in the configuration is not a multiaddress, or a bootstrap address names no node.
    #[error("{address:?} is not a usable address: {reason}")]
    Address {
        /// The text as configured.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The network's name cannot be part of a protocol name.
    #[error("{0:?} cannot name a network: use a-z, 0-9 and '-', at most 63 of them")]
    Network(String),
    /// The node's secret is not a usable secp256k1 scalar.
    #[error("the node's secret key is not usable")]
    Secret,
    /// Listening failed.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The transport could not be set up.
    #[error("cannot set up the transport: {0}")]
    Transport(String),
    /// The driver has ended.
    #[error("the network is stopped")]
    Stopped,
}
