//! Walks `spec/vectors/format`: what another implementation of FORMAT made is read, opened and refused here for the
//! stated reasons.
#![expect(
    clippy::unwrap_used,
    reason = "tests say what they expect by unwrapping it"
)]

#[path = "support/vector.rs"]
#[allow(dead_code, reason = "not every test uses all of it")]
mod vector;

use data_encoding::HEXLOWER;
use kms_crypto::aead::{Backend, ChunkCipher, Cipher, open_record, unwrap_key};
use kms_crypto::format::file::{self, FileError};
use kms_crypto::format::{
    BodyError, Check, ConfigError, DirKeys, Header, HeaderError, Layout, OpenHeader, PageId, Signs,
    StoreConfig, Via, XattrError,
};
use kms_crypto::id::{CipherId, DirId, LabelId};
use kms_crypto::key::{
    DelegatingKey, DirKey, FileKey, IdentitySecret, LabelSecret, NameKey, PublicKey, StoreKey,
};
use kms_crypto::name::{NameCipher, NameError, NameTag, StoredLink};
use kms_crypto::scheme::Capsule;
use sha2::{Digest, Sha256};
use vector::{Vector, check};

impl Vector {
    /// Opens a header by whichever way and check the fields name.
    fn open(&self, header: Header) -> Result<OpenHeader, HeaderError> {
        let mac = self.has("owner-mac").then(|| self.array("owner-mac"));
        let owner = self
            .has("owner")
            .then(|| PublicKey::from_bytes(&self.hex("owner")).unwrap());
        let check = match self.field("check") {
            "owner" => Check::Owner(mac.as_ref().unwrap()),
            "signed" => Check::Signed(owner.as_ref().unwrap()),
            "key" => Check::Key,
            other => panic!("check {other}"),
        };
        match self.field("via") {
            "dir" => {
                let store = StoreKey::from_bytes(&self.array("store-key"));
                let epoch = self.number("dir-epoch");
                let signs = match self.has("dir-signs").then(|| self.number("dir-signs")) {
                    None | Some(0) => Signs::Nothing,
                    Some(1) => Signs::WhatIsNew,
                    Some(2) => Signs::Everything,
                    Some(other) => panic!("dir-signs {other}"),
                };
                let dir = DirId(self.array("dir"));
                let keys = DirKeys::derived(&store, dir, epoch).signing(signs);
                header.open(
                    Via::Dir {
                        keys: &keys,
                        tag: NameTag(self.array("name-tag")),
                    },
                    check,
                )
            }
            "label" => {
                let secret = LabelSecret::from_bytes(&self.array("secret"));
                header.open(
                    Via::Label {
                        id: LabelId(self.array("label")),
                        secret: &secret,
                    },
                    check,
                )
            }
            "store" => {
                let key = StoreKey::from_bytes(&self.array("store-key"));
                header.open(
                    Via::Store {
                        key: &key,
                        id: DirId(self.array("dir")),
                    },
                    check,
                )
            }
            "file-key" => header.open(
                Via::FileKey(&FileKey::from_bytes(&self.array("key"))),
                check,
            ),
            "dir-key" => header.open(Via::DirKey(&DirKey::from_bytes(&self.array("key"))), check),
            other => panic!("via {other}"),
        }
    }
}

#[test]
fn every_vector_is_read_or_refused_as_it_says() {
    let checked = check("format", |vector| match vector.field("kind") {
        "header" => header(vector),
        "xattrs" => xattrs(vector),
        "file" => whole_file(vector),
        "chunk" => chunk(vector),
        "layout" => layout(vector),
        "length" => length(vector),
        "name-key" => name_key(vector),
        "name" => name(vector),
        "target" => target(vector),
        "config" => config(vector),
        "wrap" => wrap(vector),
        "record" => record(vector),
        other => panic!("kind {other}"),
    });
    assert!(checked.all > 150, "the vectors are there");
    assert!(
        checked.accepted * 2 < checked.all,
        "most vectors are refused"
    );
}

type Outcome = Result<(), String>;

fn header(vector: &Vector) -> Outcome {
    let header = Header::parse(&vector.bytes()).map_err(|err| reason(&err))?;
    if vector.has("label-key") {
        let slot = &header.labels()[0];
        let capsule = Capsule::from_bytes(&slot.capsule).unwrap();
        let key = DelegatingKey::from_bytes(&vector.array("label-key")).unwrap();
        let secret = key
            .decapsulate(&capsule, &slot.context(header.core().store))
            .unwrap();
        assert_eq!(secret.as_bytes(), &vector.array("secret"));
    }
    let header = if vector.has("names") {
        header.with_names(vector.hex("names"))
    } else {
        header
    };
    let mut open = vector.open(header).map_err(|err| reason(&err))?;
    assert_eq!(open.state.full_mode(), vector.number("mode"));
    if vector.has("device") {
        let special = open.state.special.unwrap();
        assert_eq!(special.device(), vector.number("device"));
    }
    assert_eq!(open.state.generation, vector.number("generation"));
    if vector.has("size") {
        assert_eq!(open.file().unwrap().size, vector.number("size"));
    }
    if vector.has("name-key") {
        let dir = open.dir_id().unwrap();
        let expected = NameCipher::new(&NameKey::from_bytes(&vector.array("name-key")), dir);
        assert_eq!(
            open.names().unwrap().encrypt(b"any").unwrap(),
            expected.encrypt(b"any").unwrap()
        );
        open.state.generation = 0;
    }
    Ok(())
}

fn xattrs(vector: &Vector) -> Outcome {
    let open = Header::parse(&vector.bytes())
        .and_then(|header| vector.open(header))
        .unwrap();
    let side = vector.has("side").then(|| vector.hex("side"));
    if vector.has("path") {
        assert_eq!(
            open.state.xattrs.side_path(&open.core().id).unwrap(),
            vector.field("path")
        );
    }
    let map = open.xattrs(side.as_deref()).map_err(|err| {
        match err {
            XattrError::SideMissing => "side-missing",
            XattrError::Refused => "refused",
            XattrError::Malformed => "malformed",
            XattrError::Name => "name",
            _ => "too-large",
        }
        .to_owned()
    })?;
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    let pairs: Vec<_> = map
        .iter()
        .map(|(name, value)| format!("{}={}", hex(name), hex(value)))
        .collect();
    assert_eq!(pairs.join(" "), vector.field("pairs"));
    Ok(())
}

fn whole_file(vector: &Vector) -> Outcome {
    let key = FileKey::from_bytes(&vector.array("key"));
    let plain =
        file::decrypt(&vector.bytes(), Via::FileKey(&key), Check::Key).map_err(
            |err| match err {
                FileError::Header(err) => reason(&err),
                FileError::Body(BodyError::Chunk { index }) => format!("chunk {index}"),
                FileError::Body(BodyError::ChunkEpoch { index, epoch }) => {
                    format!("chunk-epoch {index} {epoch}")
                }
                FileError::Body(BodyError::Page { level, index }) => {
                    format!("page {level} {index}")
                }
                FileError::Body(BodyError::Truncated { .. }) => "truncated".to_owned(),
                FileError::Body(BodyError::Extended { .. }) => "extended".to_owned(),
                other => format!("{other:?}"),
            },
        )?;
    assert_eq!(
        HEXLOWER.encode(&Sha256::digest(&*plain)),
        vector.field("plain-sha256")
    );
    Ok(())
}

/// Every backend says the same, and seals what it opens to the same bytes.
fn chunk(vector: &Vector) -> Outcome {
    let id = CipherId(vector.number("cipher"));
    let (nonce, ad) = (vector.array("nonce"), vector.hex("ad"));
    let outcomes: Vec<_> = Backend::ALL
        .iter()
        .map(|&backend| {
            let cipher = Cipher::try_from(id).unwrap();
            let cipher = ChunkCipher::with_backend(backend, cipher, &vector.array("key"));
            let mut buf = vector.bytes();
            let tag = vector.array("tag");
            let opened = cipher.open_in_place(&nonce, &ad, &mut buf, &tag);
            if opened.is_ok() {
                assert_eq!(buf, vector.hex("plain"));
                assert_eq!(cipher.seal_in_place(&nonce, &ad, &mut buf), tag);
                assert_eq!(buf, vector.bytes());
            }
            opened.map_err(|_| "refused".to_owned())
        })
        .collect();
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
    outcomes[0].clone()
}

fn layout(vector: &Vector) -> Outcome {
    let layout = Layout::new(vector.number("chunk-bits")).unwrap();
    let size = vector.number("size");
    assert_eq!(layout.backing_len(size), vector.number("length"));
    assert_eq!(layout.plain_len(vector.number("length")), Some(size));
    assert_eq!(layout.top_level(size), vector.number("top"));
    for line in vector.text().lines() {
        let words: Vec<_> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let level = |at: usize| words[at].parse::<u8>().unwrap();
        match words[0] {
            "chunk" => assert_eq!(layout.chunk_offset(number(1)), number(3), "{line}"),
            "page" => {
                let page = PageId {
                    level: level(1),
                    index: number(2),
                };
                assert_eq!(layout.page_offset(page), number(4), "{line}");
            }
            "pages" => assert_eq!(layout.page_count(size, level(1)), number(2), "{line}"),
            other => panic!("{other}"),
        }
    }
    Ok(())
}

fn length(vector: &Vector) -> Outcome {
    let layout = Layout::new(vector.number("chunk-bits")).unwrap();
    let size = layout.plain_len(vector.number("length")).ok_or("no-file")?;
    assert_eq!(size, vector.number("size"));
    Ok(())
}

fn names(vector: &Vector) -> NameCipher {
    NameCipher::new(
        &NameKey::from_bytes(&vector.array("name-key")),
        DirId(vector.array("dir")),
    )
}

fn name_key(vector: &Vector) -> Outcome {
    let key = StoreKey::from_bytes(&vector.array("store-key"));
    let dir = DirId(vector.array("dir"));
    let epoch = vector.number("epoch");
    assert_eq!(key.name_key(&dir, epoch).as_bytes()[..], vector.bytes());
    Ok(())
}

fn name(vector: &Vector) -> Outcome {
    let long = vector.has("long").then(|| vector.field("long"));
    let (name, tag) = names(vector)
        .decrypt(vector.line(), long)
        .map_err(|err| name_reason(&err))?;
    assert_eq!(name, vector.hex("name"));
    assert_eq!(tag.0, vector.array("tag"));
    let again = names(vector).encrypt(&name).unwrap();
    assert_eq!(
        (again.backing.as_str(), again.long.as_deref()),
        (vector.line(), long)
    );
    Ok(())
}

fn target(vector: &Vector) -> Outcome {
    let tag = NameTag(vector.array("tag"));
    let side = vector.has("side").then(|| vector.field("side"));
    let target = names(vector)
        .open_link(tag, vector.line(), side)
        .map_err(|err| name_reason(&err))?;
    assert_eq!(target, vector.hex("target"));
    let seal = |tag| names(vector).encrypt_target(tag, &target).unwrap();
    let stored = if vector.has("other-tag") {
        StoredLink::of_two(&seal(tag), &seal(NameTag(vector.array("other-tag"))))
    } else {
        StoredLink::of(seal(tag))
    };
    assert_eq!(
        (stored.target.as_str(), stored.side.as_deref()),
        (vector.line(), side)
    );
    Ok(())
}

fn name_reason(err: &NameError) -> String {
    let reason = match err {
        NameError::Refused => "refused",
        NameError::SideMissing => "side-missing",
        _ => "no-name",
    };
    reason.to_owned()
}

fn config(vector: &Vector) -> Outcome {
    let identity = IdentitySecret::from_bytes(&vector.array("identity")).unwrap();
    let opened =
        StoreConfig::parse(vector.text()).and_then(|config| Ok((config.open(&identity)?, config)));
    let (key, config) = opened.map_err(|err| match err {
        ConfigError::NotAConfig => "not-a-config".to_owned(),
        ConfigError::Line { line } => format!("line {line}"),
        ConfigError::UnknownKey { key } => format!("unknown-key {key}"),
        ConfigError::Missing(key) => format!("missing {key}"),
        ConfigError::Twice(key) => format!("twice {key}"),
        ConfigError::Value(key) => format!("value {key}"),
        ConfigError::UnknownVersion(version) => format!("unknown-version {version}"),
        ConfigError::UnknownCipher(id) => format!("unknown-cipher {id}"),
        ConfigError::UnknownScheme(id) => format!("unknown-scheme {id}"),
        ConfigError::Signature => "signature".to_owned(),
        ConfigError::NotOwner { .. } => "not-owner".to_owned(),
        ConfigError::Key => "key".to_owned(),
        other => format!("{other:?}"),
    })?;
    if vector.has("store") {
        assert_eq!(key.as_bytes(), &vector.array("store-key"));
        assert_eq!(config.store.0, vector.array("store"));
        assert_eq!(config.created, vector.number("created"));
    }
    Ok(())
}

fn wrap(vector: &Vector) -> Outcome {
    let ad: Vec<_> = vector
        .field("ad")
        .split(' ')
        .map(|part| HEXLOWER.decode(part.as_bytes()).unwrap())
        .collect();
    let ad: Vec<_> = ad.iter().map(Vec::as_slice).collect();
    let wrapped = vector.bytes().try_into().unwrap();
    let key = unwrap_key(&vector.array("kek"), &ad, &wrapped).map_err(|_| "refused")?;
    assert_eq!(*key, vector.array("key"));
    Ok(())
}

fn record(vector: &Vector) -> Outcome {
    let plain = open_record(&vector.array("key"), &vector.hex("ad"), &vector.bytes())
        .map_err(|_| "refused")?;
    assert_eq!(*plain, vector.hex("plain"));
    Ok(())
}

fn reason(err: &HeaderError) -> String {
    match err {
        HeaderError::NotAHeader => "not-a-header".to_owned(),
        HeaderError::Short { .. } => "cut-off".to_owned(),
        HeaderError::UnknownVersion(version) => format!("unknown-version {version}"),
        HeaderError::UnknownKind(kind) => format!("unknown-kind {kind}"),
        HeaderError::UnknownCipher(id) => format!("unknown-cipher {id}"),
        HeaderError::UnknownChunkBits(bits) => format!("unknown-chunk-bits {bits}"),
        HeaderError::UnknownField(field) => format!("unknown-field {field}"),
        HeaderError::Malformed(part) => format!("malformed {part}"),
        HeaderError::Refused(part) => format!("refused {part}"),
        HeaderError::Unsigned => "unsigned".to_owned(),
        HeaderError::WrongKey => "wrong-key".to_owned(),
        HeaderError::NotBound { .. } => "not-bound".to_owned(),
        HeaderError::DirEpoch { epoch } => format!("dir-epoch {epoch}"),
        HeaderError::NoLabel(_) => "no-label".to_owned(),
        HeaderError::OtherKind => "other-kind".to_owned(),
        HeaderError::OtherDir => "other-dir".to_owned(),
        other => format!("{other:?}"),
    }
}
