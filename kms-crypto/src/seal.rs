//! Sealed boxes: something for one person's eyes, from anybody. SCHEMES §5.2.
//!
//! A fresh key pair agrees on a key with the recipient's public key; AES-256-GCM seals under it. The
//! box says nothing about who made it: what must be known to come from somebody is signed inside.

use k256::ProjectivePoint;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::aead::{ChunkCipher, Cipher, NONCE_LEN, TAG_LEN};
use crate::curve::{self, POINT_LEN, derive_from_point, random_scalar};
use crate::error::SealError;
use crate::id::{CipherId, CurveId};
use crate::kdf;
use crate::key::{IdentitySecret, PublicKey};
use crate::wipe::without_trace;

/// How much longer a box is than what it holds.
pub const SEALED_OVERHEAD: usize = HEAD_LEN + POINT_LEN + TAG_LEN;

const MAGIC: [u8; 4] = *b"KMSB";
const VERSION: u16 = 1;
const HEAD_LEN: usize = 10;

/// Seals `plaintext` to `recipient`. `domain` says what for; `ad` must be given again to open it.
#[must_use]
pub fn seal_to(
    recipient: &PublicKey,
    domain: &str,
    ad: &[&[u8]],
    plaintext: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Vec<u8> {
    curve::count_operation();
    without_trace(|| {
        let scalar = Zeroizing::new(random_scalar(rng));
        let ephemeral = PublicKey::from_point(&ProjectivePoint::mul_by_generator(&scalar));
        let point = Zeroizing::new(recipient.point() * *scalar);
        let head = head(Cipher::Aes256Gcm.id(), CurveId::SECP256K1);
        let key = box_key(&point, &head, &ephemeral, recipient, domain, ad);

        // Reserved in full, so that growing leaves no copy of the plaintext behind.
        let mut out = Vec::with_capacity(plaintext.len() + SEALED_OVERHEAD);
        out.extend_from_slice(&head);
        out.extend_from_slice(ephemeral.as_bytes());
        let body = out.len();
        out.extend_from_slice(plaintext);
        let cipher = ChunkCipher::new(Cipher::Aes256Gcm, &key);
        let tag = cipher.seal_in_place(&[0; NONCE_LEN], &[], &mut out[body..]);
        out.extend_from_slice(&tag);
        out
    })
}

impl IdentitySecret {
    /// Opens a box sealed to this identity.
    ///
    /// # Errors
    /// Not a box, of an unknown kind, or for another key, domain or associated data.
    pub fn open_sealed(
        &self,
        domain: &str,
        ad: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        curve::count_operation();
        without_trace(|| {
            let (head, rest) = sealed.split_first_chunk().ok_or(SealError::Malformed)?;
            check_head(head)?;
            let (ephemeral, rest) = rest
                .split_first_chunk::<POINT_LEN>()
                .ok_or(SealError::Malformed)?;
            let (body, tag) = rest
                .split_last_chunk::<TAG_LEN>()
                .ok_or(SealError::Malformed)?;
            let ephemeral = PublicKey::from_bytes(ephemeral).map_err(|_| SealError::Malformed)?;
            let point = Zeroizing::new(ephemeral.point() * self.scalar());
            let key = box_key(&point, head, &ephemeral, &self.public(), domain, ad);
            let mut out = Zeroizing::new(body.to_vec());
            ChunkCipher::new(Cipher::Aes256Gcm, &key)
                .open_in_place(&[0; NONCE_LEN], &[], &mut out, tag)
                .map_err(|_| SealError::Refused)?;
            Ok(out)
        })
    }

    /// A secret that only this identity and the holder of `other` can compute, the same for both.
    #[must_use]
    pub fn shared(
        &self,
        other: &PublicKey,
        domain: &str,
        context: &[&[u8]],
    ) -> Zeroizing<[u8; 32]> {
        curve::count_operation();
        let point = Zeroizing::new(other.point() * self.scalar());
        let own = self.public();
        let (low, high) = if own < *other {
            (&own, other)
        } else {
            (other, &own)
        };
        let mut parts: Vec<&[u8]> = vec![low.as_bytes(), high.as_bytes(), domain.as_bytes()];
        parts.extend_from_slice(context);
        derive_from_point(&point, "kms/shared/1", &parts)
    }
}

/// `magic ‖ version u16be ‖ curve u16be ‖ cipher u16be`.
fn head(cipher: CipherId, curve: CurveId) -> [u8; HEAD_LEN] {
    let [m0, m1, m2, m3] = MAGIC;
    let ([v0, v1], [c0, c1]) = (VERSION.to_be_bytes(), curve.0.to_be_bytes());
    let [k0, k1] = cipher.0.to_be_bytes();
    [m0, m1, m2, m3, v0, v1, c0, c1, k0, k1]
}

/// Boxes have one cipher, whatever content may be sealed with.
fn check_head(head: &[u8; HEAD_LEN]) -> Result<(), SealError> {
    let [magic @ .., v0, v1, c0, c1, k0, k1] = head;
    if *magic != MAGIC {
        return Err(SealError::Malformed);
    }
    let unsupported = |what, id| Err(SealError::Unsupported { what, id });
    let version = u16::from_be_bytes([*v0, *v1]);
    let curve = u16::from_be_bytes([*c0, *c1]);
    let cipher = u16::from_be_bytes([*k0, *k1]);
    if version != VERSION {
        return unsupported("version", version);
    }
    if curve != CurveId::SECP256K1.0 {
        return unsupported("curve", curve);
    }
    if cipher != CipherId::AES_256_GCM.0 {
        return unsupported("cipher", cipher);
    }
    Ok(())
}

/// The key binds everything that stands outside the ciphertext and everything the two sides agree on.
/// It seals one message, so the nonce is zero.
fn box_key(
    point: &ProjectivePoint,
    head: &[u8; HEAD_LEN],
    ephemeral: &PublicKey,
    recipient: &PublicKey,
    domain: &str,
    ad: &[&[u8]],
) -> Zeroizing<[u8; 32]> {
    let ad = kdf::hash("kms/sealed-box-ad/1", ad);
    let parts: [&[u8]; 5] = [
        head,
        ephemeral.as_bytes(),
        recipient.as_bytes(),
        domain.as_bytes(),
        &ad,
    ];
    derive_from_point(point, "kms/sealed-box/1", &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> impl CryptoRng {
        rand_core::UnwrapErr(getrandom::SysRng)
    }

    #[test]
    fn a_box_opens_only_for_its_recipient_purpose_and_context() {
        let rng = &mut rng();
        let (bob, eve) = (IdentitySecret::generate(rng), IdentitySecret::generate(rng));
        let sealed = seal_to(&bob.public(), "ticket", &[b"store", b"1"], b"secret", rng);
        assert_eq!(sealed.len(), 6 + SEALED_OVERHEAD);
        let opened = bob
            .open_sealed("ticket", &[b"store", b"1"], &sealed)
            .unwrap();
        assert_eq!(opened.as_slice(), b"secret");

        let refused = Err(SealError::Refused);
        assert_eq!(
            eve.open_sealed("ticket", &[b"store", b"1"], &sealed),
            refused
        );
        assert_eq!(
            bob.open_sealed("tickets", &[b"store", b"1"], &sealed),
            refused
        );
        assert_eq!(
            bob.open_sealed("ticket", &[b"stor", b"e1"], &sealed),
            refused
        );
        assert_eq!(bob.open_sealed("ticket", &[b"store"], &sealed), refused);
    }

    #[test]
    fn a_box_altered_anywhere_does_not_open() {
        let rng = &mut rng();
        let bob = IdentitySecret::generate(rng);
        let sealed = seal_to(&bob.public(), "ticket", &[], b"secret", rng);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(
                bob.open_sealed("ticket", &[], &altered).is_err(),
                "byte {at}"
            );
            assert!(
                bob.open_sealed("ticket", &[], &sealed[..at]).is_err(),
                "cut at {at}"
            );
        }
        let longer = [sealed.as_slice(), &[0]].concat();
        assert_eq!(
            bob.open_sealed("ticket", &[], &longer),
            Err(SealError::Refused)
        );
    }

    #[test]
    fn a_box_of_an_unknown_kind_is_refused_by_name() {
        let rng = &mut rng();
        let bob = IdentitySecret::generate(rng);
        let sealed = seal_to(&bob.public(), "ticket", &[], b"secret", rng);
        for (at, what) in [(4, "version"), (6, "curve"), (8, "cipher")] {
            let mut altered = sealed.clone();
            altered[at] = 9;
            let id = u16::from_be_bytes([9, sealed[at + 1]]);
            let expected = Err(SealError::Unsupported { what, id });
            assert_eq!(bob.open_sealed("ticket", &[], &altered), expected);
        }
    }

    #[test]
    fn two_people_share_a_secret_that_a_third_does_not() {
        let rng = &mut rng();
        let [a, b, c] = [(); 3].map(|()| IdentitySecret::generate(rng));
        let shared = a.shared(&b.public(), "tickets", &[b"store"]);
        assert_eq!(shared, b.shared(&a.public(), "tickets", &[b"store"]));
        assert_ne!(shared, c.shared(&a.public(), "tickets", &[b"store"]));
        assert_ne!(shared, a.shared(&b.public(), "tickets", &[b"other"]));
        assert_ne!(shared, a.shared(&b.public(), "ticket", &[b"store"]));
    }
}
