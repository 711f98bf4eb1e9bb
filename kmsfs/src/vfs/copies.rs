//! Conflict copies: what a synchroniser has set beside an object that two machines changed (FORMAT §7.4).
//!
//! They are shown under a name of their own, can be read and removed, and nothing else: what the user wants of them he
//! copies. Nothing that was seen of the original is held against them. A directory that was made on two machines at once
//! has two headers; what lies below the other one is shown as a directory in it.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use kms_crypto::format::{Check, HEADER_LEN, Header, ObjectId, Via};
use kms_crypto::name::{BackingName, DIR_HEADER, Guess, NAME_MAX, NameTag};
use rustix::io::Errno;

use super::dirs::Secrets;
use super::{Oddity, Result, Vfs};
use crate::backing::{Kind, OpenMode, RawEntry, Stat};
use crate::inode::{Inode, Place, Standing};

/// A conflict copy in a directory.
#[derive(Clone)]
pub(crate) struct ConflictCopy {
    /// The name it is shown under.
    pub(super) name: Vec<u8>,
    pub(super) stored: Arc<str>,
    pub(super) tag: NameTag,
    pub(super) standing: Standing,
    pub(super) kind: Kind,
    pub(super) ino: u64,
}

/// One that has no name yet.
struct Found {
    /// The original's name; none of a directory's header.
    plain: Vec<u8>,
    label: String,
    copy: ConflictCopy,
}

/// What stands in the name of every copy.
const SAID: &[u8] = b"(conflict";
/// The longest thing after a dot that counts as an extension, with the dot.
const EXTENSION_MAX: usize = 16;

impl Vfs {
    /// Refuses to change what is a conflict copy, or lies in one.
    pub(super) fn refuse_copy(&self, inode: &Inode) -> Result<()> {
        if inode.is_copy() {
            Err(Errno::ROFS.into())
        } else {
            Ok(())
        }
    }

    /// The copies among the entries of a directory whose names do not open.
    pub(super) fn name_copies(
        &self,
        dir: &Arc<Inode>,
        secrets: &Secrets,
        strange: &[RawEntry],
    ) -> Arc<[ConflictCopy]> {
        let found = strange
            .iter()
            .filter_map(|entry| self.copy_at(dir, secrets, entry));
        let mut found: Vec<Found> = found.collect();
        found.sort_by(|one, other| one.copy.stored.cmp(&other.copy.stored));
        let mut named: Vec<ConflictCopy> = Vec::with_capacity(found.len());
        for it in found {
            let mut number = 1;
            let name = loop {
                let name = readable(&it.plain, &it.label, number, it.copy.kind);
                let is_taken = named.iter().any(|other| other.name == name)
                    || self.is_a_name(dir, secrets, &name);
                if !is_taken {
                    break name;
                }
                number += 1;
            };
            named.push(ConflictCopy { name, ..it.copy });
        }
        if self.is_owner() && !named.is_empty() {
            let path = self.path_of_inode(dir).unwrap_or_default();
            for copy in &named {
                self.notice(path.join(OsStr::from_bytes(&copy.name)), Oddity::Copy);
            }
        }
        let named: Arc<[ConflictCopy]> = named.into();
        if let Some(dir) = dir.dir() {
            *dir.copies.lock() = Arc::clone(&named);
        }
        named
    }

    fn copy_at(&self, dir: &Arc<Inode>, secrets: &Secrets, entry: &RawEntry) -> Option<Found> {
        let stored = std::str::from_utf8(&entry.name).ok()?;
        for guess in Guess::all(stored) {
            let (plain, tag, standing, kind) = if guess.original == DIR_HEADER {
                let tag = self.other_header(dir, secrets, stored)?;
                (Vec::new(), tag, Standing::Header, Kind::Dir)
            } else {
                let Ok((plain, tag)) = self.decrypt_name(dir, secrets, &guess.original) else {
                    continue;
                };
                let kind = match entry.kind {
                    Some(kind) => kind,
                    None => self.disk.stat(self.dir_fd(dir).ok()?, stored).ok()?.kind,
                };
                (plain, tag, Standing::Copy, kind)
            };
            if !matches!(kind, Kind::File | Kind::Dir | Kind::Symlink) {
                return None;
            }
            let copy = ConflictCopy {
                name: Vec::new(),
                stored: stored.into(),
                tag,
                standing,
                kind,
                ino: entry.ino,
            };
            let label = guess.label();
            return Some(Found { plain, label, copy });
        }
        None
    }

    fn is_a_name(&self, dir: &Inode, secrets: &Secrets, name: &[u8]) -> bool {
        let Ok(sealed) = secrets.encrypt(name) else {
            return true;
        };
        self.dir_fd(dir)
            .is_ok_and(|fd| self.disk.stat(fd, &sealed.backing).is_ok())
    }

    /// Whether a copy of a directory's header is that of another directory, made under the same name on another
    /// machine; if so, the tag of that name.
    fn other_header(&self, dir: &Arc<Inode>, secrets: &Secrets, stored: &str) -> Option<NameTag> {
        let owner = self.try_owner()?;
        let place = dir
            .place()
            .filter(|place| place.standing != Standing::Header)?;
        let fd = self.dir_fd(dir).ok()?;
        let file = self.disk.open_file(fd, stored, OpenMode::Read).ok()?;
        let mut bytes = [0; HEADER_LEN];
        let len = self.disk.read_at(&file, 0, &mut bytes).ok()?;
        let header = Header::parse(&bytes[..len]).ok()?;
        let above = self.secrets(&place.dir).ok()?;
        let via = Via::Dir {
            keys: &above.keys,
            tag: place.tag,
        };
        let header = header.open(via, Check::Owner(&owner.mac)).ok()?;
        (header.core().id != ObjectId::Dir(secrets.id)).then_some(place.tag)
    }

    /// Finds a conflict copy by the name it is shown under.
    pub(super) fn find_copy(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<(Place, Stat)> {
        if !name.windows(SAID.len()).any(|it| it == SAID) {
            return Err(Errno::NOENT.into());
        }
        let known = Arc::clone(&dir.dir().ok_or(Errno::NOTDIR)?.copies.lock());
        if let Ok(found) = self.stat_copy(dir, &known, name) {
            return Ok(found);
        }
        let copies = self.list_copies(dir)?;
        self.stat_copy(dir, &copies, name)
    }

    fn stat_copy(
        &self,
        dir: &Arc<Inode>,
        copies: &[ConflictCopy],
        name: &[u8],
    ) -> Result<(Place, Stat)> {
        let copy = copies
            .iter()
            .find(|copy| copy.name == name)
            .ok_or(Errno::NOENT)?;
        let place = copy.place(dir);
        let stat = self.stat_place(&place)?;
        Ok((place, stat))
    }

    /// All conflict copies in a directory.
    pub(super) fn list_copies(&self, dir: &Arc<Inode>) -> Result<Arc<[ConflictCopy]>> {
        let secrets = self.secrets(dir)?;
        let mut strange = self.disk.list(self.dir_fd(dir)?)?;
        strange.retain(|entry| {
            is_strange(entry)
                && std::str::from_utf8(&entry.name)
                    .is_ok_and(|name| self.decrypt_name(dir, &secrets, name).is_err())
        });
        Ok(self.name_copies(dir, &secrets, &strange))
    }

    /// The name a copy is shown under.
    pub(super) fn name_of_copy(&self, place: &Place) -> Result<Vec<u8>> {
        let find = |copies: &[ConflictCopy]| {
            let copy = copies.iter().find(|copy| copy.stored == place.name);
            copy.map(|copy| copy.name.clone())
        };
        let known = Arc::clone(&place.dir.dir().ok_or(Errno::NOTDIR)?.copies.lock());
        match find(&known) {
            Some(name) => Ok(name),
            None => find(&self.list_copies(&place.dir)?).ok_or_else(|| Errno::NOENT.into()),
        }
    }

    /// The attributes of what stands at a place.
    pub(super) fn stat_place(&self, place: &Place) -> Result<Stat> {
        let fd = self.dir_fd(&place.dir)?;
        let stat = self.disk.stat(fd, &place.name)?;
        if place.standing != Standing::Header {
            return Ok(stat);
        }
        // What stands there is the other header; what is shown is the directory.
        Ok(Stat {
            ino: stat.ino,
            ..self.disk.fstat(fd)?
        })
    }

    /// Takes a copy that is no directory away. Nothing else is touched: names, side files and what was seen are the
    /// original's.
    pub(super) fn unlink_copy(&self, place: &Place, stat: &Stat) -> Result<()> {
        let dir = &place.dir;
        let known = self.table.find(stat.ino, stat.kind);
        let path = self.path_of_copy(place);
        self.disk.unlink(self.dir_fd(dir)?, &place.name)?;
        self.copy_is_gone(path);
        self.names_changed(dir);
        if let Some(inode) = known.filter(|inode| inode.is_at(place)) {
            inode.remove_place(dir, &place.name);
            if stat.nlink <= 1 {
                self.orphan(&inode, dir, Vec::new());
            }
        }
        Ok(())
    }

    /// Takes an empty directory away that is a copy, or what a directory that was merged into another one has left.
    pub(super) fn rmdir_copy(&self, place: &Place, stat: &Stat) -> Result<()> {
        let dir = &place.dir;
        let inode = self.intern(stat, place.clone(), 0)?;
        let _inner = self.lock_names(&inode)?;
        let path = self.path_of_copy(place);
        if place.standing == Standing::Header {
            if !self.is_without_names(&inode)? {
                return Err(Errno::NOTEMPTY.into());
            }
            self.disk.unlink(self.dir_fd(dir)?, &place.name)?;
        } else {
            self.refuse_unless_empty(&inode)?;
            let header = self.take_header(&inode)?;
            if let Err(error) = self.disk.remove_dir(self.dir_fd(dir)?, &place.name) {
                self.put_header_back(&inode, header.as_deref());
                return Err(error.into());
            }
        }
        self.copy_is_gone(path);
        self.names_changed(dir);
        inode.remove_place(dir, &place.name);
        self.orphan(&inode, dir, Vec::new());
        Ok(())
    }

    fn is_without_names(&self, inode: &Arc<Inode>) -> Result<bool> {
        let secrets = self.secrets(inode)?;
        let is_name = |entry: &RawEntry| {
            std::str::from_utf8(&entry.name)
                .is_ok_and(|name| self.decrypt_name(inode, &secrets, name).is_ok())
        };
        let entries = self.disk.list(self.dir_fd(inode)?)?;
        Ok(!entries.iter().any(is_name) && self.list_copies(inode)?.is_empty())
    }

    fn path_of_copy(&self, place: &Place) -> Option<std::path::PathBuf> {
        let name = self.name_of_copy(place).ok()?;
        let path = self.path_of_inode(&place.dir)?;
        Some(path.join(OsStr::from_bytes(&name)))
    }

    fn copy_is_gone(&self, path: Option<std::path::PathBuf>) {
        if let Some(path) = path {
            let mut notices = self.notices.lock();
            notices.retain(|it| it.what != Oddity::Copy || it.path != path);
        }
    }

    /// An object that is known by another name, or by none that leads to it any more: somebody else has moved it to or
    /// from where a copy stands.
    pub(super) fn let_go_of_moved(&self, known: &Arc<Inode>, place: &Place) -> Result<()> {
        for at in known.places() {
            let there = self.disk.stat(self.dir_fd(&at.dir)?, &at.name);
            // Another header may have come to its directory, by which it has no name there.
            let opens =
                |secrets: Arc<Secrets>| self.decrypt_name(&at.dir, &secrets, &at.name).is_ok();
            let is_used = self
                .table
                .find(at.dir.backing(), Kind::Dir)
                .is_some_and(|dir| Arc::ptr_eq(&dir, &at.dir));
            if is_used
                && there.is_ok_and(|stat| stat.ino == known.backing())
                && (at.standing != Standing::Original || self.secrets(&at.dir).is_ok_and(opens))
            {
                return Err(super::Part::Place.into());
            }
        }
        tracing::debug!(
            is_copy = place.is_copy(),
            "an object was moved by somebody else"
        );
        self.table.detach(known);
        Ok(())
    }

    /// The descriptor of the directory whose other header this is.
    pub(super) fn open_merged(&self, place: &Place) -> Result<std::os::fd::OwnedFd> {
        Ok(self.disk.open_dir(self.dir_fd(&place.dir)?.as_fd(), ".")?)
    }
}

impl ConflictCopy {
    pub(super) fn place(&self, dir: &Arc<Inode>) -> Place {
        Place {
            dir: Arc::clone(dir),
            name: Arc::clone(&self.stored),
            tag: self.tag,
            standing: self.standing,
        }
    }
}

/// Whether an entry whose name does not open may be a copy of something.
pub(super) fn is_strange(entry: &RawEntry) -> bool {
    !matches!(
        BackingName::of(&entry.name),
        BackingName::DirHeader | BackingName::Side(_) | BackingName::LinkSide(_)
    )
}

/// What of a stored directory is a copy of something that has no name in the mount, and goes with the directory.
pub(super) fn is_litter(stored: &[u8]) -> bool {
    std::str::from_utf8(stored).is_ok_and(|stored| {
        Guess::is_of_side(stored)
            || Guess::all(stored)
                .iter()
                .any(|guess| guess.original == DIR_HEADER)
    })
}

/// The name of a copy: the original's, and what tells it from that before its extension.
fn readable(plain: &[u8], label: &str, number: usize, kind: Kind) -> Vec<u8> {
    let said = match (label, number) {
        ("", number) => format!("(conflict {number})"),
        (label, 1) => format!("(conflict {label})"),
        (label, number) => format!("(conflict {label} {number})"),
    };
    let dot = plain.iter().rposition(|byte| *byte == b'.');
    let is_extension = |at: &usize| {
        kind != Kind::Dir
            && plain.len() - at <= EXTENSION_MAX
            && plain.iter().take(*at).any(|byte| *byte != b'.')
    };
    let (stem, extension) = plain.split_at(dot.filter(is_extension).unwrap_or(plain.len()));
    let room = NAME_MAX - said.len() - 1 - extension.len();
    let mut name = match std::str::from_utf8(stem) {
        Ok(stem) => {
            let mut end = stem.len().min(room);
            while !stem.is_char_boundary(end) {
                end -= 1;
            }
            stem.as_bytes()[..end].to_vec()
        }
        Err(_) => stem[..stem.len().min(room)].to_vec(),
    };
    if !name.is_empty() {
        name.push(b' ');
    }
    name.extend_from_slice(said.as_bytes());
    name.extend_from_slice(extension);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_named_after_its_original_and_keeps_the_extension() {
        let name = |plain: &str, label, number, kind| {
            String::from_utf8(readable(plain.as_bytes(), label, number, kind)).unwrap()
        };
        let file = |plain, label, number| name(plain, label, number, Kind::File);
        assert_eq!(file("report.txt", "host", 1), "report (conflict host).txt");
        assert_eq!(file("report", "host", 2), "report (conflict host 2)");
        assert_eq!(file("a.tar.gz", "", 1), "a.tar (conflict 1).gz");
        assert_eq!(file(".profile", "1", 1), ".profile (conflict 1)");
        assert_eq!(file("", "host", 1), "(conflict host)");
        assert_eq!(name("v1.2", "x", 1, Kind::Dir), "v1.2 (conflict x)");
        let long = format!("{}.txt", "ä".repeat(125));
        let named = file(&long, "host", 1);
        assert!(named.len() <= NAME_MAX && named.ends_with("ä (conflict host).txt"));
    }
}
