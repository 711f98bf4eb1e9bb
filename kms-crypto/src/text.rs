//! Keys as text: bech32m, and where the typing error is. SCHEMES §3.

use bech32::primitives::correction::CorrectableError;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use zeroize::Zeroizing;

use crate::error::KeyTextError;

/// The prefix of a public key, and with the `1` after it.
pub(crate) const PUBLIC: Prefix = Prefix {
    hrp: "kms",
    shown: "kms1",
};
/// The prefix of a secret key, and with the `1` after it.
pub(crate) const SECRET: Prefix = Prefix {
    hrp: "kms-secret-key-",
    shown: "KMS-SECRET-KEY-1",
};

/// How a kind of key text starts.
#[derive(Clone, Copy)]
pub(crate) struct Prefix {
    hrp: &'static str,
    shown: &'static str,
}

const CHECKSUM_LEN: usize = 6;

/// Encodes in small letters.
pub(crate) fn encode(prefix: Prefix, data: &[u8]) -> Zeroizing<String> {
    let hrp = Hrp::parse(prefix.hrp).expect("the prefixes are valid");
    Zeroizing::new(bech32::encode::<Bech32m>(hrp, data).expect("keys are short"))
}

/// Decodes `N` bytes, or says what is wrong and where.
pub(crate) fn decode<const N: usize>(
    prefix: Prefix,
    text: &str,
) -> Result<Zeroizing<[u8; N]>, KeyTextError> {
    let text = text.trim();
    check_shape::<N>(prefix, text)?;
    let checked =
        CheckedHrpstring::new::<Bech32m>(text).map_err(|error| locate(text, prefix, &error))?;
    // Spare bits of the last character must be zero, or one key would have several texts.
    let bits: Vec<u8> = checked.fe32_iter().map(|fe| fe.to_u8()).collect();
    let spare = bits.len() * 5 - N * 8;
    let last = bits.last().copied().unwrap_or(0);
    if last & ((1u8 << spare) - 1) != 0 {
        return Err(KeyTextError::Checksum);
    }
    let mut out = Zeroizing::new([0u8; N]);
    for (slot, byte) in out.iter_mut().zip(checked.byte_iter()) {
        *slot = byte;
    }
    Ok(out)
}

/// Prefix, length, alphabet and case, in the order in which a person would look.
fn check_shape<const N: usize>(prefix: Prefix, text: &str) -> Result<(), KeyTextError> {
    if text.is_empty() {
        return Err(KeyTextError::Empty);
    }
    let starts = |p: Prefix| {
        text.get(..p.shown.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(p.shown))
    };
    if !starts(prefix) {
        return Err(match prefix.hrp {
            "kms" if starts(SECRET) => KeyTextError::SecretGiven,
            "kms-secret-key-" if starts(PUBLIC) => KeyTextError::PublicGiven,
            _ => KeyTextError::Prefix {
                expected: prefix.shown,
            },
        });
    }
    let lower = text
        .chars()
        .find(|c| c.is_ascii_alphabetic())
        .is_some_and(|c| c.is_ascii_lowercase());
    for (index, found) in text.chars().enumerate() {
        let position = index + 1;
        if index >= prefix.shown.len() && bech32::Fe32::from_char(found).is_err() {
            return Err(KeyTextError::Character { position, found });
        }
        if found.is_ascii_alphabetic() && found.is_ascii_lowercase() != lower {
            return Err(KeyTextError::MixedCase { position });
        }
    }
    let expected = prefix.shown.len() + (N * 8).div_ceil(5) + CHECKSUM_LEN;
    let found = text.chars().count();
    if found != expected {
        return Err(KeyTextError::Length { expected, found });
    }
    Ok(())
}

/// Asks the code where the mistakes are. Positions only: proposing the corrected key would invite
/// people to use a key nobody gave them.
fn locate(text: &str, prefix: Prefix, error: &impl CorrectableError) -> KeyTextError {
    let Some(corrector) = error.correction_context::<Bech32m>() else {
        return KeyTextError::Checksum;
    };
    let Some(errors) = corrector.bch_errors() else {
        return KeyTextError::Checksum;
    };
    let data_len = text.len() - prefix.shown.len();
    let mut positions = Vec::new();
    for (from_end, _) in errors {
        if from_end >= data_len {
            return KeyTextError::Checksum;
        }
        positions.push(text.len() - from_end);
    }
    positions.sort_unstable();
    if positions.is_empty() {
        KeyTextError::Checksum
    } else {
        KeyTextError::Typo { positions }
    }
}
