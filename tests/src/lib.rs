//! What the end-to-end tests stand on: people with homes of their own, a network of real node processes, real mounts.
//!
//! Everything here goes through the programs a person runs; nothing reaches into their insides.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

pub mod browser;
mod devnet;
pub mod disk;
pub mod five_minutes;
pub mod packages;
mod person;
mod ports;
pub mod power;
mod root;
pub mod tree;
mod wait;
pub mod web;
pub mod xattr;

pub use devnet::Devnet;
pub use person::{Failure, Mount, Person};
pub use ports::{port, ports};
pub use root::done_by_root;
pub use wait::{TIMEOUT, eventually};

use std::path::PathBuf;

/// The ciphers, as `kmsfs init --cipher` names them, with their ids.
pub const CIPHERS: [(&str, u16); 3] = [
    ("aes-256-gcm", 1),
    ("aes-256-gcm-siv", 2),
    ("xsalsa20-poly1305", 3),
];

/// The path of one of our programs, built beside this test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let path = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/release/deps/test")
        .join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --release --bins` first",
        path.display()
    );
    path
}

/// The error number of a failed call.
#[track_caller]
pub fn errno<T>(result: std::io::Result<T>) -> rustix::io::Errno {
    match result {
        Ok(_) => panic!("this call was expected to fail"),
        Err(error) => rustix::io::Errno::from_io_error(&error)
            .unwrap_or_else(|| panic!("no error number: {error}")),
    }
}
