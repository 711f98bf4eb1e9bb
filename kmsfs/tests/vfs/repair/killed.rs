//! A repair that is killed anywhere goes on when it is started again.

use std::fs;

use super::*;

fn fill(vfs: &Vfs) {
    for dir in ["d", "d/inner", "e", "gone"] {
        mkdir(vfs, dir).unwrap();
    }
    for (seed, file) in (1..).zip(["d/a", "d/b", "d/inner/c", "e/o", "gone/f"]) {
        put(vfs, file, &pattern(5_000, seed)).unwrap();
    }
    put(vfs, "many", b"many names").unwrap();
    for n in 0..14 {
        link(vfs, "many", &format!("d/{n}")).unwrap();
    }
}

/// A header lost, two files exchanged, one whose directory is gone, one in the wrong directory, names lost, litter.
fn damaged() -> Scene {
    let scene = Scene::new(fill);
    fs::remove_file(scene.header("d")).unwrap();
    exchange(&scene.at("d/a"), &scene.at("d/b"));
    let at_e = |path: &str| scene.at("e").join(scene.at(path).file_name().unwrap());
    fs::rename(scene.at("gone/f"), at_e("gone/f")).unwrap();
    fs::remove_dir_all(scene.at("gone")).unwrap();
    fs::rename(scene.at("d/inner"), at_e("d/inner")).unwrap();
    let shelf = scene.world.store().join("names");
    fs::remove_dir_all(shelf).unwrap();
    fs::write(scene.at("e").join("kmsfs.new.1"), b"litter").unwrap();
    scene
}

#[test]
fn wherever_it_is_killed() {
    let mut expected = damaged();
    let done = expected.repair();
    assert!(done.len() >= 6, "{done:?}");
    expected.tree = expected.tree_now();
    assert!(expected.tree.contains_key("lost+found/f"));
    for n in 0.. {
        let scene = damaged();
        let faults = Faults::kill_at(n);
        if let Ok(vfs) = try_check(&scene.world, Disk::gated(faults.clone())) {
            let _ = vfs.repair(&mut |_| {});
        }
        let is_over = !faults.struck();
        scene.repair();
        assert_same(&scene.tree_now(), &expected.tree);
        if is_over {
            return;
        }
    }
}
