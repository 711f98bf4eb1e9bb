//! A store whose default cipher changes: every file keeps the one it was made with, and all of them can be used.

use kms_crypto::aead::Cipher;
use kms_crypto::format::Header;
use kmsfs::vfs::{Damage, Part, VfsError};

use crate::support::*;

/// More than the chunks whose leaves are in the header.
const SIZE: usize = 20 * CHUNK + 100;

fn cipher_of(world: &World, vfs: &kmsfs::vfs::Vfs, path: &str) -> Cipher {
    let header = std::fs::read(stored(world, vfs, path)).unwrap();
    Header::parse(&header).unwrap().core().cipher
}

#[test]
fn files_of_several_ciphers_live_in_one_store() {
    let world = World::new();
    for cipher in Cipher::ALL {
        let vfs = world.open_for(cipher);
        put(&vfs, cipher.name(), &pattern(SIZE, 1)).unwrap();
        mkdir(&vfs, &format!("dir {cipher}")).unwrap();
        put(&vfs, &format!("dir {cipher}/small"), b"small").unwrap();
        vfs.close().unwrap();
        drop(vfs);
    }
    for default in Cipher::ALL {
        let vfs = world.open_for(default);
        for cipher in Cipher::ALL {
            let name = cipher.name();
            assert_eq!(cipher_of(&world, &vfs, name), cipher);
            assert!(get(&vfs, name).unwrap() == pattern(SIZE, 1), "{name}");
            let small = format!("dir {cipher}/small");
            assert_eq!(get(&vfs, &small).unwrap(), b"small");
        }
        assert_eq!(fsck(&vfs), Vec::<String>::new());
        vfs.close().unwrap();
        drop(vfs);
    }
}

#[test]
fn a_file_is_changed_under_the_cipher_it_was_made_with() {
    let world = World::new();
    for cipher in Cipher::ALL {
        let vfs = world.open_for(cipher);
        put(&vfs, cipher.name(), &pattern(SIZE, 1)).unwrap();
        vfs.close().unwrap();
        drop(vfs);
    }
    let vfs = world.open_for(Cipher::XSalsa20Poly1305);
    let mut expected = pattern(SIZE, 1);
    expected[5000..5007].copy_from_slice(b"patched");
    expected.truncate(18 * CHUNK + 7);
    expected.resize(30 * CHUNK, 0);
    expected.extend_from_slice(b"appended");
    for cipher in Cipher::ALL {
        let name = cipher.name();
        patch(&vfs, name, 5000, b"patched").unwrap();
        truncate(&vfs, name, 18 * CHUNK + 7).unwrap();
        patch(&vfs, name, 30 * CHUNK, b"appended").unwrap();
        put(&vfs, &format!("{name} again"), &get(&vfs, name).unwrap()).unwrap();
    }
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open_for(Cipher::Aes256Gcm);
    for cipher in Cipher::ALL {
        let name = cipher.name();
        assert!(get(&vfs, name).unwrap() == expected, "{name}");
        assert_eq!(cipher_of(&world, &vfs, name), cipher);
        let again = format!("{name} again");
        assert!(get(&vfs, &again).unwrap() == expected, "{again}");
        let copy = cipher_of(&world, &vfs, &again);
        assert_eq!(copy, Cipher::XSalsa20Poly1305, "a copy is a new file");
    }
    assert_eq!(fsck(&vfs), Vec::<String>::new());
}

#[test]
fn a_changed_chunk_is_refused_under_every_cipher() {
    for cipher in Cipher::ALL {
        let world = World::new();
        let vfs = world.open_for(cipher);
        put(&vfs, "victim", &pattern(SIZE, 1)).unwrap();
        put(&vfs, "fine", b"fine").unwrap();
        let victim = stored(&world, &vfs, "victim");
        vfs.close().unwrap();
        drop(vfs);
        let mut bytes = std::fs::read(&victim).unwrap();
        bytes[4096 + 3 * CHUNK + 9] ^= 1;
        std::fs::write(&victim, bytes).unwrap();
        let vfs = world.open_for(cipher);
        let refused = get(&vfs, "victim").unwrap_err();
        let VfsError::Damaged(Damage { part, .. }) = refused else {
            panic!("{refused} is no damage")
        };
        assert_eq!(part, Part::Chunk(3), "{cipher}");
        assert_eq!(get(&vfs, "fine").unwrap(), b"fine");
    }
}
