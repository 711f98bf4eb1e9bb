use super::*;

fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

fn store(owner: &IdentitySecret) -> (StoreConfig, StoreKey) {
    let new = NewStore {
        cipher: Cipher::Aes256Gcm,
        scheme: SchemeId::SPLIT_ECIES,
        layout: Layout::new(12).unwrap(),
        created: 1_790_000_000,
    };
    StoreConfig::create(&new, owner, &mut rng())
}

#[test]
fn an_owner_opens_the_store_he_made() {
    let owner = IdentitySecret::generate(&mut rng());
    let (made, key) = store(&owner);
    let read = StoreConfig::parse(made.as_text()).unwrap();
    assert_eq!(read, made);
    assert!(read.open(&owner).unwrap() == key);
}

#[test]
fn somebody_else_is_told_whose_store_it_is() {
    let owner = IdentitySecret::generate(&mut rng());
    let (made, _) = store(&owner);
    let refused = made.open(&IdentitySecret::generate(&mut rng()));
    assert_eq!(
        refused.err(),
        Some(ConfigError::NotOwner {
            owner: Box::new(owner.public())
        })
    );
}

#[test]
fn new_files_get_another_cipher_and_the_store_stays_what_it_was() {
    let owner = IdentitySecret::generate(&mut rng());
    let (made, key) = store(&owner);
    for cipher in Cipher::ALL {
        let changed = made.with_cipher(cipher, &owner, &mut rng()).unwrap();
        let read = StoreConfig::parse(changed.as_text()).unwrap();
        assert_eq!(read, changed);
        assert_eq!((read.cipher, read.store), (cipher, made.store));
        assert!(read.open(&owner).unwrap() == key);
    }
    let mallory = IdentitySecret::generate(&mut rng());
    assert!(
        made.with_cipher(Cipher::Aes256GcmSiv, &mallory, &mut rng())
            .is_err()
    );
}

#[test]
fn no_byte_of_it_can_be_changed() {
    let owner = IdentitySecret::generate(&mut rng());
    let (made, _) = store(&owner);
    for at in 0..made.as_text().len() {
        let mut bytes = made.as_text().as_bytes().to_vec();
        bytes[at] ^= 1;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        assert!(StoreConfig::parse(&text).is_err(), "byte {at}: {text}");
    }
    for at in 0..made.as_text().len() {
        assert!(
            StoreConfig::parse(&made.as_text()[..at]).is_err(),
            "cut at {at}"
        );
    }
    assert!(
        StoreConfig::parse(&format!("{}\n", made.as_text())).is_err(),
        "a line more"
    );
}

#[test]
fn unknown_things_are_named() {
    let owner = IdentitySecret::generate(&mut rng());
    let text = store(&owner).0.as_text().to_owned();
    let parse = |from: &str, to: &str| StoreConfig::parse(&text.replace(from, to)).unwrap_err();
    assert_eq!(
        parse("format = 1", "format = 9"),
        ConfigError::UnknownVersion(9)
    );
    assert_eq!(
        parse("cipher = 1", "cipher = 7"),
        ConfigError::UnknownCipher(CipherId(7))
    );
    assert_eq!(
        parse("scheme = 1", "scheme = 7"),
        ConfigError::UnknownScheme(SchemeId(7))
    );
    assert_eq!(
        parse("chunk_bits = 12", "chunk_bits = 13"),
        ConfigError::Value("chunk_bits")
    );
    assert_eq!(
        parse("created = ", "plain_names = "),
        ConfigError::UnknownKey {
            key: "plain_names".to_owned()
        }
    );
    assert_eq!(
        parse("cipher = 1", "cipher = 01"),
        ConfigError::Value("cipher")
    );
    assert_eq!(
        parse("cipher = 1", "cipher = 1\ncipher = 1"),
        ConfigError::Twice("cipher")
    );
}

#[test]
fn a_configuration_signed_by_another_is_refused() {
    let (alice, mallory) = (
        IdentitySecret::generate(&mut rng()),
        IdentitySecret::generate(&mut rng()),
    );
    let text = store(&mallory).0.as_text().to_owned();
    let text = text.replace(&mallory.public().to_string(), &alice.public().to_string());
    assert_eq!(StoreConfig::parse(&text), Err(ConfigError::Signature));
}
