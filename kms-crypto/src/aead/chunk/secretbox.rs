//! XSalsa20-Poly1305 with associated data, which the secretbox itself does not take (FORMAT §5.1.1).
//!
//! `nonce 24 = first 24 bytes of SHA256("kms/secretbox-nonce/1" ‖ 0x00 ‖ u32be 12 ‖ nonce ‖ u32be len ‖ ad)`: another nonce or
//! other associated data give another one-time key of Poly1305, under which the tag does not hold.

use crypto_secretbox::aead::{AeadInPlace, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};

use super::{NONCE_LEN, TAG_LEN};
use crate::aead::Refused;
use crate::kdf::hash;

/// A key; the cipher has nothing to expand. In a box, so that moving it leaves no copy.
pub(super) struct Keyed(Box<XSalsa20Poly1305>);

impl Keyed {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Box::new(XSalsa20Poly1305::new(key.into())))
    }

    pub(super) fn seal(&self, nonce: &[u8; NONCE_LEN], ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
        self.0
            .encrypt_in_place_detached(&bound(nonce, ad), &[], buf)
            .expect("a buffer in memory is below the cipher's limit of 2^70 bytes")
            .into()
    }

    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        ad: &[u8],
        buf: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        self.0
            .decrypt_in_place_detached(&bound(nonce, ad), &[], buf, tag.into())
            .map_err(|_| Refused)
    }
}

fn bound(nonce: &[u8; NONCE_LEN], ad: &[u8]) -> Nonce {
    let digest = hash("kms/secretbox-nonce/1", &[nonce, ad]);
    *Nonce::from_slice(&digest[..24])
}
