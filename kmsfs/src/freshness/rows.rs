//! What is remembered of objects and entries, and how it stands in the database (FRESHNESS §3).

use std::collections::{BTreeMap, HashMap};

/// Sixteen bytes that name an object, a directory, or a name in it.
pub type Id = [u8; 16];

/// Tells one state of an object from all others, and which of two came first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// Counts the headers sealed for the object.
    pub generation: u64,
    /// The first bytes of the header's key seal.
    pub seal: Id,
}

impl Mark {
    /// Older than any.
    pub const ZERO: Self = Self {
        generation: 0,
        seal: [0; 16],
    };

    /// The mark of a sealed header.
    #[must_use]
    pub fn of(generation: u64, header: &[u8; kms_crypto::format::HEADER_LEN]) -> Self {
        let mut seal = [0; 16];
        seal.copy_from_slice(&header[KEY_SEAL_AT..KEY_SEAL_AT + 16]);
        Self { generation, seal }
    }
}

/// FORMAT §3.1.
const KEY_SEAL_AT: usize = 4064;

/// What is known of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Object {
    pub(super) gone: bool,
    pub(super) mark: Mark,
    /// The seal of the other one of two forks, or zeros.
    pub(super) other: Id,
}

/// What stands under a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The object, once it was looked at.
    pub object: Option<Id>,
    /// 1 file, 2 directory, 3 symbolic link.
    pub kind: u8,
    /// The object had no other name.
    pub is_only_name: bool,
    /// Permission bits; they count only where the object is known.
    pub mode: u16,
    /// The generation in which all this stood.
    pub generation: u64,
    /// The sealed name after its tag.
    pub rest: Box<[u8]>,
}

/// With the checksum of its row.
pub(super) const OBJECT_LEN: usize = ROW_LEN + CRC_LEN;
const ROW_LEN: usize = 1 + 24 + 16;
const CRC_LEN: usize = 4;

/// redb does not look at its own checksums when it reads; a damaged row must not accuse anybody.
fn checksum(key: &[u8], row: &[u8]) -> [u8; CRC_LEN] {
    crc32c::crc32c_append(crc32c::crc32c(key), row).to_be_bytes()
}

/// The row before its checksum, if that holds.
fn checked<'a>(key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (row, crc) = row.split_last_chunk::<CRC_LEN>()?;
    (checksum(key, row) == *crc).then_some(row)
}

impl Object {
    pub(super) const fn of(mark: Mark) -> Self {
        Self {
            gone: false,
            mark,
            other: [0; 16],
        }
    }

    pub(super) fn to_bytes(self, key: &Id) -> [u8; OBJECT_LEN] {
        let mut bytes = [0; OBJECT_LEN];
        bytes[0] = u8::from(self.gone);
        bytes[1..9].copy_from_slice(&self.mark.generation.to_be_bytes());
        bytes[9..25].copy_from_slice(&self.mark.seal);
        bytes[25..ROW_LEN].copy_from_slice(&self.other);
        let crc = checksum(key, &bytes[..ROW_LEN]);
        bytes[ROW_LEN..].copy_from_slice(&crc);
        bytes
    }

    /// `None` for a damaged row.
    pub(super) fn from_bytes(key: &Id, bytes: &[u8; OBJECT_LEN]) -> Option<Self> {
        let (head, other) = checked(key, bytes)?.split_at(25);
        let mut generation = [0; 8];
        generation.copy_from_slice(&head[1..9]);
        let mut object = Self::of(Mark {
            generation: u64::from_be_bytes(generation),
            seal: [0; 16],
        });
        object.gone = head[0] & 1 != 0;
        object.mark.seal.copy_from_slice(&head[9..]);
        object.other.copy_from_slice(other);
        Some(object)
    }
}

impl Entry {
    pub(super) fn to_bytes(&self, key: &[u8; 32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(28 + self.rest.len() + CRC_LEN);
        bytes.extend_from_slice(&self.object.unwrap_or_default());
        bytes.extend_from_slice(&[self.kind, u8::from(self.is_only_name)]);
        bytes.extend_from_slice(&self.mode.to_be_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.rest);
        let crc = checksum(key, &bytes);
        bytes.extend_from_slice(&crc);
        bytes
    }

    /// `None` for a damaged row.
    pub(super) fn from_bytes(key: &[u8; 32], bytes: &[u8]) -> Option<Self> {
        let (object, rest) = checked(key, bytes)?.split_first_chunk::<16>()?;
        let ([kind, flags, high, low], rest) = rest.split_first_chunk::<4>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            object: Some(*object).filter(|id| *id != [0; 16]),
            kind: *kind,
            is_only_name: flags & 1 != 0,
            mode: u16::from_be_bytes([*high, *low]),
            generation: u64::from_be_bytes(*generation),
            rest: rest.into(),
        })
    }
}

/// Rows that are to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) objects: HashMap<Id, Object>,
    /// `None`: the row goes.
    pub(super) entries: BTreeMap<(Id, Id), Option<Entry>>,
    pub(super) dirs: HashMap<Id, u32>,
    pub(super) graves: Vec<Id>,
    pub(super) configs: Vec<[u8; 32]>,
    pub(super) age: Option<u32>,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.objects.len() + self.entries.len() + self.dirs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.configs.is_empty() && self.age.is_none()
    }

    /// Lays newer rows over these.
    pub(super) fn overlay(&mut self, newer: Self) {
        self.objects.extend(newer.objects);
        self.entries.extend(newer.entries);
        self.dirs.extend(newer.dirs);
        self.graves.extend(newer.graves);
        self.configs.extend(newer.configs);
        self.age = newer.age.or(self.age);
    }
}
