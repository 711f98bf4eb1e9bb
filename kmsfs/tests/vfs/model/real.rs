//! The same operations on the filesystem itself, and the comparison of the two.

use std::path::Path;
use std::sync::Arc;

use kmsfs::backing::Disk;
use kmsfs::vfs::{Access, Handle, Options, Result, Vfs};

use rustix::io::Errno;

use super::ops::{Op, XATTRS};
use super::state::{Model, Object, refuse_nested};
use crate::support::*;

/// After so many states a file is to get a new key.
const KEY_LIFE: u64 = 40;

/// A filesystem in use, with its open files.
pub(crate) struct Real<'a> {
    world: &'a World,
    disk: Disk,
    vfs: Option<Arc<Vfs>>,
    open: Vec<Handle>,
}

impl<'a> Real<'a> {
    pub(crate) fn new(world: &'a World, disk: Disk) -> Self {
        let vfs = Some(Self::mount(world, &disk).unwrap());
        Self {
            world,
            disk,
            vfs,
            open: Vec::new(),
        }
    }

    fn mount(world: &World, disk: &Disk) -> Result<Arc<Vfs>> {
        world.try_open_with(Options {
            disk: disk.clone(),
            key_life: KEY_LIFE,
            ..world.options()
        })
    }

    pub(crate) fn vfs(&self) -> &Vfs {
        self.vfs.as_deref().unwrap()
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Result<()> {
        let vfs = self.vfs();
        match op {
            Op::Put { path, len, seed } => put(vfs, path, &pattern(*len, *seed)),
            Op::Patch {
                path,
                at,
                len,
                seed,
            } => patch(vfs, path, *at, &pattern(*len, *seed)),
            Op::Truncate { path, len } => truncate(vfs, path, *len),
            Op::Unlink { path } => unlink(vfs, path),
            Op::Rmdir { path } => rmdir(vfs, path),
            Op::Rename { from, to, replace } => {
                refuse_nested(from, to)?;
                let (from_dir, from) = at(vfs, from)?;
                let (to_dir, to) = at(vfs, to)?;
                vfs.rename(me(), (from_dir, &from), (to_dir, &to), *replace)
            }
            Op::Link { from, to } => link(vfs, from, to),
            Op::Mkdir { path } => mkdir(vfs, path),
            Op::Symlink { path, target } => symlink(vfs, target, path),
            Op::SetXattr {
                path,
                name,
                len,
                seed,
            } => set_xattr(vfs, path, name, &pattern(*len, *seed)),
            Op::RemoveXattr { path, name } => {
                vfs.removexattr(me(), vfs.resolve(Path::new(path))?, name.as_bytes())
            }
            Op::Chmod { path, mode } => chmod(vfs, path, *mode),
            Op::Open { path } => {
                let handle = open(vfs, path, Access::Write)?;
                self.open.push(handle);
                Ok(())
            }
            Op::WriteOpen {
                slot,
                at,
                len,
                seed,
            } => vfs.write(
                self.opened(*slot)?,
                *at as u64,
                &pattern(*len, *seed),
                false,
            ),
            Op::Allocate {
                slot,
                at,
                len,
                what,
            } => vfs.fallocate(self.opened(*slot)?, *at as u64, *len as u64, what.0),
            Op::FsyncOpen { slot } => vfs.fsync(self.opened(*slot)?),
            Op::CloseOpen { slot } => {
                let handle = self.opened(*slot)?;
                self.open.remove(*slot);
                close(self.vfs(), handle)
            }
            Op::Fsync { path } => match vfs.resolve(Path::new(path)) {
                Ok(ino) if vfs.getattr(ino, None)?.kind == kmsfs::backing::Kind::File => {
                    fsync(vfs, path)
                }
                found => found.map(drop),
            },
            Op::Fsyncdir { dir } => vfs.fsyncdir(vfs.resolve(Path::new(dir))?),
            Op::Revoke { path } => {
                let ino = vfs.resolve(Path::new(path))?;
                vfs.ensure_label(ino)?;
                vfs.rotate(ino).map(drop)
            }
            Op::Rekey => vfs.rekey_step().map(drop),
            Op::Checkpoint => vfs.checkpoint(),
            Op::Remember => vfs.remember(),
            Op::Remount => {
                self.close_all()?;
                self.vfs().close()?;
                self.reopen()
            }
            Op::Kill => {
                // What was written through an open handle counts only once it was closed.
                self.close_all()?;
                self.reopen()
            }
        }
    }

    fn opened(&self, slot: usize) -> Result<Handle> {
        Ok(self.open.get(slot).copied().ok_or(Errno::BADF)?)
    }

    fn close_all(&mut self) -> Result<()> {
        while let Some(handle) = self.open.pop() {
            close(self.vfs(), handle)?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        self.vfs = None;
        self.vfs = Some(Self::mount(self.world, &self.disk)?);
        Ok(())
    }

    /// Everything a program can ask must be what the model says.
    pub(crate) fn check(&self, model: &Model) {
        let vfs = self.vfs();
        for dir in model.dirs() {
            assert_eq!(
                list(vfs, &dir).unwrap(),
                model.children(&dir),
                "names in {dir:?}"
            );
        }
        for path in model.names.keys() {
            self.check_path(model, path);
        }
        for (handle, node) in self.open.iter().zip(&model.open) {
            let content = model.clone().content(*node).unwrap().clone();
            assert!(
                read_all(vfs, *handle).unwrap() == content,
                "content of an open file"
            );
        }
    }

    pub(crate) fn check_path(&self, model: &Model, path: &str) {
        let vfs = self.vfs();
        let Some(entry) = model.entry(path) else {
            return;
        };
        let seen = attr(vfs, path).unwrap_or_else(|error| panic!("{path}: {error}"));
        match &entry.object {
            Object::Dir => {}
            Object::Symlink(target) => {
                assert_eq!(readlink(vfs, path).unwrap(), *target, "target of {path}")
            }
            Object::File(content) => {
                assert_eq!(seen.size, content.len() as u64, "size of {path}");
                assert_eq!(seen.mode & 0o7777, entry.mode, "mode of {path}");
                assert_eq!(
                    seen.nlink as usize,
                    model.links(model.names[path]),
                    "links of {path}"
                );
                let got = get(vfs, path).unwrap_or_else(|error| panic!("{path}: {error}"));
                assert!(
                    got == *content,
                    "content of {path}, from byte {:?} on",
                    first_difference(&got, content)
                );
                for name in XATTRS {
                    let expected = entry.xattrs.get(name);
                    assert_eq!(
                        xattr(vfs, path, name).ok().as_ref(),
                        expected,
                        "{name} of {path}"
                    );
                }
            }
        }
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    one.iter().zip(other).position(|(one, other)| one != other)
}
