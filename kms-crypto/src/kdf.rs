//! Key derivation and message authentication codes (FORMAT §1.1).
//!
//! Everything is HKDF or HMAC over SHA-256. Each use has its own domain string, and the parts of its context are
//! framed by their lengths, so that no two uses can meet in one input.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Derives a 32-byte key.
///
/// `key = HKDF-SHA256(ikm = key, salt = none, info = domain ‖ 0x00 ‖ (u32be len ‖ part)*)`.
#[must_use]
pub fn derive32(key: &[u8; 32], domain: &'static str, context: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    derive(key, domain, context)
}

/// Derives 64 bytes: the double key of AES-SIV, or a scalar before its reduction. The formula is that of [`derive32`].
#[must_use]
pub fn derive64(key: &[u8; 32], domain: &'static str, context: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    derive(key, domain, context)
}

/// Derives any number of bytes up to 255·32, from key material of any length. The formula is that of [`derive32`].
#[must_use]
pub fn derive<const N: usize>(
    ikm: &[u8],
    domain: &'static str,
    context: &[&[u8]],
) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32, "HKDF gives at most 255 blocks") };
    let info = framed(domain, context);
    let mut out = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::new(None, ikm)
        .expand(&info, out.as_mut_slice())
        .expect("the length was checked when compiling");
    out
}

/// The authentication code of `parts`, framed as in [`derive32`], under `key`.
#[must_use]
pub fn mac(key: &[u8; 32], domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    frame(domain, parts, |bytes| hmac.update(bytes));
    hmac.finalize().into_bytes().into()
}

/// Whether `tag` is the authentication code of `parts`; takes the same time whichever byte differs.
#[must_use]
pub fn mac_holds(key: &[u8; 32], domain: &str, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
    equal(&mac(key, domain, parts), tag)
}

/// SHA-256 of `parts`, framed as in [`derive32`].
#[must_use]
pub fn hash(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut sha = Sha256::new();
    frame(domain, parts, |bytes| sha.update(bytes));
    sha.finalize().into()
}

/// Compares in a time that does not depend on where the two differ.
#[must_use]
pub fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

fn framed(domain: &str, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len() + 4).sum();
    let mut out = Vec::with_capacity(domain.len() + 1 + len);
    frame(domain, parts, |bytes| out.extend_from_slice(bytes));
    out
}

fn frame(domain: &str, parts: &[&[u8]], mut take: impl FnMut(&[u8])) {
    take(domain.as_bytes());
    take(&[0]);
    for part in parts {
        let len = u32::try_from(part.len()).expect("no part is ever 4 GiB long");
        take(&len.to_be_bytes());
        take(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = [1; 32];
        assert_ne!(
            mac(&key, "t", &[b"ab", b"c"]),
            mac(&key, "t", &[b"a", b"bc"])
        );
        assert_ne!(
            *derive32(&key, "t", &[b"ab"]),
            *derive32(&key, "t", &[b"a", b"b"])
        );
        assert_ne!(hash("t", &[b""]), hash("t", &[]));
    }

    #[test]
    fn the_derivation_is_hkdf_as_published() {
        // Recomputed from RFC 5869 by hand: extract with a salt of 32 zero bytes, one block of expand.
        let key = [7; 32];
        let hmac = |key: &[u8], data: &[u8]| -> [u8; 32] {
            let mut hmac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            hmac.update(data);
            hmac.finalize().into_bytes().into()
        };
        let prk = hmac(&[0; 32], &key);
        let expected = hmac(&prk, b"kms/test/1\0\0\0\0\x02hi\x01");
        assert_eq!(*derive32(&key, "kms/test/1", &[b"hi"]), expected);
    }

    #[test]
    fn a_changed_code_does_not_hold() {
        let mut tag = mac(&[1; 32], "t", &[b"a"]);
        assert!(mac_holds(&[1; 32], "t", &[b"a"], &tag));
        tag[31] ^= 1;
        assert!(!mac_holds(&[1; 32], "t", &[b"a"], &tag));
    }
}
