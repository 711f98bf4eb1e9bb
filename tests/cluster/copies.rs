//! Copies are unshared, renames are not, and saving a file keeps who may read it.

use std::fs;

use kms_tests::{TIMEOUT, errno, eventually, tree, xattr};
use rustix::io::Errno;

use crate::{Scene, appears};

#[test]
fn a_copy_is_unshared() {
    let scene = Scene::new();
    let dir = scene.secure.path.clone();
    fs::write(dir.join("plan"), "launch friday").unwrap();
    xattr::set(&dir.join("plan"), "user.colour", "blue").unwrap();
    xattr::grant(&dir.join("plan"), "bob").unwrap();

    tree::run(&dir, "cp", &["-a", "plan", "copied"]);
    tree::run(&dir, "rsync", &["-aX", "plan", "synced"]);
    tree::run(
        &dir,
        "tar",
        &[
            "--xattrs",
            "--transform=s/plan/untarred/",
            "-cf",
            "../plan.tar",
            "plan",
        ],
    );
    tree::run(&dir, "tar", &["--xattrs", "-xf", "../plan.tar"]);
    for copy in ["copied", "synced", "untarred"] {
        assert_eq!(fs::read_to_string(dir.join(copy)).unwrap(), "launch friday");
        assert_eq!(
            xattr::list(&dir.join(copy)).unwrap(),
            ["user.colour"],
            "{copy} is not shared, and keeps the rest"
        );
    }
    let bobs = scene.bobs();
    appears(&bobs.at("plan"));
    for copy in ["copied", "synced", "untarred"] {
        assert_eq!(errno(fs::read(bobs.at(copy))), Errno::ACCESS);
    }
    let listed = tree::run(&dir, "getfattr", &["-d", "plan"]);
    let names: Vec<_> = listed
        .lines()
        .filter(|line| line.contains('='))
        .map(|line| line.split('=').next().unwrap())
        .collect();
    assert_eq!(names, ["user.colour", "user.kms.info"]);
    let info = tree::run(
        &dir,
        "getfattr",
        &["-n", "user.kms.info", "--only-values", "copied"],
    );
    assert!(!info.contains("bob"), "{info}");
}

#[test]
fn a_rename_keeps_the_grant_and_the_reader_finds_the_new_place() {
    let scene = Scene::new();
    fs::write(scene.secure.at("plan"), "launch friday").unwrap();
    xattr::grant(&scene.secure.at("plan"), "bob").unwrap();
    fs::create_dir_all(scene.secure.at("work/2026")).unwrap();
    fs::rename(
        scene.secure.at("plan"),
        scene.secure.at("work/2026/the plan"),
    )
    .unwrap();
    fs::rename(scene.secure.at("work"), scene.secure.at("archive")).unwrap();
    assert_eq!(
        xattr::list(&scene.secure.at("archive/2026/the plan")).unwrap(),
        ["user.kms.info"]
    );
    let bobs = scene.bobs();
    appears(&bobs.at("archive/2026/the plan"));
    assert_eq!(
        fs::read_to_string(bobs.at("archive/2026/the plan")).unwrap(),
        "launch friday"
    );
    assert_eq!(errno(fs::read(bobs.at("plan"))), Errno::ACCESS);
}

#[test]
fn saving_by_rename_keeps_the_grant() {
    // `sed -i`, vim and most editors write a new file and rename it over the old one: were the grant the inode's alone,
    // the first save would end the sharing.
    let scene = Scene::new();
    let dir = scene.secure.path.clone();
    fs::write(dir.join("plan"), "launch friday\n").unwrap();
    xattr::grant(&dir.join("plan"), "bob").unwrap();
    let bobs = scene.bobs();
    appears(&bobs.at("plan"));
    assert_eq!(
        fs::read_to_string(bobs.at("plan")).unwrap(),
        "launch friday\n"
    );

    tree::run(&dir, "sed", &["-i", "s/friday/saturday/", "plan"]);
    eventually("the carried grant to be listed", TIMEOUT, || {
        (xattr::list(&dir.join("plan")).unwrap() == ["user.kms.info"]).then_some(())
    });
    eventually("bob to read the saved file", TIMEOUT, || {
        (fs::read_to_string(bobs.at("plan")).ok()? == "launch saturday\n").then_some(())
    });
}
