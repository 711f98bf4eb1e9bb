//! After a revocation everything gets new keys, in the background, whatever comes between.

use std::path::Path;

use kms_crypto::id::LabelId;
use kmsfs::vfs::Vfs;
use kmsfs::vfs::hooks::KeyError;

use crate::shared::{Bob, share};
use crate::support::*;

fn rotate(vfs: &Vfs, path: &str) -> LabelId {
    let label = vfs.rotate(vfs.resolve(Path::new(path)).unwrap()).unwrap();
    label.label
}

fn carry_through(vfs: &Vfs) {
    while vfs.rekey_step().unwrap() {}
    assert_eq!(vfs.rekey_backlog(), 0);
}

#[test]
fn a_files_content_is_sealed_anew_and_stays_the_same() {
    let world = World::new();
    let vfs = world.open();
    let content = pattern(700_000, 1);
    put(&vfs, "f", &content).unwrap();
    set_xattr(&vfs, "f", "user.x", &pattern(5_000, 2)).unwrap();
    let bob = Bob::new(&world);
    share(&vfs, &bob, "f");
    let path = stored(&world, &vfs, "f");
    let before = std::fs::read(&path).unwrap();
    let mtime = attr(&vfs, "f").unwrap().mtime;
    rotate(&vfs, "f");
    assert_eq!(vfs.rekey_backlog(), 1);
    assert_eq!(get(&vfs, "f").unwrap(), content, "while it is under way");
    assert_eq!(
        get(&bob.vfs, "f").unwrap(),
        content,
        "for those who remain as well"
    );
    carry_through(&vfs);
    vfs.checkpoint().unwrap();
    let after = std::fs::read(&path).unwrap();
    let same = before
        .chunks(4096)
        .zip(after.chunks(4096))
        .filter(|(old, new)| old == new)
        .count();
    assert_eq!(same, 0, "no page of the stored file is what it was");
    assert_eq!(get(&bob.vfs, "f").unwrap(), content);
    assert_eq!(xattr(&bob.vfs, "f", "user.x").unwrap(), pattern(5_000, 2));
    assert_eq!(
        attr(&vfs, "f").unwrap().mtime,
        mtime,
        "for programs nothing has changed"
    );
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn a_directory_and_all_below_it_get_new_keys_and_stored_names() {
    let world = World::new();
    let vfs = world.open();
    for dir in ["d", "d/e", "d/e/g"] {
        mkdir(&vfs, dir).unwrap();
    }
    let long = format!("d/{}", "l".repeat(240));
    for file in ["d/a", "d/e/b", "d/e/g/c", long.as_str()] {
        put(&vfs, file, file.as_bytes()).unwrap();
    }
    symlink(&vfs, "e/b", "d/link").unwrap();
    link(&vfs, "d/a", "d/e/hard").unwrap();
    link(&vfs, "d/a", "outside").unwrap();
    let bob = Bob::new(&world);
    let label = share(&vfs, &bob, "d");
    let inner = share(&vfs, &bob, "d/e/g/c");
    assert_eq!(get(&bob.vfs, "d/e/b").unwrap(), b"d/e/b");
    let before = stored(&world, &vfs, "d/e/g/c");
    assert_eq!(rotate(&vfs, "d"), label);
    put(&vfs, "d/meanwhile", b"new").unwrap();
    patch(&vfs, "d/e/b", 0, b"D").unwrap();
    carry_through(&vfs);
    vfs.checkpoint().unwrap();
    let after = stored(&world, &vfs, "d/e/g/c");
    assert_ne!(before, after);
    let names = |path: &Path| path.components().count();
    assert_eq!(names(&before), names(&after));
    for (path, content) in [
        ("d/a", "d/a"),
        ("d/e/b", "D/e/b"),
        ("d/e/g/c", "d/e/g/c"),
        (&*long, &*long),
        ("d/e/hard", "d/a"),
        ("d/meanwhile", "new"),
        ("d/link", ""),
    ] {
        if path == "d/link" {
            assert_eq!(readlink(&vfs, path).unwrap(), "e/b");
            assert_eq!(readlink(&bob.vfs, path).unwrap(), "e/b");
        } else {
            assert_eq!(get(&vfs, path).unwrap(), content.as_bytes(), "{path}");
            assert_eq!(
                get(&bob.vfs, path).unwrap(),
                content.as_bytes(),
                "{path}, for who remains"
            );
        }
    }
    assert_eq!(get(&vfs, "outside").unwrap(), b"d/a");
    bob.keys.say(label, KeyError::Revoked { at: 1 });
    bob.keys.say(inner, KeyError::Revoked { at: 1 });
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(get(&vfs, "d/e/g/c").unwrap(), b"d/e/g/c");
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn it_goes_on_at_the_next_mount() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    for file in ["d/a", "d/b"] {
        put(&vfs, file, &pattern(100_000, 1)).unwrap();
    }
    let bob = Bob::new(&world);
    share(&vfs, &bob, "d");
    rotate(&vfs, "d");
    rename(&vfs, "d", "moved").unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(vfs.rekey_backlog(), 1);
    carry_through(&vfs);
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(vfs.rekey_backlog(), 0);
    assert_eq!(get(&vfs, "moved/b").unwrap(), pattern(100_000, 1));
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn a_second_revocation_waits_for_the_first() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", &pattern(50_000, 1)).unwrap();
    let bob = Bob::new(&world);
    share(&vfs, &bob, "f");
    for epoch in 2..5 {
        rotate(&vfs, "f");
        let label = vfs
            .label_of(vfs.resolve(Path::new("f")).unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(label.epoch, epoch);
    }
    carry_through(&vfs);
    assert_eq!(get(&vfs, "f").unwrap(), pattern(50_000, 1));
    assert_eq!(get(&bob.vfs, "f").unwrap(), pattern(50_000, 1));
    vfs.drop_label(vfs.resolve(Path::new("f")).unwrap())
        .unwrap();
    carry_through(&vfs);
    assert!(get(&bob.vfs, "f").is_err());
    assert_eq!(get(&vfs, "f").unwrap(), pattern(50_000, 1));
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn nothing_new_is_sealed_under_a_key_that_was_withdrawn() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    put(&vfs, "d/f", &pattern(100_000, 1)).unwrap();
    let bob = Bob::new(&world);
    share(&vfs, &bob, "d");
    let path = stored(&world, &vfs, "d/f");
    let before = kms_crypto::format::Header::parse(&std::fs::read(&path).unwrap())
        .unwrap()
        .key_epoch();
    rotate(&vfs, "d");
    // The background has not come by yet; the write brings the new key along.
    patch(&vfs, "d/f", 10, b"secret from now on").unwrap();
    vfs.checkpoint().unwrap();
    let header = kms_crypto::format::Header::parse(&std::fs::read(&path).unwrap()).unwrap();
    assert!(header.key_epoch() > before);
    let kms_crypto::format::Content::File(content) = &header.state().content else {
        panic!()
    };
    assert_eq!(content.leaves.leaf(0).epoch, header.key_epoch());
}

/// Nonces are random: after some billions of chunks under one key one of them would come twice.
#[test]
fn a_file_that_has_been_written_often_gets_a_new_key_by_itself() {
    let world = World::new();
    let options = kmsfs::vfs::Options {
        key_life: 8,
        ..world.options()
    };
    let vfs = world.try_open_with(options).unwrap();
    let epoch = |path: &str| {
        vfs.checkpoint().unwrap();
        let bytes = std::fs::read(stored(&world, &vfs, path)).unwrap();
        let header = kms_crypto::format::Header::parse(&bytes[..4096]).unwrap();
        header.key_epoch()
    };
    put(&vfs, "often", &pattern(100_000, 1)).unwrap();
    put(&vfs, "seldom", b"once").unwrap();
    for n in 0..20_u8 {
        patch(&vfs, "often", usize::from(n) * 4096, &[n; 50]).unwrap();
        carry_through(&vfs);
    }
    assert!(epoch("often") >= 3, "epoch {}", epoch("often"));
    assert_eq!(epoch("seldom"), 1);
    let mut content = pattern(100_000, 1);
    for n in 0..20_u8 {
        content[usize::from(n) * 4096..][..50].fill(n);
    }
    assert_eq!(get(&vfs, "often").unwrap(), content);
    assert_eq!(fsck(&vfs), [""; 0]);

    // Much written at once counts as well as much written often.
    put(&vfs, "large", &pattern(40 << 20, 2)).unwrap();
    carry_through(&vfs);
    assert!(epoch("large") >= 2, "epoch {}", epoch("large"));
    assert_eq!(get(&vfs, "large").unwrap(), pattern(40 << 20, 2));
}

/// A directory was revoked and moved, and another one took its place before its new key was carried through: then it
/// was busy for ever, and the store could not be closed any more.
#[test]
fn a_directory_that_is_gone_before_its_new_key_is_carried_through_keeps_nothing_waiting() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    mkdir(&vfs, "d/e").unwrap();
    let ino = vfs.resolve("d/e".as_ref()).unwrap();
    vfs.ensure_label(ino).unwrap();
    vfs.rotate(ino).unwrap();
    rename(&vfs, "d/e", "f").unwrap();
    rename(&vfs, "d", "f").unwrap();
    assert!(vfs.rekey_step().unwrap());
    vfs.checkpoint().unwrap();
    vfs.close().unwrap();
    drop(vfs);
    assert_eq!(list(&world.open(), "").unwrap(), ["f"]);
}
