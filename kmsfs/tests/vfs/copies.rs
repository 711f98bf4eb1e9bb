//! Conflict copies that synchronisers set beside stored files.

use std::fs;
use std::path::{Path, PathBuf};

use kmsfs::backing::Replace;
use kmsfs::vfs::{Access, Oddity, Vfs, VfsError};
use rustix::io::Errno;

use crate::support::*;

/// What clients make of a stored name, and what is shown of it.
const MADE: [(&str, &str); 8] = [
    (" (host's conflicted copy 2026-11-22)", "host's 2026-11-22"),
    (
        ".sync-conflict-20261122-101112-ABCDEF7",
        "20261122-101112-ABCDEF7",
    ),
    (" (conflicted copy 2026-11-22 101112)", "2026-11-22 101112"),
    ("_conflict-20261122-101112", "20261122-101112"),
    ("-HOST", "HOST"),
    (" (1)", "1"),
    (".Conflict", "1"),
    ("~", "1"),
];

/// Sets the earlier state of a stored file beside it, as a client does.
fn set_beside(stored: &Path, old: &[u8], added: &str) -> PathBuf {
    let name = stored.file_name().unwrap().to_str().unwrap();
    let copy = match name.strip_prefix("l.") {
        Some(hash) => stored.with_file_name(format!("l{added}.{hash}")),
        None => stored.with_file_name(format!("{name}{added}")),
    };
    fs::write(&copy, old).unwrap();
    copy
}

fn errno<T>(result: Result<T, VfsError>) -> Errno {
    result.err().unwrap().errno()
}

/// A file with an earlier state.
fn with_history(world: &World, vfs: &Vfs, path: &str) -> (PathBuf, Vec<u8>) {
    put(vfs, path, b"theirs").unwrap();
    vfs.checkpoint().unwrap();
    let stored = stored(world, vfs, path);
    let old = fs::read(&stored).unwrap();
    patch(vfs, path, 0, b"ours, longer").unwrap();
    vfs.checkpoint().unwrap();
    (stored, old)
}

#[test]
fn a_copy_of_any_client_is_shown_read_and_removed_and_never_hides_the_original() {
    let long = format!("{}.txt", "n".repeat(220));
    for (added, label) in MADE {
        for (name, said) in [
            ("report.txt", format!("report (conflict {label}).txt")),
            ("report", format!("report (conflict {label})")),
            (&*long, String::new()),
        ] {
            let world = World::new();
            let vfs = world.open();
            let (stored, old) = with_history(&world, &vfs, name);
            let beside = set_beside(&stored, &old, added);
            let mut listed = list(&vfs, "").unwrap();
            listed.retain(|it| it != name);
            let [copy] = &listed[..] else {
                panic!("{added}: {listed:?}")
            };
            assert!(said.is_empty() || *copy == said, "{copy}");
            assert!(copy.len() <= 255 && (said.is_empty() || copy.contains(label)));
            assert_eq!(get(&vfs, copy).unwrap(), b"theirs");
            assert_eq!(get(&vfs, name).unwrap(), b"ours, longer");
            assert_eq!(vfs.notices()[0].what, Oddity::Copy);
            unlink(&vfs, copy).unwrap();
            assert!(!beside.exists());
            assert_eq!(list(&vfs, "").unwrap(), [name]);
            assert_eq!(vfs.notices(), []);
            assert_eq!(get(&vfs, name).unwrap(), b"ours, longer");
            assert_eq!(fsck(&vfs), [""; 0]);
        }
    }
}

#[test]
fn a_copy_is_found_by_its_name_without_a_listing_and_after_a_mount() {
    let world = World::new();
    let vfs = world.open();
    let (stored, old) = with_history(&world, &vfs, "f");
    set_beside(&stored, &old, " (1)");
    assert_eq!(get(&vfs, "f (conflict 1)").unwrap(), b"theirs");
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(get(&vfs, "f (conflict 1)").unwrap(), b"theirs");
    assert_eq!(errno(get(&vfs, "f (conflict 2)")), Errno::NOENT);
    let report = vfs.fsck(Path::new(""), &mut |_| {}).unwrap();
    assert_eq!(report.findings.len(), 0);
    assert_eq!(report.copies.len(), 1);
    assert_eq!(report.copies[0].path, Path::new("f (conflict 1)"));
}

#[test]
fn a_copy_cannot_be_changed_and_is_copied_to_be_moved() {
    let world = World::new();
    let vfs = world.open();
    let (stored, old) = with_history(&world, &vfs, "f");
    let beside = set_beside(&stored, &old, " (1)");
    let copy = "f (conflict 1)";
    let before = fs::read(&beside).unwrap();
    assert_eq!(errno(open(&vfs, copy, Access::Write)), Errno::ROFS);
    assert_eq!(errno(truncate(&vfs, copy, 0)), Errno::ROFS);
    assert_eq!(errno(chmod(&vfs, copy, 0o600)), Errno::ROFS);
    assert_eq!(errno(set_xattr(&vfs, copy, "user.a", b"b")), Errno::ROFS);
    assert_eq!(errno(link(&vfs, copy, "g")), Errno::ROFS);
    put(&vfs, "other", b"other").unwrap();
    for (from, to) in [(copy, "f"), (copy, "g"), ("other", copy)] {
        assert_eq!(errno(rename(&vfs, from, to)), Errno::XDEV);
    }
    let root = kmsfs::vfs::Ino::ROOT;
    let exchanged = vfs.rename(
        me(),
        (root, copy.as_bytes()),
        (root, b"f"),
        Replace::Exchange,
    );
    assert_eq!(errno(exchanged), Errno::XDEV);
    assert_eq!(fs::read(&beside).unwrap(), before);
    assert_eq!(get(&vfs, "f").unwrap(), b"ours, longer");
}

#[test]
fn two_copies_that_would_have_one_name_are_numbered_and_a_real_name_comes_first() {
    let world = World::new();
    let vfs = world.open();
    let (stored, old) = with_history(&world, &vfs, "f.txt");
    put(&vfs, "f (conflict 1).txt", b"mine").unwrap();
    set_beside(&stored, &old, " (1)");
    set_beside(&stored, &old, "-1");
    let names = [
        "f (conflict 1 2).txt",
        "f (conflict 1 3).txt",
        "f (conflict 1).txt",
        "f.txt",
    ];
    assert_eq!(list(&vfs, "").unwrap(), names);
    assert_eq!(get(&vfs, "f (conflict 1).txt").unwrap(), b"mine");
    assert_eq!(get(&vfs, names[0]).unwrap(), b"theirs");
    assert_eq!(get(&vfs, names[1]).unwrap(), b"theirs");
}

#[test]
fn another_file_under_a_copys_name_is_refused_and_what_is_no_copy_stays_unseen() {
    let world = World::new();
    let vfs = world.open();
    let (stored_f, _) = with_history(&world, &vfs, "f");
    put(&vfs, "g", b"another").unwrap();
    vfs.checkpoint().unwrap();
    let other = fs::read(stored(&world, &vfs, "g")).unwrap();
    set_beside(&stored_f, &other, " (1)");
    set_beside(&stored_f, b"no header", " (2)");
    fs::write(world.store().join("desktop.ini"), "").unwrap();
    assert_eq!(errno(get(&vfs, "f (conflict 1)")), Errno::IO);
    assert_eq!(errno(get(&vfs, "f (conflict 2)")), Errno::IO);
    let names = ["f", "f (conflict 1)", "f (conflict 2)", "g"];
    assert_eq!(list(&vfs, "").unwrap(), names);
}

/// A client renames what is here and puts the other machine's version in its place, while the file is in use.
#[test]
fn an_original_that_becomes_the_copy_under_a_mount_is_read_in_both_places() {
    let world = World::new();
    let vfs = world.open();
    let (stored, old) = with_history(&world, &vfs, "f");
    let handle = open(&vfs, "f", Access::Read).unwrap();
    let beside = set_beside(&stored, b"", " (1)");
    fs::rename(&stored, &beside).unwrap();
    fs::write(&stored, old).unwrap();
    assert_eq!(get(&vfs, "f (conflict 1)").unwrap(), b"ours, longer");
    assert_eq!(read_all(&vfs, handle).unwrap(), b"ours, longer");
    vfs.release(handle).unwrap();
    // Here it is an older state that was put back: nobody has written on another machine.
    assert!(matches!(get(&vfs, "f"), Err(VfsError::Older)));
    fs::rename(&beside, &stored).unwrap();
    assert_eq!(get(&vfs, "f").unwrap(), b"ours, longer");
    assert_eq!(list(&vfs, "").unwrap(), ["f"]);
}

#[test]
fn a_copied_directory_is_read_and_removed() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    mkdir(&vfs, "d/e").unwrap();
    put(&vfs, "d/e/f", b"content").unwrap();
    symlink(&vfs, "target", "d/l").unwrap();
    vfs.checkpoint().unwrap();
    let dir = stored(&world, &vfs, "d");
    let name = dir.file_name().unwrap().to_str().unwrap();
    let copy = dir.with_file_name(format!("{name} (1)"));
    copy_dir(&dir, &copy);
    unlink(&vfs, "d/e/f").unwrap();
    assert_eq!(list(&vfs, "").unwrap(), ["d", "d (conflict 1)"]);
    assert_eq!(get(&vfs, "d (conflict 1)/e/f").unwrap(), b"content");
    assert_eq!(readlink(&vfs, "d (conflict 1)/l").unwrap(), "target");
    assert_eq!(errno(put(&vfs, "d (conflict 1)/new", b"")), Errno::ROFS);
    assert_eq!(errno(mkdir(&vfs, "d (conflict 1)/new")), Errno::ROFS);
    assert_eq!(errno(rename(&vfs, "d (conflict 1)/e/f", "f")), Errno::XDEV);
    assert_eq!(errno(rmdir(&vfs, "d (conflict 1)")), Errno::NOTEMPTY);
    unlink(&vfs, "d (conflict 1)/e/f").unwrap();
    unlink(&vfs, "d (conflict 1)/l").unwrap();
    rmdir(&vfs, "d (conflict 1)/e").unwrap();
    rmdir(&vfs, "d (conflict 1)").unwrap();
    assert_eq!(list(&vfs, "").unwrap(), ["d"]);
    assert_eq!(list(&vfs, "d").unwrap(), ["e", "l"]);
    assert_eq!(readlink(&vfs, "d/l").unwrap(), "target");
    assert_eq!(fsck(&vfs), [""; 0]);
    assert_eq!(vfs.notices(), []);
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy_dir(&entry.path(), &to),
            kind if kind.is_symlink() => {
                std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), to).unwrap();
            }
            _ => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn copies_of_what_kmsfs_keeps_for_itself_are_in_nobodys_way_and_told_by_the_check() {
    let world = World::new();
    let vfs = world.open();
    let long = "d/".to_owned() + &"n".repeat(220);
    mkdir(&vfs, "d").unwrap();
    put(&vfs, &long, b"content").unwrap();
    set_xattr(&vfs, &long, "user.large", &pattern(5_000, 1)).unwrap();
    vfs.checkpoint().unwrap();
    let dir = stored(&world, &vfs, "d");
    let side = stored(&world, &vfs, &long).with_extension("");
    drop(side);
    let long_stored = stored(&world, &vfs, &long);
    let long_stored = long_stored
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let store = world.store();
    for (from, to) in [
        (
            store.join("kmsfs.toml"),
            store.join("kmsfs (conflicted copy).toml"),
        ),
        (
            store.join("kmsfs.dir"),
            store.join("kmsfs.sync-conflict-1.dir"),
        ),
        (dir.join("kmsfs.dir"), dir.join("kmsfs.dir (1)")),
        (
            dir.join(format!("{long_stored}.name")),
            dir.join(format!("{long_stored} (1).name")),
        ),
    ] {
        fs::copy(from, to).unwrap();
    }
    assert_eq!(list(&vfs, "").unwrap(), ["d"]);
    assert_eq!(list(&vfs, "d").unwrap().len(), 1);
    let report = vfs.fsck(Path::new(""), &mut |_| {}).unwrap();
    assert_eq!(report.findings.len(), 0, "{:?}", report.findings);
    assert_eq!(report.copies.len(), 4, "{:?}", report.copies);
    unlink(&vfs, &long).unwrap();
    rmdir(&vfs, "d").unwrap();
    assert!(!dir.exists());
    vfs.close().unwrap();
    drop(vfs);
    world.open();
}
