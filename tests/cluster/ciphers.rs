//! Sharing does not depend on what content is encrypted with.

use std::fs;

use kms_tests::{CIPHERS, TIMEOUT, errno, eventually, tree, xattr};
use rustix::io::Errno;

use crate::Scene;

#[test]
fn every_cipher_is_shared_and_withdrawn_alike() {
    let scene = Scene::new();
    for (cipher, _) in CIPHERS {
        let store = scene.alice.init_with(cipher, &["--cipher", cipher]);
        let mine = scene.alice.mount(&store, cipher);
        let content = tree::bytes(3, 300_000);
        fs::write(mine.at("plan"), &content).unwrap();
        fs::create_dir(mine.at("dir")).unwrap();
        fs::write(mine.at("dir/below"), "below").unwrap();
        xattr::grant(&mine.at("plan"), "bob").unwrap();
        xattr::grant(&mine.at("dir"), "bob").unwrap();

        let bobs = scene.bob.mount(&store, cipher);
        assert!(fs::read(bobs.at("plan")).unwrap() == content, "{cipher}");
        assert_eq!(fs::read(bobs.at("dir/below")).unwrap(), b"below");

        xattr::revoke(&mine.at("plan"), "bob").unwrap();
        eventually("the revocation to bite", TIMEOUT, || {
            let refused = fs::read(bobs.at("plan")).err()?;
            assert_eq!(errno::<()>(Err(refused)), Errno::KEYREVOKED);
            Some(())
        });
        assert_eq!(fs::read(bobs.at("dir/below")).unwrap(), b"below");
        assert!(fs::read(mine.at("plan")).unwrap() == content, "{cipher}");
    }
}
