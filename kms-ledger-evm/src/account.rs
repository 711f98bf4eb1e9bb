//! The account that pays for what a node writes: its secret, its address, its signature under transactions (EIP-1559).
//!
//! It says nothing about the entries it carries; their authors have signed those themselves.

use std::{
    env, fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER_PERMISSIVE;
use k256::ecdsa::SigningKey;
use sha3::{Digest, Keccak256};
use zeroize::Zeroizing;

use crate::{
    keystore::{self, KeystoreError},
    rlp::List,
};

/// The name of the credential with a keystore's passphrase (systemd.exec: `LoadCredential=`, `LoadCredentialEncrypted=`).
pub const CREDENTIAL: &str = "kms-account-passphrase";

/// Asks a person for the passphrase of a keystore; nothing if there is nobody to ask.
pub type Ask = Arc<dyn Fn(&Path) -> Option<Zeroizing<String>> + Send + Sync>;

/// An account on the chain, with its secret.
pub struct Account {
    key: SigningKey,
    address: [u8; 20],
}

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The file cannot be read.
    #[error("the account's key {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("the account's key {0} can be read by others: chmod 600 it")]
    Exposed(PathBuf),
    /// The file does not hold a secret.
    #[error("the account's key {0} is neither 64 hexadecimal digits nor a keystore")]
    Malformed(PathBuf),
    /// A keystore whose passphrase nobody knows.
    #[error(
        "the account's keystore {0} needs a passphrase: passphrase=FILE beside key=, or the credential {CREDENTIAL}, or a terminal to ask at"
    )]
    NoPassphrase(PathBuf),
    /// A keystore that does not open.
    #[error("the account's keystore {path}: {source}")]
    Keystore {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeystoreError,
    },
}

/// What a transaction says, beside its author's signature.
pub(crate) struct Transaction<'a> {
    pub(crate) chain_id: u64,
    pub(crate) nonce: u64,
    pub(crate) priority_fee: u128,
    pub(crate) max_fee: u128,
    pub(crate) gas: u64,
    /// The contract, or nothing to make one.
    pub(crate) to: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl Account {
    /// Reads the account's secret from a file: 64 hexadecimal digits, with or without `0x`, or a keystore, whose passphrase is
    /// the first line of `passphrase` or of the [`CREDENTIAL`], or is asked for.
    pub fn read(
        path: &Path,
        passphrase: Option<&Path>,
        ask: Option<&Ask>,
    ) -> Result<Self, AccountError> {
        let text = read_private(path)?;
        if keystore::is_one(&text) {
            let passphrase = find_passphrase(path, passphrase, ask)?;
            let secret = keystore::open(&text, passphrase.as_bytes());
            let secret = secret.map_err(|source| AccountError::Keystore {
                path: path.to_owned(),
                source,
            })?;
            return Self::from_secret(&secret)
                .ok_or_else(|| AccountError::Malformed(path.to_owned()));
        }
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let secret = HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .map(Zeroizing::new);
        secret
            .ok()
            .and_then(|secret| Self::from_secret(&secret))
            .ok_or_else(|| AccountError::Malformed(path.to_owned()))
    }

    /// The account with this secret, 32 bytes.
    pub fn from_secret(secret: &[u8]) -> Option<Self> {
        let key = SigningKey::from_slice(secret).ok()?;
        let point = key.verifying_key().to_sec1_point(false);
        let hash: [u8; 32] = Keccak256::digest(point.as_bytes().get(1..)?).into();
        let address = hash.get(12..)?.try_into().ok()?;
        Some(Self { key, address })
    }

    /// How the chain names it.
    pub const fn address(&self) -> &[u8; 20] {
        &self.address
    }

    /// The transaction as it is sent, and the hash that names it.
    pub(crate) fn sign(&self, it: &Transaction<'_>) -> (Vec<u8>, [u8; 32]) {
        let fields = || {
            List::default()
                .number(&it.chain_id.to_be_bytes())
                .number(&it.nonce.to_be_bytes())
                .number(&it.priority_fee.to_be_bytes())
                .number(&it.max_fee.to_be_bytes())
                .number(&it.gas.to_be_bytes())
                .bytes(it.to)
                .number(&[])
                .bytes(it.data)
                .nothing()
        };
        let digest = keccak(&[&[TYPE], &fields().encode()]);
        let (signature, recovery) = self.key.sign_prehash_recoverable(&digest);
        let (r, s) = signature.split_bytes();
        let signed = fields()
            .number(&[u8::from(recovery.is_y_odd())])
            .number(&r)
            .number(&s)
            .encode();
        let bytes = [&[TYPE], signed.as_slice()].concat();
        let hash = keccak(&[&bytes]);
        (bytes, hash)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", crate::hex::bytes(&self.address))
    }
}

/// A file that its owner alone can read.
fn read_private(path: &Path) -> Result<Zeroizing<String>, AccountError> {
    let failed = |source| AccountError::Read {
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(AccountError::Exposed(path.to_owned()));
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}

fn find_passphrase(
    keystore: &Path,
    file: Option<&Path>,
    ask: Option<&Ask>,
) -> Result<Zeroizing<String>, AccountError> {
    let credential = || {
        let directory = env::var_os("CREDENTIALS_DIRECTORY")?;
        Some(PathBuf::from(directory).join(CREDENTIAL)).filter(|path| path.exists())
    };
    if let Some(file) = file.map(Path::to_owned).or_else(credential) {
        let text = read_private(&file)?;
        return Ok(Zeroizing::new(
            text.lines().next().unwrap_or_default().to_owned(),
        ));
    }
    ask.and_then(|ask| ask(keystore))
        .ok_or_else(|| AccountError::NoPassphrase(keystore.to_owned()))
}

/// An EIP-1559 transaction's first byte.
const TYPE: u8 = 2;

pub(crate) fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_account_of_anvil_has_its_address() {
        let secret = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, format!("0x{secret}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let account = Account::read(&path, None, None).unwrap();
        assert_eq!(
            format!("{account:?}"),
            "Account(0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266)"
        );
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(matches!(
            Account::read(&path, None, None),
            Err(AccountError::Read { .. })
        ));
        fs::write(&path, "not a key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Account::read(&path, None, None),
            Err(AccountError::Exposed(_))
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(
            Account::read(&path, None, None),
            Err(AccountError::Malformed(_))
        ));
    }

    #[test]
    fn a_keystore_opens_with_the_passphrase_of_a_file_or_of_a_person() {
        let dir = tempfile::tempdir().unwrap();
        let (path, passphrase) = (dir.path().join("key"), dir.path().join("passphrase"));
        let private = |path: &Path, text: &str| {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        // Of the secret of anvil's first account, made with few rounds.
        private(
            &path,
            r#"{"version": 3, "crypto": {"cipher": "aes-128-ctr", "cipherparams": {"iv": "000102030405060708090a0b0c0d0e0f"}, "ciphertext": "1d4e8689efe6ec3c26f92ee0dbe9d50f260ae616725e33f53ab2823f4f6202b7", "kdf": "pbkdf2", "kdfparams": {"c": 16, "dklen": 32, "prf": "hmac-sha256", "salt": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}, "mac": "2c9f03c06a353b72165081320ee5cce9331eb1a073cbb8c0eb7d3595fc7517cf"}}"#,
        );
        private(&passphrase, "correct horse\n");
        let name = "Account(0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266)";
        let account = Account::read(&path, Some(&passphrase), None).unwrap();
        assert_eq!(format!("{account:?}"), name);
        let ask: Ask = Arc::new(|_| Some(Zeroizing::new("correct horse".to_owned())));
        let account = Account::read(&path, None, Some(&ask)).unwrap();
        assert_eq!(format!("{account:?}"), name);
        assert!(matches!(
            Account::read(&path, None, None),
            Err(AccountError::NoPassphrase(_))
        ));
        private(&passphrase, "another\n");
        assert!(matches!(
            Account::read(&path, Some(&passphrase), None),
            Err(AccountError::Keystore {
                source: KeystoreError::WrongPassphrase,
                ..
            })
        ));
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            Account::read(&path, Some(&passphrase), None),
            Err(AccountError::Exposed(_))
        ));
    }
}
