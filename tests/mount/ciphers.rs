//! A mounted store for each cipher.

use std::fs;
use std::os::unix::fs::FileExt;

use kms_tests::{CIPHERS, Person, errno, tree};
use rustix::io::Errno;

use crate::Scene;

#[test]
fn every_cipher_keeps_what_is_written_and_refuses_what_was_changed() {
    for (cipher, id) in CIPHERS {
        let scene = Scene::with(&["--cipher", cipher]);
        let config = fs::read_to_string(scene.store.join("kmsfs.toml")).unwrap();
        assert!(config.contains(&format!("\ncipher = {id}\n")), "{config}");
        let status = scene.alice.run(&["status"]);
        assert!(status.contains(&format!("   {cipher}   ")), "{status}");

        let mut content = tree::bytes(1, 3_000_000);
        fs::write(scene.secure.at("large"), &content).unwrap();
        fs::write(scene.secure.at("small"), "small").unwrap();
        fs::write(scene.secure.at("empty"), "").unwrap();
        let large = fs::File::options()
            .write(true)
            .open(scene.secure.at("large"))
            .unwrap();
        large.write_all_at(b"overwritten", 1_234_567).unwrap();
        content[1_234_567..][..11].copy_from_slice(b"overwritten");
        drop(large);

        let scene = scene.remount();
        assert!(fs::read(scene.secure.at("large")).unwrap() == content);
        assert_eq!(fs::read(scene.secure.at("small")).unwrap(), b"small");
        assert_eq!(fs::read(scene.secure.at("empty")).unwrap(), b"");

        let (alice, store, root) = scene.unmounted();
        let backing = fs::File::options()
            .read(true)
            .write(true)
            .open(tree::backing_file_by_size(&store, 3_000_000))
            .unwrap();
        let mut byte = [0];
        backing.read_exact_at(&mut byte, 100_000).unwrap();
        backing.write_all_at(&[byte[0] ^ 1], 100_000).unwrap();
        let secure = alice.mount(&store, "secure");
        let refused = errno(fs::read(secure.at("large")));
        assert_eq!(refused, Errno::IO, "{cipher}");
        assert_eq!(fs::read(secure.at("small")).unwrap(), b"small");
        secure.unmount();
        assert_eq!(alice.fails(&["fsck", store.to_str().unwrap()]).code, 4);
        drop(root);
    }
}

#[test]
fn an_unknown_cipher_is_refused_with_the_names_of_those_there_are() {
    let root = tempfile::tempdir().unwrap();
    let alice = Person::new(root.path(), "alice");
    let refused = alice.fails(&["init", "secure", "--cipher", "rot13"]);
    assert_eq!(refused.code, 64);
    for (cipher, _) in CIPHERS {
        assert!(refused.stderr.contains(cipher), "{}", refused.stderr);
    }
    assert!(!alice.dir.join("secure.kmsfs").exists());
}
