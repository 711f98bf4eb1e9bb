//! What opens with how many nodes.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use kms_tests::{TIMEOUT, errno, eventually, tree, xattr};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::Errno;

use crate::{Scene, appears};

#[test]
fn a_large_file_and_a_large_tree_open_as_long_as_m_nodes_live() {
    let mut scene = Scene::new();
    let big = tree::bytes(1, 100 << 20);
    fs::write(scene.secure.at("big.bin"), &big).unwrap();
    let photos = scene.secure.at("photos");
    fs::create_dir(&photos).unwrap();
    for number in 0..1000_usize {
        let dir = photos.join(format!("album {}", number % 10));
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join(format!("picture {number}.jpg")),
            tree::bytes(number as u64, 100 + 17 * number),
        )
        .unwrap();
    }
    xattr::grant(&scene.secure.at("big.bin"), "bob ttl=1h").unwrap();
    xattr::grant(&photos, "bob ttl=1h").unwrap();

    let bobs = scene.bobs();
    appears(&bobs.at("photos"));
    assert!(
        fs::read(bobs.at("big.bin")).unwrap() == big,
        "the exact bytes"
    );
    let theirs = tree::files(&bobs.at("photos"));
    assert_eq!(theirs.len(), 1000);
    for path in &theirs {
        let mine = photos.join(path.strip_prefix(bobs.at("photos")).unwrap());
        assert!(
            fs::read(path).unwrap() == fs::read(&mine).unwrap(),
            "{}",
            path.display()
        );
    }
    // A directory's grant covers what comes later.
    fs::write(photos.join("later.txt"), "later").unwrap();
    appears(&bobs.at("photos/later.txt"));
    assert_eq!(
        fs::read_to_string(bobs.at("photos/later.txt")).unwrap(),
        "later"
    );
    bobs.unmount();

    scene.net.kill(1);
    scene.net.kill(4);
    let bobs = scene.bobs();
    assert!(
        fs::read(bobs.at("big.bin")).unwrap() == big,
        "three of five are enough"
    );
    bobs.unmount();

    scene.net.kill(3);
    let bobs = scene.bobs();
    let start = Instant::now();
    assert_eq!(
        errno(fs::read(bobs.at("big.bin"))),
        Errno::HOSTUNREACH,
        "two of five are not"
    );
    // The promise is an answer by the deadline (8 s); a loaded machine may need longer, and without one there is none.
    assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
    let why = scene
        .bob
        .run(&["why", bobs.at("big.bin").to_str().unwrap()]);
    assert!(
        why.contains('3') && why.contains('2'),
        "says how many are needed and answered: {why}"
    );

    // Nothing was lost with the nodes: one that comes back serves what it acknowledged.
    scene.net.restart(3);
    assert!(fs::read(bobs.at("big.bin")).unwrap() == big, "three again");
}

#[test]
fn a_grant_needs_n_nodes_and_says_so() {
    let scene = Scene::new();
    fs::write(scene.secure.at("a"), "a").unwrap();
    scene.net.kill(2);
    assert_eq!(
        errno(xattr::grant(&scene.secure.at("a"), "bob m=3/5")),
        Errno::HOSTUNREACH
    );
    assert_eq!(
        xattr::list(&scene.secure.at("a")).unwrap(),
        Vec::<String>::new(),
        "nothing half granted"
    );
    xattr::grant(&scene.secure.at("a"), "bob m=3/4").unwrap();
    let bobs = scene.bobs();
    assert_eq!(fs::read_to_string(bobs.at("a")).unwrap(), "a");
}

/// Ctrl-C did nothing as long as nodes were waited for.
#[test]
fn a_program_that_waits_for_silent_nodes_can_be_interrupted() {
    let scene = Scene::new();
    let plan = scene.secure.at("plan.txt");
    fs::write(&plan, "launch friday\n").unwrap();
    xattr::grant(&plan, "bob ttl=1h m=3/5").unwrap();
    // So long that its end is not taken for an interruption.
    let options = ["-o", "net_timeout=60"];
    let bobs = scene.bob.mount_with(&scene.store, "alice", &options);
    appears(&bobs.at("plan.txt"));
    (1..=3).for_each(|node| scene.net.freeze(node));
    let mut cat = eventually("a program to wait", TIMEOUT, || {
        let mut cat = Command::new("cat")
            .arg(bobs.at("plan.txt"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // As long as the key is known, it need not.
        while cat.try_wait().unwrap().is_none() {
            let where_it_waits = fs::read_to_string(format!("/proc/{}/wchan", cat.id()));
            if where_it_waits.is_ok_and(|it| it.contains("fuse") || it.contains("request_wait")) {
                return Some(cat);
            }
        }
        None
    });
    let pid = Pid::from_raw(cat.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let ended = eventually("it to end", TIMEOUT / 2, || cat.try_wait().unwrap());
    assert_eq!(ended.signal(), Some(Signal::SIGINT as i32));
    (1..=3).for_each(|node| scene.net.thaw(node));
    assert_eq!(fs::read(bobs.at("plan.txt")).unwrap(), b"launch friday\n");
    bobs.unmount();
}
