//! Objects that somebody moved, copied or renamed in the store.

use std::fs;

use super::*;

fn fill(vfs: &Vfs) {
    for dir in ["d", "d/inner", "e"] {
        mkdir(vfs, dir).unwrap();
    }
    for (seed, file) in (1..).zip(["d/a", "d/b", "d/inner/c", "e/o"]) {
        put(vfs, file, &pattern(9_000, seed)).unwrap();
        set_xattr(vfs, file, "user.x", &pattern(4_000, seed)).unwrap();
    }
    put(vfs, &long(), b"long").unwrap();
}

fn long() -> String {
    format!("d/{}", "n".repeat(230))
}

/// Moves something in the store into another directory of it.
fn carry(scene: &Scene, what: &str, to: &str) -> PathBuf {
    let from = scene.at(what);
    let to = scene.at(to).join(from.file_name().unwrap());
    fs::rename(from, &to).unwrap();
    to
}

#[test]
fn what_was_moved_in_the_store_goes_back_where_it_belongs() {
    for what in ["d/a", "d/inner", &long()] {
        for knows in [true, false] {
            let scene = Scene::new(fill);
            if !knows {
                scene.forget();
            }
            carry(&scene, what, "e");
            let done = scene.repair();
            if what.len() < 100 {
                assert_eq!(done, ["+name put-back e"], "{what}");
            }
            if what.len() < 100 || knows {
                scene.assert_whole();
            }
        }
    }
}

#[test]
fn things_that_changed_places_change_back() {
    for (one, other) in [("d/a", "d/b"), ("d/a", "e/o"), ("d/inner", "e")] {
        let scene = Scene::new(fill);
        scene.forget();
        exchange(&scene.at(one), &scene.at(other));
        let done = scene.repair();
        assert!(done.iter().all(|it| it.contains("put-back")), "{done:?}");
        scene.assert_whole();
    }
}

#[test]
fn a_renamed_file_gets_its_name_back_from_memory_or_a_new_one() {
    let scene = Scene::new(fill);
    let renamed = scene.at("d").join("A".repeat(40));
    fs::rename(scene.at("d/a"), &renamed).unwrap();
    assert_eq!(scene.repair(), ["+name put-back d"]);
    scene.assert_whole();

    let scene = Scene::new(fill);
    scene.forget();
    let renamed = scene.at("d").join("A".repeat(40));
    fs::rename(scene.at("d/a"), &renamed).unwrap();
    assert_eq!(scene.repair(), ["+name lost+found d"]);
    let now = scene.tree_now();
    let found = now.keys().find(|path| path.starts_with("lost+found/#"));
    assert_eq!(now[found.unwrap()], scene.tree["d/a"]);
}

#[test]
fn what_has_lost_its_directory_is_found_under_its_own_name() {
    let scene = Scene::new(fill);
    scene.forget();
    carry(&scene, "d/inner/c", "e");
    fs::remove_dir_all(scene.at("d/inner")).unwrap();
    assert_eq!(scene.repair(), ["+name lost+found e"]);
    let now = scene.tree_now();
    assert_eq!(now["lost+found/c"], scene.tree["d/inner/c"]);
    assert_eq!(now["d/a"], scene.tree["d/a"]);

    // So is a directory, with all that is in it.
    let scene = Scene::new(fill);
    scene.forget();
    carry(&scene, "d/inner", "e");
    fs::remove_dir_all(scene.at("d")).unwrap();
    // With `d` went two files that have attributes in the store.
    assert_eq!(
        scene.repair(),
        ["+name lost+found e", "+unused remove ", "+unused remove "]
    );
    let now = scene.tree_now();
    assert_eq!(now["lost+found/inner/c"], scene.tree["d/inner/c"]);
    let vfs = scene.world.open();
    rename(&vfs, "lost+found/inner", "e/inner").unwrap();
    vfs.close().unwrap();
    drop(vfs);
    assert_eq!(looked(&scene.world), [""; 0]);
}

#[test]
fn two_of_one_name_both_find_room() {
    let scene = Scene::new(|vfs| {
        for dir in ["d", "d/one", "d/two", "e"] {
            mkdir(vfs, dir).unwrap();
        }
        put(vfs, "d/one/same", b"one").unwrap();
        put(vfs, "d/two/same", b"two").unwrap();
    });
    scene.forget();
    carry(&scene, "d/one/same", "e");
    carry(&scene, "d/two/same", "e");
    fs::remove_dir_all(scene.at("d")).unwrap();
    assert_eq!(scene.repair(), ["+name lost+found e"; 2]);
    let now = scene.tree_now();
    let found: Vec<_> = now
        .iter()
        .filter(|(path, _)| path.starts_with("lost+found/same"))
        .map(|(_, it)| it.0.clone().unwrap())
        .collect();
    assert_eq!(found.len(), 2);
    assert!(found.contains(&b"one".to_vec()) && found.contains(&b"two".to_vec()));
}

#[test]
fn a_copy_goes_and_another_version_stays_for_its_owner_to_judge() {
    let scene = Scene::new(fill);
    let copy = scene.at("e").join(scene.at("d/a").file_name().unwrap());
    fs::copy(scene.at("d/a"), &copy).unwrap();
    assert_eq!(scene.repair(), ["+name remove e"]);
    scene.assert_whole();
    fs::copy(scene.at("d/a"), &copy).unwrap();
    scene.forget();
    let vfs = scene.world.open();
    patch(&vfs, "d/a", 0, b"newer").unwrap();
    vfs.close().unwrap();
    drop(vfs);
    scene.forget();
    assert_eq!(repaired(&scene.world), ["-name none e"]);
    assert!(copy.exists());
    // Whoever has seen the newer one calls it older.
    get(&scene.world.open(), "d/a").unwrap();
    let vfs = scene.world.open();
    get(&vfs, "d/a").unwrap();
    vfs.close().unwrap();
    drop(vfs);
    assert_eq!(repaired(&scene.world), ["-name none e"]);
}

#[test]
fn what_was_removed_does_not_come_back_through_another_directory() {
    let scene = Scene::new(fill);
    let kept = scene.world.dir.path().join("kept");
    fs::copy(scene.at("d/a"), &kept).unwrap();
    let vfs = scene.world.open();
    unlink(&vfs, "d/a").unwrap();
    vfs.close().unwrap();
    drop(vfs);
    let there = scene.at("e").join(scene.at("d/a").file_name().unwrap());
    fs::copy(&kept, &there).unwrap();
    let vfs = for_check(&scene.world);
    let report = vfs.repair(&mut |_| {}).unwrap();
    assert_eq!(report.left(), report.findings.len());
    assert!(
        report.findings[0].outcome().contains("--accept-older"),
        "{}",
        report.findings[0].outcome()
    );
}

#[test]
fn what_was_not_made_here_is_left_alone() {
    let scene = Scene::new(fill);
    fs::write(scene.at("d").join("notes.txt"), b"mine").unwrap();
    fs::create_dir(scene.at("d").join("things")).unwrap();
    assert_eq!(repaired(&scene.world), ["-name none d"; 2]);
    assert!(scene.at("d").join("notes.txt").exists());
    scene.assert_whole();
}

#[test]
fn a_name_a_file_never_had_goes() {
    let scene = Scene::new(fill);
    let name = scene.at("e").join(scene.at("d/a").file_name().unwrap());
    fs::hard_link(scene.at("d/a"), &name).unwrap();
    assert_eq!(scene.repair(), ["+name remove e"]);
    scene.assert_whole();
}

#[test]
fn what_has_vanished_is_reported_once() {
    let scene = Scene::new(fill);
    fs::remove_file(scene.at("d/b")).unwrap();
    for _ in 0..2 {
        assert_eq!(
            looked(&scene.world),
            ["-unused remove ", "-vanished forget d/b"]
        );
    }
    let done = repaired(&scene.world);
    assert!(
        done.contains(&"+vanished forget d/b".to_owned()),
        "{done:?}"
    );
    assert_eq!(looked(&scene.world), [""; 0]);
}
