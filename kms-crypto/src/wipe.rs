//! Secrets that stay in one place, and stacks that keep nothing of them.
//!
//! Two things leave copies behind that no wiping on drop reaches: moving a value, and returning from a function
//! that computed with it. So what lives longer than a computation is [`Kept`] on the heap, where moving its
//! owner copies a pointer; and functions that compute with secrets run [`without_trace`].
//!
//! What this does not do: registers, swapped pages and core dumps are out of its reach, and so are the copies
//! that a caller makes of what he was given (`to_bytes`, a plaintext), unless he borrows it.

use core::fmt;
use core::ops::{Deref, DerefMut};

use zeroize::{Zeroize, ZeroizeOnDrop, zeroize_stack};

use crate::id::SchemeId;

/// More than k256, Argon2 and HKDF use below the function that calls them.
const DEPTH: usize = 16 * 1024;
/// More than a pairing of blst uses.
#[cfg(feature = "afgh")]
const PAIRING_DEPTH: usize = 64 * 1024;

/// A secret at one address for as long as it exists, wiped there when it goes.
pub struct Kept<T: Zeroize>(Box<T>);

impl<T: Zeroize> Kept<T> {
    /// Takes a secret over; run `without_trace` around whatever made it.
    pub(crate) fn new(secret: T) -> Self {
        Self(Box::new(secret))
    }
}

impl<const N: usize> Kept<[u8; N]> {
    /// Copies a secret from where it stands, straight to its place.
    pub(crate) fn copied(secret: &[u8; N]) -> Self {
        let mut kept = Self::new([0; N]);
        kept.copy_from_slice(secret);
        kept
    }
}

impl<T: Zeroize> Drop for Kept<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> ZeroizeOnDrop for Kept<T> {}

impl<T: Zeroize> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(..)")
    }
}

impl<T: Zeroize> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Computes, then overwrites the part of the stack that was used for it. The result must be nothing secret, or
/// [`Kept`]: it is moved.
#[inline(never)]
pub(crate) fn without_trace<T>(compute: impl FnOnce() -> T) -> T {
    let result = deeper(compute);
    zeroize_stack::<DEPTH>();
    result
}

/// The same for what a re-encryption scheme computes: pairings go deeper.
#[inline(never)]
pub(crate) fn without_trace_of<T>(scheme: SchemeId, compute: impl FnOnce() -> T) -> T {
    let result = deeper(compute);
    match scheme {
        #[cfg(feature = "afgh")]
        SchemeId::AFGH => zeroize_stack::<PAIRING_DEPTH>(),
        _ => zeroize_stack::<DEPTH>(),
    }
    result
}

/// Keeps everything `compute` does below its callers' frames.
#[inline(never)]
fn deeper<T>(compute: impl FnOnce() -> T) -> T {
    compute()
}

#[cfg(test)]
mod tests;
