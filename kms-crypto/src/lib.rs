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
//! Everything that touches a secret scalar, key or share runs in constant time as far as `k256`, blst and
//! AWS-LC do: all multiplications by secret scalars, those from a table (every row is read in full) and
//! in pairs included, the interpolation that opens re-encrypted capsules, comparisons of keys and tags.
//! In BLS12-381 that is multiplying in G1 and G2, pairing, and inverting scalars.
//!
//! Signing by m of n nodes (feature `signing`) computes with the `k256` before ours, in the same manner.
//!
//! These paths take a variable time:
//!
//! | what | why that is safe |
//! |---|---|
//! | verifying signatures | key, message and signature are public |
//! | the check of a capsule | the capsule is public |
//! | the equations of a proof, one by one or in a batch | capsule, share, answer and weights are public |
//! | the exponentiations in GT with which AFGH's proofs are checked | so is all of theirs |
//! | reading points, scalars of proofs, `kms1…` texts, identity files up to their seal | they are public |
//! | that the recipient's sums fit the label's key | the *points* are secret, the scalars public, and only scalars decide which additions are made |
//! | how many shares there are and whose they are | it shows everywhere; it is no secret |
//! | recovery words and `KMS-SECRET-KEY-1…` texts | **secret**, looked up by their letters: they are typed by their owner and never cross a network |
//! | AFGH: the recipient's exponentiation in GT by e⁻¹ | **not safe** against somebody who shares his caches: the steps are the same for every key, the memory that is read is not. blst has nothing better for GT; the scheme is for debugging |
//! | [`aead`]'s AES in Rust alone, on processors without AES instructions | it is bitsliced there: constant time, but slow |
//!
//! # Memory
//!
//! A key stands at one place on the heap for as long as it lives, so that moving it copies a pointer, and is
//! wiped there on drop. What computes with secrets overwrites the stack it used before it returns. A test reads
//! the whole memory of its process and finds no copy of any key, share, label secret or remembered weight after
//! its owner was dropped.
//!
//! The limits: what `to_bytes` and the like hand out is wiped when it is dropped *where it stands*; whoever
//! moves an array leaves a copy behind, and should borrow it instead. The key inside an AES-SIV or HMAC
//! computation of [`format`](mod@format) is wiped by its library, its stack only where keys are unwrapped.
//! Registers, swap, hibernation and core dumps are the operating system's; a program that minds turns
//! them off.

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

#[cfg(feature = "afgh")]
mod bls;
mod curve;
mod splitkey;
mod text;
mod wipe;

pub use curve::public_key_operations;
