//! Mounting as a person does it: in the background, twice, over a dead mount,
//! while somebody is inside. Private files only; no network.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Person;

/// A store, unmounted at the end whatever happens.
struct Store {
    person: Person,
    point: PathBuf,
}

impl Store {
    fn new() -> Self {
        let person = Person::new();
        person.run(&["init", "secure"]);
        let point = person.dir.path().join("secure");
        Self { person, point }
    }

    /// Mounts and returns the process.
    fn mount(&self) -> Pid {
        let said = self.person.run(&["mount", "--json", "secure"]);
        let mounted: serde_json::Value = serde_json::from_str(&said).unwrap();
        let pid = mounted["pid"].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap())
    }
}

impl Store {
    /// Unmounts. Another test may be starting a program just now, which for a moment holds copies
    /// of every file this process has open: busy is then no answer.
    fn unmount(&self, named: &str) {
        loop {
            let said = self.person.says(&["umount", named]);
            if said.code != 75 {
                assert_eq!(said.code, 0, "{said:?}");
                return;
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.person.says(&["umount", "--lazy", "secure"]);
    }
}

#[test]
fn a_background_mount_answers_at_once_and_ends_with_umount() {
    let store = Store::new();
    let said = store.person.run(&["mount", "secure"]);
    assert!(
        said.starts_with("Mounted ") && said.contains("kmsfs umount"),
        "{said}"
    );
    fs::write(store.point.join("a"), "private").unwrap();
    assert_eq!(
        fs::read_to_string(store.point.join("a")).unwrap(),
        "private"
    );
    let status = store.person.run(&["status"]);
    assert!(status.contains("read-write"), "{status}");
    // By the store's name as well.
    store.unmount("secure.kmsfs");
    assert_eq!(fs::read_dir(&store.point).unwrap().count(), 0);
    store.person.run(&["mount", "secure"]);
    assert_eq!(
        fs::read_to_string(store.point.join("a")).unwrap(),
        "private"
    );
}

#[test]
fn mounting_twice_is_said_plainly() {
    let store = Store::new();
    store.mount();
    let here = store.person.fails(73, &["mount", "secure"]);
    assert!(here.starts_with("Already mounted at"), "{here}");
    let elsewhere = store
        .person
        .fails(73, &["mount", "secure.kmsfs", "elsewhere"]);
    assert!(elsewhere.contains("already mounted"), "{elsewhere}");
    assert!(
        elsewhere.contains(store.point.to_str().unwrap()),
        "{elsewhere}"
    );
    let inside = store
        .person
        .fails(73, &["mount", "secure.kmsfs", "secure.kmsfs/in"]);
    assert!(inside.contains("inside"), "{inside}");
}

#[test]
fn a_dead_mount_is_detached_and_mounted_again() {
    let store = Store::new();
    let process = store.mount();
    fs::write(store.point.join("a"), "kept").unwrap();
    kill(process, Signal::SIGKILL).unwrap();
    while fs::read_dir(&store.point).is_ok() {
        std::thread::yield_now();
    }
    let status = store.person.says(&["status"]);
    assert_eq!(status.code, 2, "{status:?}");
    assert!(status.out.contains("dead"), "{status:?}");
    let said = store.person.run(&["mount", "secure"]);
    assert!(
        said.contains("dead mount") && said.contains("Mounted"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(store.point.join("a")).unwrap(), "kept");
}

#[test]
fn a_busy_mount_names_who_is_inside_and_stays() {
    let store = Store::new();
    store.mount();
    let file = fs::File::create(store.point.join("a")).unwrap();
    let said = store.person.fails(75, &["umount", "secure"]);
    assert!(
        said.contains(&format!("pid {}", std::process::id())),
        "{said}"
    );
    drop(file);
    store.unmount("secure");
}

#[test]
fn a_signal_unmounts_and_nothing_is_lost() {
    let store = Store::new();
    let process = store.mount();
    fs::write(store.point.join("a"), "kept").unwrap();
    kill(process, Signal::SIGTERM).unwrap();
    while kill(process, None).is_ok() {
        std::thread::yield_now();
    }
    assert_eq!(fs::read_dir(&store.point).unwrap().count(), 0, "unmounted");
    store.person.run(&["mount", "secure"]);
    assert_eq!(fs::read_to_string(store.point.join("a")).unwrap(), "kept");
}

#[test]
fn the_wrong_passphrase_mounts_nothing() {
    let store = Store::new();
    fs::write(store.person.dir.path().join("passphrase"), "wrong\n").unwrap();
    let said = store.person.fails(77, &["mount", "secure"]);
    assert!(said.contains("Wrong passphrase"), "{said}");
}

#[test]
fn the_bare_form_of_fstab_mounts_too() {
    let store = Store::new();
    let (dir, point) = (store.person.dir.path(), store.point.to_str().unwrap());
    let source = dir.join("secure.kmsfs");
    store.person.run(&[
        source.to_str().unwrap(),
        point,
        "-o",
        "rw,nofail,user,_netdev,dev,suid",
    ]);
    fs::write(store.point.join("a"), "a").unwrap();
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = table.lines().find(|line| line.contains(point)).unwrap();
    assert!(
        line.starts_with("kmsfs@") && line.contains(" fuse.kmsfs "),
        "{line}"
    );
}

#[test]
fn private_files_need_no_network_and_a_grant_says_what_is_missing() {
    let store = Store::new();
    store.mount();
    fs::write(store.point.join("a"), "a").unwrap();
    let bob = Person::new();
    store.person.run(&["contact", "add", "bob", &bob.key()]);
    let said = store.person.fails(78, &["grant", "secure/a", "bob"]);
    assert!(said.contains("ledger"), "{said}");
    let said = store.person.fails(67, &["grant", "secure/a", "bobb"]);
    assert!(said.contains("Did you mean bob?"), "{said}");
    assert_eq!(store.person.run(&["shares"]), "Nothing is shared.\n");
    let why = store.person.run(&["why", "secure/a"]);
    assert!(why.contains("Nothing has failed"), "{why}");
}

/// Every file below a directory, with its content.
fn files(dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_tree_whose_directories_have_lost_their_headers_is_repaired_and_mounted() {
    let store = Store::new();
    store.mount();
    for dir in ["a", "a/b", "c"] {
        fs::create_dir(store.point.join(dir)).unwrap();
        for name in ["one", "two", "tree ünï"] {
            fs::write(store.point.join(dir).join(name), format!("{dir}/{name}")).unwrap();
        }
    }
    let mut before = BTreeMap::new();
    files(&store.point, &mut before);
    store.unmount("secure");
    let stored = store.person.dir.path().join("secure.kmsfs");
    let mut headers = BTreeMap::new();
    files(&stored, &mut headers);
    headers.retain(|path, _| path.ends_with("kmsfs.dir"));
    assert_eq!(headers.len(), 4);
    headers
        .keys()
        .for_each(|path| fs::remove_file(path).unwrap());
    let refused = store.person.fails(65, &["mount", "secure"]);
    assert!(refused.contains("kmsfs fsck --repair"), "{refused}");
    let said = store.person.says(&["fsck", "secure"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.out.contains("4 can be repaired"), "{said:?}");
    let said = store.person.says(&["fsck", "--repair", "secure"]);
    assert_eq!(said.code, 1, "{said:?}");
    store.mount();
    let mut after = BTreeMap::new();
    files(&store.point, &mut after);
    assert_eq!(after, before);
    let mounted = store.person.fails(8, &["fsck", "--repair", "secure"]);
    assert!(mounted.contains("is mounted"), "{mounted}");
    store.unmount("secure");
    assert_eq!(store.person.says(&["fsck", "secure"]).code, 0);
}
