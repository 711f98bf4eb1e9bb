use super::*;
use crate::id::LabelId;
use crate::key::{DelegatingKey, LabelSecret};
use crate::scheme::Capsule;

fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

const STORE: StoreId = StoreId([4; 16]);
const PRIVATE: NewFile<'static> = NewFile {
    store: STORE,
    cipher: Cipher::Aes256Gcm,
    label: None,
    signer: None,
};

#[test]
fn files_of_every_awkward_size_come_back() {
    let group = 4096 * 126;
    let inline = 4096 * 16;
    for size in [
        0,
        1,
        4095,
        4096,
        4097,
        inline,
        inline + 1,
        inline + group,
        inline + group + 1,
        inline + 3 * group - 7,
    ] {
        let plain: Vec<u8> = (0..size).map(|i| (i % 253) as u8).collect();
        let (file, key) = encrypt(&plain, &PRIVATE, &mut rng()).unwrap();
        let opened = decrypt(&file, Via::FileKey(&key), Check::Key).unwrap();
        assert!(*opened == plain, "{size} bytes");
    }
}

#[test]
fn a_file_opens_under_the_cipher_it_was_made_with() {
    for cipher in Cipher::ALL {
        let new = NewFile { cipher, ..PRIVATE };
        for size in [0, 1, 4096, 4096 * 18 + 5] {
            let plain = vec![7; size];
            let (mut file, key) = encrypt(&plain, &new, &mut rng()).unwrap();
            assert_eq!(inspect(&file).unwrap().core().cipher, cipher);
            let opened = decrypt(&file, Via::FileKey(&key), Check::Key).unwrap();
            assert!(*opened == plain, "{cipher}, {size} bytes");
            if let Some(last) = file.get_mut(HEADER_LEN..).and_then(|body| body.last_mut()) {
                *last ^= 1;
                let index = size as u64 / 4096 - u64::from(size == 4096);
                let refused = decrypt(&file, Via::FileKey(&key), Check::Key).err();
                assert_eq!(refused, Some(BodyError::Chunk { index }.into()), "{cipher}");
            }
        }
    }
}

#[test]
fn a_shared_file_is_opened_by_its_label_and_signed_by_its_author() {
    let (delegating, author) = (
        DelegatingKey::generate(&mut rng()),
        IdentitySecret::generate(&mut rng()),
    );
    let label = LabelKey {
        id: LabelId([3; 16]),
        generation: 1,
        public: delegating.public(),
    };
    let new = NewFile {
        store: STORE,
        cipher: Cipher::Aes256Gcm,
        label: Some(&label),
        signer: Some(&author),
    };
    let (file, _) = encrypt(b"for your eyes", &new, &mut rng()).unwrap();

    let header = inspect(&file).unwrap();
    let slot = &header.labels()[0];
    let capsule = Capsule::from_bytes(&slot.capsule).unwrap();
    let secret = delegating
        .decapsulate(&capsule, &slot.context(header.core().store))
        .unwrap();
    let via = |secret| Via::Label {
        id: slot.id,
        secret,
    };
    let opened = decrypt(&file, via(&secret), Check::Signed(&author.public())).unwrap();
    assert_eq!(opened.as_slice(), b"for your eyes");

    let other = IdentitySecret::generate(&mut rng()).public();
    let refused = decrypt(&file, via(&secret), Check::Signed(&other)).err();
    assert_eq!(
        refused,
        Some(HeaderError::Refused(crate::format::Part::Signature).into())
    );
    let refused = decrypt(&file, via(&LabelSecret::generate(&mut rng())), Check::Key).err();
    assert_eq!(refused, Some(HeaderError::WrongKey.into()));

    let unsigned = NewFile {
        signer: None,
        ..new
    };
    assert_eq!(
        encrypt(b"x", &unsigned, &mut rng()).err(),
        Some(HeaderError::Unsigned.into())
    );
}

#[test]
fn no_change_to_a_file_changes_what_is_read() {
    // Large enough for a tag page: 16 chunks in the header, 3 behind a page, the last one short.
    let plain: Vec<u8> = (0..4096 * 18 + 50).map(|i| (i % 249) as u8).collect();
    let (file, key) = encrypt(&plain, &PRIVATE, &mut rng()).unwrap();
    let open = |file: &[u8]| decrypt(file, Via::FileKey(&key), Check::Key);
    // Every byte of the header and the page, a stride through the chunks.
    let page = 4096 * 17;
    let places = (0..HEADER_LEN)
        .chain(page..page + PAGE_LEN)
        .chain((HEADER_LEN..file.len()).step_by(61));
    for at in places {
        let mut wrong = file.clone();
        wrong[at] ^= 4;
        assert!(open(&wrong).is_err(), "byte {at}");
    }
}

#[test]
fn what_is_wrong_with_the_body_is_said_exactly() {
    let plain = vec![1; 4096 * 20];
    let (file, key) = encrypt(&plain, &PRIVATE, &mut rng()).unwrap();
    let open = |file: &[u8]| decrypt(file, Via::FileKey(&key), Check::Key).map(|_| ());
    let layout = Layout::new(12).unwrap();
    let at = |chunk| usize::try_from(layout.chunk_offset(chunk)).unwrap();

    let mut wrong = file.clone();
    wrong[at(17) + 100] ^= 1;
    assert_eq!(open(&wrong), Err(BodyError::Chunk { index: 17 }.into()));

    let mut wrong = file.clone();
    let (one, two) = (at(2), at(5));
    for i in 0..4096 {
        wrong.swap(one + i, two + i);
    }
    assert_eq!(open(&wrong), Err(BodyError::Chunk { index: 2 }.into()));

    let mut wrong = file.clone();
    wrong[at(16) - 4096..at(16)].fill(0);
    assert_eq!(
        open(&wrong),
        Err(BodyError::Page { level: 1, index: 0 }.into())
    );

    let mut wrong = file.clone();
    wrong[at(3)..at(4)].fill(0);
    assert_eq!(
        open(&wrong),
        Err(BodyError::Chunk { index: 3 }.into()),
        "zeros are no hole"
    );

    let (expected, found) = (file.len() as u64, at(19) as u64);
    assert_eq!(
        open(&file[..at(19)]),
        Err(BodyError::Truncated { expected, found }.into())
    );
    let longer = [file.as_slice(), &[0; 4096]].concat();
    let found = longer.len() as u64;
    assert_eq!(
        open(&longer),
        Err(BodyError::Extended { expected, found }.into())
    );
}

#[test]
fn the_body_of_another_file_is_refused() {
    let (one, key) = encrypt(&[1; 9000], &PRIVATE, &mut rng()).unwrap();
    let (two, _) = encrypt(&[2; 9000], &PRIVATE, &mut rng()).unwrap();
    let mixed = [&one[..HEADER_LEN], &two[HEADER_LEN..]].concat();
    let refused = decrypt(&mixed, Via::FileKey(&key), Check::Key).err();
    assert_eq!(refused, Some(BodyError::Chunk { index: 0 }.into()));
    let other = [&two[..HEADER_LEN], &one[HEADER_LEN..]].concat();
    let refused = decrypt(&other, Via::FileKey(&key), Check::Key).err();
    assert_eq!(refused, Some(HeaderError::WrongKey.into()));
}
