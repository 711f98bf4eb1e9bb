//! A file was made and not synced, and the power was cut. ext4 had its name on the disk and nothing of its content, not
//! even a header; nor was the journal's note of it there. It could be neither read nor written nor made anew, `fsck`
//! called it damaged, and a program that found its lock file like that stayed outside for ever.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kmsfs::vfs::{Part, Problem, Vfs, VfsError};
use rustix::io::Errno;

use crate::support::{
    World, attr, close, create, fsck, get, link, list, mkdir, put, rename, rmdir, stored, symlink,
    unlink,
};
use crate::tamper::part;

const CONTENT: &[u8] = b"whole";

/// What each of these names stands for in the store has become `len` zeros, of which this client knows nothing.
fn cut(names: &[&str], len: u64) -> (World, Vec<PathBuf>) {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "whole", CONTENT).unwrap();
    mkdir(&vfs, "dir").unwrap();
    for name in names {
        put(&vfs, name, b"never synced").unwrap();
    }
    let files: Vec<_> = names.iter().map(|it| stored(&world, &vfs, it)).collect();
    vfs.close().unwrap();
    for file in &files {
        empty(file, len);
    }
    Vfs::forget_seen(&world.options().state_dir);
    (world, files)
}

fn empty(file: &Path, len: u64) {
    File::create(file).unwrap().set_len(len).unwrap();
}

fn is_absent<T: std::fmt::Debug>(result: Result<T, VfsError>) -> bool {
    matches!(result, Err(VfsError::Os(Errno::NOENT)))
}

#[test]
fn what_was_never_stored_is_not_there() {
    for len in [0, 100] {
        let (world, files) = cut(&["lock", "dir/lock"], len);
        let vfs = world.open();
        assert_eq!(list(&vfs, "").unwrap(), ["dir", "whole"]);
        assert!(is_absent(attr(&vfs, "lock")));
        assert!(is_absent(unlink(&vfs, "lock")));
        assert!(is_absent(rename(&vfs, "lock", "other")));
        assert_eq!(get(&vfs, "whole").unwrap(), CONTENT);
        rmdir(&vfs, "dir").unwrap();
        assert!(
            files[0].exists() && !files[1].exists(),
            "looking is no reason to remove it"
        );
    }
}

#[test]
fn its_name_is_free_for_anything() {
    let long = "n".repeat(200);
    let names = [
        "file",
        "dir/dir",
        "link",
        "hard",
        "moved",
        "moved dir",
        &long,
    ];
    let (world, _) = cut(&names, 0);
    let vfs = world.open();
    close(&vfs, create(&vfs, "file").unwrap()).unwrap();
    put(&vfs, &long, CONTENT).unwrap();
    mkdir(&vfs, "dir/dir").unwrap();
    symlink(&vfs, "target", "link").unwrap();
    link(&vfs, "whole", "hard").unwrap();
    rename(&vfs, "whole", "moved").unwrap();
    mkdir(&vfs, "new").unwrap();
    rename(&vfs, "new", "moved dir").unwrap();
    vfs.close().unwrap();
    drop(vfs);

    let vfs = world.open();
    let mut expected = ["dir", "file", "hard", "link", "moved", "moved dir", &long];
    expected.sort_unstable();
    assert_eq!(list(&vfs, "").unwrap(), expected);
    for name in ["hard", "moved", &long] {
        assert_eq!(get(&vfs, name).unwrap(), CONTENT);
    }
    let report = vfs.fsck(Path::new(""), &mut |_| {}).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(vfs.notices().is_empty(), "{:?}", vfs.notices());
}

#[test]
fn a_check_names_it_and_a_repair_removes_it() {
    // Some filesystems have the content on the disk before the header.
    for len in [0, 100, 4096, 5000] {
        let (world, files) = cut(&["lock"], len);
        let vfs = world.open();
        let report = vfs.fsck(Path::new(""), &mut |_| {}).unwrap();
        assert!(matches!(report.findings[..], [ref it] if matches!(it.problem, Problem::Unmade)));
        assert_eq!(report.errors(), 0, "it does no harm");
        assert!(files[0].exists());
        assert_eq!(vfs.repair(&mut |_| {}).unwrap().repaired(), 1);
        assert!(!files[0].exists());
        assert!(
            vfs.fsck(Path::new(""), &mut |_| {})
                .unwrap()
                .findings
                .is_empty()
        );
        assert!(vfs.notices().is_empty());
    }
}

#[test]
fn one_that_has_been_seen_whole_is_damaged() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "file", CONTENT).unwrap();
    let file = stored(&world, &vfs, "file");
    vfs.close().unwrap();
    drop(vfs);
    empty(&file, 0);
    let vfs = world.open();
    assert_eq!(list(&vfs, "").unwrap(), ["file"]);
    assert_eq!(part(get(&vfs, "file")), Part::Header);
    assert!(create(&vfs, "file").is_err());
    assert_eq!(fsck(&vfs).len(), 1);
    assert!(fs::exists(&file).unwrap());
}
