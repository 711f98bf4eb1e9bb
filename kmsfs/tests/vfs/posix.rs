//! What programs expect of any filesystem, beside reading and writing.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use kms_crypto::format::Special;
use kmsfs::backing::Kind;
use kmsfs::vfs::{Access, AttrChange, Vfs};
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
