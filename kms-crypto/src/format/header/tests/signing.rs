//! Who must have signed what: in a directory that says so, everything (FORMAT §3.6.2).

use super::*;

/// A directory that is shared, all of its content being signed.
fn shared_dir(world: &World, signs: Signs) -> OpenHeader {
    let mut dir = world.subdir();
    dir.set_signs(signs).unwrap();
    world.seal_signed(&mut dir);
    dir
}

fn file_in(world: &World, dir: &DirKeys) -> OpenHeader {
    let mut file = world.file();
    file.unbind(&world.dir.id(), NAME);
    file.bind(dir, NAME).unwrap();
    file
}

fn by_name<'a>(keys: &'a DirKeys) -> Via<'a> {
    Via::Dir { keys, tag: NAME }
}

/// What somebody with all the keys of a reader puts into the store instead: he can make every seal but the owner's.
fn forge(header: &mut OpenHeader) -> [u8; HEADER_LEN] {
    header.signed = false;
    if let Content::Dir(content) = &mut header.state.content {
        content.signs = Signs::Nothing;
    }
    let sealer = Sealer {
        owner: None,
        signer: None,
        machine: None,
    };
    header.seal(&sealer, &mut rng()).unwrap()
}

/// Bob was granted one file in a directory that Carol may read as a whole. He took the label out of the header, by
/// which it no longer had to be signed, and sealed it anew with the file's key: Carol, who comes to the file through
/// the directory, believed it.
#[test]
fn a_reader_of_one_file_cannot_forge_it_towards_the_readers_of_its_directory() {
    let world = World::new();
    let keys = shared_dir(&world, Signs::Everything).dir_keys().unwrap();
    let mut file = file_in(&world, &keys);
    let label = labels::label_key(1);
    let secret = file.renew_label(&label, &mut rng()).unwrap();
    let bytes = world.seal_signed(&mut file);
    let check = Check::Signed(&world.owner.public());

    let by_label = Via::Label {
        id: label.id,
        secret: &secret,
    };
    let mut bobs = Header::parse(&bytes)
        .unwrap()
        .open(by_label, check)
        .unwrap();
    bobs.file_mut().unwrap().size = 1;
    bobs.drop_label(&label.id);
    let forgery = forge(&mut bobs);

    let open = |bytes: &[u8; HEADER_LEN]| {
        Header::parse(bytes)
            .unwrap()
            .open(by_name(&keys), check)
            .err()
    };
    assert_eq!(open(&forgery), Some(HeaderError::Unsigned));
    assert_eq!(open(&bytes), None);
}

#[test]
fn a_reader_of_a_directory_cannot_forge_what_is_in_it() {
    let world = World::new();
    let keys = shared_dir(&world, Signs::Everything).dir_keys().unwrap();
    let check = Check::Signed(&world.owner.public());
    for mut header in [file_in(&world, &keys), {
        let mut dir = world.subdir();
        dir.unbind(&world.dir.id(), NAME);
        dir.bind(&keys, NAME).unwrap();
        dir
    }] {
        let bytes = world.seal_signed(&mut header);
        let mut read = Header::parse(&bytes)
            .unwrap()
            .open(by_name(&keys), check)
            .unwrap();
        let forgery = forge(&mut read);
        let refused = Header::parse(&forgery).unwrap().open(by_name(&keys), check);
        assert_eq!(refused.err(), Some(HeaderError::Unsigned));
    }
}

#[test]
fn while_a_directory_is_being_signed_what_is_old_stays_readable() {
    let world = World::new();
    let before = world.subdir().dir_keys().unwrap();
    let mut old = file_in(&world, &before);
    let old = world.seal(&mut old);
    let mut dir = world.subdir();
    let keys = DirKeys::new(before.id(), before_ring(&before), Signs::WhatIsNew);
    assert!(dir.set_signs(Signs::WhatIsNew).is_ok());
    let check = Check::Signed(&world.owner.public());
    let read = Header::parse(&old).unwrap().open(by_name(&keys), check);
    assert!(!read.unwrap().needs_signature());
}

fn before_ring(keys: &DirKeys) -> KeyRing {
    KeyRing {
        current: crate::format::keys::EpochKey::new(keys.epoch(), keys.key().as_bytes()),
        prev: None,
    }
}

#[test]
fn what_comes_into_a_signing_directory_is_signed_and_stays_so() {
    let world = World::new();
    let keys = shared_dir(&world, Signs::WhatIsNew).dir_keys().unwrap();
    let mut file = file_in(&world, &keys);
    assert!(file.needs_signature());
    let unsigned = Sealer {
        owner: Some(&world.mac),
        signer: None,
        machine: None,
    };
    assert_eq!(
        file.seal(&unsigned, &mut rng()).err(),
        Some(HeaderError::Unsigned)
    );
    let bytes = world.seal_signed(&mut file);
    let read = Header::parse(&bytes)
        .unwrap()
        .open(by_name(&keys), Check::Owner(&world.mac))
        .unwrap();
    assert!(read.needs_signature());

    // A directory that is new is empty: all that will ever be in it is signed. One that was there before is not.
    let mut new = world.subdir();
    new.bind(&keys, NameTag([9; 16])).unwrap();
    assert_eq!(new.signs(), Signs::Everything);
    let mut moved = world.subdir();
    world.seal(&mut moved);
    moved.bind(&keys, NameTag([9; 16])).unwrap();
    assert_eq!(moved.signs(), Signs::WhatIsNew);
}

#[test]
fn signing_is_not_taken_back() {
    let world = World::new();
    let mut dir = shared_dir(&world, Signs::Everything);
    dir.set_signs(Signs::Nothing).unwrap();
    assert_eq!(dir.signs(), Signs::Everything);
    let key = world.key.dir_key(&dir.dir_id().unwrap(), 2);
    let keepers = Keepers {
        dirs: &[&world.dir],
        labels: &[],
    };
    dir.rekey_dir(&key, &keepers).unwrap();
    assert_eq!(dir.signs(), Signs::Everything);
    assert_eq!(
        world.file().set_signs(Signs::Everything),
        Err(HeaderError::OtherKind)
    );
}
