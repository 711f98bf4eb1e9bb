//! Reading a mailbox again and again: only what has changed is opened again.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{IdentitySecret, PublicKey};

use super::{MAX_TICKET_BYTES, MAX_TICKETS, Mailbox, TICKET_SUFFIX, Ticket, TicketError, shelf};
use crate::disk::Shelf;

/// What is in a mailbox.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The tickets, revoked and expired ones included, in the order of their file names.
    pub tickets: Vec<Arc<Ticket>>,
    /// Files that are no tickets of this mailbox.
    pub refused: Vec<RefusedTicket>,
}

/// A file in a mailbox that is not believed.
#[derive(Clone, Debug)]
pub struct RefusedTicket {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: Arc<TicketError>,
}

/// A mailbox that is looked into often. A file is opened again only when it has been replaced.
pub struct Inbox {
    mailbox: Mailbox,
    shelf: Shelf,
    seen: HashMap<String, Seen>,
    /// The highest sequence number of each label: a ticket put back from an older copy of the store changes nothing.
    newest: HashMap<LabelId, Arc<Ticket>>,
}

struct Seen {
    stamp: Stamp,
    outcome: Result<Arc<Ticket>, Arc<TicketError>>,
}

/// What changes when a file is replaced or written to.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Inbox {
    /// The mailbox of `recipient` in the store at `root`.
    #[must_use]
    pub fn new(root: &Path, recipient: &IdentitySecret, owner: &PublicKey, store: StoreId) -> Self {
        let mailbox = Mailbox::incoming(recipient, owner, store);
        let shelf = shelf(&mailbox, root);
        Self {
            mailbox,
            shelf,
            seen: HashMap::new(),
            newest: HashMap::new(),
        }
    }

    /// What is in it now. `recipient` is the identity it was made for.
    pub fn read(&mut self, recipient: &IdentitySecret) -> io::Result<Listing> {
        let names = self.shelf.names(TICKET_SUFFIX, MAX_TICKETS)?;
        let mut listing = Listing::default();
        let mut seen = HashMap::with_capacity(names.len());
        for name in names {
            let Some(entry) = self.look_at(recipient, &name) else {
                continue;
            };
            match &entry.outcome {
                Ok(ticket) => listing.tickets.push(self.newest(ticket)),
                Err(error) => {
                    listing.refused.push(RefusedTicket {
                        path: self.shelf.path().join(&name),
                        error: Arc::clone(error),
                    });
                }
            }
            seen.insert(name, entry);
        }
        self.seen = seen;
        Ok(listing)
    }

    /// Nothing when the file has gone meanwhile.
    fn look_at(&mut self, recipient: &IdentitySecret, name: &str) -> Option<Seen> {
        let stamp = Stamp::of(&self.shelf.stat(name).ok()?);
        if let Some(seen) = self.seen.remove(name)
            && seen.stamp == stamp
        {
            return Some(seen);
        }
        let sealed = self.shelf.read(name, MAX_TICKET_BYTES);
        let outcome = sealed
            .map_err(TicketError::from)
            .and_then(|sealed| self.mailbox.open(recipient, name, &sealed));
        Some(Seen {
            stamp,
            outcome: outcome.map(Arc::new).map_err(Arc::new),
        })
    }

    fn newest(&mut self, ticket: &Arc<Ticket>) -> Arc<Ticket> {
        let known = self
            .newest
            .entry(ticket.label)
            .or_insert_with(|| Arc::clone(ticket));
        if ticket.sequence >= known.sequence {
            *known = Arc::clone(ticket);
        }
        Arc::clone(known)
    }
}

impl Stamp {
    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}
