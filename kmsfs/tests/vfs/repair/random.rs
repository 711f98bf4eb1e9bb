//! One thing in the store damaged at random: afterwards everything else is as it was, and what is lost is named.

use super::*;
use crate::mutation::{fill, mutate};
use crate::random::{Rng, cases};

fn one_store(seed: u64) -> u64 {
    let mut rng = Rng::new(seed);
    let knows = rng.chance(50);
    let scene = Scene::new(fill);
    if !knows {
        scene.forget();
    }
    let (what, _undo) = mutate(&scene.world.store(), &mut rng);
    let vfs = for_check(&scene.world);
    let report = vfs.repair(&mut |_| {}).unwrap();
    vfs.close().unwrap();
    drop(vfs);
    let told = told(&report);
    let left = looked(&scene.world);
    assert_eq!(
        repaired(&scene.world),
        left,
        "seed {seed}: {what}: what was left is left again, after {told:?}"
    );
    assert!(
        left.iter().all(|it| it.contains(" none ")),
        "seed {seed}: {what}: {left:?} after {told:?}"
    );
    if !scene.world.store().join("kmsfs.toml").exists() {
        return 1;
    }
    let Ok(vfs) = scene.world.try_open(Disk::default()) else {
        assert!(!left.is_empty(), "seed {seed}: {what}");
        return 1;
    };
    let now = tree(&vfs, "");
    let is_named = |path: &str| {
        report.findings.iter().any(|it| {
            let found = it.path.to_str().unwrap();
            // Of a name that cannot be read only the directory is told.
            path.starts_with(found) || found.starts_with("xattr") || found.is_empty()
        })
    };
    for (path, was) in &scene.tree {
        let is_same = now.get(path) == Some(was);
        // What was removed cannot be missed by a client that has never seen it.
        let may_be_missed = !knows && what.starts_with("removed") && !now.contains_key(path);
        assert!(
            is_same || is_named(path) || may_be_missed,
            "seed {seed}: {what}: {path} is not what it was, and nothing is said: {told:?}"
        );
    }
    for (path, is) in &now {
        let known = scene
            .tree
            .values()
            .any(|was| was.0 == is.0 && was.1 == is.1);
        assert!(
            known || is.0.is_none() && is.1.is_none(),
            "seed {seed}: {what}: {path} reads as something else"
        );
    }
    1
}

#[test]
fn one_thing_damaged_costs_that_thing_at_most() {
    cases("KMSFS_REPAIRS", 60, one_store);
}
