//! What an owner can find out about grants, and do about them.

use std::fs;

use kms_tests::{TIMEOUT, eventually, xattr};

use crate::{Scene, appears};

#[test]
fn an_owner_sees_who_asked_and_how_many_nodes_serve_and_replaces_those_that_are_lost() {
    let scene = Scene::with_nodes(7);
    let plan = scene.secure.at("plan.txt");
    fs::write(&plan, "launch friday\n").unwrap();
    xattr::grant(&plan, "bob m=3/5 ttl=7d").unwrap();
    let path = plan.to_str().unwrap();
    let everything = scene.secure.at("").to_str().unwrap().to_owned();

    let said = scene.alice.run(&["health", &everything]);
    assert!(said.contains("5 of 5 serve, 3 needed"), "{said}");
    let said = scene.alice.run(&["audit", path]);
    assert!(said.contains("has not asked"), "{said}");
    let bobs = scene.bobs();
    appears(&bobs.at("plan.txt"));
    assert_eq!(fs::read(bobs.at("plan.txt")).unwrap(), b"launch friday\n");
    bobs.unmount();
    let said = scene.alice.run(&["audit", path]);
    assert!(
        said.contains("bob") && said.contains("got the key"),
        "{said}"
    );
    let line = xattr::get(&plan, "user.kms.audit").unwrap();
    assert!(line.starts_with("bob: 2"), "{line}");
    assert!(
        line.contains("Z ok (") && line.ends_with("nodes)"),
        "{line}"
    );

    let holders: Vec<_> = (1..=7).filter(|it| scene.net.fragments(*it) > 0).collect();
    holders[..2]
        .iter()
        .for_each(|number| scene.net.kill(*number));
    let said = scene.alice.fails(&["health", path]);
    assert_eq!(said.code, 1);
    let said = scene.alice.kmsfs(&["health", path]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains("3 of 5 serve") && said.contains("--reissue"),
        "{said}"
    );
    // What the dead ones have noted is not known, and that is said.
    let said = scene.alice.kmsfs(&["audit", path]).output().unwrap();
    let (code, said) = (said.status.code(), String::from_utf8(said.stdout).unwrap());
    let silent = said.lines().filter(|it| it.contains('…')).count();
    assert!(
        code == Some(1) && silent == 2 && !said.contains("has not asked for the key"),
        "{code:?} {said}"
    );
    let said = scene.alice.run(&["health", "--reissue", path]);
    assert!(said.contains("granted anew"), "{said}");
    let health = || {
        let said = scene.alice.kmsfs(&["health", path]).output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    };
    eventually("the new nodes to serve", TIMEOUT, || {
        health().contains("5 of 5 serve").then_some(())
    });
    // With the new nodes alone: of the old ones, three more would be needed.
    let bobs = scene.bobs();
    eventually("bob to read", TIMEOUT, || {
        fs::read(bobs.at("plan.txt")).ok()
    });
    bobs.unmount();
    xattr::revoke(&plan, "bob").unwrap();
    eventually("nothing to be shared", TIMEOUT, || {
        health().contains("Nothing is shared there.").then_some(())
    });
}
