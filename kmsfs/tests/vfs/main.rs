//! The filesystem without FUSE: against a model, under faults, after tampering, shared, and with new keys.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests may"
)]

mod ciphers;
mod copies;
mod crash;
mod events;
mod faults;
mod files;
mod images;
mod killed;
mod machines;
mod model;
mod mutation;
mod posix;
mod random;
mod rekey;
mod repair;
mod shared;
mod signed;
mod support;
mod tamper;
mod unmade;
