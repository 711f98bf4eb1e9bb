//! AES-256-GCM and AES-256-GCM-SIV in Rust alone (FORMAT §5.1).

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, aead};
use aes_gcm_siv::Aes256GcmSiv;

use super::{NONCE_LEN, TAG_LEN};
use crate::aead::{Cipher, Refused};
use crate::wipe::without_trace;

/// An expanded key. In a box, because the round keys are ten times the size of the other backends' keys.
pub(super) enum Keyed {
    Gcm(Box<Aes256Gcm>),
    GcmSiv(Box<Aes256GcmSiv>),
}

impl Keyed {
    pub(super) fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        match cipher {
            Cipher::Aes256Gcm => Self::Gcm(Box::new(Aes256Gcm::new(key.into()))),
            Cipher::Aes256GcmSiv => Self::GcmSiv(Box::new(Aes256GcmSiv::new(key.into()))),
            Cipher::XSalsa20Poly1305 => unreachable!("it is no AES and has a module of its own"),
        }
    }

    pub(super) fn seal(&self, nonce: &[u8; NONCE_LEN], ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
        let (nonce, buf) = (nonce.into(), buf.into());
        // The round keys go over the stack.
        let tag: Result<_, aead::Error> = without_trace(|| match self {
            Self::Gcm(keyed) => keyed.encrypt_inout_detached(nonce, ad, buf),
            Self::GcmSiv(keyed) => keyed.encrypt_inout_detached(nonce, ad, buf),
        });
        tag.expect("a buffer in memory is below the cipher's limit of 64 GiB")
            .into()
    }

    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        ad: &[u8],
        buf: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        let (nonce, buf, tag) = (nonce.into(), buf.into(), tag.into());
        without_trace(|| match self {
            Self::Gcm(keyed) => keyed.decrypt_inout_detached(nonce, ad, buf, tag),
            Self::GcmSiv(keyed) => keyed.decrypt_inout_detached(nonce, ad, buf, tag),
        })
        .map_err(|_| Refused)
    }
}
