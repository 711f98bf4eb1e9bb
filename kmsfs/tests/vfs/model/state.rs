//! The simplest filesystem there is: bytes and names in memory.

use std::collections::BTreeMap;

use kmsfs::backing::Replace;
use rustix::io::Errno;

use super::ops::Op;
use crate::support::pattern;

/// The number of an object.
pub(crate) type Node = u32;

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Object {
    File(Vec<u8>),
    Dir,
    Symlink(String),
}

/// An object and its attributes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) object: Object,
    pub(crate) mode: u32,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// Objects by number, names by path; the root has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) objects: BTreeMap<Node, Entry>,
    pub(crate) names: BTreeMap<String, Node>,
    /// What is open for writing.
    pub(crate) open: Vec<Node>,
    next: Node,
}

type Answer<T = ()> = Result<T, Errno>;

impl Model {
    /// The object a path leads to.
    pub(crate) fn node(&self, path: &str) -> Answer<Node> {
        self.parent(path)?;
        self.names.get(path).copied().ok_or(Errno::NOENT)
    }

    pub(crate) fn entry(&self, path: &str) -> Option<&Entry> {
        self.objects.get(self.names.get(path)?)
    }

    pub(crate) fn is_dir(&self, path: &str) -> bool {
        path.is_empty()
            || matches!(
                self.entry(path),
                Some(Entry {
                    object: Object::Dir,
                    ..
                })
            )
    }

    pub(crate) fn is_file(&self, path: &str) -> bool {
        matches!(
            self.entry(path),
            Some(Entry {
                object: Object::File(_),
                ..
            })
        )
    }

    /// All directories, the root first.
    pub(crate) fn dirs(&self) -> Vec<String> {
        let mut dirs = vec![String::new()];
        dirs.extend(self.names.keys().filter(|path| self.is_dir(path)).cloned());
        dirs
    }

    pub(crate) fn files(&self) -> Vec<String> {
        self.names
            .keys()
            .filter(|path| self.is_file(path))
            .cloned()
            .collect()
    }

    /// The names in a directory.
    pub(crate) fn children(&self, dir: &str) -> Vec<String> {
        let of = |path: &String| path.rsplit_once('/').map_or("", |(dir, _)| dir) == dir;
        let name = |path: &String| {
            path.rsplit_once('/')
                .map_or(path.as_str(), |(_, name)| name)
                .to_owned()
        };
        let mut names: Vec<_> = self
            .names
            .keys()
            .filter(|path| of(path))
            .map(name)
            .collect();
        names.sort();
        names
    }

    pub(crate) fn links(&self, node: Node) -> usize {
        self.names.values().filter(|other| **other == node).count()
    }

    pub(crate) fn content(&mut self, node: Node) -> Answer<&mut Vec<u8>> {
        match self.objects.get_mut(&node).map(|entry| &mut entry.object) {
            Some(Object::File(content)) => Ok(content),
            Some(Object::Dir) => Err(Errno::ISDIR),
            Some(Object::Symlink(_)) => Err(Errno::LOOP),
            None => Err(Errno::NOENT),
        }
    }

    fn parent(&self, path: &str) -> Answer {
        let Some((dir, _)) = path.rsplit_once('/') else {
            return Ok(());
        };
        self.parent(dir)?;
        match self.entry(dir) {
            None => Err(Errno::NOENT),
            Some(Entry {
                object: Object::Dir,
                ..
            }) => Ok(()),
            Some(_) => Err(Errno::NOTDIR),
        }
    }

    fn make(&mut self, path: &str, object: Object, mode: u32) -> Answer<Node> {
        self.parent(path)?;
        if self.names.contains_key(path) {
            return Err(Errno::EXIST);
        }
        self.next += 1;
        let entry = Entry {
            object,
            mode,
            xattrs: BTreeMap::new(),
        };
        self.objects.insert(self.next, entry);
        self.names.insert(path.to_owned(), self.next);
        Ok(self.next)
    }

    /// Forgets an object that has neither name nor handle.
    fn lose(&mut self, node: Node) {
        if self.links(node) == 0 && !self.open.contains(&node) {
            self.objects.remove(&node);
        }
    }

    fn close(&mut self, slot: usize) {
        let node = self.open.remove(slot);
        self.lose(node);
    }

    pub(crate) fn close_all(&mut self) {
        while !self.open.is_empty() {
            self.close(0);
        }
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Put { path, len, seed } => {
                let node = match self.node(path) {
                    Err(Errno::NOENT) => self.make(path, Object::File(Vec::new()), 0o644)?,
                    found => found?,
                };
                *self.content(node)? = pattern(*len, *seed);
            }
            Op::Patch {
                path,
                at,
                len,
                seed,
            } => {
                let node = self.node(path)?;
                write(self.content(node)?, *at, *len, *seed);
            }
            Op::Truncate { path, len } => {
                let node = self.node(path)?;
                self.content(node)?.resize(*len, 0);
            }
            Op::Unlink { path } => {
                let node = self.node(path)?;
                if self.is_dir(path) {
                    return Err(Errno::ISDIR);
                }
                self.names.remove(path);
                self.lose(node);
            }
            Op::Rmdir { path } => {
                let node = self.node(path)?;
                if !self.is_dir(path) {
                    return Err(Errno::NOTDIR);
                }
                if !self.children(path).is_empty() {
                    return Err(Errno::NOTEMPTY);
                }
                self.names.remove(path);
                self.objects.remove(&node);
            }
            Op::Rename { from, to, replace } => self.rename(from, to, *replace)?,
            Op::Link { from, to } => {
                let node = self.node(from)?;
                self.parent(to)?;
                if self.names.contains_key(to) {
                    return Err(Errno::EXIST);
                }
                self.names.insert(to.clone(), node);
            }
            Op::Mkdir { path } => self.make(path, Object::Dir, 0o755).map(|_| ())?,
            Op::Symlink { path, target } => self
                .make(path, Object::Symlink(target.clone()), 0o777)
                .map(|_| ())?,
            Op::SetXattr {
                path,
                name,
                len,
                seed,
            } => {
                let node = self.node(path)?;
                self.attributes(node)?
                    .insert((*name).to_owned(), pattern(*len, *seed));
            }
            Op::RemoveXattr { path, name } => {
                let node = self.node(path)?;
                self.attributes(node)?.remove(*name).ok_or(Errno::NODATA)?;
            }
            Op::Chmod { path, mode } => {
                let node = self.node(path)?;
                let entry = self.objects.get_mut(&node).ok_or(Errno::NOENT)?;
                if matches!(entry.object, Object::Symlink(_)) {
                    return Err(Errno::OPNOTSUPP);
                }
                entry.mode = *mode;
            }
            Op::Open { path } => {
                let node = self.node(path)?;
                self.content(node)?;
                self.open.push(node);
            }
            Op::WriteOpen {
                slot,
                at,
                len,
                seed,
            } => {
                let node = self.opened(*slot)?;
                write(self.content(node)?, *at, *len, *seed);
            }
            Op::Allocate {
                slot,
                at,
                len,
                what,
            } => {
                let node = self.opened(*slot)?;
                what.apply(self.content(node)?, *at, *len);
            }
            Op::CloseOpen { slot } => {
                self.opened(*slot)?;
                self.close(*slot);
            }
            Op::Fsync { path } => self.node(path).map(|_| ())?,
            Op::Remount | Op::Kill => self.close_all(),
            Op::FsyncOpen { slot } => self.opened(*slot).map(|_| ())?,
            Op::Fsyncdir { dir } if self.is_dir(dir) => {}
            Op::Fsyncdir { dir } => {
                self.node(dir)?;
                return Err(Errno::NOTDIR);
            }
            Op::Revoke { path } => {
                let node = self.node(path)?;
                if let Some(Object::Symlink(_)) = self.objects.get(&node).map(|it| &it.object) {
                    return Err(Errno::OPNOTSUPP);
                }
            }
            Op::Rekey | Op::Checkpoint | Op::Remember => {}
        }
        Ok(())
    }

    fn opened(&self, slot: usize) -> Answer<Node> {
        self.open.get(slot).copied().ok_or(Errno::BADF)
    }

    fn attributes(&mut self, node: Node) -> Answer<&mut BTreeMap<String, Vec<u8>>> {
        Ok(&mut self.objects.get_mut(&node).ok_or(Errno::NOENT)?.xattrs)
    }

    fn rename(&mut self, from: &str, to: &str, replace: Replace) -> Answer {
        refuse_nested(from, to)?;
        let node = self.node(from)?;
        self.parent(to)?;
        let there = self.names.get(to).copied();
        if there.is_some() && replace == Replace::No {
            return Err(Errno::EXIST);
        }
        if replace == Replace::Exchange {
            there.ok_or(Errno::NOENT)?;
            self.exchange(from, to);
            return Ok(());
        }
        if there == Some(node) {
            return Ok(());
        }
        match (self.is_dir(from), there.is_some() && self.is_dir(to)) {
            (false, true) => return Err(Errno::ISDIR),
            (true, false) if there.is_some() => return Err(Errno::NOTDIR),
            (true, true) if !self.children(to).is_empty() => return Err(Errno::NOTEMPTY),
            _ => {}
        }
        let below = self.take_below(from);
        self.put_below(to, below);
        self.names.remove(from);
        if let Some(gone) = self.names.insert(to.to_owned(), node) {
            self.lose(gone);
        }
        Ok(())
    }

    fn exchange(&mut self, one: &str, other: &str) {
        if one == other {
            return;
        }
        let (below_one, below_other) = (self.take_below(one), self.take_below(other));
        self.put_below(one, below_other);
        self.put_below(other, below_one);
        if let (Some(a), Some(b)) = (self.names.remove(one), self.names.remove(other)) {
            self.names.insert(one.to_owned(), b);
            self.names.insert(other.to_owned(), a);
        }
    }

    fn take_below(&mut self, dir: &str) -> Vec<(String, Node)> {
        let prefix = format!("{dir}/");
        let below: Vec<_> = self
            .names
            .keys()
            .filter(|path| path.starts_with(&prefix))
            .cloned()
            .collect();
        below
            .into_iter()
            .filter_map(|path| Some((path[prefix.len()..].to_owned(), self.names.remove(&path)?)))
            .collect()
    }

    fn put_below(&mut self, dir: &str, below: Vec<(String, Node)>) {
        for (path, node) in below {
            self.names.insert(format!("{dir}/{path}"), node);
        }
    }
}

fn write(content: &mut Vec<u8>, at: usize, len: usize, seed: u8) {
    if len == 0 {
        return;
    }
    if content.len() < at + len {
        content.resize(at + len, 0);
    }
    content[at..at + len].copy_from_slice(&pattern(len, seed));
}

/// A directory into itself, or over one it stands in: the kernel refuses these before they reach a filesystem.
pub(crate) fn refuse_nested(from: &str, to: &str) -> Answer {
    let is_inside = |outer: &str, inner: &str| inner.starts_with(&format!("{outer}/"));
    if is_inside(from, to) || is_inside(to, from) {
        return Err(Errno::INVAL);
    }
    Ok(())
}
