//! Reading a mailbox again and again: only what has changed is opened again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{IdentitySecret, PublicKey};

use super::{MAX_TICKET_BYTES, MAX_TICKETS, Mailbox, SUFFIX, Ticket, TicketError};
use crate::disk;

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
    dir: PathBuf,
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
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Inbox {
    /// The mailbox of `recipient` in the store at `root`.
    #[must_use]
    pub fn new(root: &Path, recipient: &IdentitySecret, owner: &PublicKey, store: StoreId) -> Self {
        let mailbox = Mailbox::incoming(recipient, owner, store);
        let dir = mailbox.directory(root);
        Self {
            mailbox,
            dir,
            seen: HashMap::new(),
            newest: HashMap::new(),
        }
    }

    /// What is in it now. `recipient` is the identity it was made for.
    pub fn read(&mut self, recipient: &IdentitySecret) -> io::Result<Listing> {
        let names = disk::names(&self.dir, SUFFIX, MAX_TICKETS)?;
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
                        path: self.dir.join(&name),
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
        let path = self.dir.join(name);
        let stamp = Stamp::of(&fs::symlink_metadata(&path).ok()?);
        if let Some(seen) = self.seen.remove(name)
            && seen.stamp == stamp
        {
            return Some(seen);
        }
        let outcome = disk::read_bounded(&path, MAX_TICKET_BYTES)
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
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
