//! Identity files are kept for years and edited by hand: what a person would notice.

use super::*;
use crate::error::KeyError;

/// Cheap, so that tests are quick; the default is measured by whoever waits for it.
const CHEAP: PassphraseParams = PassphraseParams {
    memory_kib: 64,
    passes: 1,
    lanes: 1,
};

fn sealed() -> (IdentitySecret, IdentityFile) {
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    let secret = IdentitySecret::generate(rng);
    let file = IdentityFile::seal(&secret, b"correct horse", CHEAP, "2026-03-01", rng).unwrap();
    (secret, file)
}

/// The same body with other bytes.
fn with_bytes(bytes: &[u8]) -> Result<IdentityFile, IdentityError> {
    IdentityFile::parse(&BASE64.encode(bytes))
}

#[test]
fn a_file_opens_with_its_passphrase_and_no_other() {
    let (secret, file) = sealed();
    let file = IdentityFile::parse(&file.to_text()).unwrap();
    assert_eq!(file.public(), secret.public());
    assert_eq!(file.created(), Some("2026-03-01"));
    assert_eq!(file.open(b"correct horse"), Ok(secret));
    assert_eq!(file.open(b"correct horse "), Err(IdentityError::Passphrase));
    assert_eq!(file.open(b""), Err(IdentityError::Passphrase));
}

#[test]
fn the_text_shows_the_public_key_and_survives_an_editor() {
    let (secret, file) = sealed();
    let text = file.to_text();
    assert!(text.contains(&format!("# public key: {}\n", secret.public())));
    let edited = format!("# mine\r\n\r\n{}\r\n", text.replace('\n', "\r\n"));
    assert_eq!(IdentityFile::parse(&edited), Ok(file));
}

#[test]
fn another_public_key_in_the_comment_is_refused() {
    let (secret, file) = sealed();
    let other = sealed().0.public().to_string();
    let text = file.to_text().replace(&secret.public().to_string(), &other);
    assert_eq!(
        IdentityFile::parse(&text),
        Err(IdentityError::CommentDiffers)
    );
}

#[test]
fn a_file_altered_anywhere_does_not_open() {
    let bytes = sealed().1.body.to_bytes();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let opened = with_bytes(&altered).and_then(|file| file.open(b"correct horse"));
        assert!(opened.is_err(), "byte {at}");
        assert!(with_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(with_bytes(&longer), Err(IdentityError::Malformed));
}

#[test]
fn an_exchanged_public_key_does_not_open() {
    let (_, mut file) = sealed();
    file.body.head.public = sealed().0.public();
    assert_eq!(file.open(b"correct horse"), Err(IdentityError::Passphrase));
}

#[test]
fn unknown_versions_and_functions_are_named() {
    let (_, mut file) = sealed();
    file.body.head.kdf = 7;
    let unknown = |what, id| Err(IdentityError::Unsupported { what, id });
    assert_eq!(
        with_bytes(&file.body.to_bytes()),
        unknown("passphrase function", 7)
    );
    let mut bytes = file.body.to_bytes();
    bytes[5] = 2;
    assert_eq!(with_bytes(&bytes), unknown("version", 2));
}

#[test]
fn parameters_that_would_exhaust_the_machine_are_refused_unread() {
    let (_, file) = sealed();
    let absurd = [
        PassphraseParams {
            memory_kib: 1024 * 1024 + 1,
            ..CHEAP
        },
        PassphraseParams {
            passes: 65,
            ..CHEAP
        },
        PassphraseParams {
            lanes: 17,
            memory_kib: 1024,
            ..CHEAP
        },
        PassphraseParams {
            memory_kib: 0,
            ..CHEAP
        },
        PassphraseParams { passes: 0, ..CHEAP },
        PassphraseParams { lanes: 0, ..CHEAP },
    ];
    for params in absurd {
        let mut file = file.clone();
        file.body.head.params = params;
        let PassphraseParams {
            memory_kib,
            passes,
            lanes,
        } = params;
        let refused = IdentityError::Parameters {
            memory_kib,
            passes,
            lanes,
        };
        assert_eq!(with_bytes(&file.body.to_bytes()), Err(refused.clone()));
        assert_eq!(file.open(b"correct horse"), Err(refused));
    }
}

#[test]
fn what_is_no_identity_file_is_malformed() {
    for text in [
        "",
        "# public key: kms1",
        "hello",
        "AAAA",
        &"A".repeat(20_000),
    ] {
        assert_eq!(IdentityFile::parse(text), Err(IdentityError::Malformed));
    }
}

#[test]
fn a_sealed_zero_is_no_identity() {
    let (_, mut file) = sealed();
    let head = &file.body.head;
    let mut zero = [0; SCALAR_LEN];
    assert_eq!(IdentitySecret::from_bytes(&zero), Err(KeyError::NotAScalar));
    let cipher = head.cipher(b"correct horse").unwrap();
    let tag = cipher.seal_in_place(&[0; NONCE_LEN], &head.to_bytes(), &mut zero);
    let (body, end) = file.body.sealed.split_at_mut(SCALAR_LEN);
    body.copy_from_slice(&zero);
    end.copy_from_slice(&tag);
    assert_eq!(file.open(b"correct horse"), Err(IdentityError::Passphrase));
}
