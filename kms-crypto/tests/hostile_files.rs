//! Whatever a store's keeper does to the bytes, a reader sees the plaintext that was sealed, or an error.
#![expect(
    clippy::unwrap_used,
    reason = "tests say what they expect by unwrapping it"
)]

use std::sync::LazyLock;

use kms_crypto::aead::Cipher;
use kms_crypto::format::file::{self, NewFile};
use kms_crypto::format::{Check, Header, Layout, StoreConfig, Via};
use kms_crypto::id::StoreId;
use kms_crypto::key::FileKey;
use kms_crypto::name::BackingName;
use proptest::prelude::*;

type Files = (Vec<u8>, Vec<u8>, FileKey);

/// For each cipher two files of one size, with a tag page each, and the key of the first.
static FILES: LazyLock<[Files; 3]> = LazyLock::new(|| {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    Cipher::ALL.map(|cipher| {
        let new = NewFile {
            store: StoreId([1; 16]),
            cipher,
            label: None,
            signer: None,
        };
        let (one, key) = file::encrypt(&plain(), &new, &mut rng).unwrap();
        let (two, _) = file::encrypt(&plain(), &new, &mut rng).unwrap();
        (one, two, key)
    })
});

fn plain() -> Vec<u8> {
    (0..4096 * 18 + 100).map(|at| (at % 241) as u8).collect()
}

#[derive(Clone, Debug)]
enum Attack {
    Flip { at: usize, mask: u8 },
    Zero { at: usize, len: usize },
    Copy { from: usize, to: usize, len: usize },
    FromTheOther { at: usize, len: usize },
    Cut { at: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Remove { at: usize, len: usize },
}

fn attack() -> impl Strategy<Value = Attack> {
    // Half of all places are multiples of 4096, where headers, pages and chunks begin.
    let place = || {
        prop_oneof![
            0..80_000usize,
            (0..20usize).prop_map(|at| at * 4096),
            0..4096usize
        ]
    };
    let len = || prop_oneof![1..200usize, Just(4096), Just(8192)];
    prop_oneof![
        (place(), 1..=255u8).prop_map(|(at, mask)| Attack::Flip { at, mask }),
        (place(), len()).prop_map(|(at, len)| Attack::Zero { at, len }),
        (place(), place(), len()).prop_map(|(from, to, len)| Attack::Copy { from, to, len }),
        (place(), len()).prop_map(|(at, len)| Attack::FromTheOther { at, len }),
        place().prop_map(|at| Attack::Cut { at }),
        (place(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Attack::Insert { at, bytes }),
        (place(), len()).prop_map(|(at, len)| Attack::Remove { at, len }),
    ]
}

fn carry_out(attack: &Attack, file: &mut Vec<u8>, other: &[u8]) {
    let end = file.len();
    match attack {
        Attack::Flip { at, mask } => file[at % end] ^= mask,
        Attack::Zero { at, len } => {
            let at = at % end;
            file[at..(at + len).min(end)].fill(0);
        }
        Attack::Copy { from, to, len } => {
            let (from, to) = (from % end, to % end);
            let len = (*len).min(end - from).min(end - to);
            file.copy_within(from..from + len, to);
        }
        Attack::FromTheOther { at, len } => {
            let at = at % end;
            let to = (at + len).min(end).min(other.len());
            if at < to {
                file[at..to].copy_from_slice(&other[at..to]);
            }
        }
        Attack::Cut { at } => file.truncate((at % end).max(1)),
        Attack::Insert { at, bytes } => {
            drop(file.splice(at % end..at % end, bytes.iter().copied()))
        }
        Attack::Remove { at, len } => {
            let at = (at % end).max(1);
            file.drain(at.min(end)..(at + len).min(end));
        }
    }
}

/// More than usual, and as many as PROPTEST_CASES asks for if that is more still.
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases.max(2000),
        ..usual
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_changed_file_gives_what_was_sealed_or_an_error(
        cipher in 0..3usize,
        attacks in prop::collection::vec(attack(), 1..4),
    ) {
        let (one, two, key) = &FILES[cipher];
        let mut file = one.clone();
        for attack in &attacks {
            carry_out(attack, &mut file, two);
        }
        if let Ok(opened) = file::decrypt(&file, Via::FileKey(key), Check::Key) {
            prop_assert!(*opened == plain());
            prop_assert!(file == *one, "this file has no holes: every byte of it counts");
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..5000), keep in 0..4096usize) {
        drop(Header::parse(&bytes));
        drop(StoreConfig::parse(&String::from_utf8_lossy(&bytes)));
        let _ = BackingName::of(&bytes);
        // The beginning of a header, and then anything.
        let mut header = FILES[0].0[..4096].to_vec();
        for (place, byte) in header.iter_mut().skip(keep).zip(&bytes) {
            *place = *byte;
        }
        drop(Header::parse(&header));
    }

    #[test]
    fn any_length_of_a_file_is_answered(len: u64, bits in prop::sample::select(vec![12u8, 14, 16])) {
        let layout = Layout::new(bits).unwrap();
        if let Some(size) = layout.plain_len(len) {
            prop_assert_eq!(layout.check_len(size, len), Ok(()));
        }
    }
}
