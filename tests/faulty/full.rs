//! Disks without room: the store's, and the one with the journal.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use kms_tests::disk::Small;
use kms_tests::{Person, done_by_root, errno, tree, xattr};
use rustix::io::Errno;

use crate::{Kept, assert_whole, close, save};

/// Writes files until there is no room, in smaller and smaller pieces; their number.
fn fill(at: &Path) -> u64 {
    let mut number = 0;
    for length in [1 << 20, 64 << 10, 4096, 1, 0] {
        loop {
            let path = at.join(format!("fill-{number}"));
            let Err(error) = save(&path, &tree::bytes(number, length)) else {
                number += 1;
                continue;
            };
            assert_eq!(
                error.raw_os_error(),
                Some(Errno::NOSPC.raw_os_error()),
                "{error}"
            );
            let _ = fs::remove_file(&path);
            break;
        }
    }
    number
}

#[test]
fn a_full_store_says_so_loses_nothing_and_recovers() {
    if done_by_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let disk = Small::mount(&root.path().join("disk"), "16m");
    let alice = Person::new(root.path(), "alice");
    let store = alice.init(disk.path.join("secure").to_str().unwrap());
    let secure = alice.mount(&store, "secure");
    let kept = Kept::make(&secure.path);
    let number = fill(&secure.path);
    assert!(number > 10, "only {number} files fitted");

    // What takes room is refused, and says why.
    let long = secure.at("n".repeat(250));
    let refused = [
        File::create(secure.at("new")).map(drop),
        fs::create_dir(secure.at("directory")),
        fs::rename(secure.at("kept-1"), &long),
        std::os::unix::fs::symlink("x".repeat(4000), secure.at("link")),
        xattr::set(&secure.at("kept-1"), "user.note", &"x".repeat(60_000)),
        append(&secure.at("kept-2"), 100_000),
    ];
    for (at, result) in refused.into_iter().enumerate() {
        assert_eq!(errno(result), Errno::NOSPC, "call {at}");
    }
    kept.check(&secure.path);
    assert!(!long.exists() && !secure.at("new").exists());
    // What takes none goes on.
    let file = File::options()
        .write(true)
        .open(secure.at("kept-3"))
        .unwrap();
    let content = fs::read(secure.at("kept-3")).unwrap();
    file.write_all_at(&content[..50_000], 0).unwrap();
    file.sync_all().unwrap();
    close(file).unwrap();
    kept.check(&secure.path);

    for number in 0..number / 2 {
        fs::remove_file(secure.at(format!("fill-{number}"))).unwrap();
    }
    for number in 0..4 {
        save(
            &secure.at(format!("new-{number}")),
            &tree::bytes(number, 300_000),
        )
        .unwrap();
    }
    fs::rename(secure.at("kept-1"), &long).unwrap();
    fs::rename(&long, secure.at("kept-1")).unwrap();
    kept.check(&secure.path);
    secure.unmount();
    assert_whole(&alice, &store, &kept);
}

/// Appends and closes; the first error.
fn append(path: &Path, length: usize) -> io::Result<()> {
    let before = fs::metadata(path)?.len();
    let mut file = File::options().append(true).open(path)?;
    let written = file.write_all(&tree::bytes(7, length));
    let synced = file.sync_all();
    let done = written.and(synced).and(close(file));
    // As a program would that wants its file as it was.
    let file = File::options().write(true).open(path)?;
    file.set_len(before)?;
    done
}

#[test]
fn a_full_home_says_so_loses_nothing_and_recovers() {
    if done_by_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let alice = Person::new(root.path(), "alice");
    let home = Small::mount(&alice.home(), "20m");
    let store = alice.init("secure");
    let ballast = home.path.join("ballast");

    // No room for a journal: nothing is mounted, and it is said why.
    stuff(&ballast);
    let refused = alice.fails(&["mount", store.to_str().unwrap(), "secure"]);
    assert!(
        refused.stderr.contains("No space left on device"),
        "{}",
        refused.stderr
    );
    fs::remove_file(&ballast).unwrap();

    let secure = alice.mount(&store, "secure");
    let kept = Kept::make(&secure.path);
    let big = secure.at("big");
    let old = tree::bytes(50, 24 << 20);
    save(&big, &old).unwrap();
    stuff(&ballast);
    // More is overwritten at once than the journal has room for.
    let new = tree::bytes(51, 24 << 20);
    let file = File::options().write(true).open(&big).unwrap();
    let done = file
        .write_all_at(&new, 0)
        .and_then(|()| file.sync_all())
        .and(close(file));
    if let Err(error) = &done {
        assert_eq!(
            error.raw_os_error(),
            Some(Errno::NOSPC.raw_os_error()),
            "{error}"
        );
    }
    kept.check(&secure.path);
    let is_old_or_new = |content: &[u8]| {
        content.len() == old.len()
            && (content
                .chunks(4096)
                .zip(old.chunks(4096))
                .zip(new.chunks(4096)))
            .all(|((is, old), new)| is == new || done.is_err() && is == old)
    };
    assert!(is_old_or_new(&fs::read(&big).unwrap()));
    fs::remove_file(&ballast).unwrap();
    save(&secure.at("small"), b"there is room again").unwrap();
    save(&big, &old).unwrap();
    kept.check(&secure.path);
    secure.unmount();
    assert_whole(&alice, &store, &kept);
    let secure = alice.mount(&store, "secure");
    assert!(fs::read(secure.at("big")).unwrap() == old);
}

/// Takes all the room there is.
fn stuff(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}
