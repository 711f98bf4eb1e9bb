//! The ledger of the kms network on an EVM chain (LEDGER §5.4).
//!
//! The chain gives order, time and permanence. That an entry is genuine, and whether it may stand where it stands, this
//! crate checks anew with the rules of [`kms_proto::ledger`], as every kind of ledger does: a provider can withhold what is
//! new, it can forge nothing.
//!
//! Everything here blocks, as the trait [`Ledger`](kms_proto::ledger::Ledger) does; there is no runtime and no thread.

mod account;
#[cfg(feature = "test-util")]
pub mod anvil;
mod contract;
mod entry;
mod follow;
mod hex;
mod keystore;
mod ledger;
mod name;
mod rlp;
mod rpc;
mod send;

pub use account::{Account, AccountError, Ask, CREDENTIAL};
pub use keystore::KeystoreError;
pub use ledger::{EvmLedger, EvmOptions};
pub use name::{EvmName, NameError};
pub use rpc::{Fault, Provider};
pub use send::{DeployError, Deployed, deploy};
