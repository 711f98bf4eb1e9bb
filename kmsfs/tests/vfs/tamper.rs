//! Somebody who can write into the store changes it: the file that was changed is EIO, every other one is fine, and
//! what is wrong can be told.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kmsfs::vfs::{Access, Damage, Part, Result, Vfs, VfsError};
use rustix::io::Errno;

use crate::support::*;

struct Scene {
    world: World,
    victim: PathBuf,
    other: PathBuf,
}

/// Beside the victim stands a file like it, and both have an older version.
fn scene(size: usize) -> Scene {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    put(&vfs, "d/victim", &pattern(size, 1)).unwrap();
    put(&vfs, "d/other", &pattern(size, 2)).unwrap();
    put(&vfs, "fine", b"fine").unwrap();
    let (victim, other) = (
        stored(&world, &vfs, "d/victim"),
        stored(&world, &vfs, "d/other"),
    );
    vfs.close().unwrap();
    drop(vfs);
    Scene {
        world,
        victim,
        other,
    }
}

fn overwrite(path: &Path, offset: usize, bytes: &[u8]) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, offset as u64)
        .unwrap();
}

fn bytes(path: &Path, offset: usize, len: usize) -> Vec<u8> {
    std::fs::read(path).unwrap()[offset..offset + len].to_vec()
}

fn part<T: std::fmt::Debug>(result: Result<T>) -> Part {
    match result {
        Err(VfsError::Damaged(Damage { part, .. })) => part,
        other => panic!("{other:?} is no damage"),
    }
}

impl Scene {
    fn open(&self) -> Arc<Vfs> {
        self.world.open()
    }

    /// The victim alone is damaged, in this part; `why` and fsck say so.
    fn expect(&self, expected: Part) {
        let vfs = self.open();
        let got = get(&vfs, "d/victim");
        assert_eq!(got.as_ref().err().map(VfsError::errno), Some(Errno::IO));
        assert_eq!(part(got), expected);
        let told = vfs.last_failure(me().uid, Path::new("d/victim")).unwrap();
        assert_eq!(part(Err::<(), _>(told.error)), expected);
        assert_eq!(get(&vfs, "fine").unwrap(), b"fine");
        put(&vfs, "d/new", b"new").unwrap();
        assert_eq!(get(&vfs, "d/new").unwrap(), b"new");
        let found = fsck(&vfs);
        assert!(
            !found.is_empty() && found.iter().all(|line| line.starts_with("d/victim: ")),
            "{found:?}"
        );
    }
}

const HEADER: usize = 4096;

#[test]
fn any_byte_of_a_header_counts() {
    let scene = scene(10_000);
    let header = bytes(&scene.victim, 0, HEADER);
    for at in (0..HEADER).step_by(37).chain(HEADER - 128..HEADER) {
        overwrite(&scene.victim, at, &[header[at] ^ 1]);
        let vfs = scene.open();
        let got = get(&vfs, "d/victim");
        assert!(
            matches!(got, Err(VfsError::Damaged(_))),
            "byte {at}: {:?}",
            got.map(|it| it.len())
        );
        overwrite(&scene.victim, at, &[header[at]]);
    }
    assert_eq!(get(&scene.open(), "d/victim").unwrap(), pattern(10_000, 1));
}

#[test]
fn a_flipped_bit_in_the_content() {
    let scene = scene(100_000);
    let at = HEADER + 3 * CHUNK + 17;
    overwrite(&scene.victim, at, &[bytes(&scene.victim, at, 1)[0] ^ 1]);
    scene.expect(Part::Chunk(3));
}

#[test]
fn a_flipped_bit_in_a_tag_page() {
    let scene = scene(100_000);
    let at = HEADER + 16 * CHUNK + 5;
    overwrite(&scene.victim, at, &[bytes(&scene.victim, at, 1)[0] ^ 1]);
    scene.expect(Part::Page { level: 1, index: 0 });
}

#[test]
fn two_chunks_exchanged() {
    let scene = scene(100_000);
    let (one, two) = (
        bytes(&scene.victim, HEADER, CHUNK),
        bytes(&scene.victim, HEADER + CHUNK, CHUNK),
    );
    overwrite(&scene.victim, HEADER, &two);
    overwrite(&scene.victim, HEADER + CHUNK, &one);
    scene.expect(Part::Chunk(0));
}

#[test]
fn a_chunk_of_another_file_in_the_same_place() {
    let scene = scene(100_000);
    overwrite(
        &scene.victim,
        HEADER + CHUNK,
        &bytes(&scene.other, HEADER + CHUNK, CHUNK),
    );
    scene.expect(Part::Chunk(1));
}

#[test]
fn a_chunk_made_zero_is_no_hole() {
    let scene = scene(100_000);
    overwrite(&scene.victim, HEADER + CHUNK, &[0; CHUNK]);
    scene.expect(Part::Chunk(1));
}

#[test]
fn one_chunk_rolled_back() {
    let scene = scene(100_000);
    let old = bytes(&scene.victim, HEADER + 2 * CHUNK, CHUNK);
    let vfs = scene.open();
    patch(&vfs, "d/victim", 2 * CHUNK, &pattern(CHUNK, 9)).unwrap();
    vfs.close().unwrap();
    drop(vfs);
    overwrite(&scene.victim, HEADER + 2 * CHUNK, &old);
    scene.expect(Part::Chunk(2));
}

#[test]
fn one_chunk_rolled_back_with_its_tag_page() {
    let scene = scene(100_000);
    let (page_at, chunk_at) = (HEADER + 16 * CHUNK, HEADER + 17 * CHUNK);
    let (page, chunk) = (
        bytes(&scene.victim, page_at, 4096),
        bytes(&scene.victim, chunk_at, CHUNK),
    );
    let vfs = scene.open();
    patch(&vfs, "d/victim", 16 * CHUNK, &pattern(CHUNK, 9)).unwrap();
    vfs.close().unwrap();
    drop(vfs);
    overwrite(&scene.victim, page_at, &page);
    overwrite(&scene.victim, chunk_at, &chunk);
    scene.expect(Part::Page { level: 1, index: 0 });
}

#[test]
fn cut_short_at_a_chunk_boundary() {
    let scene = scene(100_000);
    let file = OpenOptions::new().write(true).open(&scene.victim).unwrap();
    file.set_len((HEADER + 5 * CHUNK) as u64).unwrap();
    scene.expect(Part::Length);
}

#[test]
fn cut_down_to_nothing() {
    for len in [0, 100, HEADER] {
        let scene = scene(100_000);
        OpenOptions::new()
            .write(true)
            .open(&scene.victim)
            .unwrap()
            .set_len(len as u64)
            .unwrap();
        scene.expect(if len == HEADER {
            Part::Length
        } else {
            Part::Header
        });
    }
}

#[test]
fn replaced_by_a_copy_of_another_file() {
    let scene = scene(10_000);
    std::fs::copy(&scene.other, &scene.victim).unwrap();
    scene.expect(Part::Place);
}

#[test]
fn exchanged_with_another_file() {
    let scene = scene(10_000);
    let aside = scene.victim.with_extension("aside");
    std::fs::rename(&scene.victim, &aside).unwrap();
    std::fs::rename(&scene.other, &scene.victim).unwrap();
    std::fs::rename(&aside, &scene.other).unwrap();
    let vfs = scene.open();
    assert_eq!(part(get(&vfs, "d/victim")), Part::Place);
    assert_eq!(part(get(&vfs, "d/other")), Part::Place);
}

#[test]
fn a_hard_link_to_another_file() {
    let scene = scene(10_000);
    std::fs::remove_file(&scene.victim).unwrap();
    std::fs::hard_link(&scene.other, &scene.victim).unwrap();
    let vfs = scene.open();
    assert_eq!(get(&vfs, "d/other").unwrap(), pattern(10_000, 2));
    assert_eq!(
        fsck(&vfs),
        ["d/victim: the place (this object does not belong under this name) does not verify"]
    );
}

#[test]
fn a_link_a_fifo_or_rubbish_in_place_of_a_file() {
    let scene = scene(10_000);
    for make in [
        |at: &Path| std::os::unix::fs::symlink("/etc/passwd", at).unwrap(),
        |at: &Path| std::os::unix::fs::symlink("other", at).unwrap(),
        |at: &Path| rustix::fs::mkfifoat(rustix::fs::CWD, at, rustix::fs::Mode::RUSR).unwrap(),
        |at: &Path| std::fs::write(at, "rubbish").unwrap(),
        |at: &Path| std::fs::create_dir(at).unwrap(),
    ] {
        let _ = std::fs::remove_file(&scene.victim);
        make(&scene.victim);
        let vfs = scene.open();
        let got = get(&vfs, "d/victim");
        assert!(got.is_err(), "{:?}", got.map(|it| it.len()));
        assert!(readlink(&vfs, "d/victim").is_err());
        assert_eq!(get(&vfs, "fine").unwrap(), b"fine");
        assert!(list(&vfs, "d").unwrap().contains(&"other".to_owned()));
    }
}

#[test]
fn directories_exchanged_or_without_their_header() {
    let world = World::new();
    let vfs = world.open();
    for dir in ["a", "b"] {
        mkdir(&vfs, dir).unwrap();
        put(&vfs, &format!("{dir}/f"), dir.as_bytes()).unwrap();
    }
    put(&vfs, "fine", b"fine").unwrap();
    let (a, b) = (stored(&world, &vfs, "a"), stored(&world, &vfs, "b"));
    vfs.close().unwrap();
    drop(vfs);
    std::fs::rename(&a, world.dir.path().join("aside")).unwrap();
    std::fs::rename(&b, &a).unwrap();
    std::fs::rename(world.dir.path().join("aside"), &b).unwrap();
    let vfs = world.open();
    assert_eq!(part(get(&vfs, "a/f")), Part::Place);
    assert_eq!(part(list(&vfs, "b")), Part::Place);
    assert_eq!(get(&vfs, "fine").unwrap(), b"fine");
    drop(vfs);
    std::fs::remove_file(a.join("kmsfs.dir")).unwrap();
    let vfs = world.open();
    assert_eq!(part(list(&vfs, "a")), Part::Header);
    assert_eq!(get(&vfs, "fine").unwrap(), b"fine");
}

#[test]
fn a_symbolic_links_target_altered_or_moved() {
    let world = World::new();
    let vfs = world.open();
    symlink(&vfs, "one", "a").unwrap();
    symlink(&vfs, "two", "b").unwrap();
    let (a, b) = (stored(&world, &vfs, "a"), stored(&world, &vfs, "b"));
    vfs.close().unwrap();
    drop(vfs);
    let target = std::fs::read_link(&b).unwrap();
    std::fs::remove_file(&a).unwrap();
    std::os::unix::fs::symlink(&target, &a).unwrap();
    let vfs = world.open();
    assert_eq!(part(readlink(&vfs, "a")), Part::Target);
    assert_eq!(readlink(&vfs, "b").unwrap(), "two");
}

#[test]
fn attributes_altered_exchanged_or_taken_away() {
    let scene = scene(1_000);
    let vfs = scene.open();
    set_xattr(&vfs, "d/victim", "user.x", &pattern(9_000, 1)).unwrap();
    vfs.close().unwrap();
    drop(vfs);
    let side = side_file(&scene.world.store().join("xattr"));
    let whole = std::fs::read(&side).unwrap();
    overwrite(&side, 500, &[whole[500] ^ 1]);
    assert_eq!(
        part(xattr(&scene.open(), "d/victim", "user.x")),
        Part::Attributes
    );
    std::fs::remove_file(&side).unwrap();
    let vfs = scene.open();
    assert!(xattr(&vfs, "d/victim", "user.x").is_err());
    assert_eq!(get(&vfs, "d/victim").unwrap(), pattern(1_000, 1));
}

fn side_file(dir: &Path) -> PathBuf {
    let shelf = std::fs::read_dir(dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::read_dir(shelf)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
}

#[test]
fn damage_is_not_laundered_by_writing_beside_it() {
    let scene = scene(100_000);
    let at = HEADER + 3 * CHUNK;
    overwrite(&scene.victim, at, &[bytes(&scene.victim, at, 1)[0] ^ 1]);
    let vfs = scene.open();
    patch(&vfs, "d/victim", 9 * CHUNK, b"beside").unwrap();
    assert!(patch(&vfs, "d/victim", 3 * CHUNK + 5, b"into").is_err());
    let handle = open(&vfs, "d/victim", Access::Read).unwrap();
    let mut buf = Vec::new();
    let range = vfs.read(handle, 9 * CHUNK as u64, 6, &mut buf).unwrap();
    assert_eq!(&buf[range], b"beside");
    assert_eq!(
        part(vfs.read(handle, 3 * CHUNK as u64, 6, &mut buf)),
        Part::Chunk(3)
    );
    vfs.release(handle).unwrap();
    vfs.close().unwrap();
    drop(vfs);
    assert_eq!(part(get(&scene.open(), "d/victim")), Part::Chunk(3));
    // What is overwritten as a whole is good again.
    let vfs = scene.open();
    patch(&vfs, "d/victim", 3 * CHUNK, &pattern(CHUNK, 5)).unwrap();
    assert!(get(&vfs, "d/victim").is_ok());
}

#[test]
fn names_that_are_not_ours_are_not_shown_and_are_reported() {
    let scene = scene(1_000);
    let dir = scene.victim.parent().unwrap();
    std::fs::write(dir.join("notes (conflicted copy).txt"), "x").unwrap();
    std::fs::write(dir.join("A".repeat(43)), "x").unwrap();
    std::fs::copy(
        &scene.other,
        scene.world.store().join(scene.other.file_name().unwrap()),
    )
    .unwrap();
    let vfs = scene.open();
    assert_eq!(list(&vfs, "d").unwrap(), ["other", "victim"]);
    assert_eq!(list(&vfs, "").unwrap(), ["d", "fine"]);
    assert_eq!(fsck(&vfs).len(), 3);
}
