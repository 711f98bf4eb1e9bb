//! AES-256-GCM and AES-256-GCM-SIV by AWS-LC (FORMAT §5.1).

use aws_lc_rs::aead::{AES_256_GCM, AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{NONCE_LEN, TAG_LEN};
use crate::aead::{Cipher, Refused};

/// An expanded key.
pub(super) struct Keyed(LessSafeKey);

impl Keyed {
    pub(super) fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::Aes256GcmSiv => &AES_256_GCM_SIV,
            Cipher::XSalsa20Poly1305 => unreachable!("it is no AES and has a module of its own"),
        };
        let key = UnboundKey::new(algorithm, key).expect("the key has the cipher's length");
        Self(LessSafeKey::new(key))
    }

    pub(super) fn seal(&self, nonce: &[u8; NONCE_LEN], ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(ad), buf)
            .expect("a buffer in memory is below the cipher's limit of 64 GiB");
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(sealed.as_ref());
        tag
    }

    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        ad: &[u8],
        buf: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(ad), tag, buf)
            .map(drop)
            .map_err(|_| Refused)
    }
}
