//! What is put right again in a damaged store, and what is said of the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kmsfs::backing::{Disk, Kind};
use kmsfs::vfs::{Options, Result, Vfs};

use crate::support::*;

mod dirs;
mod killed;
mod random;
mod shared;
mod sides;
mod small;
mod strays;

/// What people see of a tree: of each path what it is, its content or target, and an attribute.
type Tree = BTreeMap<String, (Option<Vec<u8>>, Option<String>, Option<Vec<u8>>)>;

fn below(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

/// Everything that can be read below a directory.
fn tree(vfs: &Vfs, dir: &str) -> Tree {
    let mut seen = Tree::new();
    for name in list(vfs, dir).unwrap_or_default() {
        let path = below(dir, &name);
        let Ok(attr) = attr(vfs, &path) else {
            continue;
        };
        match attr.kind {
            Kind::Dir => seen.extend(tree(vfs, &path)),
            Kind::Symlink => {
                seen.insert(path.clone(), (None, readlink(vfs, &path).ok(), None));
                continue;
            }
            _ => {}
        }
        let value = xattr(vfs, &path, "user.x").ok();
        seen.insert(path.clone(), (get(vfs, &path).ok(), None, value));
    }
    seen
}

fn try_check(world: &World, disk: Disk) -> Result<Arc<Vfs>> {
    world.try_open_with(Options {
        disk,
        for_check: true,
        ..world.options()
    })
}

fn for_check(world: &World) -> Arc<Vfs> {
    try_check(world, Disk::default()).unwrap()
}

/// What a check says, and what would be done about it.
fn looked(world: &World) -> Vec<String> {
    let vfs = for_check(world);
    let report = vfs.fsck(Path::new(""), &mut |_| {}).unwrap();
    vfs.close().unwrap();
    told(&report)
}

/// Repairs, and says what was done.
fn repaired(world: &World) -> Vec<String> {
    let vfs = for_check(world);
    let report = vfs.repair(&mut |_| {}).unwrap();
    vfs.close().unwrap();
    told(&report)
}

fn told(report: &kmsfs::vfs::Report) -> Vec<String> {
    let mut told: Vec<_> = report
        .findings
        .iter()
        .map(|it| {
            let done = if it.is_repaired() { "+" } else { "-" };
            format!(
                "{done}{} {} {}",
                it.problem.word(),
                it.remedy.word(),
                it.path.display()
            )
        })
        .collect();
    told.sort();
    told
}

fn exchange(one: &Path, other: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

/// A store that was closed, and what was in it.
struct Scene {
    world: World,
    tree: Tree,
    places: BTreeMap<String, PathBuf>,
}

impl Scene {
    /// `fill` fills it; everything is seen once.
    fn new(fill: impl FnOnce(&Vfs)) -> Self {
        let world = World::new();
        let vfs = world.open();
        fill(&vfs);
        Self::of(world, vfs)
    }

    fn of(world: World, vfs: Arc<Vfs>) -> Self {
        vfs.close().unwrap();
        drop(vfs);
        // Looked at by a mount that has not made it: what is in use is not looked at again.
        let vfs = world.open();
        list(&vfs, "").unwrap();
        let seen = tree(&vfs, "");
        let places = seen
            .keys()
            .map(|path| (path.clone(), stored(&world, &vfs, path)))
            .collect();
        vfs.close().unwrap();
        Self {
            world,
            tree: seen,
            places,
        }
    }

    /// Where a path stands in the store.
    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            return self.world.store();
        }
        self.places[path].clone()
    }

    fn header(&self, dir: &str) -> PathBuf {
        self.at(dir).join("kmsfs.dir")
    }

    /// This client has never seen the store.
    fn forget(&self) {
        Vfs::forget_seen(&self.world.options().state_dir);
    }

    /// Repairs; says what was done. Afterwards nothing more is found.
    fn repair(&self) -> Vec<String> {
        let done = repaired(&self.world);
        assert_eq!(looked(&self.world), [""; 0], "after {done:?}");
        done
    }

    fn tree_now(&self) -> Tree {
        let vfs = self.world.open();
        let seen = tree(&vfs, "");
        vfs.close().unwrap();
        seen
    }

    /// Everything is as it was.
    fn assert_whole(&self) {
        assert_same(&self.tree_now(), &self.tree);
    }
}

fn assert_same(now: &Tree, before: &Tree) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(now), names(before));
    for (path, was) in before {
        assert!(now[path] == *was, "{path} is not what it was");
    }
}
