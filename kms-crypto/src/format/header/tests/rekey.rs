use super::*;

const NOBODY: [(LabelId, &LabelSecret); 0] = [];

#[test]
fn content_stays_readable_through_a_key_change() {
    let world = World::new();
    let mut file = world.file();
    let mut chunk = [9; 64];
    let leaf = file
        .file_keys()
        .unwrap()
        .seal_chunk(0, &mut chunk, &mut rng());
    let content = file.file_mut().unwrap();
    content.size = 64;
    content.leaves.set(0, leaf);
    file.set_xattrs(
        &XattrMap::from([(b"user.a".to_vec(), b"1".to_vec())]),
        &mut rng(),
    )
    .unwrap();
    file.rekey_file(
        &Keepers {
            dirs: &[&world.dir],
            labels: &NOBODY,
        },
        &mut rng(),
    )
    .unwrap();

    let mut file = world.open(&world.seal(&mut file)).unwrap();
    let keys = file.file_keys().unwrap();
    assert_eq!((keys.epoch(), keys.prev_epoch()), (2, Some(1)));
    keys.open_chunk(0, &leaf, &mut chunk).unwrap();
    assert_eq!(chunk, [9; 64]);

    assert_eq!(file.finish_rekey(), Err(HeaderError::StillOld { epoch: 1 }));
    let leaf = keys.seal_chunk(0, &mut chunk, &mut rng());
    assert_eq!(leaf.epoch, 2);
    file.file_mut().unwrap().leaves.set(0, leaf);
    assert_eq!(
        file.finish_rekey(),
        Err(HeaderError::StillOld { epoch: 1 }),
        "the attributes are old"
    );
    let attributes = file.xattrs(None).unwrap();
    file.set_xattrs(&attributes, &mut rng()).unwrap();
    file.finish_rekey().unwrap();
    let file = world.open(&world.seal(&mut file)).unwrap();
    assert_eq!(file.file_keys().unwrap().prev_epoch(), None);
    file.file_keys()
        .unwrap()
        .open_chunk(0, &leaf, &mut chunk)
        .unwrap();
    assert_eq!(chunk, [9; 64]);
}

#[test]
fn nobody_is_forgotten_in_a_key_change() {
    let world = World::new();
    let mut file = world.file();
    let none = Keepers {
        dirs: &[],
        labels: &NOBODY,
    };
    let refused = file.rekey_file(&none, &mut rng());
    assert_eq!(refused, Err(HeaderError::DirKeyNeeded(world.dir.id())));
    let label = labels::label_key(1);
    file.renew_label(&label, &mut rng()).unwrap();
    let dirs = Keepers {
        dirs: &[&world.dir],
        labels: &NOBODY,
    };
    let refused = file.rekey_file(&dirs, &mut rng());
    assert_eq!(refused, Err(HeaderError::LabelSecretNeeded(label.id)));
    assert!(!file.is_rekeying());
}

#[test]
fn one_key_change_ends_before_the_next_begins() {
    let world = World::new();
    let mut file = world.file();
    let keepers = Keepers {
        dirs: &[&world.dir],
        labels: &NOBODY,
    };
    assert_eq!(file.finish_rekey(), Err(HeaderError::Rekeying));
    file.rekey_file(&keepers, &mut rng()).unwrap();
    assert_eq!(
        file.rekey_file(&keepers, &mut rng()),
        Err(HeaderError::Rekeying)
    );
    file.finish_rekey().unwrap();
    file.rekey_file(&keepers, &mut rng()).unwrap();
    assert_eq!(file.key_epoch(), 3);
}

#[test]
fn what_lies_in_a_directory_follows_its_new_key() {
    let world = World::new();
    let mut dir = world.subdir();
    let before = dir.dir_keys().unwrap();
    let mut child = world.file();
    child.bind(&before, NAME).unwrap();
    child.unbind(&world.dir.id(), NAME);
    let name = dir.names().unwrap().encrypt(b"child").unwrap();

    let next = world
        .key
        .dir_key(&dir.dir_id().unwrap(), dir.next_epoch().unwrap());
    dir.rekey_dir(
        &next,
        &Keepers {
            dirs: &[&world.dir],
            labels: &NOBODY,
        },
    )
    .unwrap();
    let mut dir = world.open(&world.seal(&mut dir)).unwrap();
    assert_eq!(
        dir.names().unwrap().encrypt(b"child"),
        Ok(name),
        "names stay until they are changed"
    );

    let during = dir.dir_keys().unwrap();
    let by = |keys, bytes: &[u8; HEADER_LEN]| {
        Header::parse(bytes)
            .unwrap()
            .open(Via::Dir { keys, tag: NAME }, Check::Owner(&world.mac))
    };
    let stale = world.seal(&mut child);
    let mut child = by(&during, &stale).unwrap();
    assert!(child.is_stale_in(&during));
    child.rebind(&during);
    assert!(!child.is_stale_in(&during));
    let fresh = world.seal(&mut child);
    assert!(by(&during, &fresh).is_ok());
    assert_eq!(
        by(&before, &fresh).err(),
        Some(HeaderError::DirEpoch { epoch: 2 })
    );

    dir.finish_rekey().unwrap();
    let after = dir.dir_keys().unwrap();
    assert!(by(&after, &fresh).is_ok());
    assert_eq!(
        by(&after, &stale).err(),
        Some(HeaderError::DirEpoch { epoch: 1 })
    );
    assert!(by(&DirKeys::derived(&world.key, after.id(), 2), &fresh).is_ok());
}
