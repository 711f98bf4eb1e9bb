//! What programs rely on, one thing at a time.

use std::path::Path;

use kmsfs::backing::{Replace, Time, TimeChange};
use kmsfs::vfs::{Access, Allocate, AttrChange, Ino, Seek, Vfs, VfsError};
use rustix::io::Errno;

use crate::support::*;

fn os<T>(result: kmsfs::vfs::Result<T>) -> Option<Errno> {
    match result {
        Err(VfsError::Os(errno)) => Some(errno),
        _ => None,
    }
}

#[test]
fn content_comes_back_after_closing_and_after_a_remount() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    let big = pattern(3_000_000, 1);
    put(&vfs, "d/big", &big).unwrap();
    put(&vfs, "empty", b"").unwrap();
    assert_eq!(get(&vfs, "d/big").unwrap(), big);
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(get(&vfs, "d/big").unwrap(), big);
    assert_eq!(get(&vfs, "empty").unwrap(), b"");
    assert_eq!(attr(&vfs, "d/big").unwrap().size, 3_000_000);
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn a_file_grows_and_shrinks_across_every_boundary_of_the_tag_tree() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"").unwrap();
    let mut model = Vec::new();
    let chunks = [1, 15, 16, 17, 141, 142, 143, 300, 16, 143, 5, 0, 200];
    for (round, chunks) in chunks.into_iter().enumerate() {
        for extra in [0, 1, CHUNK - 1] {
            let size = chunks * CHUNK + extra;
            truncate(&vfs, "f", size).unwrap();
            model.resize(size, 0);
            let at = size / 2;
            let piece = pattern(10.min(size - at), round as u8);
            patch(&vfs, "f", at, &piece).unwrap();
            model[at..at + piece.len()].copy_from_slice(&piece);
            assert_eq!(get(&vfs, "f").unwrap(), model, "at {size} bytes");
        }
        vfs.checkpoint().unwrap();
    }
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(get(&vfs, "f").unwrap(), model);
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn a_file_of_three_levels_of_tags_is_read_back_from_anywhere() {
    let world = World::new();
    let vfs = world.open();
    let handle = create(&vfs, "sparse").unwrap();
    let far = (16 + 126 * 126 + 5) * CHUNK + 77;
    for at in [0, 16 * CHUNK, 142 * CHUNK - 3, far] {
        vfs.write(handle, at as u64, &pattern(100, at as u8), false)
            .unwrap();
    }
    close(&vfs, handle).unwrap();
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    let handle = open(&vfs, "sparse", Access::Read).unwrap();
    let mut buf = Vec::new();
    for at in [0, 16 * CHUNK, 142 * CHUNK - 3, far] {
        let range = vfs.read(handle, at as u64, 100, &mut buf).unwrap();
        assert_eq!(buf[range], pattern(100, at as u8));
    }
    let range = vfs.read(handle, 1 << 24, 5000, &mut buf).unwrap();
    assert!(buf[range].iter().all(|byte| *byte == 0));
    assert_eq!(vfs.lseek(handle, 200_000, Seek::Hole).unwrap(), 200_000);
    assert_eq!(
        vfs.lseek(handle, 700_000, Seek::Data).unwrap() / CHUNK as u64,
        (far / CHUNK) as u64
    );
    assert!(attr(&vfs, "sparse").unwrap().blocks < 200);
    vfs.release(handle).unwrap();
}

#[test]
fn what_is_open_survives_unlinking_and_replacing() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "a", b"old").unwrap();
    put(&vfs, "b", b"new").unwrap();
    let old = open(&vfs, "a", Access::Write).unwrap();
    rename(&vfs, "b", "a").unwrap();
    assert_eq!(read_all(&vfs, old).unwrap(), b"old");
    vfs.write(old, 3, b" still", false).unwrap();
    vfs.fsync(old).unwrap();
    assert_eq!(read_all(&vfs, old).unwrap(), b"old still");
    assert_eq!(get(&vfs, "a").unwrap(), b"new");
    let new = open(&vfs, "a", Access::Write).unwrap();
    unlink(&vfs, "a").unwrap();
    vfs.write(new, 0, &pattern(500_000, 3), false).unwrap();
    vfs.flush(new).unwrap();
    vfs.checkpoint().unwrap();
    assert_eq!(read_all(&vfs, new).unwrap(), pattern(500_000, 3));
    // What only the journal holds when the last name goes is still read by who has the file open.
    put(&vfs, "c", &pattern(100_000, 4)).unwrap();
    fsync(&vfs, "c").unwrap();
    patch(&vfs, "c", 10_000, &pattern(50_000, 5)).unwrap();
    let last = open(&vfs, "c", Access::Write).unwrap();
    unlink(&vfs, "c").unwrap();
    vfs.write(last, 80_000, b"end", false).unwrap();
    vfs.flush(last).unwrap();
    vfs.checkpoint().unwrap();
    let mut content = pattern(100_000, 4);
    content[10_000..60_000].copy_from_slice(&pattern(50_000, 5));
    content[80_000..80_003].copy_from_slice(b"end");
    assert!(read_all(&vfs, last).unwrap() == content);
    close(&vfs, last).unwrap();
    close(&vfs, old).unwrap();
    close(&vfs, new).unwrap();
    assert_eq!(os(get(&vfs, "a")), Some(Errno::NOENT));
    assert_eq!(list(&vfs, "").unwrap(), [""; 0]);
}

#[test]
fn hard_links_are_one_file_wherever_they_stand() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    put(&vfs, "a", b"one").unwrap();
    link(&vfs, "a", "d/b").unwrap();
    link(&vfs, "d/b", "c").unwrap();
    assert_eq!(attr(&vfs, "a").unwrap().nlink, 3);
    put(&vfs, "d/b", b"other").unwrap();
    unlink(&vfs, "a").unwrap();
    assert_eq!(get(&vfs, "c").unwrap(), b"other");
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(get(&vfs, "d/b").unwrap(), b"other");
    assert_eq!(get(&vfs, "c").unwrap(), b"other");
    assert_eq!(attr(&vfs, "c").unwrap().ino, attr(&vfs, "d/b").unwrap().ino);
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn linking_and_unlinking_goes_on_for_ever_and_too_many_links_are_refused() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"x").unwrap();
    for round in 0..40 {
        link(&vfs, "f", &format!("n{round}")).unwrap();
        unlink(&vfs, &format!("n{round}")).unwrap();
    }
    let mut links = 0;
    let refused = loop {
        match link(&vfs, "f", &format!("l{links}")) {
            Ok(()) => links += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.errno(), Errno::MLINK);
    assert!(links >= 10);
    rename(&vfs, "f", "g").unwrap();
    assert_eq!(get(&vfs, "g").unwrap(), b"x");
}

#[test]
fn directories_move_with_all_that_is_in_them() {
    let world = World::new();
    let vfs = world.open();
    for dir in ["a", "a/b", "a/b/c", "t"] {
        mkdir(&vfs, dir).unwrap();
    }
    put(&vfs, "a/b/c/f", b"deep").unwrap();
    symlink(&vfs, "../f", "a/b/c/l").unwrap();
    rename(&vfs, "a/b", "t/moved").unwrap();
    assert_eq!(get(&vfs, "t/moved/c/f").unwrap(), b"deep");
    assert_eq!(os(rename(&vfs, "t", "t/moved/t")), Some(Errno::INVAL));
    assert_eq!(os(rename(&vfs, "t", "a")), None);
    assert_eq!(os(rename(&vfs, "a/moved", "a/moved/c")), Some(Errno::INVAL));
    mkdir(&vfs, "full").unwrap();
    put(&vfs, "full/x", b"").unwrap();
    assert_eq!(os(rename(&vfs, "a", "full")), Some(Errno::NOTEMPTY));
    assert_eq!(os(rmdir(&vfs, "full")), Some(Errno::NOTEMPTY));
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(get(&vfs, "a/moved/c/f").unwrap(), b"deep");
    assert_eq!(readlink(&vfs, "a/moved/c/l").unwrap(), "../f");
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn a_rename_that_may_not_replace_does_not() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "a", b"a").unwrap();
    put(&vfs, "b", b"b").unwrap();
    let refused = vfs.rename(me(), (Ino::ROOT, b"a"), (Ino::ROOT, b"b"), Replace::No);
    assert_eq!(os(refused), Some(Errno::EXIST));
    assert_eq!(get(&vfs, "b").unwrap(), b"b");
    link(&vfs, "a", "c").unwrap();
    rename(&vfs, "a", "c").unwrap();
    assert_eq!(
        list(&vfs, "").unwrap(),
        ["a", "b", "c"],
        "two names of one file stay, says POSIX"
    );
}

#[test]
fn names_of_every_length_work() {
    let world = World::new();
    let vfs = world.open();
    let names: Vec<String> = [1, 100, 174, 175, 176, 200, 255]
        .map(|len| "n".repeat(len))
        .to_vec();
    for name in &names {
        put(&vfs, name, name.as_bytes()).unwrap();
    }
    assert_eq!(list(&vfs, "").unwrap(), names);
    assert_eq!(
        os(put(&vfs, &"n".repeat(256), b"")),
        Some(Errno::NAMETOOLONG)
    );
    let long = "m".repeat(255);
    rename(&vfs, &names[6], &long).unwrap();
    rename(&vfs, &names[5], &long).unwrap();
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(get(&vfs, &long).unwrap(), names[5].as_bytes());
    for name in list(&vfs, "").unwrap() {
        unlink(&vfs, &name).unwrap();
    }
    vfs.close().unwrap();
    let left: Vec<_> = std::fs::read_dir(world.store())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "header and configuration: {left:?}");
}

#[test]
fn modes_and_times_are_kept_to_the_bit_and_the_nanosecond() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"x").unwrap();
    mkdir(&vfs, "d").unwrap();
    let time = Time {
        seconds: -5,
        nanos: 123_456_789,
    };
    for (path, mode) in [
        ("f", 0o000),
        ("f", 0o4751),
        ("f", 0o444),
        ("d", 0o1777),
        ("d", 0o2500),
        ("d", 0o000),
    ] {
        let ino = vfs.resolve(Path::new(path)).unwrap();
        vfs.setattr(
            me(),
            ino,
            None,
            AttrChange {
                mode: Some(mode),
                ..AttrChange::NONE
            },
        )
        .unwrap();
        assert_eq!(attr(&vfs, path).unwrap().mode, mode, "{path}");
    }
    let ino = vfs.resolve(Path::new("f")).unwrap();
    let before = attr(&vfs, "f").unwrap();
    let change = AttrChange {
        mtime: TimeChange::To(time),
        ..AttrChange::NONE
    };
    let after = vfs.setattr(me(), ino, None, change).unwrap();
    assert_eq!((after.atime, after.mtime), (before.atime, time));
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(attr(&vfs, "f").unwrap().mode, 0o444);
    assert_eq!(attr(&vfs, "f").unwrap().mtime, time);
    assert_eq!(attr(&vfs, "d").unwrap().mode, 0o000);
}

#[test]
fn times_told_while_a_file_is_written_stay_true_when_it_reaches_the_store() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", &pattern(20_000, 1)).unwrap();
    fsync(&vfs, "f").unwrap();
    let handle = open(&vfs, "f", Access::Write).unwrap();
    vfs.write(handle, 100, b"changed", false).unwrap();
    let told = attr(&vfs, "f").unwrap();
    close(&vfs, handle).unwrap();
    assert_eq!(attr(&vfs, "f").unwrap().ctime, told.ctime);
    vfs.checkpoint().unwrap();
    let after = attr(&vfs, "f").unwrap();
    assert_eq!((after.mtime, after.ctime), (told.mtime, told.ctime));
    // Nor does what is only tidied up behind a rename show.
    put(&vfs, "new", b"new").unwrap();
    rename(&vfs, "new", "g").unwrap();
    let told = attr(&vfs, "g").unwrap();
    vfs.checkpoint().unwrap();
    let after = attr(&vfs, "g").unwrap();
    assert_eq!((after.mtime, after.ctime), (told.mtime, told.ctime));
}

#[test]
fn attributes_of_any_size_are_kept() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"x").unwrap();
    mkdir(&vfs, "d").unwrap();
    for path in ["f", "d"] {
        set_xattr(&vfs, path, "user.a", b"small").unwrap();
        set_xattr(&vfs, path, "user.b", &pattern(40_000, 2)).unwrap();
        set_xattr(&vfs, path, "user.b", &pattern(50_000, 3)).unwrap();
    }
    assert_eq!(
        os(set_xattr(&vfs, "f", "trusted.a", b"")),
        Some(Errno::OPNOTSUPP)
    );
    assert_eq!(
        os(set_xattr(&vfs, "f", "user.kms.grant", b"bob")),
        Some(Errno::OPNOTSUPP)
    );
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    for path in ["f", "d"] {
        assert_eq!(xattr(&vfs, path, "user.a").unwrap(), b"small");
        assert_eq!(xattr(&vfs, path, "user.b").unwrap(), pattern(50_000, 3));
        let ino = vfs.resolve(Path::new(path)).unwrap();
        assert_eq!(vfs.listxattr(me(), ino).unwrap(), b"user.a\0user.b\0");
        vfs.removexattr(me(), ino, b"user.b").unwrap();
        assert_eq!(
            os(vfs.removexattr(me(), ino, b"user.b")),
            Some(Errno::NODATA)
        );
    }
    vfs.close().unwrap();
    let side_files = walk(&world.store().join("xattr"));
    assert_eq!(side_files, 0, "side files of former attributes are gone");
}

fn walk(dir: &Path) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { walk(&path) } else { 1 })
        .sum()
}

#[test]
fn holes_are_punched_and_zeros_written() {
    let world = World::new();
    let vfs = world.open();
    let mut model = pattern(40 * CHUNK, 1);
    put(&vfs, "f", &model).unwrap();
    let handle = open(&vfs, "f", Access::Write).unwrap();
    let (from, to) = (3 * CHUNK - 10, 20 * CHUNK + 10);
    vfs.fallocate(handle, from as u64, (to - from) as u64, Allocate::PunchHole)
        .unwrap();
    model[from..to].fill(0);
    vfs.fallocate(handle, 39 * CHUNK as u64, 3 * CHUNK as u64, Allocate::Zero)
        .unwrap();
    model[39 * CHUNK..].fill(0);
    model.resize(42 * CHUNK, 0);
    vfs.fallocate(handle, 0, 50 * CHUNK as u64, Allocate::Extend)
        .unwrap();
    model.resize(50 * CHUNK, 0);
    vfs.fallocate(handle, 0, 90 * CHUNK as u64, Allocate::KeepSize)
        .unwrap();
    assert_eq!(vfs.lseek(handle, 0, Seek::Hole).unwrap(), 3 * CHUNK as u64);
    assert_eq!(
        vfs.lseek(handle, 3 * CHUNK as u64, Seek::Data).unwrap(),
        20 * CHUNK as u64
    );
    close(&vfs, handle).unwrap();
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(get(&vfs, "f").unwrap(), model);
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn several_threads_write_one_file_and_many() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "one", &vec![0; 64 * CHUNK]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let vfs: &Vfs = &vfs;
            scope.spawn(move || {
                let handle = open(vfs, "one", Access::Write).unwrap();
                for round in 0..50usize {
                    let at =
                        (usize::from(thread) * 16 * CHUNK) + (round * 1234) % (16 * CHUNK - 100);
                    vfs.write(handle, at as u64, &[thread + 1; 100], false)
                        .unwrap();
                    if round % 10 == 0 {
                        vfs.fsync(handle).unwrap();
                    }
                    let own = format!("t{thread}-{}", round % 5);
                    put(vfs, &own, &pattern(round * 100, thread)).unwrap();
                    assert_eq!(get(vfs, &own).unwrap(), pattern(round * 100, thread));
                    rename(vfs, &own, &format!("r{thread}")).unwrap();
                }
                close(vfs, handle).unwrap();
            });
        }
        let vfs: &Vfs = &vfs;
        scope.spawn(move || {
            for _ in 0..20 {
                vfs.checkpoint().unwrap();
                list(vfs, "").unwrap();
            }
        });
    });
    let content = get(&vfs, "one").unwrap();
    for thread in 0..4 {
        let part = &content[thread * 16 * CHUNK..(thread + 1) * 16 * CHUNK];
        assert!(
            part.iter()
                .all(|byte| *byte == 0 || usize::from(*byte) == thread + 1)
        );
    }
    assert_eq!(fsck(&vfs), [""; 0]);
}

/// Tag pages are sealed and forgotten while a file is written at length, which begins at 64 MiB: what is written before
/// and after that is the same file, a new one as well as one that goes on where a synced one ended, over its last chunk.
#[test]
fn a_file_written_at_great_length_is_what_was_written() {
    const MIB: usize = 1 << 20;
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"").unwrap();
    let mut model = Vec::new();
    for part in 0..2u8 {
        let handle = open(&vfs, "f", Access::Write).unwrap();
        for piece in 0..70 {
            let bytes = pattern(MIB + 7, part * 70 + piece);
            vfs.write(handle, model.len() as u64, &bytes, false)
                .unwrap();
            model.extend(bytes);
        }
        vfs.fsync(handle).unwrap();
        close(&vfs, handle).unwrap();
    }
    assert!(get(&vfs, "f").unwrap() == model);
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert!(get(&vfs, "f").unwrap() == model);
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn a_listing_stays_as_it_was_begun() {
    let world = World::new();
    let vfs = world.open();
    for number in 0..50 {
        put(&vfs, &format!("f{number:02}"), b"").unwrap();
    }
    let handle = vfs.opendir(Ino::ROOT).unwrap().handle;
    let mut names = Vec::new();
    let mut next = 0;
    loop {
        let before = names.len();
        vfs.readdir(handle, next, &mut |entry| {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            next = entry.next;
            names.len() % 7 == 0
        })
        .unwrap();
        if names.len() == before {
            break;
        }
        // What is taken away meanwhile neither hides nor doubles anything else.
        if names.len() < 40 && names.last().is_some_and(|name| name.starts_with('f')) {
            unlink(&vfs, names.last().unwrap()).unwrap();
        }
    }
    vfs.releasedir(handle);
    assert_eq!(names.len(), 52);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 52);
}
