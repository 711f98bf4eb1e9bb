//! What anybody sees who looks at the store, the nodes, the ledger, the logs, or the wire.

use std::fs;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use kms_tests::{TIMEOUT, eventually, tree, xattr};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::{Scene, appears};

/// Everything that passes the loopback interface while it lives.
struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u8>>,
}

impl Capture {
    fn start() -> Self {
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )
        .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut all, mut packet) = (Vec::new(), vec![0; 1 << 16]);
            loop {
                match recv(fd.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                    Ok(len) => all.extend_from_slice(&packet[..len]),
                    Err(_) if stopped.load(Ordering::Relaxed) => return all,
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
                }
            }
        });
        Self { stop, thread }
    }

    fn stop(self) -> Vec<u8> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn nobody_finds_plaintext_a_name_or_a_key_anywhere() {
    const CONTENT: &str = "the-quick-brown-plaintext-of-alice";
    const NAME: &str = "unmistakable-file-name";
    const ATTRIBUTE: &str = "very-telling-attribute-value";
    let wire = Capture::start();
    let scene = Scene::new();
    let dir = scene.secure.at(format!("{NAME}-directory"));
    fs::create_dir(&dir).unwrap();
    fs::write(scene.secure.at(NAME), CONTENT.repeat(1000)).unwrap();
    fs::write(dir.join(format!("{NAME}-below")), CONTENT).unwrap();
    std::os::unix::fs::symlink(format!("{NAME}-target"), scene.secure.at("link")).unwrap();
    xattr::set(&scene.secure.at(NAME), "user.note", ATTRIBUTE).unwrap();
    xattr::grant(&scene.secure.at(NAME), "bob").unwrap();
    xattr::grant(&dir, "bob").unwrap();
    let bobs = scene.bobs();
    appears(&bobs.at(NAME));
    assert!(
        fs::read_to_string(bobs.at(NAME))
            .unwrap()
            .starts_with(CONTENT)
    );
    // Overwriting goes through the journal: look there too.
    fs::write(scene.secure.at(NAME), CONTENT.repeat(2000)).unwrap();
    xattr::revoke(&scene.secure.at(NAME), "bob").unwrap();
    eventually("the revocation to bite", TIMEOUT, || {
        fs::read(bobs.at(NAME)).err()
    });
    let wire = wire.stop();
    assert!(wire.len() > 10_000, "the capture saw the nodes talk");

    let backup = |person: &kms_tests::Person| {
        let secret = person.run(&["identity", "backup"]);
        secret
            .split_whitespace()
            .find(|word| word.starts_with("KMS-SECRET-KEY-1"))
            .expect("the secret key")
            .to_owned()
    };
    let secrets = [backup(&scene.alice), backup(&scene.bob)];
    let mut needles = vec![CONTENT, NAME, ATTRIBUTE];
    needles.extend(secrets.iter().map(String::as_str));
    for needle in needles {
        for place in [
            scene.store.as_path(),
            scene.net.dir(),
            &scene.alice.home(),
            &scene.bob.home(),
        ] {
            let found = tree::containing(place, needle.as_bytes());
            assert!(found.is_empty(), "{needle} stands in {found:?}");
        }
        assert!(
            !tree::contains(&wire, needle.as_bytes()),
            "{needle} passed the wire"
        );
        for log in ["alice/secure.log", "bob/alice.log"] {
            let log = fs::read(scene.root.path().join(log)).unwrap();
            assert!(
                !tree::contains(&log, needle.as_bytes()),
                "{needle} stands in a log"
            );
        }
    }
    // Links are not files: read their targets.
    for entry in fs::read_dir(&scene.store).unwrap() {
        if let Ok(target) = fs::read_link(entry.unwrap().path()) {
            assert!(!target.to_string_lossy().contains(NAME));
        }
    }
}
