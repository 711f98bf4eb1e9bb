//! What every content cipher promises, checked for each of them and each backend (FORMAT §5.1).

use super::{Backend, ChunkCipher, Cipher, Refused};

/// From nothing over parts of blocks to the largest chunk, and around where implementations change their stride.
const LENGTHS: [usize; 17] = [
    0, 1, 15, 16, 17, 63, 64, 65, 127, 255, 256, 257, 511, 4095, 4096, 16384, 65536,
];
const KEY: [u8; 32] = [0x5a; 32];
const NONCE: [u8; 12] = [0xc3; 12];

struct Subject {
    cipher: Cipher,
    backend: Backend,
}

impl Subject {
    fn keyed(&self, key: &[u8; 32]) -> ChunkCipher {
        ChunkCipher::with_backend(self.backend, self.cipher, key)
    }

    fn seal(&self, nonce: &[u8; 12], ad: &[u8], plain: &[u8]) -> (Vec<u8>, [u8; 16]) {
        let mut buf = plain.to_vec();
        let tag = self.keyed(&KEY).seal_in_place(nonce, ad, &mut buf);
        (buf, tag)
    }

    fn open(&self, nonce: &[u8; 12], ad: &[u8], sealed: &[u8], tag: &[u8; 16]) -> Option<Vec<u8>> {
        let mut buf = sealed.to_vec();
        let opened = self.keyed(&KEY).open_in_place(nonce, ad, &mut buf, tag);
        if opened == Err(Refused) {
            assert!(buf.iter().all(|&byte| byte == 0), "refused bytes stay");
        }
        opened.is_ok().then_some(buf)
    }
}

fn plain(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn check_round_trip(subject: &Subject) {
    for len in LENGTHS {
        let plain = plain(len);
        let (sealed, tag) = subject.seal(&NONCE, b"here", &plain);
        assert_eq!(sealed.len(), len);
        if len >= 15 {
            assert_ne!(sealed, plain);
        }
        let opened = subject.open(&NONCE, b"here", &sealed, &tag);
        assert_eq!(opened.as_deref(), Some(&*plain), "{len} bytes");
    }
}

fn check_every_flipped_byte_is_refused(subject: &Subject) {
    for len in [1, 16, 300, 4096] {
        let (sealed, tag) = subject.seal(&NONCE, b"here", &plain(len));
        for at in 0..len {
            let mut altered = sealed.clone();
            altered[at] ^= 1 << (at % 8);
            assert_eq!(subject.open(&NONCE, b"here", &altered, &tag), None, "{at}");
        }
    }
    let (sealed, tag) = subject.seal(&NONCE, b"here", &plain(300));
    for bit in 0..128 {
        let mut altered = tag;
        altered[bit / 8] ^= 1 << (bit % 8);
        let opened = subject.open(&NONCE, b"here", &sealed, &altered);
        assert_eq!(opened, None, "bit {bit} of the tag");
    }
}

fn check_it_opens_only_where_it_belongs(subject: &Subject) {
    for len in [0, 1, 4096] {
        let (sealed, tag) = subject.seal(&NONCE, b"here", &plain(len));
        for ad in [&b"her"[..], b"here\0", b"there", b""] {
            assert_eq!(subject.open(&NONCE, ad, &sealed, &tag), None, "{ad:?}");
        }
        for bit in 0..96 {
            let mut nonce = NONCE;
            nonce[bit / 8] ^= 1 << (bit % 8);
            let opened = subject.open(&nonce, b"here", &sealed, &tag);
            assert_eq!(opened, None, "bit {bit} of the nonce");
        }
        let mut buf = sealed.clone();
        let mut other = KEY;
        other[31] ^= 1;
        let opened = subject
            .keyed(&other)
            .open_in_place(&NONCE, b"here", &mut buf, &tag);
        assert_eq!(opened, Err(Refused), "another key");
    }
}

fn check_no_other_length_opens(subject: &Subject) {
    let (sealed, tag) = subject.seal(&NONCE, b"here", &plain(100));
    for len in 0..100 {
        assert_eq!(subject.open(&NONCE, b"here", &sealed[..len], &tag), None);
    }
    let longer = [&sealed[..], &[0]].concat();
    assert_eq!(subject.open(&NONCE, b"here", &longer, &tag), None);
    let (_, tag) = subject.seal(&NONCE, b"here", b"");
    assert_eq!(subject.open(&NONCE, b"here", &[0], &tag), None);
}

fn check_nothing_depends_on_the_key_having_been_used(subject: &Subject) {
    let keyed = subject.keyed(&KEY);
    let mut last = None;
    for _ in 0..3 {
        let mut buf = plain(5000);
        let tag = keyed.seal_in_place(&NONCE, b"here", &mut buf);
        let mut refused = buf.clone();
        refused[0] ^= 1;
        assert!(
            keyed
                .open_in_place(&NONCE, b"here", &mut refused, &tag)
                .is_err()
        );
        assert!(last.is_none_or(|seen| seen == (tag, buf.clone())));
        last = Some((tag, buf));
    }
}

fn check_a_backend_opens_what_the_other_sealed(subject: &Subject) {
    for &backend in Backend::ALL {
        let cipher = subject.cipher;
        let other = Subject { cipher, backend };
        for len in LENGTHS {
            let (sealed, tag) = subject.seal(&NONCE, b"here", &plain(len));
            assert_eq!((sealed, tag), other.seal(&NONCE, b"here", &plain(len)));
        }
    }
}

fn check_ciphers_do_not_open_each_other(subject: &Subject) {
    let (sealed, tag) = subject.seal(&NONCE, b"here", &plain(64));
    for cipher in Cipher::ALL {
        let backend = subject.backend;
        let other = Subject { cipher, backend };
        let opened = other.open(&NONCE, b"here", &sealed, &tag);
        assert_eq!(opened.is_some(), cipher == subject.cipher);
    }
}

fn for_each(check: fn(&Subject)) {
    for &backend in Backend::ALL {
        for cipher in Cipher::ALL {
            // The name of what was tried stands before the panic of a check that fails.
            println!("{cipher} by {backend:?}");
            check(&Subject { cipher, backend });
        }
    }
}

#[test]
fn what_was_sealed_opens() {
    for_each(check_round_trip);
}

#[test]
fn every_flipped_byte_is_refused() {
    for_each(check_every_flipped_byte_is_refused);
}

#[test]
fn a_chunk_opens_only_where_it_belongs() {
    for_each(check_it_opens_only_where_it_belongs);
}

#[test]
fn no_other_length_opens() {
    for_each(check_no_other_length_opens);
}

#[test]
fn nothing_depends_on_the_key_having_been_used() {
    for_each(check_nothing_depends_on_the_key_having_been_used);
}

#[test]
fn backends_agree() {
    for_each(check_a_backend_opens_what_the_other_sealed);
}

#[test]
fn ciphers_do_not_open_each_other() {
    for_each(check_ciphers_do_not_open_each_other);
}

/// Blocks of 16 bytes, as AES sees them.
fn blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(16)
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// Two versions of one chunk that share a half and differ by one bit elsewhere: what an overwrite looks like.
fn versions() -> (Vec<u8>, Vec<u8>) {
    let one = plain(4096);
    let mut two = one.clone();
    two[4000] ^= 1;
    (one, two)
}

#[test]
fn under_gcm_siv_a_nonce_used_twice_shows_equality_and_nothing_else() {
    for &backend in Backend::ALL {
        let cipher = Cipher::Aes256GcmSiv;
        let subject = Subject { cipher, backend };
        let (one, two) = versions();
        let first = subject.seal(&NONCE, b"here", &one);
        assert_eq!(first, subject.seal(&NONCE, b"here", &one), "equality");
        let second = subject.seal(&NONCE, b"here", &two);
        assert_ne!(first.1, second.1);
        assert_ne!(xor(&first.0, &second.0), xor(&one, &two));
        // Not even which parts stayed as they were: no block is the same, at its place or at any other.
        assert!(blocks(&first.0).all(|block| blocks(&second.0).all(|other| block != other)));
        // Nor does knowing one plaintext help with the other.
        assert_ne!(xor(&xor(&first.0, &one), &second.0), two);
        // The same in another place is not seen to be the same.
        let elsewhere = subject.seal(&NONCE, b"there", &one);
        assert!(
            blocks(&first.0)
                .zip(blocks(&elsewhere.0))
                .all(|(a, b)| a != b)
        );
    }
}

#[test]
fn that_test_would_notice_a_cipher_without_this_promise() {
    let subject = Subject {
        cipher: Cipher::Aes256Gcm,
        backend: Backend::ALL[0],
    };
    let (one, two) = versions();
    let (first, second) = (
        subject.seal(&NONCE, b"here", &one),
        subject.seal(&NONCE, b"here", &two),
    );
    assert_eq!(xor(&first.0, &second.0), xor(&one, &two));
}
