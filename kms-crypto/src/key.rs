//! Keys: one type per role, so that none can be used as another. SCHEMES §3, §4.
//!
//! Secrets are wiped on drop, are neither `Clone` nor serialisable, print as `Role(..)` and compare
//! in constant time. What they *do* stands elsewhere: [`crate::sign`], [`crate::seal`],
//! [`crate::scheme`].

mod label;
mod public;
mod secret;
mod store;
mod symmetric;

pub use crate::wipe::Kept;
pub(crate) use label::Inner;
pub use label::{DelegatingKey, LabelPublicKey};
pub use public::PublicKey;
pub use secret::{EcDelegatingKey, IdentitySecret, LedgerKey, NodeSecret};
pub use symmetric::{DirKey, FileKey, LabelSecret, NameKey, StoreKey};

#[cfg(test)]
mod tests;
