//! Keys as text: bech32m, and where the typing error is. SCHEMES §3.

use std::collections::HashMap;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Fe32, Hrp};
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
    // Reserved in full, so that growing leaves no copy of a secret behind.
    let len = prefix.shown.len() + (data.len() * 8).div_ceil(5) + CHECKSUM_LEN;
    let mut text = Zeroizing::new(String::with_capacity(len));
    bech32::encode_to_fmt::<Bech32m, String>(&mut text, hrp, data).expect("keys are short");
    text
}

/// Decodes `N` bytes, or says what is wrong and where.
pub(crate) fn decode<const N: usize>(
    prefix: Prefix,
    text: &str,
) -> Result<Zeroizing<[u8; N]>, KeyTextError> {
    let text = text.trim();
    check_shape::<N>(prefix, text)?;
    let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| locate(text, prefix))?;
    // Spare bits of the last character must be zero, or one key would have several texts.
    let spare = (N * 8).div_ceil(5) * 5 - N * 8;
    let last = checked.fe32_iter().last().map_or(0, |fe| fe.to_u8());
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
        if index >= prefix.shown.len() && Fe32::from_char(found).is_err() {
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

/// Where one or two wrong characters explain the checksum; the code tells these apart with certainty.
///
/// Positions only: proposing the corrected key would invite people to use a key nobody gave them.
fn locate(text: &str, prefix: Prefix) -> KeyTextError {
    let data = text.get(prefix.shown.len()..).unwrap_or_default();
    // Nearly a secret, as often as not: wiped, and never grown.
    let mut values = Zeroizing::new(Vec::with_capacity(data.len()));
    for symbol in data.chars() {
        let Ok(value) = Fe32::from_char(symbol) else {
            return KeyTextError::Checksum;
        };
        values.push(value.to_u8());
    }
    let high = prefix.hrp.bytes().map(|byte| byte >> 5);
    let low = prefix.hrp.bytes().map(|byte| byte & 31);
    let head = high.chain([0]).chain(low);
    let residue = head.chain(values.iter().copied()).fold(1, step) ^ BECH32M;

    // The checksum is linear: each wrong character adds a pattern that depends on its place and on
    // the difference alone.
    let mut patterns: HashMap<u32, usize> = HashMap::new();
    for at in 0..values.len() {
        for difference in 1..32 {
            let pattern = values
                .iter()
                .skip(at + 1)
                .fold(difference, |sum, _| step(sum, 0));
            patterns.insert(pattern, at);
        }
    }
    let position = |at: usize| prefix.shown.len() + at + 1;
    if let Some(&at) = patterns.get(&residue) {
        return KeyTextError::Typo {
            positions: vec![position(at)],
        };
    }
    for (pattern, &first) in &patterns {
        if let Some(&second) = patterns.get(&(residue ^ pattern)) {
            let (low, high) = (first.min(second), first.max(second));
            return KeyTextError::Typo {
                positions: vec![position(low), position(high)],
            };
        }
    }
    KeyTextError::Checksum
}

/// One step of the checksum of BIP-173.
fn step(sum: u32, value: u8) -> u32 {
    const GENERATOR: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let top = sum >> 25;
    let mut next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
    for (bit, term) in GENERATOR.into_iter().enumerate() {
        if top >> bit & 1 == 1 {
            next ^= term;
        }
    }
    next
}

/// What the sum of a right text is (BIP-350).
const BECH32M: u32 = 0x2bc8_30a3;
