//! The configuration of a store, `kmsfs.toml`: what anybody may read of it, authenticated as a whole (FORMAT §8).

mod text;

use core::fmt::Write;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rand_core::CryptoRng;
use thiserror::Error;

use super::VERSION;
use super::layout::Layout;
use crate::aead::Cipher;
use crate::error::SealError;
use crate::id::{CipherId, DirId, SchemeId, StoreId};
use crate::kdf::{mac, mac_holds};
use crate::key::{IdentitySecret, PublicKey, StoreKey};

use crate::scheme::SchemeKind;
use crate::seal::seal_to;
use crate::sign::Signature;

/// The name of the file in the store's directory.
pub const FILE_NAME: &str = "kmsfs.toml";
/// The longest configuration that is read.
pub const LEN_MAX: usize = 16 * 1024;

/// Why a configuration was not read or opened.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Too long to be one.
    #[error("not a store configuration")]
    NotAConfig,
    /// A line that is neither a comment nor `key = value`.
    #[error("line {line} of the store configuration cannot be read")]
    Line {
        /// Which line, from one.
        line: usize,
    },
    /// A key this program does not know.
    #[error("the store configuration has an unknown entry `{key}`")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A key that is not there.
    #[error("the store configuration has no `{0}`")]
    Missing(&'static str),
    /// A key that is there twice.
    #[error("the store configuration has `{0}` twice")]
    Twice(&'static str),
    /// A value of the wrong form.
    #[error("`{0}` in the store configuration has a wrong value")]
    Value(&'static str),
    /// A version this program does not know.
    #[error("format version {0} is not known here")]
    UnknownVersion(u64),
    /// A cipher this program does not know.
    #[error("cipher {0} is not known here")]
    UnknownCipher(CipherId),
    /// A re-encryption scheme this program does not know.
    #[error("re-encryption scheme {0} is not known here")]
    UnknownScheme(SchemeId),
    /// It is not as its owner wrote it.
    #[error("the store configuration was not written by the owner it names")]
    Signature,
    /// It belongs to somebody else.
    #[error("the store belongs to {owner}")]
    NotOwner {
        /// To whom.
        owner: Box<PublicKey>,
    },
    /// The owner's signature holds, yet the key in it does not open or is another store's.
    #[error("the key in the store configuration cannot be opened")]
    Key,
}

/// What a new store is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewStore {
    /// The cipher of new files.
    pub cipher: Cipher,
    /// The scheme of new labels.
    pub scheme: SchemeId,
    /// The chunk size of new files.
    pub layout: Layout,
    /// When, in seconds since 1970.
    pub created: u64,
}

/// A store's configuration, its signature verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreConfig {
    /// The store.
    pub store: StoreId,
    /// Its owner.
    pub owner: PublicKey,
    /// The cipher of new files.
    pub cipher: Cipher,
    /// The scheme of new labels.
    pub scheme: SchemeId,
    /// The chunk size of new files.
    pub layout: Layout,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    key: Vec<u8>,
    mac: [u8; 32],
    text: String,
}

impl StoreConfig {
    /// Makes a store for `owner`.
    #[must_use]
    pub fn create(
        new: &NewStore,
        owner: &IdentitySecret,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> (Self, StoreKey) {
        let (store, store_key) = (StoreId::random(rng), StoreKey::generate(rng));
        let public = owner.public();
        let key = seal_to(&public, SEALED_KEY, &[&store.0], store_key.as_bytes(), rng);
        let mut config = Self {
            store,
            owner: public,
            cipher: new.cipher,
            scheme: new.scheme,
            layout: new.layout,
            created: new.created,
            key,
            mac: [0; 32],
            text: String::new(),
        };
        config.write(&store_key, owner, rng);
        (config, store_key)
    }

    /// The same store with another cipher for new files; those it has keep theirs. The text is written anew, without
    /// comments that somebody has added.
    pub fn with_cipher(
        &self,
        cipher: Cipher,
        owner: &IdentitySecret,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, ConfigError> {
        let key = self.open(owner)?;
        let mut config = Self {
            cipher,
            ..self.clone()
        };
        config.write(&key, owner, rng);
        Ok(config)
    }

    /// The text to store.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// Reads a configuration and verifies that the owner it names has written it, comments included.
    ///
    /// That the owner is who one thinks is for the caller to compare.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > LEN_MAX {
            return Err(ConfigError::NotAConfig);
        }
        let raw = text::read(text)?;
        let version = raw.number("format")?;
        if version != u64::from(VERSION) {
            return Err(ConfigError::UnknownVersion(version));
        }
        raw.refuse_unknown()?;
        let cipher = CipherId(raw.number("cipher").and_then(|id| small(id, "cipher"))?);
        let scheme = SchemeId(raw.number("scheme").and_then(|id| small(id, "scheme"))?);
        let bits: u16 = raw
            .number("chunk_bits")
            .and_then(|bits| small(bits, "chunk_bits"))?;
        let bits = u8::try_from(bits).ok().and_then(Layout::new);
        let key = BASE64URL_NOPAD.decode(raw.string("key")?.as_bytes());
        let config = Self {
            store: raw
                .string("store")?
                .parse()
                .map_err(|_| ConfigError::Value("store"))?,
            owner: raw
                .string("owner")?
                .parse()
                .map_err(|_| ConfigError::Value("owner"))?,
            cipher: Cipher::try_from(cipher).map_err(ConfigError::UnknownCipher)?,
            scheme: known(scheme)?,
            layout: bits.ok_or(ConfigError::Value("chunk_bits"))?,
            created: raw.number("created")?,
            key: key.map_err(|_| ConfigError::Value("key"))?,
            mac: raw.hex("mac")?,
            text: text.to_owned(),
        };
        let signature: [u8; 64] = raw.hex("signature")?;
        let signature = Signature::from_bytes(&signature).map_err(|_| ConfigError::Signature)?;
        let signed = raw.before("signature")?;
        config
            .owner
            .verify(SIGNED, signed.as_bytes(), &signature)
            .map_err(|_| ConfigError::Signature)?;
        raw.before("mac")?;
        Ok(config)
    }

    /// Takes the store's key out, for its owner.
    pub fn open(&self, owner: &IdentitySecret) -> Result<StoreKey, ConfigError> {
        if owner.public() != self.owner {
            return Err(ConfigError::NotOwner {
                owner: Box::new(self.owner),
            });
        }
        let key = owner
            .open_sealed(SEALED_KEY, &[&self.store.0], &self.key)
            .map_err(|err| match err {
                SealError::Unsupported { .. } | SealError::Malformed => ConfigError::Value("key"),
                _ => ConfigError::Key,
            })?;
        let key = StoreKey::from_bytes(
            key.first_chunk()
                .filter(|_| key.len() == 32)
                .ok_or(ConfigError::Key)?,
        );
        let raw = text::read(&self.text)?;
        let body = raw.before("mac")?;
        if mac_holds(&key.config_key(), MAC, &[body.as_bytes()], &self.mac) {
            Ok(key)
        } else {
            Err(ConfigError::Key)
        }
    }

    /// The id of the root directory: that of the store.
    #[must_use]
    pub const fn root(&self) -> DirId {
        DirId(self.store.0)
    }

    /// Makes the text of the fields, sealed and signed.
    fn write(
        &mut self,
        key: &StoreKey,
        owner: &IdentitySecret,
        rng: &mut (impl CryptoRng + ?Sized),
    ) {
        let mut text = self.body();
        self.mac = mac(&key.config_key(), MAC, &[text.as_bytes()]);
        push(&mut text, "mac", &quoted(&HEXLOWER.encode(&self.mac)));
        let signature = owner.sign(SIGNED, text.as_bytes(), rng).to_bytes();
        push(
            &mut text,
            "signature",
            &quoted(&HEXLOWER.encode(&signature)),
        );
        self.text = text;
    }

    fn body(&self) -> String {
        let mut out = String::from(HEAD);
        push(&mut out, "format", &VERSION.to_string());
        push(&mut out, "store", &quoted(&self.store.to_string()));
        push(&mut out, "owner", &quoted(&self.owner.to_string()));
        push(&mut out, "cipher", &self.cipher.id().to_string());
        push(&mut out, "scheme", &self.scheme.to_string());
        push(
            &mut out,
            "chunk_bits",
            &self.layout.chunk_bits().to_string(),
        );
        push(&mut out, "created", &self.created.to_string());
        push(&mut out, "key", &quoted(&BASE64URL_NOPAD.encode(&self.key)));
        out
    }
}

fn push(out: &mut String, key: &str, value: &str) {
    writeln!(out, "{key} = {value}").expect("writing into memory does not fail");
}

fn quoted(value: &str) -> String {
    format!("\"{value}\"")
}

fn small(id: u64, key: &'static str) -> Result<u16, ConfigError> {
    u16::try_from(id).map_err(|_| ConfigError::Value(key))
}

fn known(id: SchemeId) -> Result<SchemeId, ConfigError> {
    if SchemeKind::try_from(id).is_ok() {
        Ok(id)
    } else {
        Err(ConfigError::UnknownScheme(id))
    }
}

const HEAD: &str = "# A kmsfs store. Authenticated as a whole: any change, even to this line, makes it unusable.\n";
const SEALED_KEY: &str = "kms/store-key/1";
const MAC: &str = "kms/config-mac/1";
const SIGNED: &str = "kms/config-signature/1";

#[cfg(test)]
mod tests;
