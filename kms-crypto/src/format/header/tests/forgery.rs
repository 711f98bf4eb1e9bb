use super::*;
use crate::key::DirKey;

/// Whatever is done to a header, an opener sees an error or exactly what was sealed.
fn no_bit_can_be_changed(
    bytes: &[u8; HEADER_LEN],
    open: impl Fn(&[u8]) -> Result<State, HeaderError>,
) {
    open(bytes).unwrap();
    let mut wrong = *bytes;
    for at in 0..HEADER_LEN {
        for bit in 0..8 {
            wrong[at] ^= 1 << bit;
            assert!(open(&wrong).is_err(), "byte {at}, bit {bit}");
            wrong[at] ^= 1 << bit;
        }
    }
    assert!(matches!(
        Header::parse_dir(&[bytes.as_slice(), &[0]].concat()),
        Err(HeaderError::Long { .. })
    ));
    for len in [0, 1, 13, 14, 500, HEADER_LEN - 1] {
        assert!(
            matches!(open(&bytes[..len]), Err(HeaderError::Short { .. })),
            "{len} bytes"
        );
    }
}

#[test]
fn the_owner_notices_every_changed_bit() {
    let world = World::new();
    let mut file = world.file();
    file.set_xattrs(
        &XattrMap::from([(b"user.a".to_vec(), b"1".to_vec())]),
        &mut rng(),
    )
    .unwrap();
    for bytes in [world.seal(&mut file), world.seal_signed(&mut file)] {
        no_bit_can_be_changed(&bytes, |bytes| {
            Ok(Header::parse(bytes)?
                .open(world.named(), Check::Owner(&world.mac))?
                .state)
        });
    }
}

#[test]
fn a_reader_notices_every_changed_bit() {
    let world = World::new();
    let bytes = world.seal(&mut world.file());
    no_bit_can_be_changed(&bytes, |bytes| {
        let check = Check::Signed(&world.owner.public());
        Ok(Header::parse(bytes)?.open(world.named(), check)?.state)
    });
    let dir = world.seal(&mut world.subdir());
    no_bit_can_be_changed(&dir, |bytes| {
        Ok(Header::parse(bytes)?.open(world.named(), Check::Key)?.state)
    });
}

#[test]
fn two_files_cannot_change_places() {
    let world = World::new();
    let (mut one, mut two) = (world.file(), world.file());
    let other = NameTag([8; 16]);
    assert!(two.unbind(&world.dir.id(), NAME));
    two.bind(&world.dir, other).unwrap();
    let (_, two) = (world.seal(&mut one), world.seal(&mut two));
    let refused = world.open(&two).err();
    assert_eq!(
        refused,
        Some(HeaderError::NotBound {
            dir: world.dir.id()
        })
    );
}

#[test]
fn a_file_cannot_be_moved_to_another_directory_or_store() {
    let world = World::new();
    let bytes = world.seal(&mut world.file());
    let elsewhere = DirKeys::derived(&world.key, DirId([3; 16]), 1);
    let via = Via::Dir {
        keys: &elsewhere,
        tag: NAME,
    };
    let refused = Header::parse(&bytes)
        .unwrap()
        .open(via, Check::Owner(&world.mac))
        .err();
    assert_eq!(
        refused,
        Some(HeaderError::NotBound {
            dir: elsewhere.id()
        })
    );

    let other = World::new();
    assert_eq!(
        other.open(&bytes).err(),
        Some(HeaderError::Refused(Part::OwnerSeal))
    );
    let reader = Header::parse(&bytes)
        .unwrap()
        .open(other.named(), Check::Key)
        .err();
    assert_eq!(reader, Some(HeaderError::Refused(Part::Bindings)));
}

#[test]
fn a_reader_cannot_forge_towards_the_owner_or_other_readers() {
    let world = World::new();
    let mut file = world.file();
    let label = labels::label_key(1);
    let secret = file.renew_label(&label, &mut rng()).unwrap();
    let bytes = world.seal_signed(&mut file);
    let owner = world.owner.public();
    let shared = Via::Label {
        id: label.id,
        secret: &secret,
    };

    // Somebody who may read takes the file apart and seals it as his own, with all the keys a reader gets.
    let mut forged = Header::parse(&bytes)
        .unwrap()
        .open(shared, Check::Signed(&owner))
        .unwrap();
    forged.file_mut().unwrap().size = 1;
    let mallory = IdentitySecret::generate(&mut rng());
    let forgery = forged
        .seal(
            &Sealer {
                owner: None,
                signer: Some(&mallory),
                machine: None,
            },
            &mut rng(),
        )
        .unwrap();
    assert_eq!(
        world.open(&forgery).err(),
        Some(HeaderError::Refused(Part::OwnerSeal))
    );
    let other = Header::parse(&forgery)
        .unwrap()
        .open(shared, Check::Signed(&owner))
        .err();
    assert_eq!(other, Some(HeaderError::Refused(Part::Signature)));

    let unsigned = forged.seal(
        &Sealer {
            owner: None,
            signer: None,
            machine: None,
        },
        &mut rng(),
    );
    assert_eq!(
        unsigned.err(),
        Some(HeaderError::Unsigned),
        "nothing labelled is sealed without a signature"
    );
}

#[test]
fn a_key_of_something_else_is_said_to_be_one() {
    let world = World::new();
    let bytes = world.seal(&mut world.file());
    let (file, dir) = (FileKey::generate(&mut rng()), DirKey::generate(&mut rng()));
    let open = |via| Header::parse(&bytes).unwrap().open(via, Check::Key).err();
    assert_eq!(open(Via::FileKey(&file)), Some(HeaderError::WrongKey));
    assert_eq!(open(Via::DirKey(&dir)), Some(HeaderError::OtherKind));
}

#[test]
fn unknown_ids_are_named() {
    let world = World::new();
    let bytes = world.seal(&mut world.file());
    let change = |at: usize, to: u8| {
        let mut wrong = bytes;
        wrong[at] = to;
        Header::parse(&wrong).map(|_| ())
    };
    assert_eq!(change(9, 2), Err(HeaderError::UnknownVersion(2)));
    assert_eq!(change(0, b'K'), Err(HeaderError::NotAHeader));
    // map(5) 1: [store 17 bytes, kind, id 17 bytes, cipher, chunk bits]
    let core = PREFIX_LEN + 3;
    assert_eq!(change(core + 17, 3), Err(HeaderError::UnknownKind(3)));
    assert_eq!(
        change(core + 35, 9),
        Err(HeaderError::UnknownCipher(crate::id::CipherId(9)))
    );
    assert_eq!(
        change(core + 36, 13),
        Err(HeaderError::UnknownChunkBits(13))
    );
    assert_eq!(change(core + 37, 6), Err(HeaderError::UnknownField(6)));
}

#[test]
fn chunks_belong_to_their_file_and_place() {
    let world = World::new();
    let (one, two) = (world.file(), world.file());
    let mut buf = [3; 100];
    let leaf = one.file_keys().unwrap().seal_chunk(0, &mut buf, &mut rng());
    let sealed = buf;
    let refused = two.file_keys().unwrap().open_chunk(0, &leaf, &mut buf);
    assert_eq!(refused, Err(BodyError::Chunk { index: 0 }));
    buf = sealed;
    one.file_keys()
        .unwrap()
        .open_chunk(0, &leaf, &mut buf)
        .unwrap();
    assert_eq!(buf, [3; 100]);
}
