//! What an owner keeps about his grants: enough to list, extend and revoke them (SHARES §3).
//!
//! One file for each policy, sealed under a key from the store key, in the store itself: an owner who opens his store on
//! another machine can revoke there. A record is written *before* nodes are asked, so that whatever a crash leaves behind
//! at nodes is known here and can be taken back.

use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use kms_crypto::aead::{self, Refused};
use kms_crypto::id::{LabelId, PolicyId, SchemeId, StoreId};
use kms_crypto::kdf;
use kms_crypto::key::{PublicKey, StoreKey};
use kms_crypto::policy::{PolicyParams, Threshold};
use kms_proto::codec;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::disk::Shelf;
use crate::grant::{Grant, GrantRequest};
use crate::place::{self, Kind, NodeAddress, Step};
use crate::ticket::{TICKET_VERSION, Ticket};

/// The longest record, sealed, in bytes.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// The largest number of records in one store.
pub const MAX_RECORDS: usize = 65_536;
/// The record format of this version.
pub const RECORD_VERSION: u16 = 1;

/// One grant, as its owner keeps it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OwnerRecord {
    /// The record format, [`RECORD_VERSION`].
    pub version: u16,
    /// The label.
    pub label: LabelId,
    /// Which of the label's delegating keys was split.
    pub generation: u32,
    /// What is shared.
    pub kind: Kind,
    /// Where it was when this was written; the label says what it is.
    pub path: Vec<Step>,
    /// What the policy's id is made of; names the recipient.
    pub params: PolicyParams,
    /// m: how many nodes must answer.
    pub needed: u8,
    /// n: how many nodes hold a fragment.
    pub total: u8,
    /// When access ends, in seconds since 1970.
    pub expiry: u64,
    /// When it was granted, in seconds since 1970.
    pub created: u64,
    /// The nodes that hold a fragment, or may: empty until the first was asked.
    pub nodes: Vec<NodeAddress>,
    /// The sequence number of the ticket written last; 0 before the first.
    pub sequence: u64,
    /// How far it has come.
    pub status: Status,
}

/// What a grant is about.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// The label.
    pub label: LabelId,
    /// Which of its delegating keys is split.
    pub generation: u32,
    /// One file, or a directory with all below it.
    pub kind: Kind,
    /// Where it is in its store; empty for its root, and for what lies in none.
    pub path: &'a [Step],
}

/// Higher than every ticket this owner wrote for the person before: the time makes it so even when their records were
/// lost.
#[must_use]
pub fn next_sequence(earlier: &[OwnerRecord], recipient: &PublicKey, now: u64) -> u64 {
    earlier
        .iter()
        .filter(|record| record.params.recipient == *recipient)
        .map(|record| record.sequence.saturating_add(1))
        .max()
        .unwrap_or(0)
        .max(now)
}

/// How far a grant has come.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Being made. One that stays like this was interrupted, and is to be revoked.
    Preparing,
    /// In the ledger, at this height.
    Live {
        /// The height.
        height: u64,
    },
    /// To be withdrawn: the ledger has not confirmed it yet, and it is tried again until it has.
    Revoking {
        /// Since when, in seconds since 1970.
        since: u64,
    },
    /// Withdrawn.
    Revoked {
        /// When, in seconds since 1970.
        at: u64,
        /// The epoch of the label since then.
        epoch: u32,
        /// The nodes that have confirmed that they deleted their fragment.
        removed: Vec<PublicKey>,
    },
}

impl OwnerRecord {
    /// The record of a grant that is about to be made: to be written before the first node is asked.
    #[must_use]
    pub fn preparing(request: &GrantRequest<'_>, of: Shared<'_>, now: u64) -> Self {
        Self {
            version: RECORD_VERSION,
            label: of.label,
            generation: of.generation,
            kind: of.kind,
            path: of.path.to_vec(),
            params: request.params(),
            needed: request.threshold.needed(),
            total: request.threshold.total(),
            expiry: request.expiry,
            created: now,
            nodes: Vec::new(),
            sequence: 0,
            status: Status::Preparing,
        }
    }

    /// Notes that the grant was made. `earlier` are the records of the label before.
    pub fn made(&mut self, grant: &Grant, earlier: &[Self], now: u64) {
        self.nodes.clone_from(&grant.nodes);
        self.status = Status::Live {
            height: grant.height,
        };
        self.sequence = next_sequence(earlier, &self.params.recipient, now);
    }

    /// What the recipient is told.
    #[must_use]
    pub fn ticket(&self, owner: PublicKey, store: StoreId) -> Ticket {
        Ticket {
            version: TICKET_VERSION,
            owner,
            store,
            label: self.label,
            kind: self.kind,
            params: self.params,
            needed: self.needed,
            total: self.total,
            expiry: self.expiry,
            nodes: self.nodes.clone(),
            sequence: self.sequence,
            path: self.path.clone(),
            revoked: match self.status {
                Status::Revoked { at, .. } => Some(at),
                _ => None,
            },
        }
    }

    /// Whether it still stands for fragments at nodes.
    #[must_use]
    pub const fn is_pending_or_live(&self) -> bool {
        matches!(
            self.status,
            Status::Preparing | Status::Live { .. } | Status::Revoking { .. }
        )
    }

    /// Whether it was withdrawn, and the nodes that have not signed that they deleted their fragment are enough to go on
    /// re-encrypting, if they all were dishonest.
    #[must_use]
    pub fn leaves_quorum(&self) -> bool {
        let Status::Revoked { removed, .. } = &self.status else {
            return false;
        };
        usize::from(self.total).saturating_sub(removed.len()) >= usize::from(self.needed)
    }

    /// Whether it is about a signing key, and nothing that can be opened.
    #[must_use]
    pub fn is_for_signing(&self) -> bool {
        self.params.scheme() == SchemeId::SIGNING
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> PolicyId {
        self.params.id()
    }

    /// The threshold.
    pub fn threshold(&self) -> Result<Threshold, RecordError> {
        Threshold::new(self.needed, self.total)
            .map_err(|_| RecordError::Implausible { what: "threshold" })
    }

    /// Whether the recipient can open it at `now`, as far as the owner knows.
    #[must_use]
    pub fn is_live(&self, now: u64) -> bool {
        matches!(self.status, Status::Live { .. }) && now < self.expiry
    }
}

/// Why a record is not written or not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file cannot be read or written.
    #[error("the record of a grant cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// Damaged, forged, or of another store.
    #[error("the record of a grant does not open: {0}")]
    Refused(#[from] Refused),
    /// What was sealed is not a record.
    #[error("the record of a grant is malformed: {0}")]
    Malformed(#[from] codec::DecodeError),
    /// A record of a version this program does not know.
    #[error("the record of a grant has version {version}, which is not known here")]
    Version {
        /// The version.
        version: u16,
    },
    /// It makes no sense, or lies under another policy's name.
    #[error("the {what} in the record of a grant makes no sense")]
    Implausible {
        /// What it is about.
        what: &'static str,
    },
    /// There is too much to say.
    #[error("the record of a grant would be {bytes} bytes long; {MAX_RECORD_BYTES} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// The owner's records in one store.
pub struct Records {
    shelf: Shelf,
    store: StoreId,
    key: Zeroizing<[u8; 32]>,
}

/// Everything that is in [`Records`].
#[derive(Debug, Default)]
pub struct RecordList {
    /// The records, oldest first.
    pub records: Vec<OwnerRecord>,
    /// Files that are no records of this store.
    pub refused: Vec<(PathBuf, RecordError)>,
}

impl Records {
    /// The records of the store at `root`.
    #[must_use]
    pub fn new(root: &Path, key: &StoreKey, store: StoreId) -> Self {
        Self {
            shelf: Shelf::new(root, OWN),
            store,
            key: key.records_key(),
        }
    }

    /// Writes a record in place of an earlier one of the same policy; durable when it returns.
    pub fn put(
        &self,
        record: &OwnerRecord,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), RecordError> {
        check(record)?;
        let name = self.file_name(&record.policy());
        let plaintext = Zeroizing::new(codec::encode(record));
        let sealed = aead::seal_record(&self.key, &self.associated(&name), &plaintext, rng);
        if sealed.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLong {
                bytes: sealed.len(),
            });
        }
        Ok(self.shelf.replace(&name, &sealed, rng)?)
    }

    /// The record of a policy, if there is one.
    pub fn find(&self, policy: &PolicyId) -> Result<Option<OwnerRecord>, RecordError> {
        match self.read(&self.file_name(policy)) {
            Err(RecordError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Forgets a policy.
    pub fn remove(&self, policy: &PolicyId) -> Result<(), RecordError> {
        Ok(self.shelf.remove(&self.file_name(policy))?)
    }

    /// All records. One that is damaged is listed apart and hides no other.
    pub fn list(&self) -> Result<RecordList, RecordError> {
        let mut list = RecordList::default();
        for name in self.shelf.names(SUFFIX, MAX_RECORDS)? {
            match self.read(&name) {
                Ok(record) => list.records.push(record),
                Err(RecordError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => list.refused.push((self.shelf.path().join(name), error)),
            }
        }
        list.records
            .sort_by_key(|record| (record.created, record.policy()));
        Ok(list)
    }

    fn read(&self, name: &str) -> Result<OwnerRecord, RecordError> {
        self.open(name, &self.shelf.read(name, MAX_RECORD_BYTES)?)
    }

    /// Opens one record. `name` is its file's name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<OwnerRecord, RecordError> {
        let bytes = aead::open_record(&self.key, &self.associated(name), sealed)?;
        let record: OwnerRecord = codec::decode(&bytes, MAX_RECORD_BYTES)?;
        if record.version != RECORD_VERSION {
            return Err(RecordError::Version {
                version: record.version,
            });
        }
        check(&record)?;
        if self.file_name(&record.policy()) != name {
            return Err(RecordError::Implausible { what: "policy" });
        }
        Ok(record)
    }

    /// The name of a policy's file; says nothing to who does not have the store key.
    #[must_use]
    pub fn file_name(&self, policy: &PolicyId) -> String {
        let name = kdf::mac(
            &self.key,
            "kms/record-name/1",
            &[self.store.as_bytes(), policy.as_bytes()],
        );
        format!("{}{SUFFIX}", HEXLOWER.encode(&name[..16]))
    }

    /// `"kms/owner-record/1" ‖ store id ‖ file name`.
    fn associated(&self, name: &str) -> Vec<u8> {
        [
            b"kms/owner-record/1".as_slice(),
            self.store.as_bytes(),
            name.as_bytes(),
        ]
        .concat()
    }
}

fn check(record: &OwnerRecord) -> Result<(), RecordError> {
    record.threshold()?;
    if !place::is_path(&record.path) {
        return Err(RecordError::Implausible { what: "path" });
    }
    if !record.nodes.is_empty() && !place::are_distinct(&record.nodes, record.total) {
        return Err(RecordError::Implausible {
            what: "list of nodes",
        });
    }
    Ok(())
}

const OWN: &str = "own";
const SUFFIX: &str = ".rec";

#[cfg(test)]
mod tests;
