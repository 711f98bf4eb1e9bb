//! A ticket by itself, as text (SHARES §2.3): for what lies in no store, or is sent by other means.

use data_encoding::BASE64URL_NOPAD;
use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{IdentitySecret, PublicKey};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::codec;

use super::{MAX_TICKET_BYTES, Mailbox, Ticket, TicketError};

/// How every ticket by itself begins.
pub const TICKET_PREFIX: &str = "kms-ticket-1-";
/// More than the CBOR around a sealed ticket can take.
const MAX_BYTES: usize = MAX_TICKET_BYTES + 256;

/// A ticket that somebody was given, still sealed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TicketText {
    /// Who says that he made it; true if it opens.
    pub owner: PublicKey,
    /// The store.
    pub store: StoreId,
    /// The label.
    pub label: LabelId,
    sealed: ByteBuf,
}

impl TicketText {
    /// Signs and seals a ticket.
    ///
    /// # Errors
    /// What it says makes no sense, or is too much.
    pub fn seal(
        owner: &IdentitySecret,
        ticket: &Ticket,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, TicketError> {
        let mailbox = Mailbox::outgoing(owner, &ticket.params.recipient, ticket.store);
        let (_, sealed) = mailbox.seal(owner, ticket, rng)?;
        Ok(Self::of_file(ticket, sealed))
    }

    /// Of the file in which a ticket lies in a store.
    #[must_use]
    pub fn of_file(ticket: &Ticket, sealed: Vec<u8>) -> Self {
        Self {
            owner: ticket.owner,
            store: ticket.store,
            label: ticket.label,
            sealed: ByteBuf::from(sealed),
        }
    }

    /// Reads the text of a ticket.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        let malformed = || TicketError::Malformed(codec::DecodeError::Malformed);
        let encoded = text.trim().strip_prefix(TICKET_PREFIX);
        let encoded = encoded.ok_or_else(malformed)?.as_bytes();
        if encoded.len() > MAX_BYTES * 4 / 3 + 2 {
            return Err(TicketError::TooLong {
                bytes: encoded.len(),
            });
        }
        let bytes = BASE64URL_NOPAD.decode(encoded).map_err(|_| malformed())?;
        Ok(codec::decode(&bytes, MAX_BYTES)?)
    }

    /// Checks and opens it.
    ///
    /// # Errors
    /// It is for somebody else, altered, or not by the owner it names.
    pub fn open(&self, recipient: &IdentitySecret) -> Result<Ticket, TicketError> {
        let mailbox = Mailbox::incoming(recipient, &self.owner, self.store);
        mailbox.open(recipient, &mailbox.file_name(&self.label), &self.sealed)
    }
}

impl std::fmt::Display for TicketText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let encoded = BASE64URL_NOPAD.encode(&codec::encode(self));
        write!(f, "{TICKET_PREFIX}{encoded}")
    }
}
