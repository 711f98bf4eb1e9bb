//! In a shared directory everything is signed, so that its readers, who all hold its keys, cannot forge towards each
//! other (FORMAT §3.6.2).

use std::path::PathBuf;

use kmsfs::vfs::{Damage, VfsError};
use rustix::io::Errno;

use crate::shared::{Bob, share};
use crate::support::*;

/// Does all background work there is.
fn carry_through(vfs: &kmsfs::vfs::Vfs) {
    while vfs.rekey_step().unwrap() {}
    vfs.checkpoint().unwrap();
}

/// What stood in a stored file before, put back: authentic, but from before the directory was shared and signed.
fn put_back(stored: &PathBuf, bytes: &[u8]) {
    std::fs::write(stored, bytes).unwrap();
}

#[test]
fn what_was_there_before_a_directory_was_shared_is_signed_and_then_has_to_be() {
    let world = World::new();
    let vfs = world.open();
    for dir in ["d", "d/deep"] {
        mkdir(&vfs, dir).unwrap();
    }
    for file in ["d/f", "d/deep/g"] {
        put(&vfs, file, b"before").unwrap();
    }
    vfs.checkpoint().unwrap();
    let files = ["d/f", "d/deep/g"].map(|path| stored(&world, &vfs, path));
    let unsigned = files.clone().map(|file| std::fs::read(file).unwrap());

    let bob = Bob::new(&world);
    share(&vfs, &bob, "d");
    assert_eq!(get(&bob.vfs, "d/f").unwrap(), b"before", "not signed yet");
    carry_through(&vfs);
    let bob = Bob::again(&world, bob);
    assert_eq!(get(&bob.vfs, "d/f").unwrap(), b"before");
    assert_eq!(get(&bob.vfs, "d/deep/g").unwrap(), b"before");

    let signed = files.clone().map(|file| std::fs::read(file).unwrap());
    for (file, bytes) in files.iter().zip(&unsigned) {
        put_back(file, bytes);
    }
    let bob = Bob::again(&world, bob);
    for path in ["d/f", "d/deep/g"] {
        let error = get(&bob.vfs, path).unwrap_err();
        assert_eq!(error.errno(), Errno::IO, "{path}: {error}");
        assert!(matches!(error, VfsError::Damaged(Damage { .. })), "{error}");
    }
    for (file, bytes) in files.iter().zip(&signed) {
        put_back(file, bytes);
    }
    assert_eq!(get(&Bob::again(&world, bob).vfs, "d/f").unwrap(), b"before");
}

#[test]
fn whatever_comes_into_a_shared_directory_later_can_be_read() {
    let world = World::new();
    let vfs = world.open();
    for dir in ["d", "outside", "outside/below"] {
        mkdir(&vfs, dir).unwrap();
    }
    put(&vfs, "outside/file", b"1").unwrap();
    put(&vfs, "outside/below/file", b"2").unwrap();
    put(&vfs, "alone", b"3").unwrap();
    let bob = Bob::new(&world);
    share(&vfs, &bob, "d");
    carry_through(&vfs);

    put(&vfs, "d/new", b"4").unwrap();
    mkdir(&vfs, "d/newdir").unwrap();
    put(&vfs, "d/newdir/new", b"5").unwrap();
    rename(&vfs, "outside", "d/moved").unwrap();
    link(&vfs, "alone", "d/linked").unwrap();
    carry_through(&vfs);
    patch(&vfs, "d/new", 0, b"6").unwrap();
    patch(&vfs, "d/moved/below/file", 0, b"7").unwrap();
    vfs.checkpoint().unwrap();

    let bob = Bob::again(&world, bob);
    for (path, content) in [
        ("d/new", b"6"),
        ("d/newdir/new", b"5"),
        ("d/moved/file", b"1"),
        ("d/moved/below/file", b"7"),
        ("d/linked", b"3"),
    ] {
        assert_eq!(get(&bob.vfs, path).unwrap(), content, "{path}");
    }
    assert_eq!(fsck(&vfs), [""; 0]);
}

#[test]
fn signing_that_was_cut_short_goes_on_at_the_next_mount() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    put(&vfs, "d/f", b"before").unwrap();
    vfs.checkpoint().unwrap();
    let file = stored(&world, &vfs, "d/f");
    let unsigned = std::fs::read(&file).unwrap();
    let bob = Bob::new(&world);
    share(&vfs, &bob, "d");
    vfs.close().unwrap();
    drop(vfs);

    let vfs = world.open();
    carry_through(&vfs);
    assert_eq!(get(&Bob::again(&world, bob).vfs, "d/f").unwrap(), b"before");
    put_back(&file, &unsigned);
    let bob = Bob::new(&world);
    share(&vfs, &bob, "d");
    assert_eq!(get(&bob.vfs, "d/f").unwrap_err().errno(), Errno::IO);
}
