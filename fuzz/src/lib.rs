//! One property for each parser of kms-crypto and kms-proto: any bytes are answered, and what is read is written the same
//! way again. The fuzzers of `fuzz_targets/` and the replay of `corpus/` (`kms-proto/tests/corpus.rs`) run these.

use std::str::from_utf8;

use kms_crypto::aead::{open_record, seal_record};
use kms_crypto::format::{Core, Header, Layout, Leaf, OpenHeader, StoreConfig, XattrError, Xattrs};
use kms_crypto::id::{DirId, FileId, StoreId};
use kms_crypto::identity::IdentityFile;
use kms_crypto::kdf::derive32;
use kms_crypto::key::{FileKey, IdentitySecret, NameKey, PublicKey};
use kms_crypto::name::{BackingName, NameCipher, NameTag, StoredLink};
use kms_crypto::policy::Threshold;
use kms_crypto::scheme::signing::{self, Commitment, Split};
use kms_crypto::scheme::{Capsule, CapsuleFrag, KeyFrag};
use kms_crypto::sign::Signature;
use kms_crypto::umbral;
use kms_proto::codec::{self, Kind, MAX_REQUEST_BYTES};
use kms_proto::ledger::{Heading, Record, SignedEntry};
use kms_proto::message::{Query, Response};
use kms_proto::signed::SignedRequest;

/// A property of one parser.
pub type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const TARGETS: [(&str, Target); 21] = [
    ("capsule", capsule),
    ("capsule_frag", capsule_frag),
    ("config", config),
    ("header", header),
    ("identity_file", identity_file),
    ("key_frag", key_frag),
    ("leaf", leaf),
    ("ledger_entry", ledger_entry),
    ("ledger_record", ledger_record),
    ("length", length),
    ("name", name),
    ("public_key", public_key),
    ("request", request),
    ("response", response),
    ("secret_key", secret_key),
    ("signature", signature),
    ("signing", signing),
    ("threshold", threshold),
    ("umbral", umbral),
    ("words", words),
    ("xattrs", xattrs),
];

/// FORMAT §3.
pub fn header(data: &[u8]) {
    if let Ok(header) = Header::parse(data) {
        assert_eq!(header.to_bytes(), data[..4096]);
    }
}

/// FORMAT §3.6.1: the data is what was sealed, so that the parser behind the seal is reached.
pub fn xattrs(data: &[u8]) {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let layout = Layout::new(12).expect("4 KiB chunks exist");
    let core = Core::file(
        StoreId([1; 16]),
        FileId([2; 16]),
        Default::default(),
        layout,
    );
    let mut open =
        OpenHeader::new_file(core, &FileKey::from_bytes(&[3; 32]), 0o600).expect("a file");
    let key = derive32(&[3; 32], "kms/xattr-key/1", &[open.core_hash()]);
    let sealed = seal_record(&key, b"kms/xattr/1", data, &mut rng);
    open.state.xattrs = Xattrs::Inline { epoch: 1, sealed };
    match open.xattrs(None) {
        Ok(map) if !map.is_empty() => {
            let side = open
                .set_xattrs(&map, &mut rng)
                .expect("what was read can be written");
            let ((Some(sealed), _) | (None, Xattrs::Inline { sealed, .. })) =
                (side, open.state.xattrs)
            else {
                panic!("attributes are somewhere")
            };
            assert_eq!(
                *open_record(&key, b"kms/xattr/1", &sealed).expect("just sealed"),
                data
            );
        }
        result => assert!(!matches!(
            result,
            Err(XattrError::Refused | XattrError::SideMissing)
        )),
    }
}

/// FORMAT §4: a length of nine bytes or more says nothing else.
pub fn length(data: &[u8]) {
    let Some(([bits, len @ ..], _)) = data.split_first_chunk::<9>() else {
        return;
    };
    let len = u64::from_be_bytes(*len);
    if let Some(layout) = Layout::new(*bits)
        && let Some(size) = layout.plain_len(len)
    {
        assert_eq!(layout.backing_len(size), len);
    }
}

/// FORMAT §5.2.
pub fn leaf(data: &[u8]) {
    if let Some(leaf) = data.first_chunk().and_then(Leaf::from_bytes) {
        assert_eq!(leaf.to_bytes(), data[..32]);
    }
}

/// FORMAT §7: as a name, as a target and as what is found in a store.
pub fn name(data: &[u8]) {
    let names = NameCipher::new(&NameKey::from_bytes(&[1; 32]), DirId([2; 16]));
    if let Ok(sealed) = names.encrypt(data) {
        let opened = names.decrypt(&sealed.backing, sealed.long.as_deref());
        assert_eq!(opened, Ok((data.to_vec(), sealed.tag)));
    }
    if let Ok(sealed) = names.encrypt_target(NameTag([3; 16]), data) {
        let link = StoredLink::of(sealed);
        let opened = names.open_link(NameTag([3; 16]), &link.target, link.side.as_deref());
        assert_eq!(opened.as_deref(), Ok(data));
    }
    if let Ok(text) = from_utf8(data) {
        assert!(names.open_link(NameTag([3; 16]), text, Some(text)).is_err());
    }
    if let BackingName::Short(text) | BackingName::Long(text) = BackingName::of(data) {
        assert_eq!(text.as_bytes(), data);
        assert!(names.decrypt(text, Some(text)).is_err());
        assert!(names.decrypt(text, None).is_err());
    }
}

/// FORMAT §8.
pub fn config(data: &[u8]) {
    if let Some(config) = from_utf8(data)
        .ok()
        .and_then(|text| StoreConfig::parse(text).ok())
    {
        assert_eq!(config.as_text().as_bytes(), data);
    }
}

/// SCHEMES §3.1, in both forms.
pub fn public_key(data: &[u8]) {
    if let Ok(key) = PublicKey::from_bytes(data) {
        assert_eq!(key.as_bytes(), data);
    }
    if let Some((text, key)) = from_utf8(data)
        .ok()
        .and_then(|text| Some((text, text.parse::<PublicKey>().ok()?)))
    {
        assert_eq!(key.to_string(), text.to_ascii_lowercase());
    }
}

/// SCHEMES §3.2.
pub fn secret_key(data: &[u8]) {
    if let Some((text, key)) = from_utf8(data)
        .ok()
        .and_then(|text| Some((text, text.parse::<IdentitySecret>().ok()?)))
    {
        assert_eq!(*key.to_text(), text.to_ascii_uppercase());
    }
}

/// SCHEMES §3.3: comments are not kept.
pub fn identity_file(data: &[u8]) {
    if let Some(file) = from_utf8(data)
        .ok()
        .and_then(|text| IdentityFile::parse(text).ok())
    {
        assert_eq!(IdentityFile::parse(&file.to_text()), Ok(file));
    }
}

/// SCHEMES §3.4.
pub fn words(data: &[u8]) {
    if let Some((text, key)) = from_utf8(data)
        .ok()
        .and_then(|text| Some((text, IdentitySecret::from_words(text).ok()?)))
    {
        let words: Vec<_> = text
            .split_whitespace()
            .map(str::to_ascii_lowercase)
            .collect();
        assert_eq!(*key.to_words(), words.join(" "));
    }
}

/// SCHEMES §5.1.
pub fn signature(data: &[u8]) {
    if let Ok(signature) = Signature::from_bytes(data) {
        assert_eq!(signature.to_bytes(), data);
    }
}

/// SCHEMES §14: commitments, splits and signatures, which differ in length. Shares are fragments of keys.
pub fn signing(data: &[u8]) {
    if let Ok(commitment) = Commitment::from_bytes(data) {
        assert_eq!(commitment.as_bytes().as_slice(), data);
    }
    if let Ok(split) = Split::from_bytes(data) {
        assert_eq!(split.to_bytes(), data);
        assert!(2 <= split.threshold().needed());
    }
    let nobody = derive32(&[7; 32], "kms/fuzz/1", &[]);
    let nobody = IdentitySecret::from_bytes(&nobody).expect("a hash is a key, as hashes go");
    assert!(signing::verify(&nobody.public(), b"never signed", data).is_err());
}

/// SCHEMES §7: `3/5`.
pub fn threshold(data: &[u8]) {
    if let Some(threshold) = from_utf8(data)
        .ok()
        .and_then(|text| text.parse::<Threshold>().ok())
    {
        assert_eq!(threshold.to_string().parse(), Ok(threshold));
        assert!(1 <= threshold.needed() && threshold.needed() <= threshold.total());
    }
}

/// SCHEMES §8.
pub fn capsule(data: &[u8]) {
    if let Ok(capsule) = Capsule::from_bytes(data) {
        assert_eq!(capsule.to_bytes(), data);
    }
}

/// SCHEMES §8.
pub fn key_frag(data: &[u8]) {
    if let Ok(frag) = KeyFrag::from_bytes(data) {
        assert_eq!(*frag.to_bytes(), data);
    }
}

/// SCHEMES §8.
pub fn capsule_frag(data: &[u8]) {
    if let Ok(frag) = CapsuleFrag::from_bytes(data) {
        assert_eq!(frag.to_bytes(), data);
    }
}

/// UMBRAL: capsules and both kinds of fragment, which differ in length.
pub fn umbral(data: &[u8]) {
    if let Ok(capsule) = umbral::Capsule::from_bytes(data) {
        assert_eq!(capsule.to_bytes(), data);
    }
    if let Ok(frag) = umbral::KeyFrag::from_bytes(data) {
        assert_eq!(*frag.to_bytes(), data);
    }
    if let Ok(frag) = umbral::CapsuleFrag::from_bytes(data) {
        assert_eq!(frag.to_bytes(), data);
    }
}

/// WIRE §3, both kinds of request.
pub fn request(data: &[u8]) {
    match codec::open_envelope(data) {
        Ok((Kind::Query, body)) => {
            if let Ok(query) = codec::decode::<Query>(body, MAX_REQUEST_BYTES) {
                assert_eq!(query.to_bytes(), of_this_version(data));
            }
        }
        Ok((Kind::Command, body)) => {
            if let Ok(command) = codec::decode::<SignedRequest>(body, MAX_REQUEST_BYTES) {
                assert_eq!(
                    codec::encode_envelope(Kind::Command, &command),
                    of_this_version(data)
                );
            }
        }
        _ => {}
    }
}

/// WIRE §3.
pub fn response(data: &[u8]) {
    if let Ok(response) = Response::from_bytes(data) {
        assert_eq!(response.to_bytes(), of_this_version(data));
    }
}

/// A later minor version is read (WIRE §2) and never written.
fn of_this_version(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[5] = 0;
    message
}

/// LEDGER §2.
pub fn ledger_entry(data: &[u8]) {
    if let Ok(entry) = SignedEntry::from_bytes(data) {
        assert_eq!(entry.to_bytes(), data);
    }
}

/// LEDGER §3.
pub fn ledger_record(data: &[u8]) {
    if let Ok(record) = Record::from_bytes(data) {
        assert_eq!(codec::encode(&record), data);
    }
    if let Ok(heading) = Heading::from_bytes(data) {
        assert!(Heading::is_it(data));
        assert_eq!(heading.to_bytes(), data);
    }
}
