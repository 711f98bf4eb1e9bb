//! Signatures: ECDSA over secp256k1 with SHA-256, low s only, each under a domain. SCHEMES §5.
//!
//! The signed digest is `SHA256(u32be(len domain) ‖ domain ‖ message)`, so that a signature made for
//! one purpose never verifies for another. Nonces follow RFC 6979 with fresh randomness mixed in.

use core::fmt;

use ecdsa::hazmat;
use k256::Scalar;
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::curve;
use crate::error::SignatureError;
use crate::key::{IdentitySecret, LedgerKey, NodeSecret, PublicKey};
use crate::wipe::without_trace;

/// A signature in its one permitted form: 64 bytes, both halves in `1..n`, the second one low.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; Self::LEN]);

impl Signature {
    /// Length of the byte form.
    pub const LEN: usize = 64;

    /// r = s = 1: what stands where nobody has to sign.
    pub const NOBODYS: Self = {
        let mut bytes = [0; Self::LEN];
        bytes[Self::LEN / 2 - 1] = 1;
        bytes[Self::LEN - 1] = 1;
        Self(bytes)
    };

    /// Reads the 64-byte form.
    ///
    /// # Errors
    /// Another length, a half that is zero or not below the group order, or a high second half.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bytes: [u8; Self::LEN] = bytes.try_into().map_err(|_| SignatureError)?;
        let signature = Self(bytes);
        signature.parsed()?;
        Ok(signature)
    }

    /// The 64-byte form.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; Self::LEN] {
        self.0
    }

    /// The 64-byte form, borrowed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    fn parsed(&self) -> Result<k256::ecdsa::Signature, SignatureError> {
        let signature =
            k256::ecdsa::Signature::from_bytes(&self.0.into()).map_err(|_| SignatureError)?;
        // One signature per message and nonce: with the high form allowed, anybody could make a
        // second one out of it.
        if signature.normalize_s() == signature {
            Ok(signature)
        } else {
            Err(SignatureError)
        }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Signature({}…)",
            data_encoding::HEXLOWER.encode(&self.0[..4])
        )
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: [u8; Self::LEN] = serde_bytes::deserialize(deserializer)?;
        Self::from_bytes(&bytes).map_err(de::Error::custom)
    }
}

macro_rules! signs {
    ($name:ident) => {
        impl $name {
            /// Signs `message` for the purpose `domain`.
            #[must_use]
            pub fn sign(
                &self,
                domain: &str,
                message: &[u8],
                rng: &mut (impl CryptoRng + ?Sized),
            ) -> Signature {
                sign_digest(self.scalar(), &curve::hash(domain, &[message]), rng)
            }
        }
    };
}

signs!(IdentitySecret);
signs!(NodeSecret);
signs!(LedgerKey);

impl PublicKey {
    /// Checks a signature on `message` for the purpose `domain`. Variable time: nothing is secret.
    ///
    /// # Errors
    /// The signature does not hold; why is not said.
    pub fn verify(
        &self,
        domain: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.verify_digest(&curve::hash(domain, &[message]), signature)
    }

    /// Checks a signature on a digest, which must be one of something with a purpose in it.
    pub(crate) fn verify_digest(
        &self,
        digest: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        curve::count_operation();
        let parsed = signature.parsed()?;
        hazmat::verify_prehashed::<k256::Secp256k1>(&self.point(), digest, &parsed)
            .map_err(|_| SignatureError)
    }
}

/// Signs a digest, which must be one of something with a purpose in it.
pub(crate) fn sign_digest(
    scalar: &Scalar,
    digest: &[u8; 32],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Signature {
    curve::count_operation();
    without_trace(|| {
        let mut extra = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(extra.as_mut());
        let key = Zeroizing::new(
            Option::<k256::NonZeroScalar>::from(k256::NonZeroScalar::new(*scalar))
                .expect("a secret key is not zero"),
        );
        let (signature, _) =
            hazmat::sign_prehashed_rfc6979::<k256::Secp256k1, Sha256>(&key, digest, extra.as_ref());
        Signature(signature.to_bytes().into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> impl CryptoRng {
        rand_core::UnwrapErr(getrandom::SysRng)
    }

    #[test]
    fn a_signature_holds_for_its_key_purpose_and_message_only() {
        let rng = &mut rng();
        let (key, other) = (NodeSecret::generate(rng), NodeSecret::generate(rng));
        let signature = key.sign("grant", b"message", rng);
        assert_eq!(key.public().verify("grant", b"message", &signature), Ok(()));
        assert!(
            other
                .public()
                .verify("grant", b"message", &signature)
                .is_err()
        );
        assert!(
            key.public()
                .verify("revoke", b"message", &signature)
                .is_err()
        );
        assert!(
            key.public()
                .verify("grantm", b"essage", &signature)
                .is_err()
        );
        assert!(key.public().verify("grant", b"messag", &signature).is_err());
        for at in 0..Signature::LEN {
            let mut bytes = signature.to_bytes();
            bytes[at] ^= 1;
            let altered = Signature::from_bytes(&bytes)
                .and_then(|signature| key.public().verify("grant", b"message", &signature));
            assert_eq!(altered, Err(SignatureError), "byte {at}");
        }
    }

    #[test]
    fn the_other_form_of_a_signature_is_refused() {
        let rng = &mut rng();
        let signature = IdentitySecret::generate(rng).sign("grant", b"message", rng);
        let parsed = signature.parsed().unwrap();
        let (r, s) = parsed.split_scalars();
        let high = k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-s).to_bytes()).unwrap();
        assert_eq!(Signature::from_bytes(&high.to_bytes()), Err(SignatureError));
        // Whoever bypasses reading does not get it past verifying either.
        assert_eq!(
            Signature(high.to_bytes().into()).parsed(),
            Err(SignatureError)
        );
    }

    #[test]
    fn halves_outside_the_group_are_refused() {
        let rng = &mut rng();
        let good = LedgerKey::generate(rng)
            .sign("grant", b"message", rng)
            .to_bytes();
        for half in [0..32, 32..64] {
            for byte in [0, 0xff] {
                let mut bytes = good;
                bytes[half.clone()].fill(byte);
                assert_eq!(Signature::from_bytes(&bytes), Err(SignatureError));
            }
        }
        assert_eq!(Signature::from_bytes(&good[..63]), Err(SignatureError));
        assert_eq!(
            Signature::from_bytes(&[good.as_slice(), &[0]].concat()),
            Err(SignatureError)
        );
    }

    #[test]
    fn signing_twice_gives_two_signatures() {
        let rng = &mut rng();
        let key = LedgerKey::generate(rng);
        assert_ne!(key.sign("grant", b"m", rng), key.sign("grant", b"m", rng));
    }
}
