//! The tickets that lie in a store (SHARES §2): written by its owner, read by those they are for. What a ticket is stands in
//! [`kms_proto::ticket`].

use std::path::Path;

use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{IdentitySecret, PublicKey};
use rand_core::CryptoRng;

use crate::disk::Shelf;

pub use self::inbox::{Inbox, Listing, RefusedTicket};
pub use kms_proto::ticket::{
    MAX_TICKET_BYTES, Mailbox, TICKET_PREFIX, TICKET_SUFFIX, TICKET_VERSION, Ticket, TicketError,
    TicketText,
};

mod inbox;

/// The largest number of tickets that are read for one recipient.
pub const MAX_TICKETS: usize = 65_536;

/// Where a mailbox lies in the store at `root`.
pub(crate) fn shelf(mailbox: &Mailbox, root: &Path) -> Shelf {
    Shelf::new(root, &mailbox.directory_name())
}

/// Puts a ticket into the store at `root`, in place of an earlier one of the same label and recipient.
pub fn write_ticket(
    root: &Path,
    owner: &IdentitySecret,
    ticket: &Ticket,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<(), TicketError> {
    let mailbox = Mailbox::outgoing(owner, &ticket.params.recipient, ticket.store);
    let (name, sealed) = mailbox.seal(owner, ticket, rng)?;
    Ok(shelf(&mailbox, root).replace(&name, &sealed, rng)?)
}

/// Takes a ticket away, as when what it is about is deleted. A revoked one stays.
pub fn remove_ticket(
    root: &Path,
    owner: &IdentitySecret,
    store: StoreId,
    recipient: &PublicKey,
    label: &LabelId,
) -> Result<(), TicketError> {
    let mailbox = Mailbox::outgoing(owner, recipient, store);
    Ok(shelf(&mailbox, root).remove(&mailbox.file_name(label))?)
}

/// Reads all tickets for `recipient` in the store at `root`. One that is damaged or forged is listed apart and hides no
/// other. Who reads again and again keeps an [`Inbox`].
pub fn read_tickets(
    root: &Path,
    recipient: &IdentitySecret,
    owner: &PublicKey,
    store: StoreId,
) -> Result<Listing, TicketError> {
    Ok(Inbox::new(root, recipient, owner, store).read(recipient)?)
}

#[cfg(test)]
mod tests;
