//! A store that goes away beneath its mount.

use std::fs::{self, File};

use kms_tests::disk::{Ext4, Small, detach};
use kms_tests::{Person, done_by_root, tree};

use crate::{Kept, assert_whole, save};

/// `umount -l`: the name is gone, the disk is not.
#[test]
fn a_disk_that_is_detached_beneath_the_mount_is_used_to_the_end() {
    if done_by_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let image = root.path().join("image");
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    tree::run(root.path(), "mkfs.ext4", &["-q", "-F", "image"]);
    let at = root.path().join("ext4");
    let ext4 = Ext4::mount(&image, &at);
    let alice = Person::new(root.path(), "alice");
    let store = alice.init(ext4.path.join("secure").to_str().unwrap());
    let secure = alice.mount(&store, "secure");
    let kept = Kept::make(&secure.path);
    detach(&at);
    assert!(!store.exists());
    kept.check(&secure.path);
    save(&secure.at("late"), b"written after the disk had gone").unwrap();
    secure.unmount();
    drop(ext4);

    let ext4 = Ext4::mount(&image, &at);
    assert_whole(&alice, &store, &kept);
    let secure = alice.mount(&store, "secure");
    assert_eq!(
        fs::read(secure.at("late")).unwrap(),
        b"written after the disk had gone"
    );
    secure.unmount();
    ext4.unmount();
}

#[test]
fn a_store_that_is_deleted_beneath_the_mount_gives_errors_and_can_be_unmounted() {
    if done_by_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let disk = Small::mount(&root.path().join("disk"), "32m");
    let alice = Person::new(root.path(), "alice");
    let store = alice.init(disk.path.join("secure").to_str().unwrap());
    let mut secure = alice.mount(&store, "secure");
    Kept::make(&secure.path);
    let open = File::open(secure.at("kept-1")).unwrap();
    fs::remove_dir_all(&store).unwrap();
    assert!(fs::read(secure.at("kept-2")).is_err());
    assert!(save(&secure.at("new"), b"x").is_err());
    assert!(fs::create_dir(secure.at("directory")).is_err());
    let _ = fs::read_dir(&secure.path).map(Iterator::count);
    let _ = open.metadata();
    assert!(secure.is_alive());
    drop(open);
    let _ = secure.end();
}
