//! A store with something of everything in it, an earlier state of it kept aside, and a look at all that a program
//! could see.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kmsfs::vfs::{AttrChange, Result, Vfs, VfsError};

use crate::support::*;

pub(super) const HEADER: usize = 4096;
/// Of every file that is attacked: 24 full chunks and a bit, so that there is a tag page after the sixteenth.
pub(super) const SIZE: usize = 24 * CHUNK + 100;

/// The store and where things stand in it.
pub(super) struct Stage {
    pub(super) world: World,
    places: BTreeMap<String, PathBuf>,
}

/// What programs see: for each path and aspect the bytes or the error.
pub(super) type View = BTreeMap<(String, &'static str), Result<Vec<u8>, String>>;

const FILES: [&str; 5] = ["d/victim", "d/other", "e/victim", "d/saved", "fine"];
const LINKS: [&str; 2] = ["d/link", "d/link2"];
const DIRS: [&str; 4] = ["", "d", "e", "d/sub"];

impl Stage {
    pub(super) fn new() -> Self {
        let world = World::new();
        let vfs = world.open();
        for dir in ["d", "e", "d/sub"] {
            mkdir(&vfs, dir).unwrap();
        }
        for (seed, file) in (1..).zip(["d/victim", "d/other", "e/victim", "d/saved"]) {
            put(&vfs, file, &pattern(SIZE, seed)).unwrap();
            set_xattr(&vfs, file, "user.small", &[seed; 9]).unwrap();
            set_xattr(&vfs, file, "user.large", &pattern(5_000, seed)).unwrap();
        }
        put(&vfs, "fine", b"fine").unwrap();
        put(&vfs, "d/deleted", b"deleted later").unwrap();
        put(&vfs, &format!("d/{}", long()), b"long").unwrap();
        symlink(&vfs, "one", "d/link").unwrap();
        symlink(&vfs, "two", "d/link2").unwrap();
        vfs.close().unwrap();
        drop(vfs);
        copy_tree(&world.store(), &world.dir.path().join("old"));

        let vfs = world.open();
        patch(&vfs, "d/victim", 2 * CHUNK, &pattern(CHUNK, 91)).unwrap();
        patch(&vfs, "d/victim", 17 * CHUNK, &pattern(CHUNK, 92)).unwrap();
        set_xattr(&vfs, "d/victim", "user.large", &pattern(5_000, 93)).unwrap();
        unlink(&vfs, "d/deleted").unwrap();
        put(&vfs, "d/.new", b"saved anew").unwrap();
        rename(&vfs, "d/.new", "d/saved").unwrap();
        unlink(&vfs, "d/link2").unwrap();
        symlink(&vfs, "three", "d/link2").unwrap();
        let change = AttrChange {
            mode: Some(0o750),
            ..AttrChange::NONE
        };
        let sub = vfs.resolve(Path::new("d/sub")).unwrap();
        vfs.setattr(me(), sub, None, change).unwrap();
        // Everything is seen once, as by anybody who uses it.
        view(&vfs);
        let long = format!("d/{}", long());
        let all = FILES.into_iter().chain(LINKS).chain(DIRS).chain([&*long]);
        let places = all
            .map(|path| (path.to_owned(), stored(&world, &vfs, path)))
            .collect();
        vfs.close().unwrap();
        Self { world, places }
    }

    /// Where a path stands in the store.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.places[path].clone()
    }

    /// The same in the earlier state.
    pub(super) fn old(&self, path: &str) -> PathBuf {
        let place = self.at(path);
        let below = place.strip_prefix(self.world.store()).unwrap();
        self.world.dir.path().join("old").join(below)
    }

    pub(super) fn long(&self) -> PathBuf {
        self.at(&format!("d/{}", long()))
    }

    /// Somewhere outside the store.
    pub(super) fn outside(&self, name: &str) -> PathBuf {
        self.world.dir.path().join(name)
    }
}

fn long() -> String {
    "n".repeat(220)
}

/// Looks at everything.
pub(super) fn view(vfs: &Vfs) -> View {
    let mut view = View::new();
    let mut add = |path: &str, aspect, seen: Result<Vec<u8>>| {
        view.insert(
            (path.to_owned(), aspect),
            seen.map_err(|error| error.to_string()),
        );
    };
    for dir in DIRS {
        add(
            dir,
            "list",
            list(vfs, dir).map(|it| it.join("\n").into_bytes()),
        );
        add(dir, "mode", mode(vfs, dir));
    }
    for file in FILES {
        add(file, "content", get(vfs, file));
        add(file, "mode", mode(vfs, file));
        add(file, "user.small", attribute(vfs, file, "user.small"));
        add(file, "user.large", attribute(vfs, file, "user.large"));
    }
    for link in LINKS {
        add(link, "target", readlink(vfs, link).map(String::into_bytes));
    }
    view
}

/// That there is no attribute is an answer.
fn attribute(vfs: &Vfs, path: &str, name: &str) -> Result<Vec<u8>> {
    mode(vfs, path)?;
    match xattr(vfs, path, name) {
        Err(VfsError::Os(rustix::io::Errno::NODATA)) => Ok(b"(none)".to_vec()),
        other => other,
    }
}

/// Permission bits; of a link that cannot be read, that.
fn mode(vfs: &Vfs, path: &str) -> Result<Vec<u8>> {
    let attr = attr(vfs, path)?;
    if attr.kind == kmsfs::backing::Kind::Symlink {
        readlink(vfs, path)?;
    }
    Ok(format!("{:o}", attr.mode).into_bytes())
}

pub(super) fn overwrite(path: &Path, offset: usize, bytes: &[u8]) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, offset as u64)
        .unwrap();
}

pub(super) fn bytes(path: &Path, offset: usize, len: usize) -> Vec<u8> {
    std::fs::read(path).unwrap()[offset..offset + len].to_vec()
}

pub(super) fn flip(path: &Path, offset: usize) {
    overwrite(path, offset, &[bytes(path, offset, 1)[0] ^ 1]);
}

pub(super) fn set_len(path: &Path, len: usize) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len as u64).unwrap();
}

pub(super) fn append(path: &Path, bytes: &[u8]) {
    let len = std::fs::metadata(path).unwrap().len();
    overwrite(path, usize::try_from(len).unwrap(), bytes);
}

/// Puts another object in the place of one, as a new file or directory.
pub(super) fn replace(path: &Path, by: &Path) {
    remove(path);
    if by.is_dir() && !by.is_symlink() {
        copy_tree(by, path);
    } else {
        copy_one(by, path);
    }
}

/// Puts the bytes of another file into one.
pub(super) fn overlay(path: &Path, by: &Path) {
    std::fs::write(path, std::fs::read(by).unwrap()).unwrap();
}

pub(super) fn exchange(one: &Path, two: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
}

pub(super) fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}

fn copy_one(from: &Path, to: &Path) {
    if from.is_symlink() {
        std::os::unix::fs::symlink(std::fs::read_link(from).unwrap(), to).unwrap();
    } else {
        std::fs::copy(from, to).unwrap();
    }
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mode = std::fs::metadata(from).unwrap().permissions();
    std::fs::set_permissions(to, mode).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            copy_one(&entry.path(), &to);
        }
    }
}
