//! Damage byte by byte, and what lies beside it.

use kmsfs::vfs::{Access, Part, VfsError};

use super::part;
use super::stage::*;
use crate::support::*;

#[test]
fn any_byte_of_a_header_counts() {
    let stage = Stage::new();
    let victim = stage.at("d/victim");
    let header = bytes(&victim, 0, HEADER);
    for at in (0..HEADER).step_by(37).chain(HEADER - 128..HEADER) {
        overwrite(&victim, at, &[header[at] ^ 1]);
        let vfs = stage.world.open();
        let got = get(&vfs, "d/victim");
        assert!(
            matches!(got, Err(VfsError::Damaged(_))),
            "byte {at}: {:?}",
            got.map(|it| it.len())
        );
        overwrite(&victim, at, &[header[at]]);
    }
    assert_eq!(get(&stage.world.open(), "d/victim").unwrap().len(), SIZE);
}

#[test]
fn damage_is_not_laundered_by_writing_beside_it() {
    let stage = Stage::new();
    flip(&stage.at("d/victim"), HEADER + 3 * CHUNK);
    let vfs = stage.world.open();
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
    assert_eq!(part(get(&stage.world.open(), "d/victim")), Part::Chunk(3));
    // What is overwritten as a whole is good again.
    let vfs = stage.world.open();
    patch(&vfs, "d/victim", 3 * CHUNK, &pattern(CHUNK, 5)).unwrap();
    assert!(get(&vfs, "d/victim").is_ok());
}

#[test]
fn a_name_that_leads_to_damage_is_listed_and_can_be_removed() {
    let stage = Stage::new();
    flip(&stage.at("d/victim"), 300);
    let vfs = stage.world.open();
    assert!(list(&vfs, "d").unwrap().contains(&"victim".to_owned()));
    unlink(&vfs, "d/victim").unwrap();
    put(&vfs, "d/victim", b"from the backup").unwrap();
    assert_eq!(get(&vfs, "d/victim").unwrap(), b"from the backup");
}

#[test]
fn names_that_are_not_ours_are_not_shown_and_are_reported() {
    let stage = Stage::new();
    let dir = stage.at("e");
    std::fs::write(dir.join("notes.txt"), "x").unwrap();
    std::fs::write(dir.join("A".repeat(43)), "x").unwrap();
    let other = stage.at("d/other");
    std::fs::copy(&other, dir.join(other.file_name().unwrap())).unwrap();
    let vfs = stage.world.open();
    assert_eq!(list(&vfs, "e").unwrap(), ["victim"]);
    assert_eq!(fsck(&vfs).len(), 3);
}
