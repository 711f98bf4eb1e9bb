//! Messages, codec, protocol machines and the ledger trait of the kms network.
//!
//! Pure: no socket, no file, no async, no clock. Time and randomness are arguments. What travels is
//! specified in `spec/WIRE.md`, what ledgers hold in `spec/LEDGER.md`.

pub mod arrange;
pub mod codec;
pub mod gather;
pub mod ledger;
pub mod message;
pub mod secret;
pub mod signed;
pub mod transport;

/// The network a program belongs to when nothing else is configured (WIRE §1).
pub const DEFAULT_NETWORK: &str = "kms-main";

/// How far two honest clocks may be apart, in seconds (WIRE §4, LEDGER §3).
pub const CLOCK_SKEW_SECONDS: u64 = 30;
