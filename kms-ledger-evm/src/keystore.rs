//! An account's secret under a passphrase, as Ethereum's programs keep it: Web3 Secret Storage, version 3 (LEDGER §5.4.5).
//!
//! It is only read here. Others make it: `geth account new`, `cast wallet import`, wallets.

use aes::Aes128;
use aes::cipher::{KeyIvInit, StreamCipher};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{account::keccak, hex};

/// The most memory that a keystore may ask for: geth's own ask for 256 MiB.
const MAX_SCRYPT_BYTES: u64 = 1 << 30;
/// The most work in all, in the same measure: p passes over that memory.
const MAX_SCRYPT_WORK: u64 = 1 << 32;
const MAX_ROUNDS: u32 = 20_000_000;

/// Why a keystore gives no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// Not one, or damaged.
    #[error("it is no keystore of version 3: {0}")]
    Malformed(&'static str),
    /// Made in a way that is not known here, or with parameters that nobody chooses.
    #[error("its {0} is not known here, or asks for too much")]
    Unsupported(&'static str),
    /// The passphrase is wrong, or the file was altered: the same, seen from here.
    #[error("the passphrase is wrong, or the file was altered")]
    WrongPassphrase,
}

#[derive(Deserialize)]
struct File {
    version: u64,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Deserialize)]
struct CipherParams {
    iv: String,
}

/// Those of both functions: each takes what it needs.
#[derive(Deserialize)]
struct KdfParams {
    dklen: u64,
    salt: String,
    n: Option<u64>,
    r: Option<u32>,
    p: Option<u32>,
    c: Option<u32>,
    prf: Option<String>,
}

/// Whether a file's text is a keystore's and not a bare secret.
pub(crate) fn is_one(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Opens a keystore. Takes a moment on purpose.
pub(crate) fn open(text: &str, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let file: File =
        serde_json::from_str(text).map_err(|_| KeystoreError::Malformed("not its JSON"))?;
    if file.version != 3 {
        return Err(KeystoreError::Unsupported("version"));
    }
    let it = file.crypto;
    if it.cipher != "aes-128-ctr" {
        return Err(KeystoreError::Unsupported("cipher"));
    }
    let iv = bytes(&it.cipherparams.iv, "iv")?;
    let iv: [u8; 16] = iv
        .try_into()
        .map_err(|_| KeystoreError::Malformed("the length of iv"))?;
    let ciphertext = bytes(&it.ciphertext, "ciphertext")?;
    let mac: [u8; 32] = bytes(&it.mac, "mac")?
        .try_into()
        .map_err(|_| KeystoreError::Malformed("the length of mac"))?;
    if ciphertext.len() != 32 {
        return Err(KeystoreError::Malformed("the length of ciphertext"));
    }
    let key = derive(&it.kdf, &it.kdfparams, passphrase)?;
    let (encryption, authentication) = key.split_at(16);
    let expected = keccak(&[authentication, &ciphertext]);
    if !kms_crypto::kdf::equal(&expected, &mac) {
        return Err(KeystoreError::WrongPassphrase);
    }
    let mut secret = Zeroizing::new(ciphertext);
    let encryption: [u8; 16] = encryption
        .try_into()
        .map_err(|_| KeystoreError::Malformed("the length of the key"))?;
    ctr::Ctr128BE::<Aes128>::new(&encryption.into(), &iv.into()).apply_keystream(&mut secret);
    Ok(secret)
}

fn derive(
    kdf: &str,
    params: &KdfParams,
    passphrase: &[u8],
) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    if params.dklen != 32 {
        return Err(KeystoreError::Unsupported("dklen"));
    }
    let salt = bytes(&params.salt, "salt")?;
    let mut key = Zeroizing::new([0; 32]);
    match kdf {
        "scrypt" => {
            let unsupported = || KeystoreError::Unsupported("scrypt");
            let (Some(n), Some(r), Some(p)) = (params.n, params.r, params.p) else {
                return Err(KeystoreError::Malformed("scrypt without n, r, p"));
            };
            let memory = n.checked_mul(128).and_then(|it| it.checked_mul(r.into()));
            let memory = memory.filter(|it| *it <= MAX_SCRYPT_BYTES);
            let work = memory.and_then(|it| it.checked_mul(p.into()));
            work.filter(|it| *it <= MAX_SCRYPT_WORK)
                .filter(|_| n.is_power_of_two())
                .ok_or_else(unsupported)?;
            let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| unsupported())?;
            let params = scrypt::Params::new(log_n, r, p).map_err(|_| unsupported())?;
            scrypt::scrypt(passphrase, &salt, &params, key.as_mut()).map_err(|_| unsupported())?;
        }
        "pbkdf2" => {
            if params.prf.as_deref() != Some("hmac-sha256") {
                return Err(KeystoreError::Unsupported("prf"));
            }
            let rounds = params.c.filter(|it| (1..=MAX_ROUNDS).contains(it));
            let rounds = rounds.ok_or(KeystoreError::Unsupported("pbkdf2"))?;
            pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, &salt, rounds, key.as_mut());
        }
        _ => return Err(KeystoreError::Unsupported("kdf")),
    }
    Ok(key)
}

/// Hexadecimal digits, with or without `0x`.
fn bytes(digits: &str, what: &'static str) -> Result<Vec<u8>, KeystoreError> {
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    hex::parse(&format!("0x{digits}")).ok_or(KeystoreError::Malformed(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two examples of the format's own description; both hold the same secret under `testpassword`.
    const PBKDF2: &str = r#"{"crypto": {"cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46", "kdf": "pbkdf2",
        "kdfparams": {"c": 262144, "dklen": 32, "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3}"#;
    const SCRYPT: &str = r#"{"crypto": {"cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c", "kdf": "scrypt",
        "kdfparams": {"dklen": 32, "n": 262144, "r": 1, "p": 8,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3}"#;
    const SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    #[test]
    fn the_formats_own_examples_open() {
        for text in [PBKDF2, SCRYPT] {
            assert!(is_one(text));
            let secret = open(text, b"testpassword").unwrap();
            assert_eq!(hex::bytes(&secret), format!("0x{SECRET}"));
        }
        // As older programs write it.
        let old = PBKDF2.replace("\"crypto\"", "\"Crypto\"");
        assert!(open(&old, b"testpassword").is_ok());
    }

    #[test]
    fn a_wrong_passphrase_and_an_altered_file_are_refused_alike() {
        assert!(matches!(
            open(PBKDF2, b"testpassworD"),
            Err(KeystoreError::WrongPassphrase)
        ));
        let altered = PBKDF2.replace("5318b4", "5318b5");
        assert!(matches!(
            open(&altered, b"testpassword"),
            Err(KeystoreError::WrongPassphrase)
        ));
    }

    #[test]
    fn what_is_not_known_or_asks_for_too_much_is_refused_before_anything_is_computed() {
        for (text, from, to, said) in [
            (PBKDF2, "\"version\": 3", "\"version\": 1", "version"),
            (PBKDF2, "aes-128-ctr", "aes-128-cbc", "cipher"),
            (PBKDF2, "\"pbkdf2\"", "\"argon2\"", "kdf"),
            (PBKDF2, "hmac-sha256", "hmac-sha1", "prf"),
            (PBKDF2, "262144", "4000000000", "pbkdf2"),
            (PBKDF2, "262144", "0", "pbkdf2"),
            (PBKDF2, "\"dklen\": 32", "\"dklen\": 16", "dklen"),
            (SCRYPT, "262144", "262143", "scrypt"),
            (SCRYPT, "262144", "18446744073709551615", "scrypt"),
            (SCRYPT, "\"p\": 8", "\"p\": 4000000000", "scrypt"),
            (SCRYPT, "\"r\": 1", "\"r\": 0", "scrypt"),
            (SCRYPT, "\"n\": 262144,", "", "without n"),
            (SCRYPT, "83dbcc", "83dbc", "iv"),
            (SCRYPT, "d172bf", "", "ciphertext"),
            (SCRYPT, "\"mac\"", "\"mic\"", "JSON"),
        ] {
            let text = text.replace(from, to);
            let error = open(&text, b"testpassword").unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
