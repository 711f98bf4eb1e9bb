//! Small damage to one object, and what cannot be helped.

use std::fs;

use super::*;

fn fill(vfs: &Vfs) {
    mkdir(vfs, "d").unwrap();
    put(vfs, "d/file", &pattern(90_000, 1)).unwrap();
    put(vfs, "fine", b"fine").unwrap();
    set_xattr(vfs, "d/file", "user.x", &pattern(9_000, 2)).unwrap();
    put(vfs, "many", b"many names").unwrap();
    for n in 0..20 {
        link(vfs, "many", &format!("d/{n}")).unwrap();
    }
    symlink(vfs, "fine", "link").unwrap();
}

#[test]
fn what_stands_behind_the_end_of_a_file_is_cut_off() {
    let scene = Scene::new(fill);
    let mut bytes = fs::read(scene.at("d/file")).unwrap();
    bytes.extend(pattern(5_000, 3));
    fs::write(scene.at("d/file"), bytes).unwrap();
    assert_eq!(looked(&scene.world), ["-surplus cut d/file"]);
    assert_eq!(scene.repair(), ["+surplus cut d/file"]);
    scene.assert_whole();
}

#[test]
fn lost_attributes_do_not_stand_in_the_way_of_the_content() {
    for damaged in [false, true] {
        let scene = Scene::new(fill);
        let shelf = scene.world.store().join("xattr");
        let side = fs::read_dir(&shelf)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let side = fs::read_dir(side).unwrap().next().unwrap().unwrap().path();
        if damaged {
            fs::write(&side, b"something else").unwrap();
        } else {
            fs::remove_file(&side).unwrap();
        }
        assert_eq!(looked(&scene.world), ["-attributes go-without d/file"]);
        let done = scene.repair();
        assert!(done.contains(&"+attributes go-without d/file".to_owned()));
        let vfs = scene.world.open();
        assert_eq!(get(&vfs, "d/file").unwrap(), pattern(90_000, 1));
        set_xattr(&vfs, "d/file", "user.x", b"again").unwrap();
        vfs.close().unwrap();
        drop(vfs);
        assert_eq!(looked(&scene.world), [""; 0]);
    }
}

#[test]
fn a_file_gets_its_many_names_back_from_memory() {
    for damaged in [false, true] {
        let scene = Scene::new(fill);
        let shelf = scene.world.store().join("names");
        let side = fs::read_dir(&shelf)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let side = fs::read_dir(side).unwrap().next().unwrap().unwrap().path();
        if damaged {
            fs::write(&side, b"something else").unwrap();
        } else {
            fs::remove_file(&side).unwrap();
        }
        let done = scene.repair();
        assert!(
            done.iter().any(|it| it.starts_with("+names rebind")),
            "{done:?}"
        );
        scene.assert_whole();
    }
}

#[test]
fn litter_goes() {
    let scene = Scene::new(fill);
    let hash = format!("l.{}", "x".repeat(43));
    let litter = [
        scene.at("d").join(format!("{hash}.name")),
        scene.at("d").join(format!("{hash}.link")),
        scene.at("d").join("kmsfs.new.0123"),
        scene
            .world
            .store()
            .join(format!("xattr/ab/{}.7", "ab".repeat(16))),
        scene
            .world
            .store()
            .join(format!("names/ab/{}.7", "ab".repeat(16))),
    ];
    for path in &litter {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"litter").unwrap();
    }
    assert_eq!(looked(&scene.world).len(), litter.len());
    let done = scene.repair();
    assert!(done.iter().all(|it| it.starts_with("+unused remove")));
    assert!(litter.iter().all(|path| !path.exists()));
    scene.assert_whole();
}

#[test]
fn what_may_belong_to_something_unreadable_stays() {
    let scene = Scene::new(fill);
    let kept = fs::read(scene.at("d/file")).unwrap();
    let mut damaged = kept.clone();
    damaged[100] ^= 5;
    fs::write(scene.at("d/file"), damaged).unwrap();
    assert_eq!(
        repaired(&scene.world),
        ["-header none d/file", "-unused none "]
    );
    // Its owner had a backup of it.
    fs::write(scene.at("d/file"), kept).unwrap();
    assert_eq!(looked(&scene.world), [""; 0]);
    scene.assert_whole();
}

#[test]
fn what_is_lost_is_named_and_nothing_else_is_touched() {
    let scene = Scene::new(fill);
    let mut bytes = fs::read(scene.at("d/file")).unwrap();
    bytes[4096 + 4096 * 3 + 5] ^= 1;
    fs::write(scene.at("d/file"), bytes).unwrap();
    fs::remove_file(scene.at("link")).unwrap();
    std::os::unix::fs::symlink("x".repeat(60), scene.at("link")).unwrap();
    for _ in 0..2 {
        assert_eq!(
            repaired(&scene.world),
            ["-content none d/file", "-target none link"]
        );
    }
    let mut rest = scene.tree.clone();
    rest.get_mut("d/file").unwrap().0 = None;
    rest.get_mut("link").unwrap().1 = None;
    assert_same(&scene.tree_now(), &rest);
}

#[test]
fn a_recipient_repairs_nothing() {
    let world = World::new();
    let vfs = world.open();
    fill(&vfs);
    let bob = crate::shared::Bob::new(&world);
    assert!(bob.vfs.repair(&mut |_| {}).is_err());
}
