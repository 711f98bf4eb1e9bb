//! Authenticated encryption: content chunks, wrapped keys, small sealed records (FORMAT §2).
//!
//! What fails to authenticate is one error, [`Refused`], and says nothing more: callers know which part they opened.

mod chunk;
mod cipher;
#[cfg(test)]
mod conformance;
mod record;
mod wrap;

pub use chunk::{Backend, ChunkCipher, NONCE_LEN, TAG_LEN};
pub use cipher::{Cipher, UnknownCipher};
pub use record::{RECORD_OVERHEAD, open_record, seal_record};
pub use wrap::{WRAPPED_LEN, siv_open, siv_seal, unwrap_key, wrap_key};

use thiserror::Error;

/// Bytes that were not sealed under this key and associated data, or have been altered since.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Error)]
#[error("the bytes do not authenticate")]
pub struct Refused;
