//! A disk that answers with errors, and one that has become read-only.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use kms_tests::disk::{Ext4, Recorder, Small, detach, unmounted};
use kms_tests::{Person, TIMEOUT, done_by_root, errno, eventually, tree};
use rustix::io::Errno;

use crate::{Kept, assert_whole, save};

#[test]
fn a_broken_disk_is_an_error_and_what_was_acknowledged_is_there_when_it_is_well() {
    if done_by_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(root.path());
    let ext4 = Ext4::mount(&recorder.disk(), &root.path().join("ext4"));
    let alice = Person::new(root.path(), "alice");
    let store = alice.init(ext4.path.join("secure").to_str().unwrap());
    let mut secure = alice.mount(&store, "secure");
    let kept = Kept::make(&secure.path);

    recorder.fail(true);
    let mut failed = 0;
    for number in 0..20 {
        match save(
            &secure.at(format!("lost-{number}")),
            &tree::bytes(number, 200_000),
        ) {
            Ok(()) => panic!("file {number} was acknowledged by a disk that takes nothing"),
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap();
                assert!([Errno::IO, Errno::ROFS].contains(&errno), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 20);
    // Whatever can still be read is right.
    for number in 0..kept.count {
        if let Ok(content) = fs::read(secure.at(format!("kept-{number}"))) {
            assert!(content == Kept::content(number), "kept-{number}");
        }
    }
    assert!(secure.is_alive());
    let _ = secure.end();
    detach(&ext4.path);
    recorder.fail(false);
    drop(ext4);

    let ext4 = eventually("the disk to be free", TIMEOUT, || {
        remounted(&recorder, &root.path().join("ext4"))
    });
    assert_whole(&alice, &store, &kept);
    ext4.unmount();
    recorder.stop();
}

/// The disk as the next start of the machine finds it.
fn remounted(recorder: &Recorder, at: &Path) -> Option<Ext4> {
    let check = Command::new("e2fsck")
        .args(["-fy"])
        .arg(recorder.disk())
        .output()
        .unwrap();
    (check.status.code()? < 4).then(|| Ext4::mount(&recorder.disk(), at))
}

fn remount(at: &Path, how: &str) {
    // Whoever still writes there makes it fail.
    eventually(how, TIMEOUT, || {
        let mut mount = Command::new("mount");
        let out = mount
            .args(["-o", &format!("remount,{how}")])
            .arg(at)
            .output()
            .unwrap();
        out.status.success().then_some(())
    });
}

#[test]
fn a_store_that_becomes_read_only_is_read_and_is_written_again_when_it_is_not() {
    if done_by_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let disk = Small::mount(&root.path().join("disk"), "32m");
    let alice = Person::new(root.path(), "alice");
    let store = alice.init(disk.path.join("secure").to_str().unwrap());
    let secure = alice.mount(&store, "secure");
    let kept = Kept::make(&secure.path);
    remount(&disk.path, "ro");

    kept.check(&secure.path);
    let kept_file = secure.at("kept-3");
    let refused = [
        File::create(secure.at("new")).map(drop),
        fs::create_dir(secure.at("directory")),
        fs::remove_file(&kept_file),
        fs::rename(&kept_file, secure.at("moved")),
        fs::hard_link(&kept_file, secure.at("second")),
        std::os::unix::fs::symlink("x", secure.at("link")),
        fs::set_permissions(
            &kept_file,
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        ),
        File::options().write(true).open(&kept_file).map(drop),
        File::options().append(true).open(&kept_file).map(drop),
        kms_tests::xattr::set(&kept_file, "user.note", "x"),
    ];
    for (at, result) in refused.into_iter().enumerate() {
        assert_eq!(errno(result), Errno::ROFS, "call {at}");
    }
    kept.check(&secure.path);
    assert_eq!(
        fs::read_dir(&secure.path).unwrap().count() as u64,
        kept.count
    );

    remount(&disk.path, "rw");
    let content = fs::read(&kept_file).unwrap();
    save(&kept_file, b"changed").unwrap();
    save(&kept_file, &content).unwrap();
    save(&secure.at("new"), b"new").unwrap();
    fs::remove_file(secure.at("new")).unwrap();
    secure.unmount();
    assert_whole(&alice, &store, &kept);
    unmounted(&disk.path);
}
