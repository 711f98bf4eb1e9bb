//! What programs expect of any filesystem, beside reading and writing.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use kms_crypto::format::Special;
use kmsfs::backing::{Disk, Gate, Kind, Replace};
use kmsfs::vfs::{Access, Allocate, AttrChange, Result, Seek, Vfs};
use rustix::io::Errno;

use crate::support::*;

const NODES: [(&str, Special); 4] = [
    ("fifo", Special::Fifo),
    ("socket", Special::Socket),
    ("null", Special::CharDevice(0x0103)),
    ("disk", Special::BlockDevice(0xfff0_0fff)),
];

fn kinds(vfs: &Vfs) -> Vec<(String, Kind)> {
    let root = vfs.resolve(Path::new("")).unwrap();
    let handle = vfs.opendir(root).unwrap().handle;
    let mut found = Vec::new();
    vfs.readdir(handle, 2, &mut |entry| {
        found.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.kind));
        false
    })
    .unwrap();
    vfs.releasedir(handle);
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

#[test]
fn fifos_sockets_and_devices_keep_what_they_are_and_are_plain_files_in_the_store() {
    let world = World::new();
    let vfs = world.open();
    for (name, special) in NODES {
        let (dir, name) = at(&vfs, name).unwrap();
        let made = vfs.mknod(me(), dir, &name, 0o640, Some(special)).unwrap();
        assert_eq!((made.kind, made.mode), (Kind::Special(special), 0o640));
    }
    put(&vfs, "plain", b"").unwrap();
    link(&vfs, "null", "zero").unwrap();
    rename(&vfs, "disk", "sda").unwrap();
    let fifo = vfs.resolve(Path::new("fifo")).unwrap();
    let change = AttrChange {
        mode: Some(0o4666),
        ..AttrChange::NONE
    };
    let changed = vfs.setattr(me(), fifo, None, change).unwrap();
    assert_eq!(
        (changed.kind, changed.mode),
        (Kind::Special(Special::Fifo), 0o4666)
    );
    vfs.close().unwrap();
    drop(vfs);

    let stored = std::fs::read_dir(world.store()).unwrap();
    for entry in stored {
        let meta = entry.unwrap().metadata().unwrap();
        let kind = meta.file_type();
        assert!(!kind.is_fifo() && !kind.is_socket());
        assert!(!kind.is_char_device() && !kind.is_block_device());
        assert_eq!(meta.mode() & 0o6000, 0, "no set-id bit stands in a store");
    }

    let vfs = world.open();
    let expected = [
        ("fifo", Kind::Special(Special::Fifo)),
        ("null", Kind::Special(Special::CharDevice(0x0103))),
        ("plain", Kind::File),
        ("sda", Kind::Special(Special::BlockDevice(0xfff0_0fff))),
        ("socket", Kind::Special(Special::Socket)),
        ("zero", Kind::Special(Special::CharDevice(0x0103))),
    ];
    let expected = expected.map(|(name, kind)| (name.to_owned(), kind));
    assert_eq!(
        kinds(&vfs),
        expected,
        "in a listing, before anything was looked up"
    );
    for (name, kind) in &expected {
        assert_eq!(attr(&vfs, name).unwrap().kind, *kind, "{name}");
    }
    assert_eq!(attr(&vfs, "fifo").unwrap().mode, 0o4666);
    assert_eq!(attr(&vfs, "zero").unwrap().nlink, 2);
    assert_eq!(
        open(&vfs, "fifo", Access::Read).unwrap_err().errno(),
        Errno::NXIO,
        "the kernel opens FIFOs itself"
    );
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn the_root_is_open_to_whoever_may_use_the_mount_whatever_its_stored_directory_is() {
    let world = World::new();
    let store = world.store();
    let mode = |at: &Path| std::fs::metadata(at).unwrap().mode() & 0o7777;
    let before = mode(&store);
    let vfs = world.open();
    let root = vfs.resolve(Path::new("")).unwrap();
    assert_eq!(vfs.getattr(root, None).unwrap().mode, 0o755);
    let change = AttrChange {
        mode: Some(0o1777),
        ..AttrChange::NONE
    };
    vfs.setattr(me(), root, None, change).unwrap();
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(vfs.getattr(root, None).unwrap().mode, 0o1777);
    assert_eq!(
        mode(&store),
        before,
        "the store itself stays as private as it was made"
    );
}

fn exchange(vfs: &Vfs, one: &str, other: &str) -> Result<()> {
    let (dir, name) = at(vfs, one)?;
    let (other_dir, other_name) = at(vfs, other)?;
    let names = ((dir, &*name), (other_dir, &*other_name));
    vfs.rename(me(), names.0, names.1, Replace::Exchange)
}

/// What stands at a path: content, target, or what a directory holds.
fn what(vfs: &Vfs, path: &str) -> Result<String> {
    Ok(match attr(vfs, path)?.kind {
        Kind::Dir => format!("a directory of {:?}", list(vfs, path)?),
        Kind::Symlink => {
            let target = readlink(vfs, path)?;
            assert_eq!(attr(vfs, path)?.size, target.len() as u64, "{path}");
            format!("a link to {target}")
        }
        _ => String::from_utf8(get(vfs, path)?).unwrap(),
    })
}

/// Makes one of each kind at a path: a file, a directory with a file, a short and a long link.
fn make(vfs: &Vfs, path: &str) {
    let (dir, kind) = path.split_once('/').unwrap();
    match kind {
        "file" => put(vfs, path, format!("the file of {dir}").as_bytes()),
        "dir" => mkdir(vfs, path).and_then(|()| put(vfs, &format!("{path}/in {dir}"), b"")),
        "link" => symlink(vfs, &format!("from {dir}"), path),
        _ => symlink(vfs, &dir.repeat(4000), path),
    }
    .unwrap();
}

const EACH: [&str; 4] = ["file", "dir", "link", "long"];

#[test]
fn any_two_names_change_places() {
    let world = World::new();
    let mut vfs = world.open();
    for dir in ["a", "b"] {
        mkdir(&vfs, dir).unwrap();
        for kind in EACH {
            make(&vfs, &format!("{dir}/{kind}"));
        }
    }
    vfs.checkpoint().unwrap();
    let pairs = EACH.iter().flat_map(|one| EACH.map(|other| (*one, other)));
    for (one, other) in pairs {
        let (one, other) = (format!("a/{one}"), format!("b/{other}"));
        let before = (what(&vfs, &one).unwrap(), what(&vfs, &other).unwrap());
        exchange(&vfs, &one, &other).unwrap();
        let after = (what(&vfs, &other).unwrap(), what(&vfs, &one).unwrap());
        assert_eq!(after, before, "{one} and {other}");
    }
    exchange(&vfs, "a/file", "a/link").unwrap();
    assert_eq!(
        exchange(&vfs, "a", "a/dir").unwrap_err().errno(),
        Errno::INVAL
    );
    assert_eq!(
        exchange(&vfs, "a/dir", "a").unwrap_err().errno(),
        Errno::INVAL
    );
    assert_eq!(
        exchange(&vfs, "a", "none").unwrap_err().errno(),
        Errno::NOENT
    );
    exchange(&vfs, "a", "b").unwrap();
    let seen = |vfs: &Vfs| -> Vec<_> {
        let all = ["a", "b"].map(|dir| EACH.map(|name| format!("{dir}/{name}")));
        all.concat()
            .iter()
            .map(|path| what(vfs, path).unwrap())
            .collect()
    };
    let before = seen(&vfs);
    vfs.close().unwrap();
    drop(vfs);
    vfs = world.open();
    assert_eq!(seen(&vfs), before);
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn killed_while_names_change_places_both_objects_are_there_in_either_order() {
    for (one, other) in [("file", "dir"), ("link", "file"), ("link", "long")] {
        let (one, other) = (format!("a/{one}"), format!("b/{other}"));
        for n in 1.. {
            let world = World::new();
            let vfs = world.open();
            for path in [&one, &other] {
                mkdir(&vfs, path.split('/').next().unwrap()).unwrap();
                make(&vfs, path);
            }
            let before = (what(&vfs, &one).unwrap(), what(&vfs, &other).unwrap());
            vfs.close().unwrap();
            drop(vfs);
            let faults = Faults::kill_at(n);
            let finished = match world.try_open(Disk::gated(Arc::clone(&faults) as Arc<dyn Gate>)) {
                Ok(vfs) => exchange(&vfs, &one, &other).is_ok(),
                Err(_) => false,
            };
            let vfs = world.open();
            let after = (what(&vfs, &one).unwrap(), what(&vfs, &other).unwrap());
            let swapped = (before.1.clone(), before.0.clone());
            assert!(
                after == swapped || after == before && !finished,
                "{one} and {other}, killed at change {n}: {after:?}"
            );
            assert_eq!(fsck(&vfs), [""; 0], "{one} and {other}, killed at {n}");
            if finished && !faults.struck() {
                assert!(n > 2);
                break;
            }
        }
    }
}

#[test]
fn link_targets_have_up_to_4095_bytes_and_leave_nothing_behind() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    let target = "t/".repeat(2047) + "t";
    symlink(&vfs, &target, "d/l").unwrap();
    assert_eq!(attr(&vfs, "d/l").unwrap().size, 4095);
    let too_long = symlink(&vfs, &(target.clone() + "t"), "d/m");
    assert_eq!(too_long.unwrap_err().errno(), Errno::NAMETOOLONG);
    let again = symlink(&vfs, "x", "d/l");
    assert_eq!(again.unwrap_err().errno(), Errno::EXIST);
    vfs.close().unwrap();
    drop(vfs);

    let vfs = world.open();
    rename(&vfs, "d/l", "d/k").unwrap();
    assert_eq!(readlink(&vfs, "d/k").unwrap(), target);
    rename(&vfs, "d/k", "k").unwrap();
    assert_eq!(readlink(&vfs, "k").unwrap(), target);
    assert_eq!(fsck(&vfs), [""; 0]);
    rmdir(&vfs, "d").unwrap();
    symlink(&vfs, "short", "s").unwrap();
    rename(&vfs, "s", "k").unwrap();
    assert_eq!(readlink(&vfs, "k").unwrap(), "short");
    unlink(&vfs, "k").unwrap();
    let left = std::fs::read_dir(world.store()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "header and configuration: {left:?}");
}

#[test]
fn a_changed_side_file_of_a_link_is_refused_and_not_followed() {
    let world = World::new();
    let vfs = world.open();
    symlink(&vfs, &"t".repeat(4000), "l").unwrap();
    let side = std::fs::read_dir(world.store()).unwrap();
    let side = side
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|it| it == "link"))
        .unwrap();
    let mut bytes = std::fs::read(&side).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&side, bytes).unwrap();
    assert_eq!(readlink(&vfs, "l").unwrap_err().errno(), Errno::IO);
    std::fs::remove_file(&side).unwrap();
    assert_eq!(readlink(&vfs, "l").unwrap_err().errno(), Errno::IO);
    unlink(&vfs, "l").unwrap();
}

const TIB: u64 = 1 << 40;

#[test]
fn a_sparse_file_of_16_tib_is_made_searched_punched_and_cut_at_once() {
    let world = World::new();
    let vfs = world.open();
    let handle = create(&vfs, "f").unwrap();
    vfs.write(handle, 16 * TIB - 3, b"end", false).unwrap();
    vfs.write(handle, 5 * TIB, b"middle", false).unwrap();
    let seek = |from, what| vfs.lseek(handle, from, what).unwrap();
    let check = || {
        assert_eq!(seek(0, Seek::Data), 5 * TIB);
        assert_eq!(seek(5 * TIB, Seek::Hole), 5 * TIB + CHUNK as u64);
        assert_eq!(seek(5 * TIB + 5000, Seek::Data), 16 * TIB - CHUNK as u64);
        assert_eq!(seek(16 * TIB - 2, Seek::Hole), 16 * TIB);
    };
    check();
    vfs.fsync(handle).unwrap();
    vfs.checkpoint().unwrap();
    check();
    vfs.fallocate(handle, 1 << 40, 14 * TIB, Allocate::PunchHole)
        .unwrap();
    assert_eq!(seek(0, Seek::Data), 16 * TIB - CHUNK as u64);
    close(&vfs, handle).unwrap();
    truncate(&vfs, "f", 3 << 40).unwrap();
    assert_eq!(attr(&vfs, "f").unwrap().size, 3 * TIB);
    truncate(&vfs, "f", 10).unwrap();
    assert_eq!(get(&vfs, "f").unwrap(), [0; 10]);
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn punched_holes_give_their_room_back_and_keep_the_times_told() {
    let world = World::new();
    let vfs = world.open();
    let content = pattern(4 << 20, 1);
    put(&vfs, "f", &content).unwrap();
    fsync(&vfs, "f").unwrap();
    let blocks = || {
        std::fs::metadata(stored(&world, &vfs, "f"))
            .unwrap()
            .blocks()
    };
    let full = blocks();
    let handle = open(&vfs, "f", Access::Write).unwrap();
    vfs.fallocate(handle, 8192, 3 << 20, Allocate::PunchHole)
        .unwrap();
    // One chunk of the hole is used again before the room is given back.
    vfs.write(handle, 1 << 20, b"again", false).unwrap();
    close(&vfs, handle).unwrap();
    let told = attr(&vfs, "f").unwrap();
    vfs.checkpoint().unwrap();
    assert!(blocks() <= full / 3, "{} of {full}", blocks());
    let now = attr(&vfs, "f").unwrap();
    assert_eq!((now.mtime, now.ctime), (told.mtime, told.ctime));
    drop(vfs);
    let vfs = world.open();
    let mut expected = content;
    expected[8192..8192 + (3 << 20)].fill(0);
    expected[1 << 20..][..5].copy_from_slice(b"again");
    assert!(get(&vfs, "f").unwrap() == expected);
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn a_file_has_far_more_names_than_its_header_has_room_for() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"content").unwrap();
    for dir in ["a", "b"] {
        mkdir(&vfs, dir).unwrap();
        for number in 0..100 {
            link(&vfs, "f", &format!("{dir}/{number}")).unwrap();
        }
    }
    vfs.checkpoint().unwrap();
    vfs.checkpoint().unwrap();
    assert_eq!(sides(&world), 1, "older ones have gone");
    vfs.close().unwrap();
    drop(vfs);

    let vfs = world.open();
    assert_eq!(attr(&vfs, "b/99").unwrap().nlink, 201);
    assert_eq!(get(&vfs, "b/99").unwrap(), b"content");
    patch(&vfs, "b/50", 0, b"changed").unwrap();
    rename(&vfs, "b/51", "a/new").unwrap();
    unlink(&vfs, "f").unwrap();
    for number in 0..90 {
        unlink(&vfs, &format!("b/{number}")).unwrap_or_else(|error| {
            assert!(number == 51, "{number}: {error}");
        });
    }
    vfs.close().unwrap();
    drop(vfs);

    let vfs = world.open();
    assert_eq!(get(&vfs, "a/new").unwrap(), b"changed");
    assert_eq!(get(&vfs, "a/0").unwrap(), b"changed");
    assert_eq!(get(&vfs, "b/95").unwrap(), b"changed");
    assert_eq!(fsck(&vfs), [""; 0]);
    for (dir, names) in [
        ("a", list(&vfs, "a").unwrap()),
        ("b", list(&vfs, "b").unwrap()),
    ] {
        for name in names {
            unlink(&vfs, &format!("{dir}/{name}")).unwrap();
        }
    }
    vfs.checkpoint().unwrap();
    assert_eq!(sides(&world), 0);
}

/// How many side files of names there are.
fn sides(world: &World) -> usize {
    let shelves = std::fs::read_dir(world.store().join("names")).unwrap();
    let files = shelves.map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count());
    files.sum()
}
