//! Withdrawing access, with nodes that do not help.

use kms_client::fake::Conduct;

use crate::{PATIENCE, Scene, eventually};

#[test]
fn the_one_is_cut_off_and_the_other_reads_on() {
    let scene = Scene::new(5);
    scene.put("plan", "first");
    scene.grant("plan", "bob,carol").unwrap();
    scene.revoke("plan", "bob").unwrap();
    scene.refused(&scene.bob, "plan", libc::EKEYREVOKED);
    scene.put("plan", "second");
    eventually("carol reads what was written since", || {
        scene.read_as(&scene.carol, "plan").unwrap() == "second"
    });
    let info = scene.info("plan");
    assert!(
        info.contains("readers=carol(") && info.contains("epoch=2"),
        "{info}"
    );
    eventually("bob's fragments are deleted", || scene.net.fragments() == 5);
}

#[test]
fn it_counts_as_soon_as_the_ledger_has_it_though_nodes_are_away() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", "bob").unwrap();
    scene.net.set(0, Conduct::Dead);
    scene.net.set(1, Conduct::Silent);
    scene.revoke("plan", "bob").unwrap();
    scene.refused(&scene.bob, "plan", libc::EKEYREVOKED);
    assert!(!scene.listed("plan"));
    assert!(scene.info("plan").contains("readers=none"));
}

/// It used to be an error after which nothing was left of the wish: whoever revoked on a train had to think of it again.
#[test]
fn without_any_node_it_is_written_down_shown_and_done_when_nodes_are_back() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", "bob,carol").unwrap();
    (0..5).for_each(|node| scene.net.set(node, Conduct::Dead));
    let refused = scene.revoke("plan", "bob").unwrap_err();
    assert_eq!(refused.errno, libc::EINPROGRESS);
    assert!(refused.failure.what.contains("bob"), "{refused:?}");
    assert!(scene.listed("plan"), "bob may still have access");
    let info = scene.info("plan");
    assert!(
        info.contains("bob(r,revoking)") && info.ends_with("state=revoking"),
        "{info}"
    );
    (0..5).for_each(|node| scene.net.set(node, Conduct::Honest));
    eventually("the revocation is confirmed", || {
        scene.info("plan").ends_with("state=ok")
    });
    scene.refused(&scene.bob, "plan", libc::EKEYREVOKED);
    scene.reads(&scene.carol, "plan", "x");
    eventually("bob's fragments are deleted", || scene.net.fragments() == 5);
}

#[test]
fn a_withdrawal_that_was_not_confirmed_is_at_the_next_mount() {
    let mut scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", "bob").unwrap();
    (0..5).for_each(|node| scene.net.set(node, Conduct::Dead));
    scene.revoke("plan", "bob").unwrap_err();
    scene.rename("plan", "elsewhere");
    scene.owner.finish(PATIENCE);
    (0..5).for_each(|node| scene.net.set(node, Conduct::Honest));
    scene.reads(&scene.bob, "elsewhere", "x");
    scene.reopen();
    eventually("the revocation is confirmed", || !scene.listed("elsewhere"));
    scene.refused(&scene.bob, "elsewhere", libc::EKEYREVOKED);
}

#[test]
fn when_enough_nodes_may_have_kept_fragments_the_label_gets_another_key() {
    let scene = Scene::new(10);
    scene.put("plan", "x");
    scene.grant("plan", "bob,carol").unwrap();
    let record = scene.owner.all_records();
    let bobs = record
        .iter()
        .find(|it| it.params.recipient == scene.bob.public())
        .unwrap();
    for node in bobs.nodes.iter().take(3) {
        scene
            .net
            .set(scene.net.index(&node.key).unwrap(), Conduct::Dead);
    }
    scene.revoke("plan", "bob").unwrap();
    eventually("another delegating key", || {
        let label = scene.vfs.label_of(scene.ino("plan")).unwrap();
        label.unwrap().generation == 2
    });
    scene.reads(&scene.carol, "plan", "x");
    scene.refused(&scene.bob, "plan", libc::EKEYREVOKED);
}

#[test]
fn fragments_that_could_not_be_deleted_are_at_the_next_mount() {
    let mut scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", "bob").unwrap();
    scene.net.set(3, Conduct::Dead);
    scene.revoke("plan", "bob").unwrap();
    scene.owner.finish(PATIENCE);
    assert_eq!(scene.net.fragments(), 1);
    scene.net.set(3, Conduct::Honest);
    scene.reopen();
    eventually("the last fragment is deleted", || {
        scene.net.fragments() == 0
    });
}

#[test]
fn access_from_above_is_named_and_left_alone() {
    let scene = Scene::new(5);
    scene.mkdir("dir");
    scene.put("dir/file", "x");
    scene.grant("dir", "bob").unwrap();
    scene.grant("dir/file", "bob,carol").unwrap();
    for who in ["bob", "*"] {
        let refused = scene.revoke("dir/file", who).unwrap_err();
        assert_eq!(refused.errno, libc::EINVAL);
        assert!(refused.failure.why.contains("through dir"), "{refused:?}");
    }
    scene.reads(&scene.carol, "dir/file", "x");
    scene.revoke("dir/file", "carol").unwrap();
    scene.refused(&scene.carol, "dir/file", libc::EKEYREVOKED);
    scene.revoke("dir", "bob").unwrap();
    scene.revoke("dir/file", "*").unwrap();
    scene.refused(&scene.bob, "dir/file", libc::EKEYREVOKED);
}

#[test]
fn who_has_no_access_is_no_error() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.revoke("plan", "bob").unwrap();
    scene.revoke("plan", "*").unwrap();
    assert_eq!(
        scene.revoke("plan", "bobb").unwrap_err().errno,
        libc::EDESTADDRREQ
    );
    let label = scene.vfs.label_of(scene.ino("plan")).unwrap();
    assert!(label.is_none(), "a private file stays one");
}

#[test]
fn an_ended_grant_opens_nothing_and_is_listed_no_more() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", "bob ttl=2s").unwrap();
    assert!(scene.listed("plan"));
    scene.net.pass(60);
    scene.refused(&scene.bob, "plan", libc::EKEYEXPIRED);
    eventually("the end by the owner's own clock", || !scene.listed("plan"));
}
