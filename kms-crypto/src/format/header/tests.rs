use rand_core::CryptoRng;

use super::*;
use crate::aead::Cipher;
use crate::format::{BodyError, HEADER_LEN, Leaf, ObjectId, XattrMap};
use crate::id::{FileId, StoreId};
use crate::key::{FileKey, IdentitySecret, LabelSecret, StoreKey};

mod forgery;
mod labels;
mod rekey;
mod signing;

fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// An owner with a store, and one directory in it.
struct World {
    key: StoreKey,
    mac: [u8; 32],
    owner: IdentitySecret,
    dir: DirKeys,
}

const STORE: StoreId = StoreId([1; 16]);
const NAME: NameTag = NameTag([7; 16]);

impl World {
    fn new() -> Self {
        let key = StoreKey::generate(&mut rng());
        let mac = *key.owner_mac_key();
        let dir = DirKeys::derived(&key, DirId([2; 16]), 1);
        Self {
            key,
            mac,
            owner: IdentitySecret::generate(&mut rng()),
            dir,
        }
    }

    fn file(&self) -> OpenHeader {
        let layout = Layout::new(12).unwrap();
        let core = Core::file(STORE, FileId::random(&mut rng()), Cipher::Aes256Gcm, layout);
        let mut file = OpenHeader::new_file(core, &FileKey::generate(&mut rng()), 0o640).unwrap();
        file.bind(&self.dir, NAME).unwrap();
        file
    }

    fn subdir(&self) -> OpenHeader {
        let id = DirId::random(&mut rng());
        let core = Core::dir(STORE, id, Cipher::Aes256Gcm);
        let mut dir = OpenHeader::new_dir(core, &self.key.dir_key(&id, 1), 0o755).unwrap();
        dir.bind(&self.dir, NAME).unwrap();
        dir
    }

    fn seal(&self, header: &mut OpenHeader) -> [u8; HEADER_LEN] {
        let sealer = Sealer {
            owner: Some(&self.mac),
            signer: None,
            machine: None,
        };
        header.seal(&sealer, &mut rng()).unwrap()
    }

    fn seal_signed(&self, header: &mut OpenHeader) -> [u8; HEADER_LEN] {
        let sealer = Sealer {
            owner: Some(&self.mac),
            signer: Some(&self.owner),
            machine: None,
        };
        header.seal(&sealer, &mut rng()).unwrap()
    }

    fn named(&self) -> Via<'_> {
        Via::Dir {
            keys: &self.dir,
            tag: NAME,
        }
    }

    fn open(&self, bytes: &[u8; HEADER_LEN]) -> Result<OpenHeader, HeaderError> {
        Header::parse(bytes)?.open(self.named(), Check::Owner(&self.mac))
    }
}

#[test]
fn what_was_sealed_is_what_is_opened() {
    let world = World::new();
    let mut file = world.file();
    let content = file.file_mut().unwrap();
    content.size = 5000;
    content.leaves.set(
        0,
        Leaf {
            nonce: [1; 12],
            tag: [2; 16],
            epoch: 1,
        },
    );
    let bytes = world.seal(&mut file);
    let read = world.open(&bytes).unwrap();
    assert_eq!(read.state, file.state);
    assert_eq!(read.state.generation, 1);
    assert_eq!(read.core(), file.core());
    assert_eq!(read.bindings(), file.bindings());
}

#[test]
fn the_fullest_header_fits() {
    let world = World::new();
    let mut file = world.file();
    for link in (0..100).take(crate::format::MAX_LINKS - 2) {
        file.bind(&world.dir, NameTag([link + 20; 16])).unwrap();
    }
    file.bind(&world.dir, NameTag([1; 16])).unwrap();
    assert_eq!(file.bindings().len(), crate::format::MAX_LINKS);

    let labels: Vec<_> = (0..100)
        .take(crate::format::MAX_LABELS)
        .map(labels::label_key)
        .collect();
    let secrets: Vec<_> = labels
        .iter()
        .map(|label| file.renew_label(label, &mut rng()).unwrap())
        .collect();
    let refused = file.renew_label(&labels::label_key(9), &mut rng());
    assert_eq!(refused.err(), Some(HeaderError::Full(Part::Labels)));
    let held: Vec<_> = labels.iter().map(|label| label.id).zip(&secrets).collect();
    file.rekey_file(
        &Keepers {
            dirs: &[&world.dir],
            labels: &held,
        },
        &mut rng(),
    )
    .unwrap();

    let content = file.file_mut().unwrap();
    content.size = 1 << 55;
    content.root = [9; 32];
    for slot in 0..16 {
        content.leaves.set(
            slot,
            Leaf {
                nonce: [1; 12],
                tag: [2; 16],
                epoch: 2,
            },
        );
    }
    let attributes = XattrMap::from([(b"user.big".to_vec(), vec![1; 1200])]);
    assert_eq!(
        file.set_xattrs(&attributes, &mut rng()),
        Ok(None),
        "they fit into the header"
    );
    let bytes = world.seal_signed(&mut file);
    assert_eq!(world.open(&bytes).unwrap().state, file.state);
}

#[test]
fn a_directory_keeps_its_name_key() {
    let world = World::new();
    let mut dir = world.subdir();
    let name = dir.names().unwrap().encrypt(b"inside").unwrap();
    let bytes = world.seal(&mut dir);
    let mut read = world.open(&bytes).unwrap();
    assert_eq!(read.names().unwrap().encrypt(b"inside"), Ok(name.clone()));
    let again = NameCipher::new(
        &world.key.name_key(&read.dir_id().unwrap(), 1),
        read.dir_id().unwrap(),
    );
    assert_eq!(again.encrypt(b"inside"), Ok(name.clone()));

    assert_eq!(
        read.begin_rename(),
        Err(HeaderError::Rekeying),
        "a new name key comes of a new key"
    );
    let id = read.dir_id().unwrap();
    let keepers = Keepers {
        dirs: &[&world.dir],
        labels: &[],
    };
    read.rekey_dir(&world.key.dir_key(&id, 2), &keepers)
        .unwrap();
    read.begin_rename().unwrap();
    assert_eq!(read.begin_rename(), Err(HeaderError::Rekeying));
    let read = world.open(&world.seal(&mut read)).unwrap();
    assert_ne!(read.names().unwrap().encrypt(b"inside"), Ok(name.clone()));
    assert_eq!(
        read.prev_names().unwrap().unwrap().encrypt(b"inside"),
        Ok(name)
    );
    let mut read = read;
    read.finish_rename().unwrap();
    let read = world.open(&world.seal(&mut read)).unwrap();
    assert!(read.prev_names().unwrap().is_none());
}

#[test]
fn the_root_is_known_by_its_id() {
    let world = World::new();
    let root = DirId(STORE.0);
    let core = Core::dir(STORE, root, Cipher::Aes256Gcm);
    let mut header = OpenHeader::new_dir(core, &world.key.dir_key(&root, 1), 0o755).unwrap();
    let bytes = world.seal(&mut header);
    let via = Via::Store {
        key: &world.key,
        id: root,
    };
    assert!(
        Header::parse(&bytes)
            .unwrap()
            .open(via, Check::Owner(&world.mac))
            .is_ok()
    );

    let other = world.seal(&mut world.subdir());
    let refused = Header::parse(&other)
        .unwrap()
        .open(via, Check::Owner(&world.mac));
    assert_eq!(refused.err(), Some(HeaderError::OtherDir));
}

#[test]
fn attributes_come_back_from_wherever_they_were_put() {
    let world = World::new();
    let mut file = world.file();
    let few = XattrMap::from([
        (b"user.a".to_vec(), b"1".to_vec()),
        (b"user.b".to_vec(), Vec::new()),
    ]);
    assert_eq!(file.set_xattrs(&few, &mut rng()), Ok(None));
    let mut file = world.open(&world.seal(&mut file)).unwrap();
    assert_eq!(file.xattrs(None), Ok(few));
    assert_eq!(file.state.xattrs.side_path(&file.core().id), None);

    let many = XattrMap::from([(b"user.big".to_vec(), vec![5; 60_000])]);
    let side = file.set_xattrs(&many, &mut rng()).unwrap().unwrap();
    let file = world.open(&world.seal(&mut file)).unwrap();
    let ObjectId::File(id) = file.core().id else {
        panic!("a file")
    };
    let path = format!("xattr/{:.2}/{id}.2", id.to_string());
    assert_eq!(file.state.xattrs.side_path(&file.core().id), Some(path));
    assert_eq!(file.xattrs(Some(&side)), Ok(many));
    assert_eq!(
        file.xattrs(None),
        Err(crate::format::XattrError::SideMissing)
    );
    let mut wrong = side.clone();
    wrong[100] ^= 1;
    assert_eq!(
        file.xattrs(Some(&wrong)),
        Err(crate::format::XattrError::Refused)
    );
}

#[test]
fn a_name_can_be_given_and_taken() {
    let world = World::new();
    let mut file = world.file();
    let new = NameTag([8; 16]);
    file.bind(&world.dir, new).unwrap();
    let bytes = world.seal(&mut file);
    let by = |tag| Via::Dir {
        keys: &world.dir,
        tag,
    };
    let mut read = Header::parse(&bytes)
        .unwrap()
        .open(by(new), Check::Owner(&world.mac))
        .unwrap();
    assert!(read.unbind(&world.dir.id(), NAME));
    assert!(!read.unbind(&world.dir.id(), NAME));
    let bytes = world.seal(&mut read);
    let refused = world.open(&bytes).err();
    assert_eq!(
        refused,
        Some(HeaderError::NotBound {
            dir: world.dir.id()
        })
    );
    assert!(
        Header::parse(&bytes)
            .unwrap()
            .open(by(new), Check::Owner(&world.mac))
            .is_ok()
    );
}

#[test]
fn files_and_directories_are_not_taken_for_each_other() {
    let world = World::new();
    let (file, dir) = (world.file(), world.subdir());
    assert_eq!(dir.file_keys().err(), Some(HeaderError::OtherKind));
    assert_eq!(dir.layout().err(), Some(HeaderError::OtherKind));
    assert_eq!(file.dir_keys().err(), Some(HeaderError::OtherKind));
    assert_eq!(file.names().err(), Some(HeaderError::OtherKind));
    let core = Core::dir(STORE, DirId([3; 16]), Cipher::Aes256Gcm);
    let refused = OpenHeader::new_file(core, &FileKey::generate(&mut rng()), 0);
    assert_eq!(refused.err(), Some(HeaderError::OtherKind));
}

#[test]
fn names_the_header_has_no_room_for_are_kept_beside_it_and_verified() {
    let world = World::new();
    let mut file = world.file();
    let tag = |number: u32| {
        let mut tag = [9; 16];
        tag[..4].copy_from_slice(&number.to_be_bytes());
        NameTag(tag)
    };
    let before = file.bindings().len();
    for number in 0..20 {
        file.bind(&world.dir, tag(number)).unwrap();
    }
    let bytes = world.seal(&mut file);
    let (path, side) = (file.names_path().unwrap(), file.names_side());
    assert!(path.starts_with("names/") && path.ends_with(".1"), "{path}");
    let open = |side: Option<Vec<u8>>, tag| {
        let header = Header::parse(&bytes).unwrap();
        let header = match side {
            Some(side) => header.with_names(side),
            None => header,
        };
        header.open(
            Via::Dir {
                keys: &world.dir,
                tag,
            },
            Check::Key,
        )
    };
    for number in 0..20 {
        let read = open(Some(side.clone()), tag(number)).unwrap();
        assert_eq!(read.bindings(), file.bindings());
    }
    let mut read = open(None, tag(0)).unwrap();
    let sealer = Sealer {
        owner: None,
        signer: None,
        machine: None,
    };
    let lost = read.seal(&sealer, &mut rng()).unwrap_err();
    assert_eq!(lost, HeaderError::Refused(Part::Bindings));
    assert!(matches!(
        open(None, tag(19)),
        Err(HeaderError::NotBound { .. })
    ));
    for at in [0, 20, 40, side.len() - 1] {
        let mut changed = side.clone();
        changed[at] ^= 1;
        assert!(open(Some(changed), tag(0)).is_err());
    }
    assert!(open(Some(side[84..].to_vec()), tag(0)).is_err());

    // The same names need no new file; others do; twelve need none.
    world.seal(&mut file);
    assert_eq!(file.names_path().unwrap(), path);
    file.unbind(&world.dir.id(), tag(19));
    world.seal(&mut file);
    assert!(file.names_path().unwrap().ends_with(".3"));
    for number in 0..10 {
        file.unbind(&world.dir.id(), tag(number));
    }
    world.seal(&mut file);
    assert_eq!(file.names_path(), None);

    for number in 0.. {
        if file.bindings().len() == crate::format::MAX_NAMES {
            let more = file.bind(&world.dir, tag(1 << 20));
            assert_eq!(more, Err(HeaderError::Full(Part::Bindings)));
            break;
        }
        file.bind(&world.dir, tag(number)).unwrap();
    }
    assert!(before <= 2);
}

#[test]
fn a_directory_is_rebuilt_with_the_names_it_had() {
    let world = World::new();
    let mut dir = world.subdir();
    let id = dir.dir_id().unwrap();
    let old = dir.names().unwrap().encrypt(b"old").unwrap();
    let keepers = Keepers {
        dirs: &[&world.dir],
        labels: &[],
    };
    dir.rekey_dir(&world.key.dir_key(&id, 2), &keepers).unwrap();
    dir.begin_rename().unwrap();
    let new = dir.names().unwrap().encrypt(b"new").unwrap();
    let remains = Remains {
        id,
        epoch: 2,
        prev: Some(1),
        names: 2,
        prev_names: Some(1),
        generation: 70,
        signs: Signs::WhatIsNew,
        mode: 0o750,
    };
    let mut rebuilt = OpenHeader::rebuild_dir(*dir.core(), &world.key, &remains).unwrap();
    rebuilt.bind(&world.dir, NAME).unwrap();
    let read = world.open(&world.seal_signed(&mut rebuilt)).unwrap();
    assert_eq!(read.names().unwrap().encrypt(b"new"), Ok(new));
    let prev = read.prev_names().unwrap().unwrap();
    assert_eq!(prev.encrypt(b"old"), Ok(old));
    assert_eq!((read.state.generation, read.state.mode), (71, 0o750));
    assert_eq!((read.key_epoch(), read.is_rekeying()), (2, true));
    assert_eq!(
        read.dir_keys().unwrap().key().as_bytes(),
        dir.dir_keys().unwrap().key().as_bytes()
    );
    assert!(read.needs_signature());
}
