//! `lost+found`: what belongs nowhere any more is put there, and is at home there from then on.

use std::sync::Arc;

use kms_crypto::format::{HEADER_LEN, OpenHeader};
use kms_crypto::name::{DIR_HEADER, NAME_MAX};
use rustix::io::Errno;

use super::super::error::header_error;
use super::super::lookup::stored_path;
use super::super::{Caller, Ino, Result, Vfs, VfsError};
use super::stray::Stray;
use crate::backing::{Kind, OpenMode, Replace, Stat};
use crate::freshness::{Mark, Version};
use crate::inode::{Inode, Place};
use crate::journal::{Action, Piece, Record};

/// In the root directory.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

impl Vfs {
    /// The directory for what belongs nowhere, made when it is needed.
    fn lost_and_found(&self) -> Result<Arc<Inode>> {
        let root = Arc::clone(self.table.root());
        let name = LOST_AND_FOUND.as_bytes();
        if let Err(VfsError::Os(Errno::NOENT)) = self.find(&root, name) {
            let (uid, gid) = (self.uid, self.gid);
            self.mkdir(Caller { uid, gid, pid: 0 }, Ino::ROOT, name, 0o700)?;
            self.sync_new_dirs(&root)?;
            self.disk.sync_dir(self.dir_fd(&root)?)?;
        }
        let (place, stat) = self.find(&root, name)?;
        if stat.kind != Kind::Dir {
            return Err(Errno::NOTDIR.into());
        }
        self.intern(&stat, place, 0)
    }

    /// The name of what a repair that was killed has moved to `lost+found`, its header not having been told yet.
    pub(super) fn plain_in_lost_and_found(&self, stray: &Stray) -> Option<Vec<u8>> {
        let root = self.table.root();
        let (place, _) = self.find(root, LOST_AND_FOUND.as_bytes()).ok()?;
        if !stray.at.is_at(&place) {
            return None;
        }
        let secrets = self.secrets(&stray.at).ok()?;
        let (plain, _) = self.decrypt_name(&stray.at, &secrets, &stray.name).ok()?;
        Some(plain)
    }

    /// A name there that is free, or that the object has already: a repair may have ended in the middle.
    pub(super) fn name_in_lost_and_found(
        &self,
        stray: &Stray,
        plain: &[u8],
        header: &OpenHeader,
    ) -> Vec<u8> {
        let hex = data_encoding::HEXLOWER.encode(header.core().id.as_bytes());
        let suffix = format!(" #{hex}").into_bytes();
        let cut = plain.len().min(NAME_MAX - suffix.len());
        let second = [&plain[..cut], &suffix].concat();
        let root = self.table.root();
        let Ok((place, stat)) = self.find(root, LOST_AND_FOUND.as_bytes()) else {
            return plain.to_vec();
        };
        let is_free = |name: &[u8]| {
            let dir = self.intern(&stat, place.clone(), 0)?;
            match self.find(&dir, name) {
                Err(VfsError::Os(Errno::NOENT)) => Ok(true),
                Err(error) => Err(error),
                Ok((at, _)) => Ok(stray.is_at(&at)),
            }
        };
        match is_free(plain) {
            Ok(true) | Err(_) => plain.to_vec(),
            Ok(false) => second,
        }
    }

    /// First the object gets a name there, then its header is told: wherever this ends, it is found and goes on.
    pub(super) fn move_to_lost_and_found(
        &self,
        stray: &Stray,
        stat: &Stat,
        name: &[u8],
        header: &mut OpenHeader,
        base: u64,
    ) -> Result<Place> {
        let dir = self.lost_and_found()?;
        let secrets = self.secrets(&dir)?;
        let stored = secrets.encrypt(name)?;
        let place = Place {
            dir: Arc::clone(&dir),
            name: stored.backing.as_str().into(),
            tag: stored.tag,
            standing: crate::inode::Standing::Original,
        };
        if !stray.is_at(&place) {
            self.put_back(stray, &place, &stored, Replace::No)?;
        }
        if stat.kind == Kind::Dir || stat.nlink <= 1 {
            let old: Vec<_> = header
                .bindings()
                .iter()
                .map(|it| (it.dir, it.name_tag))
                .collect();
            for (dir, tag) in old {
                header.unbind(&dir, tag);
            }
            header.give_up_names();
        }
        header
            .bind(&secrets.keys, place.tag)
            .map_err(header_error)?;
        self.write_header(&place, stat.kind, header, base)?;
        self.names_changed(&dir);
        Ok(place)
    }

    /// Puts the header of an object that is not in use in the place of the one it has, by way of the journal.
    fn write_header(
        &self,
        place: &Place,
        kind: Kind,
        header: &mut OpenHeader,
        base: u64,
    ) -> Result<()> {
        use std::os::fd::AsFd;
        let mut path = stored_path(place);
        let parent = self.dir_fd(&place.dir)?;
        let file = if kind == Kind::Dir {
            path.push(DIR_HEADER.to_owned());
            let dir = self.disk.open_dir(parent, &place.name)?;
            self.disk
                .open_file(dir.as_fd(), DIR_HEADER, OpenMode::ReadWrite)?
        } else {
            self.disk
                .open_file(parent, &place.name, OpenMode::ReadWrite)?
        };
        let len = self.disk.fstat(&file)?.size;
        let mut there = [0; HEADER_LEN];
        self.disk.read_at(&file, 0, &mut there)?;
        let base = Mark::of(base, &there);
        let bytes: [u8; HEADER_LEN] = self.seal_header(header)?;
        let mark = Mark::of(header.state.generation, &bytes);
        let record = Record {
            id: *header.core().id.as_bytes(),
            paths: vec![path],
            action: Action::Commit {
                base,
                mark,
                len,
                pieces: vec![Piece {
                    offset: 0,
                    bytes: bytes.to_vec(),
                }],
                direct: Vec::new(),
            },
        };
        let owner = self.owner()?;
        // The journal is not emptied before the header is in its place.
        let _making = owner.making.read();
        let journal = &owner.journal;
        let logged = journal.append(&record)?;
        journal.sync_to(logged.seq)?;
        self.disk.write_at(&file, 0, &bytes)?;
        self.disk.sync_all(&file)?;
        let version = Version {
            mark,
            writers: header.state.writers.clone(),
        };
        self.seen.wrote(*header.core().id.as_bytes(), &version);
        Ok(())
    }
}
