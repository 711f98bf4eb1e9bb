//! The digits two people read to each other to compare a key (CLI 5.3).

use kms_crypto::{kdf, key::PublicKey};

/// 24 digits in six groups, from a hash of the key.
pub fn fingerprint(key: &PublicKey) -> String {
    let hash = kdf::mac(&[0; 32], "kms/fingerprint/1", &[&key.to_bytes()]);
    let groups: Vec<String> = hash
        .chunks_exact(4)
        .take(6)
        .map(|word| {
            let number = u32::from_be_bytes(word.try_into().expect("a chunk of four"));
            format!("{:04}", number % 10_000)
        })
        .collect();
    groups.join(" ")
}
