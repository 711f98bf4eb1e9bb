//! Shared things that move, are saved, or go.

use crate::{Scene, eventually};

#[test]
fn a_reader_finds_what_was_renamed() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", "bob").unwrap();
    scene.mkdir("work");
    scene.rename("plan", "work/the plan");
    scene.rename("work", "archive");
    eventually("the ticket follows", || {
        scene.read_as(&scene.bob, "archive/the plan").is_ok()
    });
    scene.refused(&scene.bob, "plan", libc::EACCES);
}

#[test]
fn a_file_saved_by_rename_keeps_its_readers_and_no_node_is_asked() {
    let scene = Scene::new(5);
    scene.put("plan", "first");
    scene.grant("plan", "bob").unwrap();
    (0..5).for_each(|node| scene.net.set(node, kms_client::fake::Conduct::Dead));
    scene.put("plan.tmp", "second");
    scene.rename("plan.tmp", "plan");
    eventually("the label moves", || scene.listed("plan"));
    (0..5).for_each(|node| scene.net.set(node, kms_client::fake::Conduct::Honest));
    eventually("bob reads what was saved", || {
        scene
            .read_as(&scene.bob, "plan")
            .is_ok_and(|read| read == "second")
    });
}

#[test]
fn a_file_saved_by_putting_the_old_one_aside_keeps_its_readers() {
    let scene = Scene::new(5);
    scene.put("plan", "first");
    scene.grant("plan", "bob").unwrap();
    scene.rename("plan", "plan~");
    scene.put("plan", "second");
    scene.unlink("plan~");
    eventually("the grant moves", || {
        scene
            .read_as(&scene.bob, "plan")
            .is_ok_and(|read| read == "second")
    });
    assert!(scene.listed("plan"));
}

#[test]
fn a_private_file_in_the_place_of_a_shared_one_stays_private() {
    let scene = Scene::new(5);
    scene.put("plan", "shared");
    scene.put("secret", "private");
    scene.grant("plan", "bob").unwrap();
    scene.rename("plan", "plan~");
    scene.rename("secret", "plan");
    scene.unlink("plan~");
    eventually("the grant ends", || scene.owner.all_records().is_empty());
    assert!(!scene.listed("plan"));
    scene.refused(&scene.bob, "plan", libc::EACCES);
}

#[test]
fn with_tunnelling_off_a_saved_file_is_private() {
    let scene = Scene::with(5, false);
    scene.put("plan", "first");
    scene.grant("plan", "bob").unwrap();
    scene.put("plan.tmp", "second");
    scene.rename("plan.tmp", "plan");
    eventually("the grant ends", || scene.owner.all_records().is_empty());
    assert!(!scene.listed("plan"));
    scene.refused(&scene.bob, "plan", libc::EACCES);
}

#[test]
fn what_is_deleted_takes_its_grants_along() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", "bob").unwrap();
    scene.unlink("plan");
    eventually("nodes, records and tickets forget it", || {
        let mailboxes = std::fs::read_dir(scene.store().join("shares")).unwrap();
        let left = mailboxes
            .flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap())
            .count();
        scene.net.fragments() == 0 && scene.owner.all_records().is_empty() && left == 0
    });
    scene.put("plan", "another");
    assert!(!scene.listed("plan"));
    scene.refused(&scene.bob, "plan", libc::EACCES);
}
