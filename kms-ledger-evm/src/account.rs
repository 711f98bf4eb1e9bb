//! The account that pays for what a node writes: its secret, its address, its signature under transactions (EIP-1559).
//!
//! It says nothing about the entries it carries; their authors have signed those themselves.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER_PERMISSIVE;
use k256::ecdsa::SigningKey;
use sha3::{Digest, Keccak256};
use zeroize::Zeroizing;

use crate::rlp::List;

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
    #[error("the account's key {0} is not 64 hexadecimal digits")]
    Malformed(PathBuf),
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
    /// Reads the account's secret from a file: 64 hexadecimal digits, with or without `0x`.
    pub fn read(path: &Path) -> Result<Self, AccountError> {
        let failed = |source| AccountError::Read {
            path: path.to_owned(),
            source,
        };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(AccountError::Exposed(path.to_owned()));
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
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
        let account = Account::read(&path).unwrap();
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
            Account::read(&path),
            Err(AccountError::Read { .. })
        ));
        fs::write(&path, "not a key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Account::read(&path),
            Err(AccountError::Exposed(_))
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(
            Account::read(&path),
            Err(AccountError::Malformed(_))
        ));
    }
}
