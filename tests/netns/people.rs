//! Two people and their nodes, everybody in a network namespace of his own, with real mounts: without a chain, and on one.

use std::fs;
use std::path::PathBuf;

use kms_ledger_evm::anvil::Anvil;
use kms_tests::five_minutes::{self, appears};
use kms_tests::{Mount, Person, TIMEOUT, errno, eventually, xattr};
use rustix::io::Errno;
use serde_json::json;
use tempfile::TempDir;

use crate::choices;
use crate::namespace::{OUTSIDE, Place, address, in_a_network_of_its_own};
use crate::nodes::Nodes;

/// Alice has mounted a store and knows Bob; both know the nodes.
struct Town {
    // Dropped in this order: mounts first.
    secure: Mount,
    alice: Person,
    tablet: Person,
    bob: Person,
    store: PathBuf,
    nodes: Nodes,
    _houses: [Place; 2],
    _root: TempDir,
}

impl Town {
    fn new(nodes: Nodes, ledger: &str, threshold: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let bootstrap = nodes.addresses();
        let network = [
            ("KMSFS_LEDGER", ledger),
            ("KMSFS_BOOTSTRAP", bootstrap.as_str()),
            ("KMSFS_THRESHOLD", threshold),
        ];
        let houses = [Place::new(201), Place::new(202)];
        let person = |name, house: &Place| {
            Person::new(root.path(), name)
                .with(&network)
                .at(&house.words())
        };
        let (alice, bob) = (person("alice", &houses[0]), person("bob", &houses[1]));
        // Another device of hers, with the same passphrase and as yet nothing else.
        let tablet = person("tablet/alice", &houses[0]);
        fs::copy(alice.passphrase(), tablet.passphrase()).unwrap();
        let store = alice.init("secure");
        let secure = alice.mount(&store, "secure");
        // Each knows of the others once it has read their ledgers.
        let (_, total) = threshold.split_once('/').unwrap();
        let all = format!("{total} of {total} nodes answer");
        eventually("the nodes to know each other", TIMEOUT, || {
            let out = alice.kmsfs(&["nodes"]).output().unwrap();
            String::from_utf8_lossy(&out.stdout)
                .contains(&all)
                .then_some(())
        });
        alice.run(&["contact", "add", "bob", &bob.key()]);
        Self {
            secure,
            alice,
            tablet,
            bob,
            store,
            nodes,
            _houses: houses,
            _root: root,
        }
    }

    /// Three nodes that keep the ledger themselves.
    fn without_a_chain(ledger: &str, threshold: &str) -> Self {
        let ledgers = vec![ledger.to_owned(); 3];
        Self::new(Nodes::with_ledgers(&ledgers), ledger, threshold)
    }
}

#[test]
fn the_first_five_minutes_without_a_chain() {
    in_a_network_of_its_own("people::the_first_five_minutes_without_a_chain", || {
        let mut town = Town::without_a_chain("dht:", "2/3");
        five_minutes::replay(&town.secure, &town.store, &town.bob, "2/3");
        // By default any one of three may be lost, for everything.
        for number in 0..3 {
            town.nodes.kill(number);
            let name = format!("letter-{number}");
            let letter = town.secure.at(&name);
            fs::write(&letter, "dear bob").unwrap();
            xattr::grant(&letter, "bob m=1/2").unwrap();
            let bobs = town.bob.mount(&town.store, "alice");
            assert_eq!(fs::read_to_string(bobs.at(&name)).unwrap(), "dear bob");
            xattr::revoke(&letter, "bob").unwrap();
            eventually("the revocation to bite", TIMEOUT, || {
                (errno(fs::read(bobs.at(&name))) == Errno::KEYREVOKED).then_some(())
            });
            bobs.unmount();
            town.nodes.restart(number);
        }
    });
}

/// One keeper is enough to answer, and every entry is taken by all: what is shared survives the loss of any two of three
/// nodes, and a revocation is not confirmed before the last one has it.
#[test]
fn what_is_shared_survives_the_loss_of_any_two_of_three_nodes() {
    in_a_network_of_its_own(
        "people::what_is_shared_survives_the_loss_of_any_two_of_three_nodes",
        || {
            let mut town = Town::without_a_chain("dht:?quorum=1", "1/3");
            let photos = town.secure.at("photos");
            fs::create_dir(&photos).unwrap();
            fs::write(photos.join("one"), "one").unwrap();
            xattr::grant(&photos, "bob").unwrap();
            let old = town.bob.mount(&town.store, "old");
            appears(&old.at("photos"));
            for lost in choices(&[0, 1, 2], 2) {
                lost.iter().for_each(|number| town.nodes.kill(*number));
                // Somebody who has just sat down, and somebody who was there before.
                let name = format!("later-{lost:?}");
                fs::write(photos.join(&name), "later").unwrap();
                let new = town.bob.mount(&town.store, "new");
                for bobs in [&new, &old] {
                    eventually("the new photo", TIMEOUT, || {
                        fs::read_to_string(bobs.at("photos").join(&name)).ok()
                    });
                    assert_eq!(fs::read_to_string(bobs.at("photos/one")).unwrap(), "one");
                }
                new.unmount();
                town.nodes.restart_these(&lost);
            }
        },
    );
}

#[test]
fn the_first_five_minutes_on_a_chain() {
    in_a_network_of_its_own("people::the_first_five_minutes_on_a_chain", || {
        let host = address(OUTSIDE).to_string();
        let anvil = Anvil::start(&["--block-time", "1", "--host", &host]);
        let contract = anvil.deploy("kms-main");
        let ledger = format!("evm:31337/{contract}?rpc={}&confirmations=1", anvil.url());
        let keys = tempfile::tempdir().unwrap();
        let ledgers: Vec<_> = (1..=5)
            .map(|number| {
                let key = keys.path().join(format!("account-{number}"));
                anvil.rich_key_file(&key, [number; 32]);
                format!("{ledger}&key={}", key.display())
            })
            .collect();
        let town = Town::new(Nodes::with_ledgers(&ledgers), &ledger, "3/5");
        five_minutes::replay(&town.secure, &town.store, &town.bob, "3/5");
        revoke_with_another_device(town);
        // Nobody's account has signed it: what stands on the chain is the policy, its secret and the epoch.
        let all = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": contract }]);
        let events = anvil.rpc("eth_getLogs", all);
        let last = events.as_array().unwrap().last().unwrap();
        let data = last["data"].as_str().unwrap();
        assert_eq!(data.len(), "0x".len() + 2 * (32 + 16 + 4), "{data}");
    });
}

/// The device that granted is lost. Another one of the owner's has her identity and the store, and that is enough.
fn revoke_with_another_device(town: Town) {
    let letter = town.secure.at("letter");
    fs::write(&letter, "dear bob").unwrap();
    xattr::grant(&letter, "bob").unwrap();
    let bobs = town.bob.mount(&town.store, "again");
    eventually("the letter", TIMEOUT, || {
        fs::read_to_string(bobs.at("letter")).ok()
    });
    town.secure.unmount();
    fs::create_dir_all(town.tablet.home()).unwrap();
    let identity = |person: &Person| person.home().join("identity");
    fs::copy(identity(&town.alice), identity(&town.tablet)).unwrap();
    let tablets = town.tablet.mount(&town.store, "secure");
    xattr::revoke(&tablets.at("letter"), &town.bob.key()).unwrap();
    eventually("the revocation to bite", TIMEOUT, || {
        (errno(fs::read(bobs.at("letter"))) == Errno::KEYREVOKED).then_some(())
    });
}
