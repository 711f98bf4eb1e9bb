//! Deterministic authenticated encryption, AES-256-SIV (RFC 5297): keys under keys, and names (FORMAT §2.1).
//!
//! SIV needs no nonce, so a key wrapped twice in the same place gives the same bytes and a broken random number
//! generator costs nothing.

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use zeroize::{Zeroize, Zeroizing};

use super::Refused;
use crate::kdf::derive64;
use crate::wipe::{Kept, without_trace};

/// Bytes of a wrapped key.
pub const WRAPPED_LEN: usize = 48;

/// Seals `plaintext` under a 64-byte double key; the result is 16 bytes longer. `ad` is a vector: its parts cannot
/// run into each other. At most 126 parts.
#[must_use]
pub fn siv_seal(key: &[u8; 64], ad: &[&[u8]], plaintext: &[u8]) -> Vec<u8> {
    siv(key)
        .encrypt(ad, plaintext)
        .expect("there are fewer than 126 parts of associated data")
}

/// Opens what [`siv_seal`] made.
pub fn siv_open(
    key: &[u8; 64],
    ad: &[&[u8]],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    siv(key)
        .decrypt(ad, sealed)
        .map(Zeroizing::new)
        .map_err(|_| Refused)
}

/// Wraps `key` under `kek`.
///
/// `double = HKDF-SHA256(ikm = kek, salt = none, info = "kms/wrap/1" ‖ 0x00)`, 64 bytes; the result is
/// `AES-256-SIV(double, ad, key)`.
#[must_use]
pub fn wrap_key(kek: &[u8; 32], ad: &[&[u8]], key: &[u8; 32]) -> [u8; WRAPPED_LEN] {
    let mut sealed = without_trace(|| siv_seal(&derive64(kek, WRAP, &[]), ad, key));
    let wrapped = sealed
        .as_slice()
        .try_into()
        .expect("SIV adds 16 bytes to 32");
    sealed.zeroize();
    wrapped
}

/// Opens what [`wrap_key`] made.
pub fn unwrap_key(
    kek: &[u8; 32],
    ad: &[&[u8]],
    wrapped: &[u8; WRAPPED_LEN],
) -> Result<Kept<[u8; 32]>, Refused> {
    without_trace(|| {
        let opened = siv_open(&derive64(kek, WRAP, &[]), ad, wrapped)?;
        let mut key = Kept::new([0; 32]);
        key.copy_from_slice(opened.get(..32).ok_or(Refused)?);
        Ok(key)
    })
}

fn siv(key: &[u8; 64]) -> Aes256Siv {
    Aes256Siv::new(key.into())
}

const WRAP: &str = "kms/wrap/1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_unwraps_only_where_it_was_wrapped() {
        let wrapped = wrap_key(&[1; 32], &[b"a", b"bc"], &[9; 32]);
        assert_eq!(
            *unwrap_key(&[1; 32], &[b"a", b"bc"], &wrapped).unwrap(),
            [9; 32]
        );
        assert!(unwrap_key(&[1; 32], &[b"ab", b"c"], &wrapped).is_err());
        assert!(unwrap_key(&[2; 32], &[b"a", b"bc"], &wrapped).is_err());
        for at in 0..WRAPPED_LEN {
            let mut wrong = wrapped;
            wrong[at] ^= 0x80;
            assert!(
                unwrap_key(&[1; 32], &[b"a", b"bc"], &wrong).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn too_little_to_be_sealed_is_refused() {
        assert!(siv_open(&[0; 64], &[], &[0; 15]).is_err());
        assert!(siv_open(&[0; 64], &[], &[]).is_err());
    }
}
