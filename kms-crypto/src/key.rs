//! Keys: one type per role, so that none can be used as another. SCHEMES §3, §4.
//!
//! Secrets are wiped on drop, are neither `Clone` nor serialisable, print as `Role(..)` and compare
//! in constant time. What they *do* stands elsewhere: [`crate::sign`], [`crate::seal`],
//! [`crate::scheme`].

mod public;
mod secret;
mod store;
mod symmetric;

pub use public::PublicKey;
pub use secret::{DelegatingKey, IdentitySecret, LedgerKey, NodeSecret};
pub use symmetric::{DirKey, FileKey, LabelSecret, NameKey, StoreKey};

#[cfg(test)]
mod tests;
