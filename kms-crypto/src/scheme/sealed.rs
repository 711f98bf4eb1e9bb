//! Keeps the list of schemes in this crate.

/// Implemented by the schemes of this crate only.
pub trait Sealed {}
