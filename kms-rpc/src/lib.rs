//! The operations of `kms-client` as JSON-RPC on localhost, in the manner of bitcoind (API §4).
//!
//! * [`method`]: what can be called: one table of definitions, from which calls are checked, `help` and the OpenRPC
//!   document are made, and the command line is converted.
//! * [`rpc`]: JSON-RPC 1.1 and 2.0 without HTTP; [`server`]: HTTP, and who may speak; [`auth`]: credentials.
//! * [`gateway`]: what pages in browsers reach nodes through, on a port of its own.
//! * [`daemon`]: what `kmsd` works with; [`options`]: its options and those of `kms-cli`; [`cli`]: `kms-cli`.

pub mod auth;
pub mod cli;
pub mod daemon;
pub mod gate;
pub mod gateway;
pub mod help;
pub mod log;
pub mod manual;
pub mod method;
pub mod openrpc;
pub mod options;
mod process;
pub mod rpc;
pub mod server;
pub mod start;

/// The operating system's generator of random numbers.
pub(crate) fn random() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// What time it is, in seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
