//! From an identity file and a passphrase to the secret key.

use std::path::Path;

use kms_crypto::{
    error::IdentityError,
    identity::IdentityFile,
    key::{IdentitySecret, PublicKey},
};

use crate::{
    contact::short,
    failure::{Exit, Failure},
    passphrase::Source,
};

/// How often a person at a terminal may try.
const TRIES: u32 = 3;

/// Reads the identity file.
pub fn read(path: &Path) -> Result<IdentityFile, Failure> {
    let text = std::fs::read_to_string(path).map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => Failure::new(Exit::NoInput, "You have no identity yet.")
            .why(format!("There is no {}.", path.display()))
            .now("Make one: kmsfs identity new   (or bring one back: kmsfs identity restore)"),
        _ => Failure::io("read", path, &err),
    })?;
    IdentityFile::parse(&text).map_err(|err| refused(path, &err))
}

/// Reads the identity file and opens it.
pub fn unlock(path: &Path, source: &Source) -> Result<IdentitySecret, Failure> {
    open(&read(path)?, path, source)
}

/// Opens an identity file.
pub fn open(file: &IdentityFile, path: &Path, source: &Source) -> Result<IdentitySecret, Failure> {
    let key = short(&file.public());
    for tries_left in (0..TRIES).rev() {
        let passphrase = source.ask(&format!("Passphrase for {key}: "))?;
        match file.open(passphrase.as_bytes()) {
            Ok(secret) => return Ok(secret),
            Err(IdentityError::Passphrase) if source.can_retry() && tries_left > 0 => {
                eprintln!("Wrong passphrase, or the identity file was altered. Try again.");
            }
            Err(IdentityError::Passphrase) => return Err(wrong(&file.public())),
            Err(err) => return Err(refused(path, &err)),
        }
    }
    Err(wrong(&file.public()))
}

fn wrong(key: &PublicKey) -> Failure {
    Failure::new(
        Exit::Denied,
        format!("Wrong passphrase for identity {}.", short(key)),
    )
    .why("Or the identity file was altered; the two cannot be told apart.")
    .now("Forgot it? Bring the identity back with its recovery words: kmsfs identity restore")
}

fn refused(path: &Path, err: &IdentityError) -> Failure {
    let exit = match err {
        IdentityError::Passphrase => Exit::Denied,
        _ => Exit::Data,
    };
    Failure::new(exit, format!("Cannot use {}.", path.display())).why(format!("{err}."))
}
