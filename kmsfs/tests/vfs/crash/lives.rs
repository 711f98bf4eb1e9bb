//! Lives of a store, step by step, and what a program sees of it.

use std::collections::BTreeMap;

use kms_crypto::format::Special;
use kmsfs::backing::{Kind, Replace};
use kmsfs::vfs::{Access, Allocate, Result, Vfs, VfsError};
use rustix::io::Errno;

use crate::support::*;

pub(crate) type Step = (&'static str, fn(&Vfs) -> Result<()>);

/// Content, targets and kinds by path.
pub(crate) type Seen = BTreeMap<String, Vec<u8>>;

/// Each step is one change as a program sees it, or the same done to several names; what a step leaves behind of a name
/// is before or after, never between.
pub(crate) const LIVES: &[&[Step]] = &[CONTENT, NAMES, LINKS, PLACES];

/// Content, new keys, saving by renaming.
const CONTENT: &[Step] = &[
    ("create", |vfs| put(vfs, "a", &pattern(30_000, 1))),
    ("sync", |vfs| fsync(vfs, "a")),
    ("overwrite", |vfs| {
        patch(vfs, "a", 5_000, &pattern(9_000, 2))
    }),
    ("append", |vfs| patch(vfs, "a", 30_000, &pattern(70_000, 3))),
    ("checkpoint", |vfs| vfs.checkpoint()),
    ("append much", |vfs| {
        patch(vfs, "a", 100_000, &pattern(600_000, 4))
    }),
    ("overwrite at both ends", |vfs| {
        patch(vfs, "a", 699_990, &pattern(5_000, 5))
    }),
    ("shrink", |vfs| truncate(vfs, "a", 33_333)),
    ("grow again", |vfs| {
        patch(vfs, "a", 100_000, &pattern(200_000, 6))
    }),
    ("sync again", |vfs| fsync(vfs, "a")),
    ("replace the content", |vfs| {
        put(vfs, "a", &pattern(120_000, 7))
    }),
    ("mkdir", |vfs| mkdir(vfs, "d")),
    ("link", |vfs| link(vfs, "a", "d/b")),
    ("attribute", |vfs| {
        set_xattr(vfs, "a", "user.x", &pattern(9_000, 8))
    }),
    ("rename", |vfs| rename(vfs, "a", "d/c")),
    ("overwrite what was renamed", |vfs| {
        patch(vfs, "d/b", 10, &pattern(20_000, 9))
    }),
    ("attribute again", |vfs| {
        set_xattr(vfs, "d/c", "user.x", &pattern(8_000, 8))
    }),
    ("unlink", |vfs| unlink(vfs, "d/b")),
    ("rename the directory", |vfs| rename(vfs, "d", "e")),
    ("a new version", |vfs| {
        put(vfs, "e/new", &pattern(5_000, 10))
    }),
    ("sync the new version", |vfs| fsync(vfs, "e/new")),
    ("save by rename", |vfs| rename(vfs, "e/new", "e/c")),
    ("a long name", |vfs| {
        rename(vfs, "e/c", &format!("e/{}", "n".repeat(250)))
    }),
    ("a symbolic link", |vfs| symlink(vfs, "target", "l")),
    ("share", |vfs| {
        vfs.ensure_label(vfs.resolve("e".as_ref())?).map(drop)
    }),
    ("revoke", |vfs| {
        vfs.rotate(vfs.resolve("e".as_ref())?).map(drop)
    }),
    ("new keys", |vfs| vfs.rekey_step().map(drop)),
    ("write after that", |vfs| {
        patch(vfs, &format!("e/{}", "n".repeat(250)), 100, b"new")
    }),
    ("unlink the long name", |vfs| {
        unlink(vfs, &format!("e/{}", "n".repeat(250)))
    }),
    ("rmdir", |vfs| rmdir(vfs, "e")),
];

/// More names than a header has room for.
const NAMES: &[Step] = &[
    ("create", |vfs| put(vfs, "a", &pattern(5_000, 1))),
    ("sync", |vfs| fsync(vfs, "a")),
    ("many names", |vfs| {
        (0..15).try_for_each(|n| link(vfs, "a", &format!("name {n}")))
    }),
    ("overwrite", |vfs| {
        patch(vfs, "name 14", 100, &pattern(300, 2))
    }),
    ("a directory", |vfs| mkdir(vfs, "d")),
    ("one more in a directory", |vfs| link(vfs, "name 3", "d/b")),
    ("checkpoint", |vfs| vfs.checkpoint()),
    ("move one", |vfs| rename(vfs, "name 13", "d/c")),
    ("attribute", |vfs| set_xattr(vfs, "a", "user.x", b"value")),
    ("fewer again", |vfs| {
        (0..6).try_for_each(|n| unlink(vfs, &format!("name {n}")))
    }),
    ("checkpoint again", |vfs| vfs.checkpoint()),
    ("overwrite again", |vfs| {
        patch(vfs, "d/b", 10, &pattern(20, 3))
    }),
    ("move the directory", |vfs| rename(vfs, "d", "e")),
    ("the first goes", |vfs| unlink(vfs, "a")),
    ("all but one go", |vfs| {
        (6..13).try_for_each(|n| unlink(vfs, &format!("name {n}")))
    }),
    ("replace one", |vfs| rename(vfs, "e/b", "name 14")),
];

fn long(seed: char) -> String {
    seed.to_string().repeat(240)
}

fn far(seed: char) -> String {
    format!("{}{seed}", "directory/".repeat(380))
}

fn exchange(vfs: &Vfs, one: &str, other: &str) -> Result<()> {
    let ((dir, name), (other_dir, other_name)) = (at(vfs, one)?, at(vfs, other)?);
    vfs.rename(
        me(),
        (dir, &name),
        (other_dir, &other_name),
        Replace::Exchange,
    )
}

/// Symbolic links with targets and names of all lengths.
const LINKS: &[Step] = &[
    ("a short one", |vfs| symlink(vfs, "short", "s")),
    ("a far one", |vfs| symlink(vfs, &far('1'), "l")),
    ("with a long name", |vfs| {
        symlink(vfs, &far('2'), &long('n'))
    }),
    ("a directory", |vfs| mkdir(vfs, "d")),
    ("sync it", |vfs| vfs.fsyncdir(vfs.resolve("d".as_ref())?)),
    ("move the far one", |vfs| rename(vfs, "l", "d/l")),
    ("over another", |vfs| rename(vfs, "s", "d/l")),
    ("another far one", |vfs| symlink(vfs, &far('3'), "l")),
    ("change places", |vfs| exchange(vfs, "l", "d/l")),
    ("a file", |vfs| put(vfs, "f", &pattern(5_000, 1))),
    ("a link and a file", |vfs| exchange(vfs, "d/l", "f")),
    ("checkpoint", |vfs| vfs.checkpoint()),
    ("a link and a directory", |vfs| exchange(vfs, "l", "d")),
    ("two far ones", |vfs| exchange(vfs, "f", &long('n'))),
    ("a name gets short", |vfs| rename(vfs, &long('n'), "n")),
    ("the far one goes", |vfs| unlink(vfs, "n")),
    ("the other as well", |vfs| unlink(vfs, "f")),
];

fn allocate(vfs: &Vfs, path: &str, at: u64, len: u64, what: Allocate) -> Result<()> {
    let handle = open(vfs, path, Access::Write)?;
    let allocated = vfs.fallocate(handle, at, len, what);
    close(vfs, handle)?;
    allocated
}

/// Names that change places, special nodes, room and lengths.
const PLACES: &[Step] = &[
    ("one directory", |vfs| mkdir(vfs, "d")),
    ("another", |vfs| mkdir(vfs, &long('e'))),
    ("a file in it", |vfs| {
        put(vfs, &format!("{}/g", long('e')), &pattern(90_000, 1))
    }),
    ("a long one", |vfs| {
        put(vfs, &format!("d/{}", long('f')), &pattern(9_000, 2))
    }),
    ("sync", |vfs| fsync(vfs, &format!("d/{}", long('f')))),
    ("files change places", |vfs| {
        let (one, other) = (format!("{}/g", long('e')), format!("d/{}", long('f')));
        exchange(vfs, &one, &other)
    }),
    ("a directory and a file", |vfs| {
        exchange(vfs, &long('e'), &format!("d/{}", long('f')))
    }),
    ("a fifo", |vfs| {
        let (dir, name) = at(vfs, "d/p")?;
        vfs.mknod(me(), dir, &name, 0o640, Some(Special::Fifo))
            .map(drop)
    }),
    ("moved", |vfs| rename(vfs, "d/p", &long('p'))),
    ("a device", |vfs| {
        let (dir, name) = at(vfs, &long('c'))?;
        vfs.mknod(me(), dir, &name, 0o600, Some(Special::CharDevice(259)))
            .map(drop)
    }),
    ("with a second name", |vfs| link(vfs, &long('c'), "d/c")),
    ("an attribute", |vfs| {
        set_xattr(vfs, &long('e'), "user.x", &pattern(20_000, 1))
    }),
    ("checkpoint", |vfs| vfs.checkpoint()),
    ("no attribute", |vfs| {
        vfs.removexattr(me(), vfs.resolve(long('e').as_ref())?, b"user.x")
    }),
    ("room", |vfs| {
        allocate(vfs, &long('e'), 80_000, 40_000, Allocate::Extend)
    }),
    ("a hole", |vfs| {
        allocate(vfs, &long('e'), 10_000, 50_000, Allocate::PunchHole)
    }),
    ("zeros", |vfs| {
        allocate(vfs, &long('e'), 70_000, 4_000, Allocate::Zero)
    }),
    ("far longer", |vfs| truncate(vfs, &long('e'), 2_000_000)),
    ("something at its end", |vfs| {
        patch(vfs, &long('e'), 1_999_000, &pattern(3_000, 3))
    }),
    ("a hole at its end", |vfs| {
        allocate(vfs, &long('e'), 1_998_000, 4_000, Allocate::PunchHole)
    }),
    ("shorter", |vfs| truncate(vfs, &long('e'), 75_000)),
    ("longer again", |vfs| truncate(vfs, &long('e'), 77_000)),
    ("nothing", |vfs| truncate(vfs, &long('e'), 0)),
    ("something again", |vfs| {
        patch(vfs, &long('e'), 20_000, &pattern(2_000, 4))
    }),
];

/// Everything a program can see: content, attributes, links.
pub(crate) fn look(vfs: &Vfs) -> Result<Seen> {
    let mut seen = BTreeMap::new();
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        for name in list(vfs, &dir)? {
            let path = if dir.is_empty() {
                name
            } else {
                format!("{dir}/{name}")
            };
            let kind = attr(vfs, &path)?.kind;
            match kind {
                Kind::Dir => {
                    seen.insert(path.clone(), b"dir".to_vec());
                    dirs.push(path);
                }
                Kind::Special(special) => {
                    seen.insert(path, format!("{special:?}").into_bytes());
                }
                Kind::Symlink => drop(seen.insert(path.clone(), readlink(vfs, &path)?.into())),
                _ => {
                    let mut all = get(vfs, &path)?;
                    assert_eq!(attr(vfs, &path)?.size, all.len() as u64, "size of {path}");
                    match xattr(vfs, &path, "user.x") {
                        Err(VfsError::Os(Errno::NODATA)) => {}
                        value => all.extend(value?),
                    }
                    seen.insert(path, all);
                }
            }
        }
    }
    Ok(seen)
}

/// What is there after each step when nothing goes wrong; the first is the empty store.
pub(crate) fn expected(steps: &[Step]) -> Vec<Seen> {
    let world = World::new();
    let vfs = world.open();
    let mut states = vec![look(&vfs).unwrap()];
    for (name, step) in steps {
        step(&vfs).unwrap_or_else(|error| panic!("{name}: {error}"));
        states.push(look(&vfs).unwrap());
    }
    states
}

/// What may be seen when a step was cut off: before, after, or for a file that came into being, an empty one.
pub(crate) fn is_between(seen: &Seen, before: &Seen, after: &Seen) -> bool {
    if seen == before || seen == after {
        return true;
    }
    // Creating and truncating are steps of their own; a link made for a rename may stand beside its source.
    let names = before.keys().chain(after.keys());
    seen.keys()
        .all(|name| before.contains_key(name) || after.contains_key(name))
        && names.clone().all(|name| {
            let got = seen.get(name);
            got == before.get(name)
                || got == after.get(name)
                || got.is_some_and(|content| content.is_empty())
        })
        && before
            .keys()
            .all(|name| !after.contains_key(name) || seen.contains_key(name))
}

/// For messages: names and lengths.
pub(crate) fn lengths(seen: &Seen) -> Vec<(&str, usize)> {
    let short = |name: &str| name.len().min(40);
    seen.iter()
        .map(|(name, content)| (&name[..short(name)], content.len()))
        .collect()
}
