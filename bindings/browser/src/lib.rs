//! The recipient's side of kms for pages in browsers: opens what somebody has shared, with keys that never leave this
//! module. What it is made of is [`kms_crypto`] and [`kms_proto`]; a page loads it as WebAssembly through `index.mjs`.
//!
//! * [`fetch`]: which nodes are asked what, and what is believed of what comes back through a gateway (WIRE §8.3).
//! * [`evidence`]: what the ledger's own entries say of a policy.
//! * [`content`]: decrypting a file piece by piece as it comes.
//! * [`failure`]: the errors of API §3 that can happen here.
//! * [`mod@call`]: the calls that `index.mjs` makes; `export`: how it makes them.
//!
//! There is no I/O, no clock and no randomness here: the page does the requests, and says what time it is.

pub mod call;
pub mod content;
pub mod entropy;
pub mod evidence;
mod export;
pub mod failure;
pub mod fetch;
