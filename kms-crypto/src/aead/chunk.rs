//! A content cipher with its key: expanded once, it works in place and allocates nothing per chunk (FORMAT §5.1).

use core::fmt;

use super::Refused;
use super::cipher::Cipher;
use crate::wipe::without_trace;

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(feature = "pure-rust")]
mod pure_rust;
mod secretbox;

#[cfg(not(any(feature = "aws-lc", feature = "pure-rust")))]
compile_error!("AES needs one of the features `aws-lc` and `pure-rust`");

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 16;

/// Who computes AES. What they seal is the same; XSalsa20-Poly1305 is in Rust with either.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Backend {
    /// AWS-LC, in C and assembly.
    #[cfg(feature = "aws-lc")]
    AwsLc,
    /// The crates `aes-gcm` and `aes-gcm-siv`.
    #[cfg(feature = "pure-rust")]
    PureRust,
}

impl Backend {
    /// Those this program was built with, the one it uses first.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "aws-lc")]
        Self::AwsLc,
        #[cfg(feature = "pure-rust")]
        Self::PureRust,
    ];
}

/// A content cipher with its expanded key.
pub struct ChunkCipher(Keyed);

enum Keyed {
    #[cfg(feature = "aws-lc")]
    AwsLc(aws_lc::Keyed),
    #[cfg(feature = "pure-rust")]
    PureRust(pure_rust::Keyed),
    SecretBox(secretbox::Keyed),
}

impl ChunkCipher {
    /// Expands `key`.
    #[must_use]
    pub fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        let [backend, ..] = Backend::ALL else {
            unreachable!("it does not compile without one")
        };
        Self::with_backend(*backend, cipher, key)
    }

    /// Expands `key` for one of the backends.
    #[must_use]
    pub fn with_backend(backend: Backend, cipher: Cipher, key: &[u8; 32]) -> Self {
        without_trace(|| {
            if cipher == Cipher::XSalsa20Poly1305 {
                return Self(Keyed::SecretBox(secretbox::Keyed::new(key)));
            }
            Self(match backend {
                #[cfg(feature = "aws-lc")]
                Backend::AwsLc => Keyed::AwsLc(aws_lc::Keyed::new(cipher, key)),
                #[cfg(feature = "pure-rust")]
                Backend::PureRust => Keyed::PureRust(pure_rust::Keyed::new(cipher, key)),
            })
        })
    }

    /// Replaces the plaintext in `buf` by as much ciphertext and returns its tag.
    ///
    /// `nonce` must never have been used under this key; XSalsa20-Poly1305 asks that only of nonce and `ad` together.
    #[must_use]
    pub fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        ad: &[u8],
        buf: &mut [u8],
    ) -> [u8; TAG_LEN] {
        match &self.0 {
            #[cfg(feature = "aws-lc")]
            Keyed::AwsLc(keyed) => keyed.seal(nonce, ad, buf),
            #[cfg(feature = "pure-rust")]
            Keyed::PureRust(keyed) => keyed.seal(nonce, ad, buf),
            Keyed::SecretBox(keyed) => keyed.seal(nonce, ad, buf),
        }
    }

    /// Replaces the ciphertext in `buf` by its plaintext. When it is refused, `buf` is wiped.
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        ad: &[u8],
        buf: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        let opened = match &self.0 {
            #[cfg(feature = "aws-lc")]
            Keyed::AwsLc(keyed) => keyed.open(nonce, ad, buf, tag),
            #[cfg(feature = "pure-rust")]
            Keyed::PureRust(keyed) => keyed.open(nonce, ad, buf, tag),
            Keyed::SecretBox(keyed) => keyed.open(nonce, ad, buf, tag),
        };
        // A library may leave anything behind: callers must not see bytes nobody vouches for.
        opened.inspect_err(|Refused| buf.fill(0))
    }
}

impl fmt::Debug for ChunkCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkCipher(..)")
    }
}
