//! Re-encryption schemes, ciphers, keys and the sealed file format of kmsfs.
//!
//! Pure: no I/O, no clock, no async; randomness is passed in as
//! `&mut (impl rand_core::CryptoRng + ?Sized)`.
//!
//! * Keys: [`key`] (one type per role), [`identity`] and [`words`] (how a person keeps his),
//!   [`sign`] and [`seal`] (what they do beside sharing).
//! * Sharing: [`policy`] names a grant, [`scheme`] splits a label's key for it and re-encrypts.
//! * Files: [`format`](mod@format), [`name`], [`aead`], [`kdf`], [`id`].
//!
//! # Timing
//!
//! Everything that touches a secret scalar, key or share runs in constant time as far as `k256` and
//! AWS-LC do: all multiplications by secret scalars, those from a table (every row is read in full) and
//! in pairs included, the interpolation that opens re-encrypted capsules, comparisons of keys and tags.
//!
//! Variable time is used where every input is public: verifying signatures, capsules and proofs, one by
//! one or in batches, and reading points, `kms1…` texts and lengths. One check has secret *points* in it,
//! that the recipient's sums fit the label's key: its scalars are public, and only scalars decide which
//! additions are made. How many shares there are and whose they are shows everywhere; it is no secret.
//! Recovery words and `KMS-SECRET-KEY-1…` texts are looked up in variable time; they are typed by
//! their owner and never cross a network.

pub mod aead;
pub mod error;
pub mod format;
pub mod id;
pub mod identity;
pub mod kdf;
pub mod key;
pub mod name;
pub mod policy;
pub mod scheme;
pub mod seal;
pub mod sign;
pub mod umbral;
pub mod words;

mod bls;
mod curve;
mod splitkey;
mod text;

pub use curve::public_key_operations;
