//! The node daemon of the kms network.
//!
//! A node keeps key fragments and, asked by the person a fragment is for, re-encrypts capsules with them, as long as the
//! ledger says that the policy lives. It can neither read anything itself nor give anybody else access.
//!
//! * [`node`] decides: what is asked, may it be done. [`view`] is its sight of the ledger.
//! * [`store`] keeps fragments, sealed, durable, erasable.
//! * [`daemon`] puts the two on the network and looks after them; [`config`], [`keyfile`], [`cli`] are its edges.
//! * [`devnet`] runs several nodes and a ledger on one machine; [`status`] asks a running node how it is.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod devnet;
pub mod keyfile;
pub mod lock;
pub mod manual;
pub mod node;
pub mod status;
pub mod store;
pub mod time;
pub mod view;
pub mod work;

pub(crate) use kms_ledger::machine::rng;
