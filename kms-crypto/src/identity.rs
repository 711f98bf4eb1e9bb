//! The identity file: a person's secret key under a passphrase. SCHEMES §3.3.
//!
//! ```text
//! # created: 2026-03-01T10:00:00Z
//! # public key: kms1…
//! S01TSQAB…                                   base64 of  "KMSI" ‖ version u16be ‖ strict CBOR
//! ```

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::BASE64;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use zeroize::Zeroizing;

use crate::aead::{ChunkCipher, Cipher, NONCE_LEN, TAG_LEN};
use crate::curve::SCALAR_LEN;
use crate::error::IdentityError;
use crate::kdf;
use crate::key::{IdentitySecret, PublicKey};
use crate::wipe::without_trace;

const MAGIC: [u8; 4] = *b"KMSI";
const VERSION: u16 = 1;
const ARGON2ID: u16 = 1;
const SEALED_LEN: usize = SCALAR_LEN + TAG_LEN;
/// Far above what a file can be; what is longer is not looked at.
const MAX_TEXT_LEN: usize = 16 * 1024;
const LINE_LEN: usize = 64;
const CREATED: &str = "# created: ";
const PUBLIC: &str = "# public key: ";

/// What Argon2id is asked to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassphraseParams {
    /// Memory in KiB; at most 1 GiB.
    pub memory_kib: u32,
    /// Passes over it; at most 64.
    pub passes: u32,
    /// Lanes; at most 16.
    pub lanes: u32,
}

impl Default for PassphraseParams {
    /// 64 MiB, three passes, one lane.
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 1,
        }
    }
}

impl PassphraseParams {
    /// The most memory a file may ask for.
    pub const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    /// The most passes a file may ask for.
    pub const MAX_PASSES: u32 = 64;
    /// The most lanes a file may ask for.
    pub const MAX_LANES: u32 = 16;

    /// Bounded before anything is allocated: a file from elsewhere must not exhaust the machine.
    fn checked(self) -> Result<Params, IdentityError> {
        let Self {
            memory_kib,
            passes,
            lanes,
        } = self;
        let refused = IdentityError::Parameters {
            memory_kib,
            passes,
            lanes,
        };
        if memory_kib > Self::MAX_MEMORY_KIB || passes > Self::MAX_PASSES || lanes > Self::MAX_LANES
        {
            return Err(refused);
        }
        Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| refused)
    }
}

/// Everything but the secret: the associated data of its seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    kdf: u16,
    params: PassphraseParams,
    salt: ByteArray<16>,
    public: PublicKey,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    head: Head,
    sealed: ByteArray<SEALED_LEN>,
}

/// An identity file, parsed or just made; its secret is still sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFile {
    body: Body,
    created: Option<String>,
}

impl IdentityFile {
    /// Seals `secret` under `passphrase`. `created` is the date for the comment; its first line counts.
    ///
    /// # Errors
    /// The parameters are refused, or there is not enough memory for them.
    pub fn seal(
        secret: &IdentitySecret,
        passphrase: &[u8],
        params: PassphraseParams,
        created: &str,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, IdentityError> {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let head = Head {
            kdf: ARGON2ID,
            params,
            salt: ByteArray::new(salt),
            public: secret.public(),
        };
        let mut plain = secret.to_bytes();
        let tag = without_trace(|| {
            let cipher = head.cipher(passphrase)?;
            Ok(cipher.seal_in_place(&[0; NONCE_LEN], &head.to_bytes(), plain.as_mut()))
        })?;
        let mut sealed = [0; SEALED_LEN];
        let (body, end) = sealed.split_at_mut(SCALAR_LEN);
        body.copy_from_slice(plain.as_ref());
        end.copy_from_slice(&tag);
        let created = created.lines().next().map(|line| line.trim().to_owned());
        Ok(Self {
            body: Body {
                head,
                sealed: ByteArray::new(sealed),
            },
            created,
        })
    }

    /// Reads the text of an identity file.
    ///
    /// # Errors
    /// Not an identity file, or one that this version cannot or will not read.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if text.len() > MAX_TEXT_LEN {
            return Err(IdentityError::Malformed);
        }
        let (mut encoded, mut created, mut shown) = (String::new(), None, None);
        for line in text.lines().map(str::trim_end) {
            if let Some(date) = line.strip_prefix(CREATED) {
                created = Some(date.to_owned());
            } else if let Some(key) = line.strip_prefix(PUBLIC) {
                shown = Some(key);
            } else if !line.starts_with('#') {
                encoded.push_str(line);
            }
        }
        let bytes = BASE64
            .decode(encoded.as_bytes())
            .map_err(|_| IdentityError::Malformed)?;
        let body = Body::read(&bytes)?;
        body.head.params.checked()?;
        // People copy the key from the comment; somebody else's there would be a trap.
        if shown.is_some_and(|key| key.parse() != Ok(body.head.public)) {
            return Err(IdentityError::CommentDiffers);
        }
        Ok(Self { body, created })
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text =
            String::from("# kmsfs identity: whoever has this file and its passphrase is you\n");
        if let Some(created) = &self.created {
            text.extend([CREATED, created, "\n"]);
        }
        text.extend([PUBLIC, &self.public().to_string(), "\n"]);
        let encoded = BASE64.encode(&self.body.to_bytes());
        for (index, symbol) in encoded.chars().enumerate() {
            if index > 0 && index % LINE_LEN == 0 {
                text.push('\n');
            }
            text.push(symbol);
        }
        text.push('\n');
        text
    }

    /// The public key; needs no passphrase and is confirmed when the file is opened.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.body.head.public
    }

    /// When it was made, as its comment says; nothing vouches for it.
    #[must_use]
    pub fn created(&self) -> Option<&str> {
        self.created.as_deref()
    }

    /// What opening it costs.
    #[must_use]
    pub const fn params(&self) -> PassphraseParams {
        self.body.head.params
    }

    /// Opens the file.
    ///
    /// # Errors
    /// A wrong passphrase and an altered file are one error.
    pub fn open(&self, passphrase: &[u8]) -> Result<IdentitySecret, IdentityError> {
        without_trace(|| self.open_here(passphrase))
    }

    fn open_here(&self, passphrase: &[u8]) -> Result<IdentitySecret, IdentityError> {
        let head = &self.body.head;
        let cipher = head.cipher(passphrase)?;
        let (body, tag) = self
            .body
            .sealed
            .split_last_chunk::<TAG_LEN>()
            .ok_or(IdentityError::Malformed)?;
        let mut plain = Zeroizing::new([0; SCALAR_LEN]);
        plain.copy_from_slice(body);
        cipher
            .open_in_place(&[0; NONCE_LEN], &head.to_bytes(), plain.as_mut(), tag)
            .map_err(|_| IdentityError::Passphrase)?;
        let secret = IdentitySecret::from_bytes(&plain).map_err(|_| IdentityError::Passphrase)?;
        if secret.public() != head.public {
            return Err(IdentityError::Passphrase);
        }
        Ok(secret)
    }
}

impl Head {
    /// Magic, version and this part: what the seal binds.
    fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// `HKDF(ikm = Argon2id(passphrase, salt), info = "kms/identity/1")`. The salt is fresh each time,
    /// so the key seals once and the nonce is zero.
    fn cipher(&self, passphrase: &[u8]) -> Result<ChunkCipher, IdentityError> {
        let params = self.params.checked()?;
        // Lent, so that it can be wiped: what is in it at the end leads to the key.
        let mut memory = Zeroizing::new(Vec::new());
        memory
            .try_reserve_exact(params.block_count())
            .map_err(|_| IdentityError::Memory)?;
        memory.resize(params.block_count(), Block::new());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut stretched = Zeroizing::new([0; 32]);
        argon2
            .hash_password_into_with_memory(
                passphrase,
                self.salt.as_ref(),
                stretched.as_mut(),
                memory.as_mut_slice(),
            )
            .map_err(|_| IdentityError::Memory)?;
        let key = kdf::derive32(&stretched, "kms/identity/1", &[]);
        Ok(ChunkCipher::new(Cipher::Aes256Gcm, &key))
    }
}

impl Body {
    fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Strict: what does not encode to the same bytes again is refused.
    fn read(bytes: &[u8]) -> Result<Self, IdentityError> {
        let cbor = bytes.strip_prefix(&MAGIC).ok_or(IdentityError::Malformed)?;
        let (version, cbor) = cbor.split_first_chunk().ok_or(IdentityError::Malformed)?;
        let version = u16::from_be_bytes(*version);
        if version != VERSION {
            return Err(IdentityError::Unsupported {
                what: "version",
                id: version,
            });
        }
        let body: Self = cbor4ii::serde::from_slice(cbor).map_err(|_| IdentityError::Malformed)?;
        if body.head.kdf != ARGON2ID {
            let id = body.head.kdf;
            return Err(IdentityError::Unsupported {
                what: "passphrase function",
                id,
            });
        }
        if body.to_bytes() != bytes {
            return Err(IdentityError::Malformed);
        }
        Ok(body)
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_be_bytes());
    cbor4ii::serde::to_vec(out, value).expect("writing to memory does not fail")
}

#[cfg(test)]
mod tests;
