//! Alone in its process, because it counts.

#![expect(clippy::unwrap_used, reason = "tests may")]

#[path = "vfs/support.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod support;

use support::*;

#[test]
fn private_files_cost_no_public_key_operation() {
    let world = World::new();
    let before = kms_crypto::public_key_operations();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    for name in ["d/a", "d/b", "d/c"] {
        put(&vfs, name, &pattern(100_000, 1)).unwrap();
        put(&vfs, name, b"again").unwrap();
        set_xattr(&vfs, name, "user.x", b"y").unwrap();
        fsync(&vfs, name).unwrap();
    }
    rename(&vfs, "d/a", "e").unwrap();
    link(&vfs, "e", "d/f").unwrap();
    unlink(&vfs, "d/b").unwrap();
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    assert_eq!(get(&vfs, "e").unwrap(), b"again");
    assert_eq!(kms_crypto::public_key_operations(), before);
    let label = vfs
        .ensure_label(vfs.resolve(std::path::Path::new("e")).unwrap())
        .unwrap();
    assert_eq!(label.epoch, 1);
    assert!(
        kms_crypto::public_key_operations() > before,
        "and the counter counts"
    );
}
