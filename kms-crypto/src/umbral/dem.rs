//! How a message is sealed under the point in a capsule. UMBRAL §2.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use k256::ProjectivePoint;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Capsule, UmbralError};
use crate::curve::encode_point;

const NONCE_LEN: usize = 24;

/// `nonce ‖ ciphertext ‖ tag`, with the capsule as associated data.
pub(super) fn seal(
    rng: &mut (impl CryptoRng + ?Sized),
    point: &ProjectivePoint,
    capsule: &[u8; Capsule::LEN],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    let payload = Payload {
        msg: plaintext,
        aad: capsule,
    };
    let sealed = cipher(point)
        .encrypt(XNonce::from_slice(&nonce), payload)
        .expect("a message in memory is below the cipher's limit of 256 GiB");
    [&nonce, sealed.as_slice()].concat()
}

pub(super) fn open(
    point: &ProjectivePoint,
    capsule: &[u8; Capsule::LEN],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, UmbralError> {
    let Some((nonce, message)) = sealed.split_first_chunk::<NONCE_LEN>() else {
        return Err(UmbralError::Refused);
    };
    let payload = Payload {
        msg: message,
        aad: capsule,
    };
    cipher(point)
        .decrypt(XNonce::from_slice(nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| UmbralError::Refused)
}

/// The key is HKDF-SHA256 of the compressed point, without salt and info.
fn cipher(point: &ProjectivePoint) -> XChaCha20Poly1305 {
    let ikm = Zeroizing::new(encode_point(&point.to_affine()));
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, ikm.as_ref())
        .expand(&[], key.as_mut_slice())
        .expect("HKDF gives 32 bytes");
    XChaCha20Poly1305::new(key.as_ref().into())
}
