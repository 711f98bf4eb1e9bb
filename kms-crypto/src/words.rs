//! Recovery words: a secret key as 24 words on paper (BIP-39, English). SCHEMES §3.4.

use zeroize::Zeroizing;

use crate::error::WordsError;
use crate::key::IdentitySecret;

impl IdentitySecret {
    /// The 24 words, separated by spaces.
    #[must_use]
    pub fn to_words(&self) -> Zeroizing<String> {
        todo!()
    }

    /// Reads 24 words; case and spacing do not matter.
    ///
    /// # Errors
    /// What is wrong, and with which word where that can be told.
    pub fn from_words(text: &str) -> Result<Self, WordsError> {
        let _ = text;
        todo!()
    }
}
