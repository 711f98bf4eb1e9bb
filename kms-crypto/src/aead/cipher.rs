//! Which ciphers content may be sealed with, by id and by name (FORMAT §5.1).

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

use crate::id::CipherId;

/// The content ciphers that can be used.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Cipher {
    /// AES-256-GCM with 96-bit nonces.
    #[default]
    Aes256Gcm,
    /// AES-256-GCM-SIV (RFC 8452): a nonce drawn twice shows which chunks are equal, and nothing else.
    Aes256GcmSiv,
    /// XSalsa20-Poly1305, libsodium's secretbox; needs no AES in hardware.
    XSalsa20Poly1305,
}

/// A name that no cipher has.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("there is no cipher `{name}`; there are {}", Cipher::ALL.map(Cipher::name).join(", "))]
pub struct UnknownCipher {
    /// The name.
    pub name: String,
}

impl Cipher {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aes256Gcm, Self::Aes256GcmSiv, Self::XSalsa20Poly1305];

    /// The id in a header. The reverse, `TryFrom<CipherId>`, searches [`Self::ALL`].
    #[must_use]
    pub const fn id(self) -> CipherId {
        match self {
            Self::Aes256Gcm => CipherId::AES_256_GCM,
            Self::Aes256GcmSiv => CipherId::AES_256_GCM_SIV,
            Self::XSalsa20Poly1305 => CipherId::XSALSA20_POLY1305,
        }
    }

    /// Its name, as people write it. The reverse, `FromStr`, searches [`Self::ALL`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Aes256GcmSiv => "aes-256-gcm-siv",
            Self::XSalsa20Poly1305 => "xsalsa20-poly1305",
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

impl FromStr for Cipher {
    type Err = UnknownCipher;

    fn from_str(name: &str) -> Result<Self, UnknownCipher> {
        Self::ALL
            .into_iter()
            .find(|cipher| cipher.name() == name)
            .ok_or_else(|| UnknownCipher {
                name: name.to_owned(),
            })
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_lead_back_to_their_ciphers() {
        for (id, cipher) in (1..).zip(Cipher::ALL) {
            assert_eq!(cipher.id(), CipherId(id));
            assert_eq!(Cipher::try_from(CipherId(id)), Ok(cipher));
            assert_eq!(cipher.to_string().parse(), Ok(cipher));
        }
    }

    #[test]
    fn an_unknown_cipher_is_named() {
        assert_eq!(Cipher::try_from(CipherId(77)), Err(CipherId(77)));
        assert_eq!(Cipher::try_from(CipherId(0)), Err(CipherId(0)));
        let said = "rot13".parse::<Cipher>().unwrap_err().to_string();
        assert_eq!(
            said,
            "there is no cipher `rot13`; there are aes-256-gcm, aes-256-gcm-siv, xsalsa20-poly1305"
        );
    }
}
