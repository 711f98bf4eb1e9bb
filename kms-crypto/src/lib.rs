//! Re-encryption schemes, ciphers, keys and the sealed file format of kmsfs.
//!
//! Pure: no I/O, no clock, no async; randomness is passed in.

pub mod aead;
pub mod format;
pub mod id;
pub mod kdf;
pub mod name;
