//! A header in which one bit has flipped, as media and memory do: there are few enough bits to try each of them, and the
//! owner's seal tells when it is the right one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use kms_crypto::format::{Check as Whose, HEADER_LEN, Header, OpenHeader, Via};
use kms_crypto::name::DIR_HEADER;

use super::super::dirs::Secrets;
use super::super::sides::sides_of;
use super::super::{Part, Result, Vfs, VfsError};
use super::Check;
use super::finding::Remedy;
use crate::backing::{Kind, OpenMode};
use crate::freshness::Mark;
use crate::inode::Inode;

/// A header that was right but for one bit.
pub(super) struct Flipped {
    pub(super) header: OpenHeader,
    byte: usize,
    right: u8,
}

impl Vfs {
    /// Looks for the one bit that makes a header the owner's again.
    pub(super) fn flipped(&self, inode: &Arc<Inode>) -> Result<Option<Flipped>> {
        let owner = self.owner()?;
        let file = self.header_file(inode, OpenMode::Read)?;
        let mut bytes = [0; HEADER_LEN];
        if self.disk.read_at(&file, 0, &mut bytes)? < HEADER_LEN {
            return Ok(None);
        }
        let place = inode.place();
        let parent = match &place {
            Some(place) => Some((self.secrets(&place.dir)?, place.tag)),
            None => None,
        };
        for bit in 0..HEADER_LEN * 8 {
            let (byte, mask) = (bit / 8, 1 << (bit % 8));
            bytes[byte] ^= mask;
            let header = Header::parse(&bytes).ok().and_then(|header| {
                let via = match &parent {
                    Some((secrets, tag)) => Via::Dir {
                        keys: &secrets.keys,
                        tag: *tag,
                    },
                    None => Via::Store {
                        key: &owner.key,
                        id: self.root_id(),
                    },
                };
                header.open(via, Whose::Owner(&owner.mac)).ok()
            });
            if let Some(header) = header {
                let id = header.core().id;
                if self.seen.is_older(id.as_bytes(), header.state.generation) {
                    return Err(VfsError::Older);
                }
                let right = bytes[byte];
                return Ok(Some(Flipped {
                    header,
                    byte,
                    right,
                }));
            }
            bytes[byte] ^= mask;
        }
        Ok(None)
    }

    /// A file's header, or a directory's, is set right if one flipped bit is all that is wrong with it.
    pub(super) fn mend_bit(
        &self,
        check: &mut Check<'_>,
        inode: &Arc<Inode>,
        path: &Path,
        backing: &Path,
        problem: &VfsError,
    ) -> Result<Option<(bool, OpenHeader)>> {
        let is_header = matches!(problem, VfsError::Damaged(it) if it.part == Part::Header);
        if !is_header || !self.is_owner() {
            return Ok(None);
        }
        let Some(flipped) = self.flipped(inode)? else {
            return Ok(None);
        };
        check.sides.extend(sides_of(&flipped.header));
        let problem = problem.clone().into();
        let is_set = check.found(path, backing, problem, Remedy::Mend, || {
            let file = self.header_file(inode, OpenMode::ReadWrite)?;
            let at = u64::try_from(flipped.byte).unwrap_or_default();
            self.disk.write_at(&file, at, &[flipped.right])?;
            Ok(self.disk.sync_all(&file)?)
        });
        Ok(Some((is_set, flipped.header)))
    }

    fn header_file(&self, inode: &Arc<Inode>, mode: OpenMode) -> Result<OwnedFd> {
        let open = |dir: BorrowedFd<'_>, name: &str| Ok(self.disk.open_file(dir, name, mode)?);
        if inode.kind() == Kind::Dir {
            return open(self.dir_fd(inode)?.as_fd(), DIR_HEADER);
        }
        let place = self.live_place(inode)?;
        open(self.dir_fd(&place.dir)?, &place.name)
    }

    /// Takes a header into use that is in memory only.
    pub(super) fn borrow_header(&self, inode: &Arc<Inode>, header: OpenHeader) -> Result<()> {
        let secrets = Arc::new(Secrets::of(&header)?);
        let there = self.header_there(inode).ok().flatten();
        if let Some(dir) = inode.dir() {
            let mut state = dir.state.write();
            state.committed = Mark {
                generation: header.state.generation,
                ..there.unwrap_or_default()
            };
            state.stored = state.committed;
            inode.learn(&header.state);
            state.secrets = Some(secrets);
            state.header = Some(Box::new(header));
        }
        Ok(())
    }
}
