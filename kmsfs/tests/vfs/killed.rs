//! What random operations and crashes have found: each test is one story, cut down to what it takes.

use crate::support::*;
use kmsfs::vfs::{Access, Allocate, Result, Vfs};

/// The process is gone, and the store is mounted again.
macro_rules! kill {
    ($world:ident, $vfs:ident) => {
        drop($vfs);
        let $vfs = $world.open();
    };
}

/// A file was made and removed, a symbolic link took its name, and the process was killed: the mount would not come
/// up any more, since the journal's record of the file led to a link.
#[test]
fn a_link_in_the_place_of_a_file_the_journal_speaks_of_does_not_stop_the_mount() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"content").unwrap();
    unlink(&vfs, "f").unwrap();
    symlink(&vfs, "target", "f").unwrap();
    kill!(world, vfs);
    assert_eq!(readlink(&vfs, "f").unwrap(), "target");
}

/// `chmod` had returned, the process was killed, and the file had its old mode: the header was to follow some time
/// later.
#[test]
fn a_mode_that_was_set_survives_a_kill() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"content").unwrap();
    fsync(&vfs, "f").unwrap();
    chmod(&vfs, "f", 0o640).unwrap();
    kill!(world, vfs);
    assert_eq!(get(&vfs, "f").unwrap(), b"content");
    assert_eq!(attr(&vfs, "f").unwrap().mode, 0o640);
}

/// A new file was overwritten, cut to nothing, and cut once more: the second header went straight into the stored file,
/// and with it the knowledge that the stored file still had to be cut.
#[test]
fn a_new_file_cut_while_the_journal_has_something_of_it_is_cut_in_the_store() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", &pattern(480, 1)).unwrap();
    patch(&vfs, "f", 2828, &pattern(595, 2)).unwrap();
    truncate(&vfs, "f", 0).unwrap();
    truncate(&vfs, "f", 0).unwrap();
    assert_eq!(attr(&vfs, "f").unwrap().size, 0);
    assert_eq!(fsck(&vfs), [""; 0]);
}

/// A file that was open and unlinked was overwritten by one long write: of what the journal held of it before, only the
/// first chunk was forgotten, and old chunks stood before new ones.
#[test]
fn an_unlinked_file_is_read_as_it_was_last_written() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", &pattern(40_000, 1)).unwrap();
    fsync(&vfs, "f").unwrap();
    let handle = open(&vfs, "f", Access::Write).unwrap();
    vfs.write(handle, 0, &pattern(40_000, 2), false).unwrap();
    vfs.flush(handle).unwrap();
    unlink(&vfs, "f").unwrap();
    vfs.write(handle, 0, &pattern(40_000, 3), false).unwrap();
    vfs.fsync(handle).unwrap();
    assert_eq!(read_all(&vfs, handle).unwrap(), pattern(40_000, 3));
}

/// A file was unlinked while open, grew, and the journal was emptied: the stored file was cut to the length it had when
/// it lost its name.
#[test]
fn an_unlinked_file_keeps_what_is_appended_when_the_journal_is_emptied() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", &pattern(40_000, 1)).unwrap();
    fsync(&vfs, "f").unwrap();
    let handle = open(&vfs, "f", Access::Write).unwrap();
    vfs.write(handle, 0, &pattern(9_000, 2), false).unwrap();
    vfs.flush(handle).unwrap();
    unlink(&vfs, "f").unwrap();
    vfs.write(handle, 40_000, &pattern(60_000, 3), false)
        .unwrap();
    vfs.fsync(handle).unwrap();
    vfs.checkpoint().unwrap();
    let content = read_all(&vfs, handle).unwrap();
    assert_eq!(content[..9_000], pattern(9_000, 2));
    assert_eq!(content[40_000..], pattern(60_000, 3));
}

/// A file got a second name and lost the first; the process was killed. The record that bound the second name spoke of
/// the file under the first, where replay found nothing: the file could not be opened any more.
#[test]
fn a_file_that_lost_the_name_the_journal_knows_it_by_is_found() {
    for replace in [false, true] {
        let world = World::new();
        let vfs = world.open();
        put(&vfs, "f", b"content").unwrap();
        symlink(&vfs, "target", "l").unwrap();
        kill!(world, vfs);
        link(&vfs, "f", "g").unwrap();
        if replace {
            rename(&vfs, "l", "f").unwrap();
        } else {
            unlink(&vfs, "f").unwrap();
        }
        kill!(world, vfs);
        assert_eq!(get(&vfs, "g").unwrap(), b"content");
        assert_eq!(fsck(&vfs), [""; 0]);
    }
}

/// The same when the first name's directory moved away.
#[test]
fn a_file_whose_first_names_directory_was_moved_is_found() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    put(&vfs, "d/f", b"content").unwrap();
    kill!(world, vfs);
    link(&vfs, "d/f", "g").unwrap();
    rename(&vfs, "d", "e").unwrap();
    kill!(world, vfs);
    assert_eq!(get(&vfs, "g").unwrap(), b"content");
    assert_eq!(get(&vfs, "e/f").unwrap(), b"content");
}

/// A new file was replaced through the journal, then directly, then overwritten through the journal again; after a kill
/// the oldest records were replayed over the direct bytes.
#[test]
fn what_was_written_directly_after_a_record_is_not_overwritten_by_it() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", &pattern(204_800, 1)).unwrap();
    put(&vfs, "f", &pattern(18_476, 2)).unwrap();
    rename(&vfs, "f", "g").unwrap();
    let mut content = pattern(601_976, 3);
    put(&vfs, "g", &content).unwrap();
    patch(&vfs, "g", 0, b"first").unwrap();
    content[..5].copy_from_slice(b"first");
    kill!(world, vfs);
    assert!(get(&vfs, "g").unwrap() == content);
}

/// Two directories were within each other by turns, and a file in them was written: looking for the places where it might
/// be after a power cut went round in a circle until the stack was used up.
#[test]
fn directories_that_change_places_as_parent_and_child_do_not_lead_in_a_circle() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "a").unwrap();
    mkdir(&vfs, "b").unwrap();
    put(&vfs, "a/f", b"content").unwrap();
    fsync(&vfs, "a/f").unwrap();
    rename(&vfs, "a", "b/a").unwrap();
    rename(&vfs, "b/a", "a").unwrap();
    rename(&vfs, "b", "a/b").unwrap();
    patch(&vfs, "a/f", 0, b"changed").unwrap();
    kill!(world, vfs);
    assert_eq!(get(&vfs, "a/f").unwrap(), b"changed");
}

/// A file's names beyond the header's room are kept beside it, and went as soon as its last name was unlinked: had the
/// power failed before the unlink was durable, the name would have come back with a header that could not be read.
#[test]
fn the_side_file_of_names_stays_until_the_last_unlink_is_durable() {
    fn side_files(dir: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return 0;
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .map(|path| if path.is_dir() { side_files(&path) } else { 1 })
            .sum()
    }
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"content").unwrap();
    fsync(&vfs, "f").unwrap();
    let names: Vec<_> = (0..30).map(|n| format!("name {n}")).collect();
    for name in &names {
        link(&vfs, "f", name).unwrap();
    }
    vfs.checkpoint().unwrap();
    assert_eq!(side_files(&world.store().join("names")), 1);
    for name in names.iter().map(String::as_str).chain(["f"]) {
        unlink(&vfs, name).unwrap();
    }
    assert_ne!(side_files(&world.store().join("names")), 0);
    vfs.checkpoint().unwrap();
    assert_eq!(side_files(&world.store().join("names")), 0);
}

/// What was written stood in the journal only when the file was cut in the middle of a chunk and all of it became a
/// hole; then it was brought over. No new chunk had taken the place of the old one, which was longer: the replay put
/// that there again, and the file was too long to be opened.
#[test]
fn a_chunk_that_was_cut_and_became_a_hole_does_not_make_the_file_longer() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"short").unwrap();
    vfs.close().unwrap();
    kill!(world, vfs);
    patch(&vfs, "f", 0, &pattern(2 * CHUNK, 1)).unwrap();
    let handle = open(&vfs, "f", Access::Write).unwrap();
    truncate(&vfs, "f", CHUNK + 100).unwrap();
    vfs.fallocate(handle, 0, 2 * CHUNK as u64, Allocate::PunchHole)
        .unwrap();
    close(&vfs, handle).unwrap();
    link(&vfs, "f", "g").unwrap();
    kill!(world, vfs);
    assert_eq!(attr(&vfs, "f").unwrap().size, CHUNK as u64 + 100);
    assert_eq!(get(&vfs, "f").unwrap(), [0; CHUNK + 100]);
    assert_eq!(fsck(&vfs), [""; 0]);
}

/// A link took one of a file's two names, the process was killed before that was remembered, and the link was removed
/// unread: what was remembered under its name, the file, was taken for gone, and refused under its other name as if
/// somebody had put it back.
#[test]
fn a_file_is_not_gone_when_what_took_one_of_its_names_is_removed() {
    for replace in [
        (|vfs| symlink(vfs, "target", "new")) as fn(&Vfs) -> Result<()>,
        |vfs| put(vfs, "new", b"other"),
        |vfs| mkdir(vfs, "new"),
    ] {
        let world = World::new();
        let vfs = world.open();
        put(&vfs, "a", b"content").unwrap();
        link(&vfs, "a", "b").unwrap();
        vfs.close().unwrap();
        kill!(world, vfs);
        replace(&vfs).unwrap();
        if rename(&vfs, "new", "b").is_err() {
            unlink(&vfs, "b").unwrap();
            rename(&vfs, "new", "b").unwrap();
        }
        kill!(world, vfs);
        unlink(&vfs, "b").or_else(|_| rmdir(&vfs, "b")).unwrap();
        assert_eq!(get(&vfs, "a").unwrap(), b"content");
        assert_eq!(fsck(&vfs), [""; 0]);
    }
}
