//! Anything in the store changed, taken away or doubled at random: what is read is what was written, or an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kmsfs::backing::Kind;
use kmsfs::vfs::Vfs;

use crate::random::{Rng, cases};
use crate::support::*;

/// How often one store is changed, and put back.
const ROUNDS: u64 = 50;

pub(crate) fn fill(vfs: &Vfs) {
    mkdir(vfs, "d").unwrap();
    mkdir(vfs, "d/empty").unwrap();
    put(vfs, "small", b"a few bytes").unwrap();
    put(vfs, "nothing", b"").unwrap();
    put(vfs, "d/chunks", &pattern(30_000, 1)).unwrap();
    put(vfs, "d/pages", &pattern(620_000, 2)).unwrap();
    put(vfs, &"n".repeat(240), &pattern(5_000, 3)).unwrap();
    link(vfs, "small", "d/linked").unwrap();
    symlink(vfs, "d/chunks", "l").unwrap();
    set_xattr(vfs, "small", "user.x", &pattern(100, 4)).unwrap();
    set_xattr(vfs, "d/chunks", "user.x", &pattern(9_000, 5)).unwrap();
}

/// Everything in the store but its configuration.
fn stored_things(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() == "kmsfs.toml" {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            stored_things(&path, found);
        }
        found.push(path);
    }
    found.sort();
}

/// Does something to the store, and returns what undoes it.
pub(crate) fn mutate(store: &Path, rng: &mut Rng) -> (String, Box<dyn FnOnce()>) {
    let mut things = Vec::new();
    stored_things(store, &mut things);
    let path = things[rng.below(things.len())].clone();
    let other = things[rng.below(things.len())].clone();
    let told = |what: &str| format!("{what} {}", path.display());
    let is_file = path.is_file() && !path.is_symlink();
    match rng.below(if is_file { 8 } else { 3 }) {
        0 => {
            let aside = store.join("../aside");
            fs::rename(&path, &aside).unwrap();
            (
                told("removed"),
                Box::new(move || fs::rename(aside, path).unwrap()),
            )
        }
        1 => {
            let name = path.file_name().unwrap().to_str().unwrap();
            let at = rng.below(name.len());
            let letter = char::from(b'A' + rng.below(26) as u8);
            let renamed: String = name
                .chars()
                .enumerate()
                .map(|(n, c)| if n == at { letter } else { c })
                .collect();
            let renamed = path.with_file_name(renamed);
            if renamed.symlink_metadata().is_ok() {
                return (told("left alone"), Box::new(|| ()));
            }
            fs::rename(&path, &renamed).unwrap();
            (
                told("renamed"),
                Box::new(move || fs::rename(renamed, path).unwrap()),
            )
        }
        2 => {
            let is_nested = path.starts_with(&other) || other.starts_with(&path);
            if is_nested {
                return (told("left alone"), Box::new(|| ()));
            }
            let exchange = |one: &Path, other: &Path| {
                let aside = one.with_extension("aside");
                fs::rename(one, &aside).unwrap();
                fs::rename(other, one).unwrap();
                fs::rename(aside, other).unwrap();
            };
            exchange(&path, &other);
            let what = told(&format!("exchanged {} with", other.display()));
            (what, Box::new(move || exchange(&path, &other)))
        }
        kind => {
            let bytes = fs::read(&path).unwrap();
            let mut changed = bytes.clone();
            let what = match kind {
                3 => {
                    let copy = path.with_file_name(other.file_name().unwrap());
                    if copy.symlink_metadata().is_err() {
                        fs::copy(&path, &copy).unwrap();
                        return (
                            told("copied"),
                            Box::new(move || fs::remove_file(copy).unwrap()),
                        );
                    }
                    "left alone"
                }
                4 => {
                    changed.truncate(rng.below(bytes.len().max(1)));
                    "cut"
                }
                5 => {
                    changed.extend(pattern(1 + rng.below(5_000), 7));
                    "extended"
                }
                _ if bytes.is_empty() => "left alone",
                6 => {
                    let at = rng.below(bytes.len());
                    let end = (at + 1 + rng.below(4096)).min(bytes.len());
                    changed[at..end].fill(0);
                    "filled with zeros in part"
                }
                _ => {
                    changed[rng.below(bytes.len())] ^= 1 << rng.below(8);
                    "flipped a bit of"
                }
            };
            fs::write(&path, &changed).unwrap();
            (
                told(what),
                Box::new(move || fs::write(path, bytes).unwrap()),
            )
        }
    }
}

fn one_store(seed: u64) -> u64 {
    let mut rng = Rng::new(seed);
    let world = World::new();
    let vfs = world.open();
    fill(&vfs);
    let mut known = BTreeMap::new();
    for dir in ["", "d"] {
        for name in list(&vfs, dir).unwrap() {
            let path = if dir.is_empty() {
                name
            } else {
                format!("{dir}/{name}")
            };
            let value = xattr(&vfs, &path, "user.x").ok();
            known.insert(
                path.clone(),
                (get(&vfs, &path).ok(), readlink(&vfs, &path).ok(), value),
            );
        }
    }
    vfs.close().unwrap();
    drop(vfs);
    for _ in 0..ROUNDS {
        let (what, undo) = mutate(&world.store(), &mut rng);
        if let Ok(vfs) = world.try_open(kmsfs::backing::Disk::default()) {
            for (path, (content, target, value)) in &known {
                let Ok(found) = attr(&vfs, path) else {
                    continue;
                };
                match found.kind {
                    Kind::File => {
                        if let Ok(got) = get(&vfs, path) {
                            assert!(
                                Some(&got) == content.as_ref(),
                                "{what}: {path} reads as something else"
                            );
                        }
                        if let Ok(got) = xattr(&vfs, path, "user.x") {
                            assert!(
                                Some(&got) == value.as_ref(),
                                "{what}: {path} has another attribute"
                            );
                        }
                    }
                    Kind::Symlink => {
                        if let Ok(got) = readlink(&vfs, path) {
                            assert_eq!(
                                Some(&got),
                                target.as_ref(),
                                "{what}: {path} leads elsewhere"
                            );
                        }
                    }
                    _ => drop(list(&vfs, path)),
                }
            }
            let _ = vfs.fsck(Path::new(""), &mut |_| {});
        }
        undo();
    }
    ROUNDS
}

#[test]
fn whatever_is_done_to_the_store_nothing_reads_as_something_else() {
    cases("KMSFS_MUTATIONS", 300, one_store);
}
