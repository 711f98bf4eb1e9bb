//! What is remembered of objects and entries, and how it stands in the database (FRESHNESS §3).

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use kms_crypto::format::Writers;

/// Sixteen bytes that name an object, a directory, or a name in it.
pub type Id = [u8; 16];

/// Tells one state of an object from all others, and which of two came first.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
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

/// A state of an object, and on which machines it came to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// Which state.
    pub mark: Mark,
    /// Who sealed it and those before it.
    pub writers: Writers,
}

/// How one state goes with another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Relation {
    /// They are one.
    Same,
    /// It follows the other.
    Newer,
    /// The other follows it.
    Older,
    /// Two machines wrote at once.
    Beside,
}

impl Version {
    /// Older than any.
    pub const ZERO: Self = Self {
        mark: Mark::ZERO,
        writers: Writers::NONE,
    };

    /// How this goes with another (FORMAT §3.6.3).
    #[must_use]
    pub fn to(&self, other: &Self) -> Relation {
        if self.mark == other.mark {
            return Relation::Same;
        }
        let by_generation = match self.mark.generation.cmp(&other.mark.generation) {
            Ordering::Greater => Relation::Newer,
            Ordering::Less => Relation::Older,
            Ordering::Equal => Relation::Beside,
        };
        let (Some(mine), Some(its)) = (self.writers.last(), other.writers.last()) else {
            return by_generation;
        };
        if mine == its {
            // One machine that has lost the first in a power cut.
            return by_generation;
        }
        let has_it = self.writers.has(its);
        let is_in_it = other.writers.has(mine);
        match (has_it, is_in_it) {
            (Some(true), Some(false) | None) => Relation::Newer,
            (Some(false) | None, Some(true)) => Relation::Older,
            (Some(false), Some(false)) => Relation::Beside,
            _ => by_generation,
        }
    }
}

/// What is known of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Object {
    pub(super) gone: bool,
    /// The latest state seen.
    pub(super) last: Version,
    /// The latest of those that stand beside it.
    pub(super) others: Vec<Version>,
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

/// How many states beside each other are remembered, with the latest.
pub(super) const VERSIONS_MAX: usize = 4;

impl Object {
    pub(super) const fn of(last: Version) -> Self {
        Self {
            gone: false,
            last,
            others: Vec::new(),
        }
    }

    /// All states that are remembered.
    pub(super) fn versions(&self) -> impl Iterator<Item = &Version> {
        core::iter::once(&self.last).chain(&self.others)
    }

    /// What is known when another state was seen that is not older than any.
    pub(super) fn followed_by(self, version: &Version) -> Self {
        let before = core::iter::once(self.last).chain(self.others);
        let beside = before.filter(|it| version.to(it) == Relation::Beside);
        Self {
            others: beside.take(VERSIONS_MAX - 1).collect(),
            ..Self::of(version.clone())
        }
    }

    pub(super) fn to_bytes(&self, key: &Id) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.gone)];
        for version in self.versions() {
            let writers = version.writers.to_bytes();
            bytes.extend_from_slice(&version.mark.generation.to_be_bytes());
            bytes.extend_from_slice(&version.mark.seal);
            bytes.push(u8::try_from(writers.len()).unwrap_or(0));
            bytes.extend_from_slice(&writers);
        }
        let crc = checksum(key, &bytes);
        bytes.extend_from_slice(&crc);
        bytes
    }

    /// `None` for a damaged row.
    pub(super) fn from_bytes(key: &Id, bytes: &[u8]) -> Option<Self> {
        let (flags, mut rest) = checked(key, bytes)?.split_first()?;
        let mut versions = Vec::with_capacity(1);
        while !rest.is_empty() {
            let (generation, after) = rest.split_first_chunk::<8>()?;
            let (seal, after) = after.split_first_chunk::<16>()?;
            let (len, after) = after.split_first()?;
            let (writers, after) = after.split_at_checked(usize::from(*len))?;
            let mark = Mark {
                generation: u64::from_be_bytes(*generation),
                seal: *seal,
            };
            let writers = Writers::from_bytes(writers)?;
            versions.push(Version { mark, writers });
            rest = after;
        }
        let mut versions = versions.into_iter();
        Some(Self {
            gone: flags & 1 != 0,
            last: versions.next()?,
            others: versions.collect(),
        })
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
