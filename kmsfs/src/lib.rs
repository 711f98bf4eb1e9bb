//! An encrypted filesystem that is shared with `setfattr`.
//!
//! [`vfs`] is the filesystem as plain methods, without FUSE types and without a network; [`fuse`] puts it where
//! programs see it. What needs the network (keys of shared files, grants) reaches the filesystem through the traits of
//! [`vfs::hooks`].

pub mod backing;
pub mod fuse;
pub mod vfs;
