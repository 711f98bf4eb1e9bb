//! The node daemon of the kms network.
//!
//! A node keeps key fragments and, asked by the person a fragment is for, re-encrypts capsules with them, as long as the
//! ledger says that the policy lives. It can neither read anything itself nor give anybody else access.
//!
//! * [`node`] decides: what is asked, may it be done. [`view`] is its sight of the ledger.
//! * [`limits`] bound what strangers can make of it; [`requests`] are those it has done.
//! * [`audit`] notes who asked for what, for the owners.
//! * [`store`] keeps fragments, sealed, durable, erasable.
//! * [`keysource`] is where its storage key comes from.
//! * [`retire`] hands every fragment to another node.
//! * [`daemon`] puts the two on the network and looks after them; [`config`], [`keyfile`], [`cli`] are its edges.
//! * [`monitor`] and [`logging`] tell operators; [`tally`] counts for them.
//! * [`devnet`] runs several nodes and a ledger on one machine; [`status`] asks a running node how it is.

pub mod audit;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod devnet;
pub mod keyfile;
pub mod keysource;
pub mod limits;
pub mod lock;
pub mod logging;
pub mod manual;
pub mod monitor;
pub mod node;
#[cfg(feature = "signing")]
mod nonces;
pub mod requests;
pub mod retire;
pub mod status;
pub mod store;
pub mod tally;
pub mod time;
pub mod view;
pub mod work;

pub(crate) use kms_ledger::machine::rng;
