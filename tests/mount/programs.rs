//! The programs people run inside the mount.

use std::fs;
use std::path::Path;

use kms_tests::tree;

use crate::Scene;

/// A directory tree such as a source archive: files of many sizes, an executable, links, an empty directory.
fn source_tree(dir: &Path) {
    for number in 0..300_u64 {
        let below = dir.join(format!("src/module{}/deep/er", number % 20));
        fs::create_dir_all(&below).unwrap();
        let length = usize::try_from((number * 7919) % 40_000).unwrap();
        fs::write(
            below.join(format!("file{number}.c")),
            tree::bytes(number, length),
        )
        .unwrap();
    }
    fs::write(dir.join("run.sh"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(
        dir.join("run.sh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    fs::write(dir.join("zero"), "").unwrap();
    std::os::unix::fs::symlink("../README", dir.join("src/link")).unwrap();
    fs::hard_link(dir.join("run.sh"), dir.join("src/run-too.sh")).unwrap();
}

#[test]
fn git_clones_and_finds_nothing_wrong() {
    let scene = Scene::new();
    let origin = scene.root.path().join("origin");
    fs::create_dir(&origin).unwrap();
    source_tree(&origin);
    let git = |dir: &Path, args: &[&str]| {
        let identity = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            "-c",
            "safe.directory=*",
            "-c",
            "init.defaultBranch=main",
        ];
        tree::run(dir, "git", &[&identity[..], args].concat())
    };
    git(&origin, &["init", "-q"]);
    git(&origin, &["add", "."]);
    git(&origin, &["commit", "-qm", "one"]);

    let dir = scene.secure.path.clone();
    git(
        &dir,
        &[
            "clone",
            "-q",
            "--no-local",
            origin.to_str().unwrap(),
            "clone",
        ],
    );
    let clone = dir.join("clone");
    git(&clone, &["fsck", "--strict"]);
    assert_eq!(git(&clone, &["status", "--porcelain"]), "");
    // A clone beside it makes hard links.
    git(&dir, &["clone", "-q", "--local", "clone", "second"]);
    git(&dir.join("second"), &["fsck", "--strict"]);
    // Work in it: change, commit, branch, merge, pack.
    fs::write(clone.join("run.sh"), "#!/bin/sh\necho changed\n").unwrap();
    git(&clone, &["commit", "-qam", "two"]);
    git(&clone, &["checkout", "-qb", "side", "HEAD~1"]);
    fs::write(clone.join("side.txt"), "side").unwrap();
    git(&clone, &["add", "."]);
    git(&clone, &["commit", "-qm", "three"]);
    git(&clone, &["merge", "-q", "-m", "four", "main"]);
    git(&clone, &["gc", "-q"]);
    git(&clone, &["fsck", "--strict"]);
    let scene = scene.remount();
    git(&scene.secure.at("clone"), &["fsck", "--strict"]);
    assert_eq!(
        git(&scene.secure.at("clone"), &["status", "--porcelain"]),
        ""
    );
}

#[test]
fn sqlite_keeps_its_integrity() {
    let scene = Scene::new();
    let dir = scene.secure.path.clone();
    for mode in ["delete", "wal", "truncate"] {
        let database = format!("{mode}.db");
        let mut sql =
            format!("pragma journal_mode={mode}; create table t(a integer primary key, b blob);");
        for round in 0..40 {
            sql += &format!(
                "begin; insert into t(b) select randomblob(abs(random()) % 2000) from generate_series(1,50); delete from t where a % 7 = {}; commit;",
                round % 7
            );
        }
        tree::run(&dir, "sqlite3", &[&database, &sql]);
        tree::run(
            &dir,
            "sqlite3",
            &[
                &database,
                "vacuum; update t set b = randomblob(300) where a % 3 = 0;",
            ],
        );
        assert_eq!(
            tree::run(&dir, "sqlite3", &[&database, "pragma integrity_check"]).trim(),
            "ok"
        );
    }
    let scene = scene.remount();
    for mode in ["delete", "wal", "truncate"] {
        let checked = tree::run(
            &scene.secure.path,
            "sqlite3",
            &[
                &format!("{mode}.db"),
                "pragma integrity_check; select count(*) > 100 from t;",
            ],
        );
        assert_eq!(checked.split_whitespace().collect::<Vec<_>>(), ["ok", "1"]);
    }
}

#[test]
fn an_unpacked_archive_is_the_same_after_a_remount() {
    let scene = Scene::new();
    let origin = scene.root.path().join("tree");
    fs::create_dir(&origin).unwrap();
    source_tree(&origin);
    tree::run(scene.root.path(), "tar", &["-cf", "tree.tar", "tree"]);
    tree::run(&scene.secure.path, "tar", &["-xf", "../../tree.tar"]);
    let scene = scene.remount();
    tree::run(
        scene.root.path(),
        "diff",
        &[
            "-r",
            "--no-dereference",
            "tree",
            scene.secure.at("tree").to_str().unwrap(),
        ],
    );
    // rsync finds nothing to do: contents, times, modes, links are all as they were.
    let origin = format!("{}/", origin.display());
    let changes = tree::run(
        scene.root.path(),
        "rsync",
        &[
            "-aHXci",
            "--delete",
            "--dry-run",
            &origin,
            scene.secure.at("tree").to_str().unwrap(),
        ],
    );
    let first = changes.lines().next();
    assert_eq!(first, None, "rsync finds something to do");
    assert_eq!(
        tree::run(&scene.secure.at("tree"), "./src/run-too.sh", &[]).trim(),
        "ran"
    );
    fs::remove_dir_all(scene.secure.at("tree")).unwrap();
    assert!(!scene.secure.at("tree").exists());
}

#[test]
fn rsync_brings_a_tree_in_and_out_with_attributes() {
    let scene = Scene::new();
    let origin = scene.root.path().join("tree");
    fs::create_dir(&origin).unwrap();
    source_tree(&origin);
    kms_tests::xattr::set(&origin.join("zero"), "user.note", "a note").unwrap();
    let from = format!("{}/", origin.display());
    tree::run(
        scene.root.path(),
        "rsync",
        &["-aHX", &from, scene.secure.at("in").to_str().unwrap()],
    );
    let scene = scene.remount();
    let back = format!("{}/", scene.secure.at("in").display());
    tree::run(scene.root.path(), "rsync", &["-aHX", &back, "out"]);
    let changes = tree::run(
        scene.root.path(),
        "rsync",
        &["-aHXci", "--delete", "--dry-run", &from, "out/"],
    );
    let first = changes.lines().next();
    assert_eq!(first, None, "rsync finds something to do");
    assert_eq!(
        kms_tests::xattr::get(&scene.root.path().join("out/zero"), "user.note").unwrap(),
        "a note"
    );
}

#[test]
fn a_compiler_builds_and_the_program_runs() {
    let scene = Scene::new();
    let dir = scene.secure.path.clone();
    fs::write(dir.join("half.h"), "int half(int);\n").unwrap();
    fs::write(
        dir.join("half.c"),
        "#include \"half.h\"\nint half(int x) { return x / 2; }\n",
    )
    .unwrap();
    fs::write(dir.join("main.c"), "#include <stdio.h>\n#include \"half.h\"\nint main(void) { printf(\"%d\\n\", half(84)); return 0; }\n").unwrap();
    fs::write(
        dir.join("Makefile"),
        "main: main.o half.o\n\tcc -o $@ $^\n%.o: %.c half.h\n\tcc -c $<\n",
    )
    .unwrap();
    tree::run(&dir, "make", &["-s", "-j2"]);
    assert_eq!(tree::run(&dir, "./main", &[]).trim(), "42");
    assert!(
        tree::run(&dir, "make", &["main"]).contains("up to date"),
        "times are kept well enough for make"
    );
}

#[test]
fn an_editor_saves() {
    let scene = Scene::new();
    let dir = scene.secure.path.clone();
    fs::write(dir.join("notes"), "one\ntwo\n").unwrap();
    fs::set_permissions(
        dir.join("notes"),
        std::os::unix::fs::PermissionsExt::from_mode(0o640),
    )
    .unwrap();
    tree::run(&dir, "sed", &["-i", "s/two/three/", "notes"]);
    // As vim and others do it: backup by rename, write, fsync, remove the backup.
    fs::rename(dir.join("notes"), dir.join("notes~")).unwrap();
    let file = fs::File::create(dir.join("notes")).unwrap();
    std::io::Write::write_all(&mut &file, b"one\nthree\nfour\n").unwrap();
    file.sync_all().unwrap();
    drop(file);
    fs::remove_file(dir.join("notes~")).unwrap();
    let scene = scene.remount();
    assert_eq!(
        fs::read_to_string(scene.secure.at("notes")).unwrap(),
        "one\nthree\nfour\n"
    );
    assert_eq!(tree::files(&scene.secure.path).len(), 1);
}
