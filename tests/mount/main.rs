//! One person, one store, real mounts, no network: private files need none.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

mod bad_input;
mod ciphers;
mod config;
mod crash;
mod lock;
mod programs;
mod tamper;
mod users;

use std::path::PathBuf;

use kms_tests::{Mount, Person};
use tempfile::TempDir;

/// Alice with a mounted store.
struct Scene {
    secure: Mount,
    alice: Person,
    store: PathBuf,
    root: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    /// With further options of `kmsfs init`.
    fn with(options: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let alice = Person::new(root.path(), "alice");
        let store = alice.init_with("secure", options);
        let secure = alice.mount(&store, "secure");
        Self {
            secure,
            alice,
            store,
            root,
        }
    }

    /// Unmounts; what is left.
    fn unmounted(self) -> (Person, PathBuf, TempDir) {
        self.secure.unmount();
        (self.alice, self.store, self.root)
    }

    /// Kills the mount as a crash would; what is left.
    fn crashed(self) -> (Person, PathBuf, TempDir) {
        self.secure.crash();
        (self.alice, self.store, self.root)
    }

    /// Unmounts and mounts again, so that nothing is answered from memory.
    fn remount(self) -> Self {
        let Self {
            secure,
            alice,
            store,
            root,
        } = self;
        secure.unmount();
        let secure = alice.mount(&store, "secure");
        Self {
            secure,
            alice,
            store,
            root,
        }
    }
}
