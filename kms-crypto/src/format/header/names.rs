//! Names the header has no room for, kept beside it and vouched for by its digest of them (FORMAT §3.4.1).

use std::collections::HashSet;

use super::{Binding, Header, OpenHeader};
use crate::format::core::ObjectId;
use crate::format::error::{HeaderError, Part};
use crate::format::{MAX_LINKS, MAX_NAMES};
use crate::id::DirId;
use crate::kdf::{equal, hash};
use crate::name::NameTag;

/// How many names stand in a header that has more of them.
pub(super) const INLINE: usize = MAX_LINKS - 1;
/// Bytes of one name in the side file.
const LEN: usize = 16 + 4 + 16 + 48;

/// What a header says of the names it has no room for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct MoreNames {
    /// Tells this side file from older ones.
    pub(super) generation: u64,
    /// The digest of the side file.
    pub(super) digest: [u8; 32],
}

impl MoreNames {
    fn path(&self, id: &ObjectId) -> String {
        let hex = data_encoding::HEXLOWER.encode(id.as_bytes());
        let shelf = hex.get(..2).unwrap_or_default();
        format!("names/{shelf}/{hex}.{}", self.generation)
    }
}

impl Header {
    /// The path of the side file with its further names below the store's directory, if there is one:
    /// `names/<2 hex>/<32 hex>.<generation>`.
    #[must_use]
    pub fn names_path(&self) -> Option<String> {
        self.more.as_ref().map(|more| more.path(&self.core.id))
    }

    /// Gives it the content of that file, which [`Header::open`] verifies. Without it the header still opens under the
    /// names that stand in it, to be read.
    #[must_use]
    pub fn with_names(mut self, side: Vec<u8>) -> Self {
        self.side = Some(side);
        self
    }

    /// Takes the further names in, if they are those the header speaks of. Says whether it has all its names now.
    pub(super) fn take_names(&mut self) -> Result<bool, HeaderError> {
        let (Some(more), Some(side)) = (&self.more, self.side.take()) else {
            return Ok(self.more.is_none());
        };
        let refused = HeaderError::Refused(Part::Bindings);
        if !equal(&digest(&side), &more.digest) {
            return Err(refused);
        }
        let names = decode(&side).ok_or(refused)?;
        if names.len() < 2 || self.bindings.len() + names.len() > MAX_NAMES {
            return Err(refused);
        }
        self.bindings.extend(names);
        let mut seen = HashSet::with_capacity(self.bindings.len());
        let mut all = self.bindings.iter();
        if all.all(|it| seen.insert((it.dir, it.name_tag))) {
            Ok(true)
        } else {
            Err(refused)
        }
    }
}

impl OpenHeader {
    /// As [`Header::names_path`]. When it has changed by [`OpenHeader::seal`], [`OpenHeader::names_side`] is to be stored
    /// there before the header is; the old file is to be removed after.
    #[must_use]
    pub fn names_path(&self) -> Option<String> {
        self.more.as_ref().map(|more| more.path(&self.core.id))
    }

    /// The content of the side file.
    #[must_use]
    pub fn names_side(&self) -> Vec<u8> {
        encode(self.bindings.get(INLINE..).unwrap_or_default())
    }

    /// Whether all names of the object are known; otherwise it can be read only.
    #[must_use]
    pub const fn has_all_names(&self) -> bool {
        self.has_all_names
    }

    /// Goes on with the names that are known: the others are lost.
    pub fn give_up_names(&mut self) {
        self.has_all_names = true;
        self.more = None;
    }

    /// The side file could not be stored: the next sealing names another one.
    pub fn lose_names_side(&mut self) {
        self.more = None;
    }

    /// Says in the header what the names are that it has no room for.
    pub(super) fn spill_names(&mut self) {
        if self.bindings.len() <= MAX_LINKS {
            self.more = None;
            return;
        }
        let digest = digest(&self.names_side());
        if self.more.as_ref().is_none_or(|more| more.digest != digest) {
            self.more = Some(MoreNames {
                generation: self.state.generation,
                digest,
            });
        }
    }

    /// The names that stand in the header itself.
    pub(super) fn inline_names(&self) -> &[Binding] {
        match &self.more {
            None => &self.bindings,
            Some(_) => self.bindings.get(..INLINE).unwrap_or(&self.bindings),
        }
    }
}

fn digest(side: &[u8]) -> [u8; 32] {
    hash("kms/names-side/1", &[side])
}

fn encode(names: &[Binding]) -> Vec<u8> {
    let mut out = Vec::with_capacity(names.len() * LEN);
    for name in names {
        out.extend_from_slice(&name.dir.0);
        out.extend_from_slice(&name.dir_epoch.to_be_bytes());
        out.extend_from_slice(&name.name_tag.0);
        out.extend_from_slice(&name.wrapped);
    }
    out
}

fn decode(side: &[u8]) -> Option<Vec<Binding>> {
    let (names, rest) = side.as_chunks::<LEN>();
    if !rest.is_empty() {
        return None;
    }
    names.iter().map(name).collect()
}

fn name(bytes: &[u8; LEN]) -> Option<Binding> {
    let (dir, rest) = bytes.split_first_chunk()?;
    let (dir_epoch, rest) = rest.split_first_chunk()?;
    let (tag, rest) = rest.split_first_chunk()?;
    let dir_epoch = u32::from_be_bytes(*dir_epoch);
    (dir_epoch > 0).then_some(Binding {
        dir: DirId(*dir),
        dir_epoch,
        name_tag: NameTag(*tag),
        wrapped: *rest.first_chunk()?,
    })
}
