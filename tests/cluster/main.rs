//! Two people, real mounts, and a network of real node processes.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

mod api;
mod care;
mod chain;
mod ciphers;
mod copies;
mod five_minutes;
mod languages;
mod leaks;
mod ledger;
mod node_keys;
mod pages;
mod printed;
mod quorum;
mod reorganisation;
mod retirement;
mod revocation;
mod rpc_fuzz;
mod schemes;
mod transfer;

use std::path::PathBuf;

use kms_tests::five_minutes::appears;
use kms_tests::{Devnet, Mount, Person};
use tempfile::TempDir;

/// Alice with a mounted store, Bob in her contacts, five nodes.
struct Scene {
    // Dropped in this order: mounts first, the directory last.
    secure: Mount,
    alice: Person,
    bob: Person,
    store: PathBuf,
    net: Devnet,
    root: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self::with_nodes(5)
    }

    fn with_nodes(nodes: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let net = Devnet::start(root.path(), nodes);
        Self::on(net, root)
    }

    fn on(net: Devnet, root: TempDir) -> Self {
        let alice = Person::on(&net, root.path(), "alice");
        let bob = Person::on(&net, root.path(), "bob");
        let store = alice.init("secure");
        let secure = alice.mount(&store, "secure");
        alice.run(&["contact", "add", "bob", &bob.key()]);
        Self {
            secure,
            alice,
            bob,
            store,
            net,
            root,
        }
    }

    /// Bob's mount of Alice's store.
    fn bobs(&self) -> Mount {
        self.bob.mount(&self.store, "alice")
    }
}
