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
