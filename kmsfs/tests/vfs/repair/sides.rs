//! Files that are kept beside headers and names.

use std::path::Path;

use kmsfs::vfs::{Access, Vfs};

use crate::support::*;

/// The files below `xattr/` and `names/`.
pub(super) fn sides(world: &World) -> usize {
    fn count(dir: &Path) -> usize {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return 0;
        };
        let count_one = |entry: std::fs::DirEntry| {
            if entry.file_type().unwrap().is_dir() {
                count(&entry.path())
            } else {
                1
            }
        };
        entries.map(|entry| count_one(entry.unwrap())).sum()
    }
    ["xattr", "names"]
        .iter()
        .map(|shelf| count(&world.store().join(shelf)))
        .sum()
}

fn with_attributes(vfs: &Vfs, path: &str) {
    put(vfs, path, b"content").unwrap();
    set_xattr(vfs, path, "user.large", &pattern(5_000, 1)).unwrap();
}

/// Once the side file of large attributes stayed in the store for good when its file was removed or replaced, and that of
/// many names when the file was not in use.
#[test]
fn what_is_kept_beside_a_header_goes_with_its_object() {
    let world = World::new();
    let vfs = world.open();
    for name in ["removed", "replaced", "by", "known"] {
        with_attributes(&vfs, name);
    }
    mkdir(&vfs, "dir").unwrap();
    set_xattr(&vfs, "dir", "user.large", &pattern(5_000, 2)).unwrap();
    put(&vfs, "many", b"names").unwrap();
    for n in 0..20 {
        link(&vfs, "many", &format!("many{n}")).unwrap();
    }
    vfs.close().unwrap();
    drop(vfs);
    assert_eq!(sides(&world), 6);
    let vfs = world.open();
    get(&vfs, "known").unwrap();
    xattr(&vfs, "known", "user.large").unwrap();
    for name in ["removed", "known", "many"] {
        unlink(&vfs, name).unwrap();
    }
    rename(&vfs, "by", "replaced").unwrap();
    rmdir(&vfs, "dir").unwrap();
    for n in 0..20 {
        unlink(&vfs, &format!("many{n}")).unwrap();
    }
    vfs.close().unwrap();
    drop(vfs);
    assert_eq!(sides(&world), 1);
    let vfs = world.open();
    assert_eq!(
        xattr(&vfs, "replaced", "user.large").unwrap(),
        pattern(5_000, 1)
    );
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn what_is_open_keeps_its_attributes_until_it_is_closed() {
    let world = World::new();
    let vfs = world.open();
    with_attributes(&vfs, "old");
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    with_attributes(&vfs, "new");
    for name in ["old", "new"] {
        let handle = open(&vfs, name, Access::Read).unwrap();
        let ino = vfs.resolve(Path::new(name)).unwrap();
        unlink(&vfs, name).unwrap();
        vfs.checkpoint().unwrap();
        let value = vfs.getxattr(me(), ino, b"user.large").unwrap();
        assert_eq!(value, pattern(5_000, 1));
        close(&vfs, handle).unwrap();
    }
    vfs.checkpoint().unwrap();
    assert_eq!(sides(&world), 0);
}
