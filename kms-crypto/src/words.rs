//! Recovery words: a secret key as 24 words on paper (BIP-39, English). SCHEMES §3.4.

use bip39::{Language, Mnemonic};
use zeroize::{Zeroize, Zeroizing};

use crate::curve::SCALAR_LEN;
use crate::error::WordsError;
use crate::key::IdentitySecret;
use crate::wipe::without_trace;

/// How many words there are.
pub const WORD_COUNT: usize = 24;

impl IdentitySecret {
    /// The 24 words, separated by spaces.
    #[must_use]
    pub fn to_words(&self) -> Zeroizing<String> {
        without_trace(|| self.words_here())
    }

    fn words_here(&self) -> Zeroizing<String> {
        let words = Mnemonic::from_entropy_in(Language::English, self.to_bytes().as_ref())
            .expect("32 bytes make 24 words");
        // Nine bytes suffice for the longest word and its space: the text never moves.
        let mut text = Zeroizing::new(String::with_capacity(WORD_COUNT * 9));
        for word in words.words() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// Reads 24 words; case and spacing do not matter.
    ///
    /// # Errors
    /// What is wrong, and with which word where that can be told.
    pub fn from_words(text: &str) -> Result<Self, WordsError> {
        without_trace(|| Self::read_words(text))
    }

    fn read_words(text: &str) -> Result<Self, WordsError> {
        let found = text.split_whitespace().count();
        if found != WORD_COUNT {
            return Err(WordsError::Count { found });
        }
        let mut plain = Zeroizing::new(String::with_capacity(text.len()));
        for word in text.split_whitespace() {
            if !plain.is_empty() {
                plain.push(' ');
            }
            plain.extend(word.chars().map(|c| c.to_ascii_lowercase()));
        }
        let words =
            Mnemonic::parse_in_normalized(Language::English, &plain).map_err(
                |error| match error {
                    bip39::Error::UnknownWord(index) => WordsError::Unknown {
                        position: index + 1,
                    },
                    _ => WordsError::Checksum,
                },
            )?;
        let (mut entropy, len) = words.to_entropy_array();
        let mut bytes = Zeroizing::new([0; SCALAR_LEN]);
        for (slot, byte) in bytes.iter_mut().zip(entropy.iter().take(len)) {
            *slot = *byte;
        }
        entropy.zeroize();
        Ok(Self::from_bytes(&bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::KeyError;

    /// The scalar of bytes 0x7f, and BIP-39's own test vector for that entropy.
    const WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank year \
        wave sausage worth useful legal winner thank year wave sausage worth title";

    #[test]
    fn a_key_survives_its_words() {
        let secret = IdentitySecret::from_bytes(&[0x7f; 32]).unwrap();
        assert_eq!(*secret.to_words(), WORDS);
        assert_eq!(IdentitySecret::from_words(WORDS), Ok(secret));
    }

    #[test]
    fn case_and_spacing_of_words_do_not_matter() {
        let typed = format!("  {}\n", WORDS.to_uppercase().replace(' ', " \n\t"));
        assert!(IdentitySecret::from_words(&typed).is_ok());
    }

    #[test]
    fn wrong_words_are_named_by_their_place() {
        let mistyped = WORDS.replace("sausage worth useful legal", "sausage wurth useful legal");
        let unknown = |position| Err(WordsError::Unknown { position });
        assert_eq!(IdentitySecret::from_words(&mistyped), unknown(7));
        let exchanged = WORDS.replacen("legal winner", "winner legal", 1);
        assert_eq!(
            IdentitySecret::from_words(&exchanged),
            Err(WordsError::Checksum)
        );
        let short = WORDS.rsplit_once(' ').unwrap().0;
        assert_eq!(
            IdentitySecret::from_words(short),
            Err(WordsError::Count { found: 23 })
        );
        assert_eq!(
            IdentitySecret::from_words(""),
            Err(WordsError::Count { found: 0 })
        );
        assert_eq!(
            IdentitySecret::from_words(&format!("ähm {short}")),
            unknown(1)
        );
    }

    #[test]
    fn words_that_spell_no_key_are_refused() {
        let zero = format!("{}art", "abandon ".repeat(23));
        let refused = Err(WordsError::Key(KeyError::NotAScalar));
        assert_eq!(IdentitySecret::from_words(&zero), refused);
        let high = format!("{}vote", "zoo ".repeat(23));
        assert_eq!(IdentitySecret::from_words(&high), refused);
    }
}
