use std::io::Cursor;

use kms_crypto::aead::Cipher;
use kms_crypto::format::{LabelKey, file};
use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{IdentitySecret, LabelSecret, StoreKey};
use kms_crypto::scheme::Capsule;

use super::*;

/// An owner and a label of his.
struct Scene {
    store: StoreId,
    key: StoreKey,
    label: LabelId,
    identity: IdentitySecret,
}

impl Scene {
    fn new() -> Self {
        Self {
            store: StoreId::random(&mut rng()),
            key: StoreKey::generate(&mut rng()),
            label: LabelId::random(&mut rng()),
            identity: IdentitySecret::generate(&mut rng()),
        }
    }

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let label = LabelKey {
            id: self.label,
            generation: 1,
            public: self.key.delegating_key(&self.label, 1).public(),
        };
        let new = NewFile {
            store: self.store,
            cipher: Cipher::default(),
            label: Some(&label),
            signer: Some(&self.identity),
        };
        let mut to = Cursor::new(Vec::new());
        let sizes = seal(&mut &plain[..], &mut to, &new, &Stop::default()).unwrap();
        assert_eq!(sizes.plain, plain.len() as u64);
        assert_eq!(sizes.sealed, to.get_ref().len() as u64);
        to.into_inner()
    }

    fn secret(&self, sealed: &[u8]) -> LabelSecret {
        let header = Header::parse(sealed).unwrap();
        let slot = &header.labels()[0];
        let capsule = Capsule::from_bytes(&slot.capsule).unwrap();
        let key = self.key.delegating_key(&self.label, 1);
        key.decapsulate(&capsule, &slot.context(self.store))
            .unwrap()
    }

    fn open(&self, sealed: &[u8], secret: &LabelSecret) -> Result<Vec<u8>, StreamError> {
        let mut plain = Vec::new();
        let via = Via::Label {
            id: self.label,
            secret,
        };
        let check = &self.identity.public();
        let from = &mut Cursor::new(sealed);
        open(
            from,
            &mut plain,
            via,
            Check::Signed(check),
            &Stop::default(),
        )
        .map(|_| plain)
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at % 251) ^ (at / 4096)).to_le_bytes()[0])
        .collect()
}

const CHUNK: usize = 4096;
const FIRST_RUN: usize = 16 * CHUNK;
const RUN: usize = 126 * CHUNK;

#[test]
fn a_stream_and_a_value_in_memory_are_one_format() {
    let scene = Scene::new();
    let ends = [
        0,
        1,
        CHUNK,
        FIRST_RUN,
        FIRST_RUN + RUN,
        FIRST_RUN + 20 * RUN,
    ];
    for len in ends
        .into_iter()
        .flat_map(|end| [end, end + 1, end + CHUNK + 7])
    {
        let plain = pattern(len);
        let sealed = scene.seal(&plain);
        let secret = scene.secret(&sealed);
        let via = Via::Label {
            id: scene.label,
            secret: &secret,
        };
        let check = Check::Signed(&scene.identity.public());
        assert!(
            *file::decrypt(&sealed, via, check).unwrap() == plain,
            "{len} bytes"
        );
        assert!(
            scene.open(&sealed, &secret).unwrap() == plain,
            "{len} bytes"
        );
    }
}

#[test]
fn a_tree_of_three_levels_comes_back() {
    let scene = Scene::new();
    let plain = pattern(FIRST_RUN + 127 * RUN + 5);
    let sealed = scene.seal(&plain);
    assert!(scene.open(&sealed, &scene.secret(&sealed)).unwrap() == plain);
}

#[test]
fn whatever_is_altered_cut_or_added_is_refused_and_only_the_verified_beginning_is_written() {
    let scene = Scene::new();
    let plain = pattern(FIRST_RUN + 2 * RUN + 9);
    let sealed = scene.seal(&plain);
    let secret = scene.secret(&sealed);
    let refused = |bytes: &[u8]| {
        let error = scene.open(bytes, &secret).unwrap_err();
        assert!(matches!(error, StreamError::File(_)), "{error:?}");
    };
    for at in [
        20,
        4000,
        HEADER_LEN,
        HEADER_LEN + FIRST_RUN + 3,
        sealed.len() - 1,
    ] {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        refused(&altered);
    }
    refused(&sealed[..sealed.len() - 1]);
    refused(&[&sealed[..], b"x"].concat());
    refused(&sealed[..100]);

    let mut altered = sealed.clone();
    altered[HEADER_LEN + FIRST_RUN + PAGE_LEN + 5] ^= 1;
    let mut written = Vec::new();
    let via = Via::Label {
        id: scene.label,
        secret: &secret,
    };
    let from = &mut Cursor::new(altered);
    open(from, &mut written, via, Check::Key, &Stop::default()).unwrap_err();
    assert!(written == plain[..FIRST_RUN]);
}

#[test]
fn a_stream_that_fails_or_is_stopped_says_which() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let new = NewFile {
        store: StoreId::random(&mut rng()),
        cipher: Cipher::default(),
        label: None,
        signer: None,
    };
    let mut to = Cursor::new(Vec::new());
    let stop = Stop::default();
    let error = seal(&mut Broken, &mut to, &new, &stop).unwrap_err();
    assert!(matches!(error, StreamError::Read(_)));
    let error = seal(
        &mut &b"abc"[..],
        &mut Cursor::new([0; 100].as_mut_slice()),
        &new,
        &stop,
    );
    assert!(matches!(error.unwrap_err(), StreamError::Write(_)));
    stop.stop();
    let error = seal(&mut io::repeat(7), &mut to, &new, &stop).unwrap_err();
    assert!(matches!(error, StreamError::Cancelled));
}
