//! Directories whose header is lost.

use std::fs;

use super::*;

fn fill(vfs: &Vfs) {
    for dir in ["d", "d/inner", "d/inner/deep", "other", "links", "empty"] {
        mkdir(vfs, dir).unwrap();
    }
    for (seed, file) in (1..).zip(["top", "d/a", "d/inner/b", "d/inner/deep/c", "other/o"]) {
        put(vfs, file, &pattern(9_000, seed)).unwrap();
        set_xattr(vfs, file, "user.x", &[seed; 3]).unwrap();
    }
    put(vfs, &format!("d/{}", "n".repeat(230)), b"long").unwrap();
    symlink(vfs, "a", "d/link").unwrap();
    symlink(vfs, "nowhere", "links/one").unwrap();
    symlink(vfs, &"t".repeat(3_500), "links/two").unwrap();
    link(vfs, "d/a", "d/inner/hard").unwrap();
}

#[test]
fn a_directory_gets_its_header_back_with_all_names() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |header| fs::remove_file(header).unwrap(),
        |header| fs::write(header, [0; 4096]).unwrap(),
        |header| fs::write(header, b"short").unwrap(),
        |header| {
            let mut bytes = fs::read(header).unwrap();
            bytes[300] ^= 5;
            fs::write(header, bytes).unwrap();
        },
    ];
    for damage in damages {
        let scene = Scene::new(fill);
        damage(&scene.header("d"));
        assert_eq!(looked(&scene.world), ["-header rebuild d"]);
        assert_eq!(
            looked(&scene.world),
            ["-header rebuild d"],
            "looking changes nothing"
        );
        assert_eq!(scene.repair(), ["+header rebuild d"]);
        scene.assert_whole();
        let vfs = scene.world.open();
        put(&vfs, "d/new", b"new").unwrap();
        rename(&vfs, "d/a", "d/renamed").unwrap();
        rename(&vfs, "d", "moved").unwrap();
        vfs.close().unwrap();
        drop(vfs);
        let vfs = scene.world.open();
        assert_eq!(get(&vfs, "moved/new").unwrap(), b"new");
        assert_eq!(get(&vfs, "moved/renamed").unwrap(), pattern(9_000, 2));
        assert_eq!(fsck(&vfs), [""; 0]);
    }
}

#[test]
fn one_flipped_bit_of_a_header_is_set_right() {
    for path in ["", "d", "top", "d/inner/b"] {
        for at in [5, 40, 300, 3_970, 4_095] {
            let scene = Scene::new(fill);
            let stored = if path.is_empty() || path == "d" {
                scene.header(path)
            } else {
                scene.at(path)
            };
            let mut bytes = fs::read(&stored).unwrap();
            let before = bytes.clone();
            bytes[at] ^= 0x10;
            fs::write(&stored, bytes).unwrap();
            assert_eq!(looked(&scene.world), [format!("-header mend {path}")]);
            assert_eq!(scene.repair(), [format!("+header mend {path}")]);
            assert!(fs::read(&stored).unwrap() == before);
            scene.assert_whole();
        }
    }
}

#[test]
fn the_roots_header_comes_back_too() {
    let scene = Scene::new(fill);
    fs::remove_file(scene.header("")).unwrap();
    assert!(scene.world.try_open(Disk::default()).is_err());
    assert_eq!(scene.repair(), ["+header rebuild "]);
    scene.assert_whole();
}

#[test]
fn directories_within_each_other_come_back_even_to_a_client_that_knows_nothing() {
    let scene = Scene::new(fill);
    scene.forget();
    for dir in ["", "d", "d/inner", "d/inner/deep"] {
        fs::remove_file(scene.header(dir)).unwrap();
    }
    assert_eq!(
        scene.repair(),
        [
            "+header rebuild ",
            "+header rebuild d",
            "+header rebuild d/inner",
            "+header rebuild d/inner/deep"
        ]
    );
    scene.assert_whole();
}

#[test]
fn a_directory_of_links_alone_comes_back_where_it_is_remembered() {
    let scene = Scene::new(fill);
    fs::remove_file(scene.header("links")).unwrap();
    assert_eq!(scene.repair(), ["+header rebuild links"]);
    scene.assert_whole();

    let scene = Scene::new(fill);
    scene.forget();
    fs::remove_file(scene.header("links")).unwrap();
    assert_eq!(repaired(&scene.world), ["-header none links"]);
    assert_eq!(repaired(&scene.world), ["-header none links"]);
    let mut rest = scene.tree.clone();
    rest.retain(|path, _| !path.starts_with("links/"));
    assert_same(&scene.tree_now(), &rest);
}

#[test]
fn an_empty_directory_gets_a_new_header() {
    let scene = Scene::new(fill);
    fs::write(scene.header("empty"), b"garbage").unwrap();
    assert_eq!(scene.repair(), ["+header remake empty"]);
    scene.assert_whole();
}

/// Whoever holds the store could otherwise have a directory's content pass for another's: taking the header away is all
/// it would need.
#[test]
fn a_directory_filled_with_anothers_content_is_not_made_that_other_one() {
    let scene = Scene::new(fill);
    fs::remove_file(scene.header("d/inner")).unwrap();
    let victim = scene.at("other");
    for entry in fs::read_dir(&victim).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in fs::read_dir(scene.at("d/inner")).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), victim.join(entry.file_name())).unwrap();
    }
    let found = looked(&scene.world);
    assert!(
        found.contains(&"-header none other".to_owned()),
        "{found:?}"
    );

    // Nor by one who knows nothing, while the other one is there.
    let scene = Scene::new(fill);
    scene.forget();
    let victim = scene.at("other");
    for entry in fs::read_dir(&victim).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::rename(
        scene.at("d/inner/b"),
        victim.join(scene.at("d/inner/b").file_name().unwrap()),
    )
    .unwrap();
    let found = looked(&scene.world);
    assert!(
        found.contains(&"-header none other".to_owned()),
        "{found:?}"
    );
}

#[test]
fn an_older_header_is_not_believed_after_a_new_one_was_made() {
    let scene = Scene::new(fill);
    let old = fs::read(scene.header("d")).unwrap();
    fs::remove_file(scene.header("d")).unwrap();
    assert_eq!(scene.repair(), ["+header rebuild d"]);
    fs::write(scene.header("d"), old).unwrap();
    assert_eq!(repaired(&scene.world), ["-older none d"]);
}
