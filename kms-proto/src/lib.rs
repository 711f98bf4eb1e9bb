//! Messages, codec, protocol machines and the ledger trait of the kms network.
//!
//! Pure: no socket, no file, no async, no clock. Time and randomness are arguments. What travels is
//! specified in `spec/WIRE.md`, what ledgers hold in `spec/LEDGER.md`.

pub mod answer;
pub mod arrange;
pub mod codec;
pub mod gather;
pub mod ledger;
pub mod message;
pub mod place;
pub mod placement;
pub mod secret;
pub mod signed;
#[cfg(feature = "signing")]
pub mod signing;
pub mod ticket;
pub mod transport;

/// The network a program belongs to when nothing else is configured (WIRE §1).
pub const DEFAULT_NETWORK: &str = "kms-main";

/// Whether a text can name a network (WIRE §1).
pub fn is_network_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(fits)
}

/// How far two honest clocks may be apart, in seconds (WIRE §4, LEDGER §3).
pub const CLOCK_SKEW_SECONDS: u64 = 30;
