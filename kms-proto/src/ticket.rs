//! Tickets: how a recipient learns what is shared with him and where it is (SHARES §2).
//!
//! A ticket lies in the store, signed by the owner and sealed to the recipient, under names that only the two can
//! compute: whoever else sees the store learns how many tickets there are, and nothing more. A ticket grants nothing:
//! nodes and ledger decide. It stays after a revocation, so that the recipient is told what happened.

use std::io;

use data_encoding::HEXLOWER;
use kms_crypto::error::SealError;
use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{IdentitySecret, PublicKey};
use kms_crypto::policy::{PolicyParams, Threshold};
use kms_crypto::{kdf, seal};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::codec;
use crate::place::{self, Kind, NodeAddress, Step};
use crate::signed::{Signed, Statement};

pub use self::text::{TICKET_PREFIX, TicketText};

mod text;

/// The longest ticket, sealed, in bytes.
pub const MAX_TICKET_BYTES: usize = 64 * 1024;
/// How the name of every ticket's file ends.
pub const TICKET_SUFFIX: &str = ".ticket";

/// What an owner tells a recipient about one shared thing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ticket {
    /// The ticket format, [`TICKET_VERSION`].
    pub version: u16,
    /// The owner of the store, who signs.
    pub owner: PublicKey,
    /// The store.
    pub store: StoreId,
    /// The label.
    pub label: LabelId,
    /// What is shared.
    pub kind: Kind,
    /// What the policy's id is made of; names the recipient.
    pub params: PolicyParams,
    /// m: how many nodes must answer.
    pub needed: u8,
    /// n: how many nodes hold a fragment.
    pub total: u8,
    /// When access ends, in seconds since 1970.
    pub expiry: u64,
    /// The nodes that hold a fragment.
    pub nodes: Vec<NodeAddress>,
    /// Counts the versions of this ticket; the highest one counts.
    pub sequence: u64,
    /// The way from the root of the store; empty for the root itself. A hint: the label says what it is.
    pub path: Vec<Step>,
    /// When the owner withdrew it, in seconds since 1970.
    pub revoked: Option<u64>,
}

/// The ticket format of this version.
pub const TICKET_VERSION: u16 = 1;

impl Ticket {
    /// The threshold.
    pub fn threshold(&self) -> Result<Threshold, TicketError> {
        Threshold::new(self.needed, self.total)
            .map_err(|_| TicketError::Implausible { what: "threshold" })
    }
}

impl Statement for Ticket {
    const DOMAIN: &'static str = "kms/ticket/1";
    const MAX_BYTES: usize = MAX_TICKET_BYTES;

    fn signer(&self) -> Option<PublicKey> {
        Some(self.owner)
    }
}

/// Why a ticket is not written or not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The file cannot be read or written.
    #[error("the ticket cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// It does not open with this identity: damaged, or meant for somebody else.
    #[error("the ticket does not open: {0}")]
    Sealed(#[from] SealError),
    /// What was sealed is not a ticket.
    #[error("the ticket is malformed: {0}")]
    Malformed(#[from] codec::DecodeError),
    /// A ticket of a version this program does not know.
    #[error("the ticket has version {version}, which is not known here")]
    Version {
        /// The version.
        version: u16,
    },
    /// The owner did not sign it.
    #[error("the ticket is not signed by the owner of this store")]
    NotByOwner,
    /// The owner made it for another store, another recipient or another file name.
    #[error("the ticket belongs elsewhere: its {what} is another one")]
    Elsewhere {
        /// What differs.
        what: &'static str,
    },
    /// The owner signed something that makes no sense.
    #[error("the ticket's {what} makes no sense")]
    Implausible {
        /// What it is about.
        what: &'static str,
    },
    /// There is too much to say: too many nodes or too deep a path.
    #[error("the ticket would be {bytes} bytes long; {MAX_TICKET_BYTES} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// The place where the tickets of one owner for one recipient lie. Both compute it from their own secret.
pub struct Mailbox {
    owner: PublicKey,
    recipient: PublicKey,
    store: StoreId,
    secret: Zeroizing<[u8; 32]>,
}

impl Mailbox {
    /// The mailbox of a recipient, as its owner sees it.
    #[must_use]
    pub fn outgoing(owner: &IdentitySecret, recipient: &PublicKey, store: StoreId) -> Self {
        Self {
            owner: owner.public(),
            recipient: *recipient,
            store,
            secret: shared(owner, recipient, &store),
        }
    }

    /// One's own mailbox in somebody's store.
    #[must_use]
    pub fn incoming(recipient: &IdentitySecret, owner: &PublicKey, store: StoreId) -> Self {
        Self {
            owner: *owner,
            recipient: recipient.public(),
            store,
            secret: shared(recipient, owner, &store),
        }
    }

    /// The name of its directory in a store's `shares/`.
    #[must_use]
    pub fn directory_name(&self) -> String {
        let name = kdf::derive32(
            &self.secret,
            "kms/mailbox/1",
            &[self.owner.as_bytes(), self.recipient.as_bytes()],
        );
        half(&name)
    }

    /// The file name of a label's ticket.
    #[must_use]
    pub fn file_name(&self, label: &LabelId) -> String {
        let name = kdf::mac(
            &self.secret,
            "kms/ticket-name/1",
            &[self.recipient.as_bytes(), label.as_bytes()],
        );
        format!("{}{TICKET_SUFFIX}", half(&name))
    }

    /// Checks and opens one ticket with the recipient's secret. `name` is its file's name.
    pub fn open(
        &self,
        recipient: &IdentitySecret,
        name: &str,
        sealed: &[u8],
    ) -> Result<Ticket, TicketError> {
        let bytes = recipient.open_sealed(
            SEAL_DOMAIN,
            &[self.store.as_bytes(), name.as_bytes()],
            sealed,
        )?;
        let signed: Signed<Ticket> = codec::decode(&bytes, MAX_TICKET_BYTES)?;
        let version = signed.claim().version;
        if version != TICKET_VERSION {
            return Err(TicketError::Version { version });
        }
        if signed.claim().owner != self.owner {
            return Err(TicketError::NotByOwner);
        }
        let ticket = signed
            .verify()
            .map_err(|_| TicketError::NotByOwner)?
            .into_statement();
        self.check(&ticket)?;
        if name != self.file_name(&ticket.label) {
            return Err(TicketError::Elsewhere { what: "file name" });
        }
        Ok(ticket)
    }

    /// Signs and seals a ticket: its file name and its bytes.
    pub fn seal(
        &self,
        owner: &IdentitySecret,
        ticket: &Ticket,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(String, Vec<u8>), TicketError> {
        self.check(ticket)?;
        let signed =
            Signed::sign(ticket.clone(), owner, rng).map_err(|_| TicketError::NotByOwner)?;
        let plaintext = Zeroizing::new(codec::encode(signed.signed()));
        let name = self.file_name(&ticket.label);
        let ad: [&[u8]; 2] = [self.store.as_bytes(), name.as_bytes()];
        let sealed = seal::seal_to(&self.recipient, SEAL_DOMAIN, &ad, &plaintext, rng);
        if sealed.len() > MAX_TICKET_BYTES {
            return Err(TicketError::TooLong {
                bytes: sealed.len(),
            });
        }
        Ok((name, sealed))
    }

    /// What must hold for every ticket of this mailbox, whoever made it.
    fn check(&self, ticket: &Ticket) -> Result<(), TicketError> {
        let elsewhere = |what| Err(TicketError::Elsewhere { what });
        let implausible = |what| Err(TicketError::Implausible { what });
        if ticket.owner != self.owner {
            return elsewhere("owner");
        }
        if ticket.store != self.store {
            return elsewhere("store");
        }
        if ticket.params.recipient != self.recipient {
            return elsewhere("recipient");
        }
        ticket.threshold()?;
        if !place::are_distinct(&ticket.nodes, ticket.total) {
            return implausible("list of nodes");
        }
        if !place::is_path(&ticket.path) {
            return implausible("path");
        }
        Ok(())
    }
}

const SEAL_DOMAIN: &str = "kms/ticket-seal/1";

fn shared(mine: &IdentitySecret, other: &PublicKey, store: &StoreId) -> Zeroizing<[u8; 32]> {
    mine.shared(other, "kms/ticket-box/1", &[store.as_bytes()])
}

/// The first half of a name's 32 bytes, in hexadecimal: enough that no two ever meet.
fn half(bytes: &[u8; 32]) -> String {
    let (half, _) = bytes.split_first_chunk::<16>().expect("16 is less than 32");
    HEXLOWER.encode(half)
}
