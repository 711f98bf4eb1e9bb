//! The identity file: a person's secret key under a passphrase. SCHEMES §3.3.

use rand_core::CryptoRng;

use crate::error::IdentityError;
use crate::key::{IdentitySecret, PublicKey};

/// What Argon2id is asked to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseParams {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
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

/// An identity file, parsed or just made; its secret is still sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFile {
    public: PublicKey,
}

impl IdentityFile {
    /// Seals `secret` under `passphrase`. `created` is the date for the comment, as text.
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
        let _ = (secret, passphrase, params, created, rng);
        todo!()
    }

    /// Reads the text of an identity file.
    ///
    /// # Errors
    /// Not an identity file, or one that this version cannot or will not read.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let _ = text;
        todo!()
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        todo!()
    }

    /// The public key; needs no passphrase and is confirmed when the file is opened.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Opens the file.
    ///
    /// # Errors
    /// A wrong passphrase and an altered file are one error.
    pub fn open(&self, passphrase: &[u8]) -> Result<IdentitySecret, IdentityError> {
        let _ = passphrase;
        todo!()
    }
}
