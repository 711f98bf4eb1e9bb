//! An encrypted filesystem that is shared with `setfattr`.
//!
//! [`vfs`] is the filesystem as plain methods, without FUSE types and without a network; [`fuse`] puts it where
//! programs see it. What needs the network (keys of shared files, grants) reaches the filesystem through the traits of
//! [`vfs::hooks`], implemented in [`share`]. [`cli`] is the program.

pub mod backing;
pub mod cli;
pub mod config;
pub mod contact;
pub mod control;
pub mod failure;
pub mod freshness;
pub mod fuse;
pub mod home;
pub(crate) mod inode;
pub mod journal;
pub mod mount;
pub mod passphrase;
pub mod share;
pub mod time;
pub mod unlock;
pub mod vfs;
pub(crate) mod waiter;
pub mod why;

/// The operating system's generator of random numbers.
pub(crate) fn random() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}
