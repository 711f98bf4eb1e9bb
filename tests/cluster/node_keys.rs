//! Nodes whose storage key other nodes keep.

use kms_tests::{Devnet, TIMEOUT, eventually};

#[test]
fn a_node_gets_its_key_from_others_waits_for_enough_of_them_and_not_all_may_depend_on_others() {
    let root = tempfile::tempdir().unwrap();
    let mut net = Devnet::start(root.path(), 4);
    net.kill(1);
    let said = net.move_key(1, "kms").unwrap();
    assert!(said.contains("moved from file to kms"), "{said}");
    assert!(
        !net.node_dir(1).join("data/storage.key").exists(),
        "it is on this disk no more"
    );
    net.restart(1);

    // Two of three others are needed, and one is there.
    (1..=3).for_each(|number| net.kill(number));
    net.begin(1);
    eventually("the node to say what it waits for", TIMEOUT, || {
        net.log(1)
            .contains("waiting for the nodes that keep the storage key")
            .then_some(())
    });
    net.restart(2);
    net.answers(1);

    // Nodes 1 and 2 would need others then; of the three others of node 3 only one could be the first to start.
    net.kill(2);
    net.begin(3);
    net.answers(3);
    net.move_key(2, "kms").unwrap();
    net.restart(2);
    net.kill(3);
    let refused = net.move_key(3, "kms").unwrap_err();
    assert!(
        refused.contains("must have a key source of their own"),
        "{refused}"
    );
    net.restart(3);
    // Back again.
    net.kill(1);
    let said = net.move_key(1, "file").unwrap();
    assert!(said.contains("moved from kms to file"), "{said}");
    net.restart(1);
}

/// Three keepers of a `dht:` ledger: when two of them waited for their keys, the third alone could not read the ledger, so
/// that nobody released a key, and after a restart of all the network stood still for good.
#[test]
fn of_those_who_keep_the_ledger_enough_must_need_nobody_to_start() {
    let root = tempfile::tempdir().unwrap();
    let mut net = Devnet::start(root.path(), 4);
    (1..=4).for_each(|number| net.kill(number));
    let keepers: Vec<_> = net.bootstrap.split(',').take(3).collect();
    let ids = keepers.iter().map(|it| it.rsplit('/').next().unwrap());
    let ledger = format!("dht:{}", ids.collect::<Vec<_>>().join(","));
    for number in 1..=4 {
        net.configure(number, "ledger", &ledger);
        // Nothing but who they are: they have seen another ledger before.
        for file in std::fs::read_dir(net.node_dir(number).join("data")).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap() != "node.key" {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    (1..=4).for_each(|number| net.begin(number));
    (1..=4).for_each(|number| net.answers(number));
    net.kill(1);
    let said = eventually("the nodes to have registered", TIMEOUT, || {
        net.move_key(1, "kms").ok()
    });
    assert!(said.contains("moved from file to kms"), "{said}");
    net.restart(1);
    net.kill(2);
    let refused = net.move_key(2, "kms").unwrap_err();
    assert!(refused.contains("this node keeps the ledger"), "{refused}");
    net.restart(2);
    // Whoever does not keep it may.
    net.kill(4);
    net.move_key(4, "kms").unwrap();
    // And all come back.
    (1..=3).for_each(|number| net.kill(number));
    (1..=4).for_each(|number| net.begin(number));
    (1..=4).for_each(|number| net.answers(number));
}

/// The nodes that keep a key may leave for good while its own node runs: it found out at its next start.
#[test]
fn a_node_gives_its_key_away_anew_in_time_and_when_those_who_keep_it_are_gone() {
    let root = tempfile::tempdir().unwrap();
    let mut net = Devnet::start(root.path(), 5);
    net.kill(1);
    net.configure(1, "key_lifetime", "4m");
    net.move_key(1, "kms").unwrap();
    net.restart(1);
    let file = net.node_dir(1).join("data/storage.kms");
    let kept = std::fs::read(&file).unwrap();
    // Whoever has none of the three fragments stays.
    let holders: Vec<_> = (2..=5)
        .filter(|number| net.fragments(*number) > 0)
        .collect();
    assert_eq!(holders.len(), 3);
    net.kill(holders[0]);
    eventually("the key to be given away anew", 3 * TIMEOUT, || {
        (std::fs::read(&file).unwrap() != kept).then_some(())
    });
    net.kill(1);
    net.kill(holders[1]);
    net.restart(1);
}
