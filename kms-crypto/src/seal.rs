//! Sealed boxes: something for one person's eyes, from anybody. SCHEMES §5.2.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::SealError;
use crate::key::{IdentitySecret, PublicKey};

/// Seals `plaintext` to `recipient`. `domain` says what for; `ad` must be given again to open it.
#[must_use]
pub fn seal_to(
    recipient: &PublicKey,
    domain: &str,
    ad: &[&[u8]],
    plaintext: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Vec<u8> {
    let _ = (recipient, domain, ad, plaintext, rng);
    todo!()
}

impl IdentitySecret {
    /// Opens a box sealed to this identity.
    ///
    /// # Errors
    /// Not a box, of an unknown kind, or for another key, domain or associated data.
    pub fn open_sealed(
        &self,
        domain: &str,
        ad: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let _ = (domain, ad, sealed);
        todo!()
    }

    /// A secret that only this identity and the holder of `other` can compute, the same for both.
    #[must_use]
    pub fn shared(
        &self,
        other: &PublicKey,
        domain: &str,
        context: &[&[u8]],
    ) -> Zeroizing<[u8; 32]> {
        let _ = (other, domain, context);
        todo!()
    }
}
