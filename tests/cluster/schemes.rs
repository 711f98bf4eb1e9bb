//! A store of each debugging scheme with each cipher: shared, read and withdrawn like any other, and loudly
//! called insecure. The default scheme with each cipher is in `ciphers`.

use std::fs;

use kms_tests::{CIPHERS, TIMEOUT, errno, eventually, tree, xattr};
use rustix::io::Errno;

use crate::Scene;

#[test]
fn every_scheme_shares_and_withdraws_with_every_cipher() {
    let scene = Scene::new();
    for scheme in ["bbs98", "ecies", "afgh"] {
        for (cipher, _) in CIPHERS {
            let name = format!("{scheme}-{cipher}");
            let options = [
                "--cipher",
                cipher,
                "--scheme",
                scheme,
                "--i-know-this-is-insecure",
            ];
            let store = scene.alice.init_with(&name, &options);
            let mine = scene.alice.mount(&store, &name);
            let content = tree::bytes(3, 100_000);
            fs::write(mine.at("plan"), &content).unwrap();
            fs::create_dir(mine.at("dir")).unwrap();
            fs::write(mine.at("dir/below"), "below").unwrap();
            xattr::grant(&mine.at("plan"), "bob").unwrap();
            xattr::grant(&mine.at("dir"), "bob").unwrap();
            let refused = xattr::grant(&mine.at("dir/below"), "bob m=2/3");
            assert_eq!(
                errno::<()>(refused),
                Errno::INVAL,
                "{name}: a foreign threshold"
            );

            let bobs = scene.bob.mount(&store, &name);
            assert!(fs::read(bobs.at("plan")).unwrap() == content, "{name}");
            assert_eq!(fs::read(bobs.at("dir/below")).unwrap(), b"below");

            xattr::revoke(&mine.at("plan"), "bob").unwrap();
            eventually("the revocation to bite", TIMEOUT, || {
                let refused = fs::read(bobs.at("plan")).err()?;
                assert_eq!(errno::<()>(Err(refused)), Errno::KEYREVOKED);
                Some(())
            });
            assert_eq!(fs::read(bobs.at("dir/below")).unwrap(), b"below");
            assert!(fs::read(mine.at("plan")).unwrap() == content, "{name}");
            let said = scene.alice.run(&["status"]);
            assert!(said.contains("WARNING: NOT SECURE"), "{name}: {said}");
        }
    }
}
