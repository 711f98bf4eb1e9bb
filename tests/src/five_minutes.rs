//! The session that README.md opens with, word for word where words matter.

use std::fs;
use std::io::Write;
use std::path::Path;

use rustix::io::Errno;

use crate::{Mount, Person, TIMEOUT, errno, eventually, xattr};

/// Plays it: the owner has mounted an empty store and knows Bob, who has not mounted it yet. `quorum` is the owner's usual
/// threshold.
///
/// # Panics
/// When something goes otherwise.
pub fn replay(secure: &Mount, store: &Path, bob: &Person, quorum: &str) {
    let plan = secure.at("plan.txt");
    fs::write(&plan, "launch friday\n").unwrap();

    // A private file has nothing to list.
    assert_eq!(xattr::list(&plan).unwrap(), Vec::<String>::new());

    let bobs = bob.mount(store, "alice");
    let theirs = bobs.at("plan.txt");
    assert_eq!(errno(fs::read(&theirs)), Errno::ACCESS, "before the grant");

    xattr::grant(&plan, "bob ttl=7d").unwrap();
    assert_eq!(xattr::list(&plan).unwrap(), ["user.kms.info"]);
    let info = xattr::get(&plan, "user.kms.info").unwrap();
    assert!(
        info.starts_with("kms: owner=me; readers=bob(r,until 20"),
        "{info}"
    );
    assert!(
        info.ends_with(&format!("); epoch=1; quorum={quorum}; state=ok")),
        "{info}"
    );

    appears(&theirs);
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "launch friday\n");
    let refused = fs::OpenOptions::new()
        .append(true)
        .open(&theirs)
        .and_then(|mut file| file.write_all(b"x\n"));
    assert_eq!(errno(refused), Errno::ACCESS, "a reader does not write");
    assert_eq!(
        errno(xattr::grant(&theirs, "bob")),
        Errno::PERM,
        "only the owner shares"
    );

    // The owner goes on writing; the reader sees it within a moment.
    fs::write(&plan, "launch saturday\n").unwrap();
    eventually("the change to be seen", TIMEOUT, || {
        (fs::read_to_string(&theirs).ok()? == "launch saturday\n").then_some(())
    });

    xattr::revoke(&plan, "bob").unwrap();
    eventually("the revocation to bite", TIMEOUT, || {
        fs::read(&theirs)
            .err()
            .filter(|error| error.raw_os_error() == Some(Errno::KEYREVOKED.raw_os_error()))
    });
    let why = bob.run(&["why", theirs.to_str().unwrap()]);
    assert!(why.contains("withdrew your access"), "{why}");
    assert_eq!(
        fs::read_to_string(&plan).unwrap(),
        "launch saturday\n",
        "the owner's own file stays"
    );
    assert_eq!(
        xattr::list(&plan).unwrap(),
        Vec::<String>::new(),
        "nobody reads it any more"
    );
}

/// Waits until a recipient's mount shows what has just been shared: it looks once a second.
pub fn appears(path: &Path) {
    eventually("the share to appear", TIMEOUT, || {
        path.symlink_metadata().ok()
    });
}
