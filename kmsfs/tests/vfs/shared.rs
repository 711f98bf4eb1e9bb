//! A recipient's view of a store, without a network: keys come from a table.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kms_crypto::id::LabelId;
use kms_crypto::key::LabelSecret;
use kms_crypto::scheme::{Capsule, LabelContext};
use kmsfs::vfs::hooks::{KeyError, KeySource, LabelRequest, Shared, Shares};
use kmsfs::vfs::{Access, Options, Vfs, VfsError};
use rustix::io::Errno;

use crate::support::*;

/// Opens capsules with the owner's keys, unless told to say something else.
#[derive(Default)]
pub(crate) struct Keys {
    answers: Mutex<HashMap<LabelId, KeyError>>,
    generations: Mutex<HashMap<LabelId, u32>>,
    asked: Mutex<u32>,
}

impl Keys {
    pub(crate) fn say(&self, label: LabelId, error: KeyError) {
        self.answers.lock().unwrap().insert(label, error);
    }
}

impl KeySource for Keys {
    fn label_secret(&self, want: &LabelRequest) -> Result<LabelSecret, KeyError> {
        *self.asked.lock().unwrap() += 1;
        if let Some(error) = self.answers.lock().unwrap().get(&want.label) {
            return Err(error.clone());
        }
        let generation = self
            .generations
            .lock()
            .unwrap()
            .get(&want.label)
            .copied()
            .unwrap_or(1);
        let context = LabelContext {
            store: kms_crypto::id::StoreId([5; 16]),
            label: want.label,
            epoch: want.epoch,
        };
        let capsule = Capsule::from_bytes(&want.capsule).unwrap();
        let key = World::key().delegating_key(&want.label, generation);
        key.decapsulate(&capsule, &context)
            .map_err(|_| KeyError::WrongKey)
    }
}

#[derive(Default)]
pub(crate) struct List(Mutex<Vec<Shared>>);

impl Shares for List {
    fn current(&self) -> Arc<[Shared]> {
        self.0.lock().unwrap().clone().into()
    }
}

pub(crate) struct Bob {
    pub(crate) keys: Arc<Keys>,
    pub(crate) shares: Arc<List>,
    pub(crate) vfs: Arc<Vfs>,
}

impl Bob {
    pub(crate) fn new(world: &World) -> Self {
        Self::with(world, Arc::default(), Arc::default())
    }

    /// The same person with a mount that has seen nothing yet.
    pub(crate) fn again(world: &World, bob: Self) -> Self {
        Self::with(world, bob.keys, bob.shares)
    }

    fn with(world: &World, keys: Arc<Keys>, shares: Arc<List>) -> Self {
        let options = Options {
            background: false,
            ..Options::new(world.dir.path().join("bob"))
        };
        let vfs = Vfs::open_recipient(
            &world.store(),
            world.info(),
            Arc::clone(&keys) as _,
            Arc::clone(&shares) as _,
            options,
        );
        Self {
            keys,
            shares,
            vfs: vfs.unwrap(),
        }
    }
}

/// Shares a path and returns its label.
pub(crate) fn share(vfs: &Vfs, bob: &Bob, path: &str) -> LabelId {
    let ino = vfs.resolve(Path::new(path)).unwrap();
    let label = vfs.ensure_label(ino).unwrap();
    let shared = Shared {
        label: label.label,
        is_dir: label.is_dir,
        path: vfs.locate(ino).unwrap(),
    };
    bob.shares.0.lock().unwrap().push(shared);
    label.label
}

fn errno<T>(result: kmsfs::vfs::Result<T>) -> Option<Errno> {
    result.err().map(|error| error.errno())
}

#[test]
fn a_recipient_sees_what_is_shared_under_its_path_and_nothing_else() {
    let world = World::new();
    let vfs = world.open();
    for dir in ["a", "a/b", "a/b/tree", "a/b/tree/deep", "hidden"] {
        mkdir(&vfs, dir).unwrap();
    }
    put(&vfs, "a/secret", b"no").unwrap();
    put(&vfs, "a/b/plan", &pattern(300_000, 1)).unwrap();
    put(&vfs, "a/b/tree/deep/leaf", b"leaf").unwrap();
    symlink(&vfs, "deep/leaf", "a/b/tree/link").unwrap();
    set_xattr(&vfs, "a/b/plan", "user.x", b"y").unwrap();
    let bob = Bob::new(&world);
    assert_eq!(list(&bob.vfs, "").unwrap(), [""; 0]);
    assert_eq!(errno(get(&bob.vfs, "a/b/plan")), Some(Errno::ACCESS));
    share(&vfs, &bob, "a/b/plan");
    share(&vfs, &bob, "a/b/tree");
    assert_eq!(list(&bob.vfs, "").unwrap(), ["a"]);
    assert_eq!(list(&bob.vfs, "a/b").unwrap(), ["plan", "tree"]);
    assert_eq!(get(&bob.vfs, "a/b/plan").unwrap(), pattern(300_000, 1));
    assert_eq!(attr(&bob.vfs, "a/b/plan").unwrap().size, 300_000);
    assert_eq!(xattr(&bob.vfs, "a/b/plan", "user.x").unwrap(), b"y");
    assert_eq!(get(&bob.vfs, "a/b/tree/deep/leaf").unwrap(), b"leaf");
    assert_eq!(readlink(&bob.vfs, "a/b/tree/link").unwrap(), "deep/leaf");
    assert_eq!(errno(get(&bob.vfs, "a/secret")), Some(Errno::ACCESS));
    assert_eq!(
        errno(get(&bob.vfs, "a/nothing")),
        Some(Errno::ACCESS),
        "the same as what is there"
    );
    assert_eq!(
        errno(get(&bob.vfs, "a/b/tree/nothing")),
        Some(Errno::NOENT),
        "where the key is held"
    );
    let leaf = bob.vfs.resolve(Path::new("a/b/tree/deep/leaf")).unwrap();
    assert_eq!(
        bob.vfs.path_of(leaf).unwrap(),
        Path::new("a/b/tree/deep/leaf")
    );
}

#[test]
fn a_recipient_changes_nothing() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    put(&vfs, "d/f", b"f").unwrap();
    let bob = Bob::new(&world);
    share(&vfs, &bob, "d");
    let no = Some(Errno::ACCESS);
    assert_eq!(errno(open(&bob.vfs, "d/f", Access::Write)), no);
    assert_eq!(errno(put(&bob.vfs, "d/new", b"")), no);
    assert_eq!(errno(mkdir(&bob.vfs, "d/new")), no);
    assert_eq!(errno(unlink(&bob.vfs, "d/f")), no);
    assert_eq!(errno(rename(&bob.vfs, "d/f", "d/g")), no);
    assert_eq!(errno(truncate(&bob.vfs, "d/f", 0)), no);
    assert_eq!(errno(set_xattr(&bob.vfs, "d/f", "user.x", b"")), no);
    assert_eq!(errno(symlink(&bob.vfs, "t", "d/l")), no);
    assert_eq!(errno(link(&bob.vfs, "d/f", "d/l")), no);
    assert_eq!(attr(&bob.vfs, "d/f").unwrap().mode & 0o222, 0);
    assert_eq!(get(&vfs, "d/f").unwrap(), b"f");
}

#[test]
fn what_is_withdrawn_is_refused_at_the_next_open_and_says_when() {
    let world = World::new();
    let vfs = world.open();
    mkdir(&vfs, "d").unwrap();
    put(&vfs, "d/f", b"f").unwrap();
    put(&vfs, "d/own", b"own").unwrap();
    put(&vfs, "g", b"g").unwrap();
    let bob = Bob::new(&world);
    let dir = share(&vfs, &bob, "d");
    share(&vfs, &bob, "d/own");
    let file = share(&vfs, &bob, "g");
    assert_eq!(get(&bob.vfs, "d/f").unwrap(), b"f");
    let before = open(&bob.vfs, "g", Access::Read).unwrap();
    bob.keys.say(dir, KeyError::Revoked { at: 77 });
    bob.keys.say(file, KeyError::Expired { at: 78 });
    let f = bob.vfs.resolve(Path::new("g")).unwrap();
    assert_eq!(
        errno(bob.vfs.open(me(), f, Access::Read, false)),
        Some(Errno::KEYEXPIRED)
    );
    assert_eq!(
        read_all(&bob.vfs, before).unwrap(),
        b"g",
        "what is open stays open"
    );
    let told = bob.vfs.last_failure(me().uid, Path::new("g")).unwrap();
    assert!(matches!(
        told.error,
        VfsError::Key(KeyError::Expired { at: 78 })
    ));
    std::thread::sleep(std::time::Duration::from_millis(450));
    assert_eq!(errno(get(&bob.vfs, "d/f")), Some(Errno::KEYREVOKED));
    assert_eq!(list(&bob.vfs, "").unwrap(), ["d", "g"], "still listed");
    assert_eq!(
        list(&bob.vfs, "d").unwrap(),
        ["own"],
        "what is shared by itself stays"
    );
    assert_eq!(get(&bob.vfs, "d/own").unwrap(), b"own");
}

#[test]
fn a_reader_sees_what_the_owner_writes_meanwhile() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", &pattern(200_000, 1)).unwrap();
    let bob = Bob::new(&world);
    share(&vfs, &bob, "f");
    let handle = open(&bob.vfs, "f", Access::Read).unwrap();
    for round in 2..6 {
        patch(&vfs, "f", 50_000, &pattern(100_000, round)).unwrap();
        vfs.checkpoint().unwrap();
        let content = read_all(&bob.vfs, handle).unwrap();
        assert_eq!(content[50_000..150_000], pattern(100_000, round));
        assert_eq!(get(&bob.vfs, "f").unwrap().len(), 200_000);
    }
    put(&vfs, "new", b"version").unwrap();
    rename(&vfs, "new", "f").unwrap();
    vfs.checkpoint().unwrap();
    // The new file is not shared: the old ticket leads to it and opens nothing.
    assert!(get(&bob.vfs, "f").is_err());
}

#[test]
fn a_reader_cannot_forge_what_the_owner_or_another_reader_accepts() {
    let world = World::new();
    let vfs = world.open();
    put(&vfs, "f", b"genuine").unwrap();
    let bob = Bob::new(&world);
    share(&vfs, &bob, "f");
    let path = stored(&world, &vfs, "f");
    vfs.close().unwrap();
    drop(vfs);
    // A header that carries other seals is refused by both.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096 - 128..4096 - 64].fill(1);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(errno(get(&bob.vfs, "f")), Some(Errno::IO));
    assert_eq!(errno(get(&world.open(), "f")), Some(Errno::IO));
}
