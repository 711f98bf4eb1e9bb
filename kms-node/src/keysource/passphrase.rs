//! The storage key under a passphrase (Argon2id), which comes from a file, a credential of systemd's, or a terminal.

use std::env;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use kms_crypto::identity::{IdentityFile, PassphraseParams};
use kms_crypto::key::IdentitySecret;
use zeroize::Zeroizing;

use super::{SourceError, replace};
use crate::config::Config;
use crate::keyfile::StorageKey;
use crate::rng;

/// The name of the credential (systemd.exec: `LoadCredential=`, `LoadCredentialEncrypted=`).
pub const CREDENTIAL: &str = "kms-node-passphrase";

/// Reads the key; blocks on the disk, perhaps on a person, and calculates for a moment.
pub(super) fn open(path: &Path, config: &Config) -> Result<StorageKey, SourceError> {
    let text = fs::read_to_string(path).map_err(SourceError::io(path))?;
    let sealed = |source| SourceError::Sealed {
        path: path.to_owned(),
        source,
    };
    let file = IdentityFile::parse(&text).map_err(sealed)?;
    let passphrase = ask(config, "Passphrase of the node's storage key: ")?;
    let secret = file.open(passphrase.as_bytes()).map_err(sealed)?;
    Ok(StorageKey::from_bytes(&secret.to_bytes()))
}

/// Seals the key under a passphrase.
pub(super) fn seal(path: &Path, config: &Config, key: &StorageKey) -> Result<(), SourceError> {
    let passphrase = ask(config, "New passphrase of the node's storage key: ")?;
    if passphrase.is_empty() {
        return Err(SourceError::NoPassphrase("it is empty".to_owned()));
    }
    if source(config) == Asked::Terminal && ask(config, "Repeat: ")? != passphrase {
        return Err(SourceError::NoPassphrase("the two differ".to_owned()));
    }
    // Any 32 random bytes are a scalar, but for one in 2^127.
    let secret = IdentitySecret::from_bytes(key.as_bytes())
        .map_err(|_| SourceError::Damaged(path.to_owned()))?;
    let params = PassphraseParams::default();
    let file = IdentityFile::seal(&secret, passphrase.as_bytes(), params, "", &mut rng());
    let file = file.map_err(|source| SourceError::Sealed {
        path: path.to_owned(),
        source,
    })?;
    let text = file.to_text();
    // It is not a person's.
    let text = text.replacen("kmsfs identity: whoever has", "kms-node storage key:", 1);
    let text = text.replacen(" and its passphrase is you", " needs its passphrase", 1);
    replace(path, text.as_bytes())
}

#[derive(Eq, PartialEq)]
enum Asked {
    File(PathBuf),
    Terminal,
}

fn source(config: &Config) -> Asked {
    if let Some(path) = &config.passphrase_file {
        return Asked::File(path.clone());
    }
    let credential = env::var_os("CREDENTIALS_DIRECTORY")
        .map(|directory| PathBuf::from(directory).join(CREDENTIAL))
        .filter(|path| path.exists());
    credential.map_or(Asked::Terminal, Asked::File)
}

fn ask(config: &Config, prompt: &str) -> Result<Zeroizing<String>, SourceError> {
    match source(config) {
        Asked::File(path) => {
            let text = Zeroizing::new(fs::read_to_string(&path).map_err(SourceError::io(&path))?);
            let line = text.lines().next().unwrap_or_default();
            Ok(Zeroizing::new(line.to_owned()))
        }
        Asked::Terminal => {
            if !has_terminal() {
                let why = "no passphrase_file is set, systemd gives no credential, and there is no terminal to ask at";
                return Err(SourceError::NoPassphrase(why.to_owned()));
            }
            rpassword::prompt_password(prompt)
                .map(Zeroizing::new)
                .map_err(|error| SourceError::NoPassphrase(error.to_string()))
        }
    }
}

fn has_terminal() -> bool {
    fs::File::open("/dev/tty").is_ok_and(|tty| tty.is_terminal())
}

/// Asks at the terminal, if there is one, for the passphrase of the account that pays for what this node writes.
pub fn ask_for_account(keystore: &Path) -> Option<Zeroizing<String>> {
    if !has_terminal() {
        return None;
    }
    let prompt = format!("Passphrase of {}: ", keystore.display());
    rpassword::prompt_password(prompt).map(Zeroizing::new).ok()
}
