//! Extended attributes: `user.*` sealed with the object, `user.kms.*` for whoever answers verbs, nothing else.

use std::sync::Arc;

use kms_crypto::format::{Header, OpenHeader, XattrError, XattrMap};
use rustix::io::Errno;

use super::header::Promise;
use super::hooks::{Asker, Verbs};
use super::{Caller, Ino, Part, Result, Vfs, VfsError, XattrMode, rng};
use crate::inode::Inode;

const VERB: &[u8] = b"user.kms.";
const INFO: &[u8] = b"user.kms.info";

impl Vfs {
    /// Sets an attribute.
    ///
    /// # Errors
    /// `EOPNOTSUPP` outside `user.`, what the verb says, or the store does not take it.
    pub fn setxattr(
        &self,
        caller: Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        if let Some(verb) = verb_of(name)? {
            let set = self
                .verbs()?
                .set(ino, verb, value, asker(caller))
                .map_err(Into::into);
            return match self.table.get(ino) {
                Some(inode) => self.note(caller.uid, &inode, None, "setxattr", set),
                None => set,
            };
        }
        self.owner()?;
        let inode = self.inode(ino)?;
        self.change_xattrs(&inode, |map| {
            match (mode, map.contains_key(name)) {
                (XattrMode::Create, true) => return Err(Errno::EXIST.into()),
                (XattrMode::Replace, false) => return Err(Errno::NODATA.into()),
                _ => {}
            }
            map.insert(name.to_vec(), value.to_vec());
            Ok(())
        })
    }

    /// The value of an attribute.
    ///
    /// # Errors
    /// `ENODATA` where there is none; as [`Self::setxattr`] otherwise.
    pub fn getxattr(&self, caller: Caller, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        if let Some(verb) = verb_of(name)? {
            return Ok(self.verbs()?.get(ino, verb, asker(caller))?);
        }
        let inode = self.inode(ino)?;
        self.xattrs(&inode)?
            .remove(name)
            .ok_or_else(|| Errno::NODATA.into())
    }

    /// The names of all attributes, each with a zero behind it.
    ///
    /// # Errors
    /// They do not verify.
    pub fn listxattr(&self, _caller: Caller, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        let mut names = Vec::new();
        let map = match self.xattrs(&inode) {
            // What a recipient cannot open (now) still has the attribute that says why.
            Err(VfsError::Key(_) | VfsError::NotShared) => XattrMap::new(),
            map => map?,
        };
        for name in map.keys() {
            names.extend_from_slice(name);
            names.push(0);
        }
        if self.verbs().is_ok_and(|verbs| verbs.listed(ino)) {
            names.extend_from_slice(INFO);
            names.push(0);
        }
        Ok(names)
    }

    /// Takes an attribute away.
    ///
    /// # Errors
    /// `ENODATA` where there is none; as [`Self::setxattr`] otherwise.
    pub fn removexattr(&self, _caller: Caller, ino: Ino, name: &[u8]) -> Result<()> {
        if verb_of(name)?.is_some() {
            return Err(Errno::PERM.into());
        }
        self.owner()?;
        let inode = self.inode(ino)?;
        self.change_xattrs(&inode, |map| {
            map.remove(name)
                .map(drop)
                .ok_or_else(|| Errno::NODATA.into())
        })
    }

    fn verbs(&self) -> Result<Arc<dyn Verbs>> {
        self.hooks
            .read()
            .verbs
            .clone()
            .ok_or_else(|| Errno::OPNOTSUPP.into())
    }

    pub(super) fn xattrs(&self, inode: &Arc<Inode>) -> Result<XattrMap> {
        if inode.kind() == crate::backing::Kind::Symlink {
            return Ok(XattrMap::new());
        }

        self.read_header(inode, |header| {
            let Some(path) = header.state.xattrs.side_path(&header.core().id) else {
                return header.xattrs(None).map_err(|_| Part::Attributes.into());
            };
            let found = match self.read_side(&path) {
                // What lost its last name has lost them a moment later.
                Err(VfsError::Os(Errno::NOENT)) if self.is_nameless(inode) => {
                    return Ok(XattrMap::new());
                }
                side => side.and_then(|side| open_xattrs(header, &side)),
            };
            // Those of another version may stand in its place, and these beside them.
            found.or_else(|error| self.xattrs_beside(header, &path).ok_or(error))
        })?
    }

    fn xattrs_beside(&self, header: &OpenHeader, path: &str) -> Option<XattrMap> {
        use std::os::fd::AsFd;
        let (dir, name) = self.side_dir(path, false).ok()?;
        let (id, _) = name.split_once('.')?;
        let (shelf, _) = path.rsplit_once('/')?;
        let entries = self.disk.list(dir.as_fd()).ok()?;
        let names = entries
            .iter()
            .filter_map(|entry| std::str::from_utf8(&entry.name).ok());
        names
            .filter(|other| *other != name && other.starts_with(id))
            .find_map(|other| {
                let side = self.read_side(&format!("{shelf}/{other}")).ok()?;
                open_xattrs(header, &side).ok()
            })
    }

    fn change_xattrs(
        &self,
        inode: &Arc<Inode>,
        change: impl FnOnce(&mut XattrMap) -> Result<()>,
    ) -> Result<()> {
        if inode.kind() == crate::backing::Kind::Symlink {
            return Err(Errno::PERM.into());
        }
        let mut map = self.xattrs(inode)?;
        change(&mut map)?;
        let old = self.change_header(inode, Promise::Committed, |header| {
            self.put_xattrs(header, &map)
        })?;
        if let Some(old) = old {
            self.drop_side(inode, &old);
        }
        Ok(())
    }

    /// Puts attributes into a header, or into a side file it speaks of. Returns the side file it spoke of before, which
    /// is to go once the new header is in the store.
    pub(super) fn put_xattrs(
        &self,
        header: &mut OpenHeader,
        map: &XattrMap,
    ) -> Result<Option<String>> {
        let id = header.core().id;
        let before = header.state.xattrs.clone();
        let side = header
            .set_xattrs(map, &mut rng())
            .map_err(|error| match error {
                XattrError::TooLarge => Errno::NOSPC,
                _ => Errno::RANGE,
            })?;
        let written = match (side, header.state.xattrs.side_path(&id)) {
            (Some(bytes), Some(path)) => self.write_side(&path, &bytes, true),
            _ => Ok(()),
        };
        let old = before.side_path(&id);
        if written.is_err() {
            header.state.xattrs = before;
        }
        written.map(|()| old)
    }

    pub(super) fn read_side(&self, path: &str) -> Result<Vec<u8>> {
        let (dir, name) = self.side_dir(path, false)?;
        let file = self.disk.open_file(
            std::os::fd::AsFd::as_fd(&dir),
            name,
            crate::backing::OpenMode::Read,
        )?;
        let len = self.disk.fstat(&file)?.size.min(SIDE_MAX);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let len = self.disk.read_at(&file, 0, &mut bytes)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Gives a header the names that are kept beside it. One that lost them can be read under the others.
    pub(super) fn with_names(&self, header: Header) -> Result<Header> {
        let Some(path) = header.names_path() else {
            return Ok(header);
        };
        match self.read_side(&path) {
            Ok(side) => Ok(header.with_names(side)),
            Err(VfsError::Os(Errno::NOENT)) => Ok(header),
            Err(error) => Err(error),
        }
    }

    /// Removes a side file that nothing speaks of any more.
    pub(super) fn remove_side(&self, path: &str) {
        use std::os::fd::AsFd;
        let gone = self
            .side_dir(path, false)
            .and_then(|(dir, name)| Ok(self.disk.unlink(dir.as_fd(), name)?));
        if let Err(error) = gone {
            tracing::debug!(%error, "an outdated side file stays behind");
        }
    }

    /// Stored, and durable unless it need not be, before the header that speaks of it is.
    pub(super) fn write_side(&self, path: &str, bytes: &[u8], durable: bool) -> Result<()> {
        use std::os::fd::AsFd;
        let (dir, name) = self.side_dir(path, true)?;
        match self.disk.unlink(dir.as_fd(), name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let file = self.disk.create_file(dir.as_fd(), name, 0o600)?;
        let written = self.disk.write_at(&file, 0, bytes).and_then(|()| {
            if durable {
                self.disk.sync_all(&file)
            } else {
                Ok(())
            }
        });
        if written.is_err() {
            let _ = self.disk.unlink(dir.as_fd(), name);
        }
        Ok(written?)
    }

    /// The side file of an older state goes once the newer one is in the stored header.
    pub(super) fn drop_side(&self, inode: &Arc<Inode>, path: &str) {
        use std::os::fd::AsFd;
        let gone = self.bring_over_now(inode).and_then(|()| {
            let (dir, name) = self.side_dir(path, false)?;
            Ok(self.disk.unlink(dir.as_fd(), name)?)
        });
        if let Err(error) = gone {
            tracing::debug!(%error, "an outdated side file stays behind");
        }
    }

    /// The directory a side file is in (`xattr/<2 hex>/`), and its name there.
    fn side_dir<'a>(&self, path: &'a str, make: bool) -> Result<(std::os::fd::OwnedFd, &'a str)> {
        use std::os::fd::AsFd;
        let mut steps = path.split('/');
        let (Some(top), Some(shelf), Some(name), None) =
            (steps.next(), steps.next(), steps.next(), steps.next())
        else {
            return Err(Errno::INVAL.into());
        };
        let root = self.root_dir()?;
        if make {
            make_dir(&self.disk, root, top)?;
        }
        let dir = self.disk.open_dir(root, top)?;
        if make {
            make_dir(&self.disk, dir.as_fd(), shelf)?;
        }
        Ok((self.disk.open_dir(dir.as_fd(), shelf)?, name))
    }
}

fn open_xattrs(header: &OpenHeader, side: &[u8]) -> Result<XattrMap> {
    header
        .xattrs(Some(side))
        .map_err(|_| Part::Attributes.into())
}

/// More than sealed attributes, or names, ever take.
const SIDE_MAX: u64 = 512 << 10;

fn make_dir(
    disk: &crate::backing::Disk,
    at: std::os::fd::BorrowedFd<'_>,
    name: &str,
) -> Result<()> {
    match disk.make_dir(at, name, 0o700) {
        Ok(()) => Ok(disk.sync_dir(at)?),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The verb behind `user.kms.`, if the name is one; other namespaces than `user.` are refused.
fn verb_of(name: &[u8]) -> Result<Option<&str>> {
    if let Some(verb) = name.strip_prefix(VERB) {
        return Ok(Some(std::str::from_utf8(verb).map_err(|_| Errno::INVAL)?));
    }
    if name.starts_with(b"user.") {
        Ok(None)
    } else {
        Err(Errno::OPNOTSUPP.into())
    }
}

fn asker(caller: Caller) -> Asker {
    Asker {
        uid: caller.uid,
        pid: caller.pid,
    }
}
