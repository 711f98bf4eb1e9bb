//! Small sealed records: each under a key of its own, so that one long-lived key may seal any number (FORMAT §2.2).

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Refused;
use super::chunk::{ChunkCipher, NONCE_LEN, TAG_LEN};
use super::cipher::Cipher;
use crate::kdf::derive32;

/// How much longer a record is than what it holds.
pub const RECORD_OVERHEAD: usize = SALT_LEN + TAG_LEN;

/// Seals `plaintext`: `salt 32 ‖ ciphertext ‖ tag 16`.
///
/// `k = HKDF-SHA256(ikm = key, salt = none, info = "kms/record/1" ‖ 0x00 ‖ u32be 32 ‖ salt)`, AES-256-GCM under `k` with a
/// nonce of zeros, which is safe because `k` seals nothing else.
#[must_use]
pub fn seal_record(
    key: &[u8; 32],
    ad: &[u8],
    plaintext: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Vec<u8> {
    let mut salt = [0; SALT_LEN];
    rng.fill_bytes(&mut salt);
    let mut out = Vec::with_capacity(plaintext.len() + RECORD_OVERHEAD);
    out.extend_from_slice(&salt);
    out.extend_from_slice(plaintext);
    let (_, body) = out.split_at_mut(SALT_LEN);
    let tag = cipher(key, &salt).seal_in_place(&[0; NONCE_LEN], ad, body);
    out.extend_from_slice(&tag);
    out
}

/// Opens what [`seal_record`] made.
pub fn open_record(
    key: &[u8; 32],
    ad: &[u8],
    record: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let (salt, rest) = record.split_first_chunk::<SALT_LEN>().ok_or(Refused)?;
    let (body, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(Refused)?;
    let mut out = Zeroizing::new(body.to_vec());
    cipher(key, salt).open_in_place(&[0; NONCE_LEN], ad, &mut out, tag)?;
    Ok(out)
}

fn cipher(key: &[u8; 32], salt: &[u8; SALT_LEN]) -> ChunkCipher {
    ChunkCipher::new(Cipher::Aes256Gcm, &derive32(key, "kms/record/1", &[salt]))
}

const SALT_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_only_unaltered_and_where_it_belongs() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let record = seal_record(&[1; 32], b"here", b"something small", &mut rng);
        assert_eq!(record.len(), 15 + RECORD_OVERHEAD);
        assert_eq!(
            open_record(&[1; 32], b"here", &record).unwrap().as_slice(),
            b"something small"
        );
        assert!(open_record(&[1; 32], b"there", &record).is_err());
        assert!(open_record(&[2; 32], b"here", &record).is_err());
        for at in 0..record.len() {
            let mut wrong = record.clone();
            wrong[at] ^= 1;
            assert!(open_record(&[1; 32], b"here", &wrong).is_err(), "byte {at}");
            assert!(
                open_record(&[1; 32], b"here", &record[..at]).is_err(),
                "cut at {at}"
            );
        }
    }
}
