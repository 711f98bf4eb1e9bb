//! Capsules, and messages for the owner of a key. UMBRAL §2.

use core::fmt;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Umbral, UmbralError, dem};
use crate::curve::{self, POINT_LEN, SCALAR_LEN};
use crate::error::DecodeError;
use crate::key::{EcDelegatingKey, PublicKey};
use crate::scheme::wire::Fields;
use crate::splitkey;
use crate::wipe::without_trace;

/// `(E, V, s)`; a value of this type has passed its own check.
#[derive(Clone)]
pub struct Capsule {
    pub(super) core: splitkey::Capsule,
    bytes: [u8; Self::LEN],
}

impl Capsule {
    /// Length of the encoding.
    pub const LEN: usize = 2 * POINT_LEN + SCALAR_LEN;

    fn new(core: splitkey::Capsule) -> Self {
        let mut bytes = [0; Self::LEN];
        let (points, scalar) = bytes.split_at_mut(2 * POINT_LEN);
        points.copy_from_slice(core.points());
        scalar.copy_from_slice(&core.s.to_bytes());
        Self { core, bytes }
    }

    /// Reads `E ‖ V ‖ s` and runs the capsule's own check.
    ///
    /// # Errors
    /// Another length, a point or scalar that is none, or a check that fails.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        curve::count_operation();
        let mut fields = Fields::new(bytes, "Umbral capsule").exactly(Self::LEN)?;
        let e = fields.point("E")?;
        let v = fields.point("V")?;
        let s = fields.scalar("s")?;
        let core = splitkey::Capsule::checked::<Umbral>(&e, &v, s);
        core.map(Self::new).ok_or(DecodeError::CapsuleCheck)
    }

    /// `E ‖ V ‖ s`.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; Self::LEN] {
        self.bytes
    }

    pub(super) const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.bytes
    }
}

impl PartialEq for Capsule {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Capsule {}

impl fmt::Debug for Capsule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("umbral::Capsule(..)")
    }
}

/// Seals a message to the owner of `key` and to whomever he lets in.
#[must_use]
pub fn encrypt(
    rng: &mut (impl CryptoRng + ?Sized),
    key: &PublicKey,
    plaintext: &[u8],
) -> (Capsule, Vec<u8>) {
    curve::count_operation();
    without_trace(|| {
        let (core, point) = splitkey::Capsule::make::<Umbral>(rng, &key.point());
        let capsule = Capsule::new(core);
        let sealed = dem::seal(rng, &point, capsule.as_bytes(), plaintext);
        (capsule, sealed)
    })
}

/// Opens a message with the key it was sealed to.
///
/// # Errors
/// It was sealed to another key, belongs to another capsule, or was altered.
pub fn decrypt_original(
    key: &EcDelegatingKey,
    capsule: &Capsule,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, UmbralError> {
    curve::count_operation();
    without_trace(|| {
        let point = capsule.core.point(key.scalar());
        dem::open(&point, capsule.as_bytes(), sealed)
    })
}
