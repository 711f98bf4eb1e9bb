//! What is said about labelled objects that move, are replaced or go.
//!
//! The bugs these tests remember: a shared file that was saved while somebody had it open was reported as gone besides
//! being replaced, which would have ended its grants; one that nobody had opened went without a word, and its grants
//! stayed for ever.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kms_crypto::id::LabelId;
use kmsfs::vfs::hooks::{Events, Moved, Removed, Replaced};
use kmsfs::vfs::{Access, Vfs};

use crate::support::{World, close, link, me, mkdir, open, put, rename, rmdir, unlink};

#[derive(Default)]
struct Heard(Mutex<Vec<(&'static str, LabelId)>>);

impl Heard {
    fn take(&self) -> Vec<(&'static str, LabelId)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Events for Heard {
    fn moved(&self, _moved: Moved) {}

    fn replaced(&self, replaced: Replaced) {
        let how = if replaced.is_save {
            "saved"
        } else {
            "replaced"
        };
        self.0.lock().unwrap().push((how, replaced.label));
    }

    fn removed(&self, removed: Removed) {
        self.0.lock().unwrap().push(("removed", removed.label));
    }
}

fn scene() -> (World, Arc<Vfs>, Arc<Heard>) {
    let world = World::new();
    let vfs = world.open();
    let heard = Arc::new(Heard::default());
    vfs.set_events(Arc::clone(&heard) as _);
    (world, vfs, heard)
}

fn label(vfs: &Vfs, path: &str) -> LabelId {
    let ino = vfs.resolve(Path::new(path)).unwrap();
    vfs.ensure_label(ino).unwrap().label
}

#[test]
fn a_labelled_file_goes_with_its_last_name_opened_or_not() {
    let (world, vfs, heard) = scene();
    put(&vfs, "a", b"a").unwrap();
    let of_a = label(&vfs, "a");
    link(&vfs, "a", "b").unwrap();
    unlink(&vfs, "a").unwrap();
    assert_eq!(heard.take(), [], "it has another name");
    unlink(&vfs, "b").unwrap();
    assert_eq!(heard.take(), [("removed", of_a)]);

    put(&vfs, "c", b"c").unwrap();
    let of_c = label(&vfs, "c");
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    vfs.set_events(Arc::clone(&heard) as _);
    unlink(&vfs, "c").unwrap();
    assert_eq!(heard.take(), [("removed", of_c)], "nobody had opened it");
}

#[test]
fn a_labelled_directory_goes() {
    let (_world, vfs, heard) = scene();
    mkdir(&vfs, "dir").unwrap();
    let of_dir = label(&vfs, "dir");
    rmdir(&vfs, "dir").unwrap();
    assert_eq!(heard.take(), [("removed", of_dir)]);
    mkdir(&vfs, "old").unwrap();
    mkdir(&vfs, "new").unwrap();
    let of_old = label(&vfs, "old");
    rename(&vfs, "new", "old").unwrap();
    assert_eq!(heard.take(), [("removed", of_old)]);
}

#[test]
fn a_file_saved_by_rename_is_replaced_and_nothing_else_also_while_open() {
    let (_world, vfs, heard) = scene();
    put(&vfs, "plan", b"first").unwrap();
    let of_plan = label(&vfs, "plan");
    let reader = open(&vfs, "plan", Access::Read).unwrap();
    put(&vfs, "plan.new", b"second").unwrap();
    rename(&vfs, "plan.new", "plan").unwrap();
    assert_eq!(heard.take(), [("saved", of_plan)]);
    close(&vfs, reader).unwrap();
    assert_eq!(heard.take(), []);
}

#[test]
fn an_older_file_moved_over_a_shared_one_is_no_save() {
    let (world, vfs, heard) = scene();
    put(&vfs, "secret", b"secret").unwrap();
    put(&vfs, "shared", b"shared").unwrap();
    let of_shared = label(&vfs, "shared");
    vfs.close().unwrap();
    drop(vfs);
    let vfs = world.open();
    vfs.set_events(Arc::clone(&heard) as _);
    rename(&vfs, "secret", "shared").unwrap();
    assert_eq!(heard.take(), [("replaced", of_shared)]);
}

#[test]
fn a_label_is_adopted_by_a_file_without_one_and_by_no_other() {
    let (_world, vfs, _heard) = scene();
    put(&vfs, "a", b"a").unwrap();
    put(&vfs, "b", b"b").unwrap();
    let of_a = label(&vfs, "a");
    unlink(&vfs, "a").unwrap();
    let b = vfs.resolve(Path::new("b")).unwrap();
    let adopted = vfs.adopt_label(b, of_a, 1).unwrap();
    assert_eq!(adopted.label, of_a);
    let other = vfs.adopt_label(b, LabelId([1; 16]), 1).unwrap();
    assert_eq!(other.label, of_a, "it keeps its own");
}

#[test]
fn a_file_that_was_there_before_is_no_new_version_of_one_that_left() {
    // The bug: a shared file put aside and an older, private one moved into its name; with the shared one deleted, the
    // private one was taken for its next version, and its reader could open it.
    let (_world, vfs, _heard) = scene();
    let made_since = |path: &str, since| {
        let ino = vfs.resolve(Path::new(path)).unwrap();
        vfs.made_since(ino, me().uid, since).unwrap()
    };
    put(&vfs, "plan", b"shared").unwrap();
    put(&vfs, "secret", b"private").unwrap();
    let left = Instant::now();
    rename(&vfs, "plan", "plan~").unwrap();
    rename(&vfs, "secret", "plan").unwrap();
    assert!(!made_since("plan", left));
    put(&vfs, "new", b"next version").unwrap();
    assert!(made_since("new", left));
    let ino = vfs.resolve(Path::new("new")).unwrap();
    assert!(!vfs.made_since(ino, me().uid + 1, left).unwrap());
    label(&vfs, "new");
    assert!(!made_since("new", left), "it is shared by itself");
}
