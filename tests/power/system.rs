//! The filesystems that are put on the recorded disk.

use std::fs;
use std::path::{Path, PathBuf};

use kms_tests::disk::{detach, unmounted};
use kms_tests::{Mount, Person, tree};

/// What stands between the programs and the recorded disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum System {
    /// Nothing: a directory of ext4.
    Plain,
    Kmsfs,
    Gocryptfs,
}

/// A mounted one.
pub(crate) enum Mounted {
    Plain(PathBuf),
    Kmsfs(Mount),
    Gocryptfs(Daemon),
}

/// A mount whose process is in the background; taken away when dropped.
pub(crate) struct Daemon(PathBuf);

impl Drop for Daemon {
    fn drop(&mut self) {
        detach(&self.0);
    }
}

impl System {
    /// Makes an empty one on the disk.
    pub(crate) fn make(self, disk: &Path) {
        match self {
            Self::Plain => fs::create_dir(disk.join("plain")).unwrap(),
            // Her home, with the journal in it, is on the disk as well.
            Self::Kmsfs => drop(Person::new(disk, "alice").init("secure")),
            Self::Gocryptfs => {
                fs::create_dir(disk.join("cipher")).unwrap();
                fs::write(disk.join("passphrase"), "passphrase\n").unwrap();
                let init = [
                    "-init",
                    "-q",
                    "-scryptn",
                    "10",
                    "-passfile",
                    "passphrase",
                    "cipher",
                ];
                tree::run(disk, "gocryptfs", &init);
            }
        }
    }

    /// Mounts the one on the disk; mount points are beside it.
    pub(crate) fn mount(self, disk: &Path, root: &Path) -> Mounted {
        let at = root.join("mounted");
        if self != Self::Plain {
            fs::create_dir_all(&at).unwrap();
        }
        match self {
            Self::Plain => Mounted::Plain(disk.join("plain")),
            Self::Kmsfs => {
                let alice = Person::new(disk, "alice");
                let store = alice.dir.join("secure.kmsfs");
                Mounted::Kmsfs(alice.mount(&store, at.to_str().unwrap()))
            }
            Self::Gocryptfs => {
                let options = [
                    "-q",
                    "-passfile",
                    "passphrase",
                    "cipher",
                    at.to_str().unwrap(),
                ];
                tree::run(disk, "gocryptfs", &options);
                Mounted::Gocryptfs(Daemon(at))
            }
        }
    }

    /// What its own check complains about.
    pub(crate) fn check(self, disk: &Path) -> Option<String> {
        if self != Self::Kmsfs {
            return None;
        }
        let fsck = Person::new(disk, "alice")
            .kmsfs(&["fsck", "secure.kmsfs"])
            .output()
            .unwrap();
        let said = [fsck.stdout, fsck.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        (!fsck.status.success()).then(|| format!("fsck: {said}"))
    }
}

impl Mounted {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Plain(path) | Self::Gocryptfs(Daemon(path)) => path,
            Self::Kmsfs(mount) => &mount.path,
        }
    }

    pub(crate) fn unmount(self) {
        match self {
            Self::Plain(_) => {}
            Self::Kmsfs(mount) => mount.unmount(),
            Self::Gocryptfs(daemon) => unmounted(&daemon.0),
        }
    }
}
