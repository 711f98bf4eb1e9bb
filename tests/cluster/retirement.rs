//! Nodes that leave for good.

use std::fs;

use kms_tests::xattr;

use crate::{Scene, appears};

#[test]
fn every_first_keeper_retires_one_after_another_and_the_recipient_still_reads() {
    let mut scene = Scene::with_nodes(6);
    let plan = scene.secure.at("plan.txt");
    fs::write(&plan, "launch friday\n").unwrap();
    // Only the first three are there to take a fragment.
    (4..=6).for_each(|number| scene.net.kill(number));
    xattr::grant(&plan, "bob m=2/3 ttl=7d").unwrap();
    (4..=6).for_each(|number| scene.net.restart(number));

    let bobs = scene.bobs();
    let theirs = bobs.at("plan.txt");
    appears(&theirs);
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "launch friday\n");
    bobs.unmount();
    for number in 1..=3 {
        let said = scene.net.retire(number);
        assert!(said.contains("it can be stopped"), "{said}");
        scene.net.kill(number);
        let refused = scene.net.cannot_start(number);
        assert!(refused.contains("this node retired"), "{refused}");
        let bobs = scene.bobs();
        assert_eq!(
            fs::read_to_string(bobs.at("plan.txt")).unwrap(),
            "launch friday\n",
            "after node {number} has left"
        );
        bobs.unmount();
    }
    // The owner finds the new places, too.
    xattr::revoke(&plan, "bob").unwrap();
    let held: usize = (4..=6).map(|number| scene.net.fragments(number)).sum();
    assert_eq!(held, 0, "deleted where they are now");
}
