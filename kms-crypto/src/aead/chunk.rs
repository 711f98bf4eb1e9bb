//! The content cipher: its key is expanded once, it works in place and allocates nothing per chunk (FORMAT §5.1).

use core::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::Refused;
use crate::id::CipherId;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 16;

/// The content ciphers that can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Cipher {
    /// AES-256-GCM with 96-bit nonces.
    Aes256Gcm,
}

impl Cipher {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Aes256Gcm];

    /// The id in a header. The reverse, `TryFrom<CipherId>`, searches [`Self::ALL`].
    #[must_use]
    pub const fn id(self) -> CipherId {
        match self {
            Self::Aes256Gcm => CipherId::AES_256_GCM,
        }
    }
}

impl TryFrom<CipherId> for Cipher {
    type Error = CipherId;

    /// Gives the id back when no cipher has it.
    fn try_from(id: CipherId) -> Result<Self, CipherId> {
        Self::ALL
            .into_iter()
            .find(|cipher| cipher.id() == id)
            .ok_or(id)
    }
}

/// A content cipher with its expanded key.
pub struct ChunkCipher {
    key: LessSafeKey,
}

impl ChunkCipher {
    /// Expands `key`.
    #[must_use]
    pub fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key).expect("the key has the cipher's length");
        Self {
            key: LessSafeKey::new(key),
        }
    }

    /// Replaces the plaintext in `buf` by as much ciphertext and returns its tag.
    ///
    /// `nonce` must never have been used under this key.
    #[must_use]
    pub fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        ad: &[u8],
        buf: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(ad), buf)
            .expect("a buffer in memory is below the cipher's limit of 64 GiB");
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(sealed.as_ref());
        tag
    }

    /// Replaces the ciphertext in `buf` by its plaintext. When it is refused, `buf` is wiped.
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        ad: &[u8],
        buf: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        if self
            .key
            .open_in_place_separate_tag(nonce, Aad::from(ad), tag, buf)
            .is_err()
        {
            // The library may leave anything behind: callers must not see bytes nobody vouches for.
            buf.fill(0);
            return Err(Refused);
        }
        Ok(())
    }
}

impl fmt::Debug for ChunkCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkCipher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_opens_only_as_it_was_sealed() {
        let cipher = ChunkCipher::new(Cipher::Aes256Gcm, &[3; 32]);
        let mut buf = *b"sixteen bytes ok";
        let tag = cipher.seal_in_place(&[1; 12], b"here", &mut buf);
        let sealed = buf;
        cipher
            .open_in_place(&[1; 12], b"here", &mut buf, &tag)
            .unwrap();
        assert_eq!(&buf, b"sixteen bytes ok");

        buf = sealed;
        assert_eq!(
            cipher.open_in_place(&[1; 12], b"there", &mut buf, &tag),
            Err(Refused)
        );
        assert_eq!(buf, [0; 16], "refused bytes are not handed out");
        buf = sealed;
        assert_eq!(
            cipher.open_in_place(&[2; 12], b"here", &mut buf, &tag),
            Err(Refused)
        );
        buf = sealed;
        buf[0] ^= 1;
        assert_eq!(
            cipher.open_in_place(&[1; 12], b"here", &mut buf, &tag),
            Err(Refused)
        );
    }

    #[test]
    fn gcm_gives_the_published_bytes() {
        // "The Galois/Counter Mode of Operation", test case 13: zero key, zero nonce, no text.
        let cipher = ChunkCipher::new(Cipher::Aes256Gcm, &[0; 32]);
        let tag = cipher.seal_in_place(&[0; 12], b"", &mut []);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&tag),
            "530f8afbc74536b9a963b4f1c4cb738b"
        );
    }

    #[test]
    fn an_unknown_cipher_is_given_back_by_its_id() {
        assert_eq!(Cipher::try_from(CipherId(77)), Err(CipherId(77)));
        assert_eq!(Cipher::try_from(CipherId(1)), Ok(Cipher::Aes256Gcm));
    }
}
