//! Random operations on the filesystem and on a model of it: they must agree on every answer and on what is there,
//! whatever checkpoints, remounts and crashes come between.

use std::collections::BTreeMap;
use std::sync::Arc;

use kmsfs::vfs::{Access, Handle, Vfs, VfsError};
use proptest::prelude::*;
use proptest::test_runner::Config;
use rustix::io::Errno;

use crate::support::*;

/// Operands are indices into what may exist.
#[derive(Clone, Debug)]
enum Op {
    Put(u8, u32),
    Patch(u8, u32, u16),
    Append(u8, u16),
    Truncate(u8, u32),
    Unlink(u8),
    Rename(u8, u8),
    Link(u8, u8),
    Mkdir(u8),
    Rmdir(u8),
    MoveDir(u8, u8),
    Xattr(u8, u16),
    Fsync(u8),
    Open(u8),
    WriteOpen(u32, u16),
    CloseOpen,
    Checkpoint,
    Remount,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![
        0u32..20_000,
        (0u32..160).prop_map(|chunks| chunks * CHUNK as u32),
        600_000u32..620_000,
    ];
    prop_oneof![
        6 => (any::<u8>(), size.clone()).prop_map(|(file, size)| Op::Put(file, size)),
        6 => (any::<u8>(), size.clone(), any::<u16>()).prop_map(|(file, at, len)| Op::Patch(file, at, len)),
        3 => (any::<u8>(), any::<u16>()).prop_map(|(file, len)| Op::Append(file, len)),
        4 => (any::<u8>(), size.clone()).prop_map(|(file, size)| Op::Truncate(file, size)),
        3 => any::<u8>().prop_map(Op::Unlink),
        4 => any::<(u8, u8)>().prop_map(|(from, to)| Op::Rename(from, to)),
        3 => any::<(u8, u8)>().prop_map(|(from, to)| Op::Link(from, to)),
        2 => any::<u8>().prop_map(Op::Mkdir),
        2 => any::<u8>().prop_map(Op::Rmdir),
        2 => any::<(u8, u8)>().prop_map(|(from, to)| Op::MoveDir(from, to)),
        2 => (any::<u8>(), any::<u16>()).prop_map(|(file, len)| Op::Xattr(file, len)),
        2 => any::<u8>().prop_map(Op::Fsync),
        2 => any::<u8>().prop_map(Op::Open),
        3 => (size, any::<u16>()).prop_map(|(at, len)| Op::WriteOpen(at, len)),
        1 => Just(Op::CloseOpen),
        2 => Just(Op::Checkpoint),
        1 => Just(Op::Remount),
        2 => Just(Op::Crash),
    ]
}

#[derive(Clone, Debug, Default, PartialEq)]
struct File {
    content: Vec<u8>,
    xattr: Option<Vec<u8>>,
}

/// Files by number, names by path; a directory has no number.
#[derive(Default)]
struct Model {
    files: BTreeMap<u32, File>,
    names: BTreeMap<String, Option<u32>>,
    next: u32,
    open: Option<u32>,
}

const DIRS: [&str; 3] = ["", "d1", "d2"];

fn path(index: u8) -> String {
    let (dir, name) = (DIRS[usize::from(index) % 3], index / 3 % 4);
    if dir.is_empty() {
        format!("f{name}")
    } else {
        format!("{dir}/f{name}")
    }
}

fn dir(index: u8) -> String {
    DIRS[1 + usize::from(index) % 2].to_owned()
}

impl Model {
    fn file(&mut self, path: &str) -> Result<&mut File, Errno> {
        self.parent(path)?;
        let number = self.names.get(path).ok_or(Errno::NOENT)?.unwrap();
        Ok(self.files.get_mut(&number).unwrap())
    }

    fn parent(&self, path: &str) -> Result<(), Errno> {
        match path.rsplit_once('/') {
            Some((dir, _)) if !self.names.contains_key(dir) => Err(Errno::NOENT),
            _ => Ok(()),
        }
    }

    fn lose(&mut self, number: Option<u32>) {
        let Some(number) = number else { return };
        if self.open != Some(number) && !self.names.values().any(|other| *other == Some(number)) {
            self.files.remove(&number);
        }
    }

    fn below(&self, dir: &str) -> Vec<String> {
        let prefix = format!("{dir}/");
        self.names
            .keys()
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect()
    }

    fn apply(&mut self, op: &Op) -> Result<(), Errno> {
        match op {
            Op::Put(file, size) => {
                let path = path(*file);
                self.parent(&path)?;
                if !self.names.contains_key(&path) {
                    self.next += 1;
                    self.files.insert(self.next, File::default());
                    self.names.insert(path.clone(), Some(self.next));
                }
                self.file(&path)?.content = pattern(*size as usize, *file);
            }
            Op::Patch(file, at, len) => write(
                &mut self.file(&path(*file))?.content,
                *at as usize,
                *len,
                *file,
            ),
            Op::Append(file, len) => {
                let content = &mut self.file(&path(*file))?.content;
                let end = content.len();
                write(content, end, *len, *file);
            }
            Op::Truncate(file, size) => self.file(&path(*file))?.content.resize(*size as usize, 0),
            Op::Unlink(file) => {
                let path = path(*file);
                self.file(&path)?;
                let gone = self.names.remove(&path).flatten();
                self.lose(gone);
            }
            Op::Rename(from, to) => {
                let (from, to) = (path(*from), path(*to));
                self.file(&from)?;
                self.parent(&to)?;
                if self.names.get(&from) != self.names.get(&to) {
                    let moved = self.names.remove(&from).unwrap();
                    let gone = self.names.insert(to, moved).flatten();
                    self.lose(gone);
                }
            }
            Op::Link(from, to) => {
                let (from, to) = (path(*from), path(*to));
                self.file(&from)?;
                self.parent(&to)?;
                if self.names.contains_key(&to) {
                    return Err(Errno::EXIST);
                }
                let number = self.names[&from];
                self.names.insert(to, number);
            }
            Op::Mkdir(index) => match self.names.entry(dir(*index)) {
                std::collections::btree_map::Entry::Occupied(_) => return Err(Errno::EXIST),
                std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(None)),
            },
            Op::Rmdir(index) => {
                let dir = dir(*index);
                self.names.get(&dir).ok_or(Errno::NOENT)?;
                if !self.below(&dir).is_empty() {
                    return Err(Errno::NOTEMPTY);
                }
                self.names.remove(&dir);
            }
            Op::MoveDir(from, to) => {
                let (from, to) = (dir(*from), dir(*to));
                self.names.get(&from).ok_or(Errno::NOENT)?;
                if from == to {
                    return Ok(());
                }
                if !self.below(&to).is_empty() {
                    return Err(Errno::NOTEMPTY);
                }
                for name in self.below(&from) {
                    let number = self.names.remove(&name).unwrap();
                    self.names.insert(name.replacen(&from, &to, 1), number);
                }
                self.names.remove(&from);
                self.names.insert(to, None);
            }
            Op::Xattr(file, len) => {
                self.file(&path(*file))?.xattr = Some(pattern(usize::from(*len) / 8, *file))
            }
            Op::Fsync(file) => self.file(&path(*file)).map(drop)?,
            Op::Open(file) => {
                self.file(&path(*file))?;
                let before = self.open.take();
                self.lose(before);
                self.open = self.names[&path(*file)];
            }
            Op::WriteOpen(at, len) => {
                let number = self.open.ok_or(Errno::BADF)?;
                write(
                    &mut self.files.get_mut(&number).unwrap().content,
                    *at as usize,
                    *len,
                    99,
                );
            }
            Op::CloseOpen | Op::Remount | Op::Crash => {
                let before = self.open.take();
                self.lose(before);
            }
            Op::Checkpoint => {}
        }
        Ok(())
    }
}

fn write(content: &mut Vec<u8>, at: usize, len: u16, seed: u8) {
    let bytes = pattern(usize::from(len), seed);
    if bytes.is_empty() {
        return;
    }
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(&bytes);
}

struct Real<'a> {
    world: &'a World,
    vfs: Option<Arc<Vfs>>,
    open: Option<Handle>,
}

impl Real<'_> {
    fn vfs(&self) -> &Vfs {
        self.vfs.as_deref().unwrap()
    }

    fn apply(&mut self, op: &Op) -> Result<(), VfsError> {
        let vfs = self.vfs();
        match op {
            Op::Put(file, size) => put(vfs, &path(*file), &pattern(*size as usize, *file)),
            Op::Patch(file, at, len) => patch(
                vfs,
                &path(*file),
                *at as usize,
                &pattern(usize::from(*len), *file),
            ),
            Op::Append(file, len) => {
                let end = attr(vfs, &path(*file))?.size as usize;
                patch(vfs, &path(*file), end, &pattern(usize::from(*len), *file))
            }
            Op::Truncate(file, size) => truncate(vfs, &path(*file), *size as usize),
            Op::Unlink(file) => unlink(vfs, &path(*file)),
            Op::Rename(from, to) => rename(vfs, &path(*from), &path(*to)),
            Op::Link(from, to) => link(vfs, &path(*from), &path(*to)),
            Op::Mkdir(index) => mkdir(vfs, &dir(*index)),
            Op::Rmdir(index) => rmdir(vfs, &dir(*index)),
            Op::MoveDir(from, to) => rename(vfs, &dir(*from), &dir(*to)),
            Op::Xattr(file, len) => set_xattr(
                vfs,
                &path(*file),
                "user.x",
                &pattern(usize::from(*len) / 8, *file),
            ),
            Op::Fsync(file) => fsync(vfs, &path(*file)),
            Op::Open(file) => {
                let handle = open(vfs, &path(*file), Access::Write)?;
                self.close_open()?;
                self.open = Some(handle);
                Ok(())
            }
            Op::WriteOpen(at, len) => {
                let handle = self.open.ok_or(Errno::BADF)?;
                vfs.write(
                    handle,
                    u64::from(*at),
                    &pattern(usize::from(*len), 99),
                    false,
                )
            }
            Op::CloseOpen => self.close_open(),
            Op::Checkpoint => vfs.checkpoint(),
            Op::Remount => {
                self.close_open()?;
                self.vfs().close()?;
                self.reopen();
                Ok(())
            }
            Op::Crash => {
                // What was written through an open handle counts only once it was closed.
                self.close_open()?;
                self.reopen();
                Ok(())
            }
        }
    }

    fn close_open(&mut self) -> Result<(), VfsError> {
        match self.open.take() {
            Some(handle) => close(self.vfs(), handle),
            None => Ok(()),
        }
    }

    fn reopen(&mut self) {
        self.vfs = None;
        self.vfs = Some(self.world.open());
    }

    fn check(&self, model: &Model) {
        let vfs = self.vfs();
        let mut names = Vec::new();
        for dir in DIRS {
            if dir.is_empty() || model.names.contains_key(dir) {
                let prefix = if dir.is_empty() {
                    String::new()
                } else {
                    format!("{dir}/")
                };
                names.extend(
                    list(vfs, dir)
                        .unwrap()
                        .into_iter()
                        .map(|name| format!("{prefix}{name}")),
                );
            }
        }
        names.sort();
        assert_eq!(names, model.names.keys().cloned().collect::<Vec<_>>());
        for (name, number) in &model.names {
            let Some(number) = number else { continue };
            let file = &model.files[number];
            assert_eq!(
                attr(vfs, name).unwrap().size,
                file.content.len() as u64,
                "size of {name}"
            );
            assert!(get(vfs, name).unwrap() == file.content, "content of {name}");
            assert_eq!(
                xattr(vfs, name, "user.x").ok(),
                file.xattr,
                "attribute of {name}"
            );
            let links = model
                .names
                .values()
                .filter(|other| **other == Some(*number))
                .count();
            assert_eq!(
                attr(vfs, name).unwrap().nlink as usize,
                links,
                "links of {name}"
            );
        }
        if let (Some(handle), Some(number)) = (self.open, model.open) {
            assert!(
                read_all(vfs, handle).unwrap() == model.files[&number].content,
                "content of the open file"
            );
        }
    }
}

fn run(ops: &[Op]) {
    let world = World::new();
    let mut real = Real {
        world: &world,
        vfs: Some(world.open()),
        open: None,
    };
    let mut model = Model::default();
    for op in ops {
        let expected = model.apply(op);
        let got = real.apply(op).map_err(|error| error.errno());
        assert_eq!(got, expected, "{op:?}");
        real.check(&model);
    }
    real.apply(&Op::Remount).unwrap();
    model.apply(&Op::Remount).unwrap();
    real.check(&model);
    assert_eq!(fsck(real.vfs()), [""; 0]);
}

/// Fewer than usual, because each is long; PROPTEST_CASES may ask for others.
fn cases() -> Config {
    let usual = Config {
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..Config::default()
    };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => usual,
        None => Config { cases: 96, ..usual },
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_filesystem_does_what_the_model_does(ops in prop::collection::vec(op(), 1..60)) {
        run(&ops);
    }
}
