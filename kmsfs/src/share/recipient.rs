//! The reader's side: what others have shared with this person, and the keys
//! for it (SEMANTICS 5.4). Tickets say where things are; nodes and ledger
//! decide whether they open.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, Weak},
    time::Instant,
};

use kms_client::{ClientError, KeyRequest, Kind, NodeAnswer, Ticket, ticket::Inbox};
use kms_crypto::{
    id::{LabelId, StoreId},
    key::{IdentitySecret, LabelSecret, PublicKey},
    scheme::LabelContext,
};
use parking_lot::Mutex;

use super::{
    Network, People, Refused,
    info::{no_data, write_back},
    keys::{Keys, LEASE, LOOK},
    owner::path_of,
};
use crate::{
    vfs::{
        self, Ino, Vfs, VfsError,
        hooks::{
            self, Asker, KeyError, KeySource, LabelRequest, PathStep, Shared, Shares, VerbError,
            Verbs,
        },
    },
    waiter::Waiter,
    why,
};

/// Finds and opens what is shared with this person in somebody's store.
pub struct Recipient {
    identity: Arc<IdentitySecret>,
    owner: PublicKey,
    store: StoreId,
    people: People,
    network: Network,
    tickets: Mutex<Tickets>,
    keys: Keys,
    /// What was wanted last of each label, to ask the nodes about it when somebody wants to know why.
    wanted: Mutex<HashMap<LabelId, LabelRequest>>,
    vfs: OnceLock<Weak<Vfs>>,
}

/// What a reader's side is made of.
pub struct Parts {
    /// The store's directory.
    pub root: PathBuf,
    /// The store.
    pub store: StoreId,
    /// Its owner.
    pub owner: PublicKey,
    /// The reader.
    pub identity: Arc<IdentitySecret>,
    /// The contacts.
    pub people: People,
    /// The way to the nodes.
    pub network: Network,
}

/// The tickets as they were read last.
struct Tickets {
    inbox: Inbox,
    read_at: Option<Instant>,
    by_label: HashMap<LabelId, Arc<Ticket>>,
    list: Arc<[Shared]>,
}

impl Recipient {
    /// The reader's side of a store.
    pub fn new(parts: Parts) -> Self {
        let inbox = Inbox::new(&parts.root, &parts.identity, &parts.owner, parts.store);
        Self {
            identity: parts.identity,
            owner: parts.owner,
            store: parts.store,
            people: parts.people,
            network: parts.network,
            tickets: Mutex::new(Tickets {
                inbox,
                read_at: None,
                by_label: HashMap::new(),
                list: Arc::from([]),
            }),
            keys: Keys::default(),
            wanted: Mutex::default(),
            vfs: OnceLock::new(),
        }
    }

    /// Tells it which filesystem it belongs to.
    pub fn attach(&self, vfs: &Arc<Vfs>) {
        let _ = self.vfs.set(Arc::downgrade(vfs));
    }

    /// The owner as this person knows them, and whether they are in the contacts.
    pub fn owner_name(&self) -> (String, bool) {
        let book = self.people.book_for_display();
        (
            book.display(&self.owner),
            book.name_of(&self.owner).is_some(),
        )
    }

    /// The names sentences use.
    pub fn context(&self) -> why::Context {
        why::Context {
            owner: Some(self.owner_name().0),
            me: Some(self.identity.public()),
            confirmed: None,
        }
    }

    /// All tickets, the newest for each label, in the order of their paths.
    pub fn all_tickets(&self) -> Vec<Arc<Ticket>> {
        let mut tickets = self.tickets.lock();
        self.refresh(&mut tickets);
        let mut all: Vec<Arc<Ticket>> = tickets.by_label.values().cloned().collect();
        all.sort_by_key(|ticket| path_of(&ticket.path));
        all
    }

    fn refresh(&self, tickets: &mut Tickets) {
        if tickets.read_at.is_some_and(|at| at.elapsed() < LEASE) {
            return;
        }
        tickets.read_at = Some(Instant::now());
        // A mailbox that does not exist yet is empty; one that cannot be read keeps what was known.
        let Ok(listing) = tickets.inbox.read(&self.identity) else {
            return;
        };
        tickets.by_label = listing
            .tickets
            .iter()
            .map(|ticket| (ticket.label, Arc::clone(ticket)))
            .collect();
        let list: Vec<Shared> = listing.tickets.iter().map(|it| shared(it)).collect();
        if *tickets.list != *list {
            tickets.list = Arc::from(list);
        }
    }

    fn ticket(&self, label: &LabelId) -> Option<Arc<Ticket>> {
        let mut tickets = self.tickets.lock();
        self.refresh(&mut tickets);
        tickets.by_label.get(label).cloned()
    }

    /// The tickets through which an object is shared, the nearest first.
    fn covering(&self, ino: Ino) -> Result<Vec<Arc<Ticket>>, Refused> {
        let vfs = self
            .vfs
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| Refused::new(libc::EIO, "The store is being unmounted."))?;
        Ok(self.covering_path(&vfs.path_of(ino).unwrap_or_default()))
    }

    fn covering_path(&self, path: &Path) -> Vec<Arc<Ticket>> {
        let mut tickets: Vec<Arc<Ticket>> = self
            .all_tickets()
            .into_iter()
            .filter(|ticket| {
                let at = path_of(&ticket.path);
                match ticket.kind {
                    Kind::File => path == at,
                    Kind::Dir => path.starts_with(&at),
                }
            })
            .collect();
        tickets.sort_by_key(|ticket| std::cmp::Reverse(ticket.path.len()));
        tickets
    }

    fn fetch(&self, want: &LabelRequest) -> Result<LabelSecret, KeyError> {
        let ticket = self.ticket(&want.label).ok_or(KeyError::NotShared)?;
        if let Some(at) = ticket.revoked {
            return Err(KeyError::Revoked { at });
        }
        let request = self.request(&ticket, want)?;
        let client = self.network.client().map_err(|_| KeyError::NoNetwork)?;
        let waiter = Waiter::here();
        let wanted = || !waiter.has_left();
        let fetched = client.decrypt_key_while(&request, &self.identity, LOOK, wanted);
        fetched
            .ok_or(KeyError::Interrupted)?
            .map_err(|err| key_error(err, request.threshold.needed()))
    }

    fn request(&self, ticket: &Ticket, want: &LabelRequest) -> Result<KeyRequest, KeyError> {
        Ok(KeyRequest {
            params: ticket.params,
            threshold: ticket.threshold().map_err(|_| KeyError::NotShared)?,
            nodes: ticket.nodes.clone(),
            capsule: KeyRequest::parse_capsule(&want.capsule).map_err(|_| KeyError::WrongKey)?,
            context: LabelContext {
                store: self.store,
                label: want.label,
                epoch: want.epoch,
            },
        })
    }

    /// Why a path failed, in words. Of a withdrawn access the nodes are asked
    /// what they know of it, so that it does not rest on the owner's word alone.
    pub fn explain(&self, failure: &vfs::Failure, path: &Path) -> String {
        let mut context = self.context();
        if let VfsError::Key(KeyError::Revoked { .. }) = failure.error {
            context.confirmed = self.confirmed(path);
        }
        why::explain(failure, &context)
    }

    /// How many nodes of how many say that what is shared at a path was withdrawn.
    fn confirmed(&self, path: &Path) -> Option<(usize, usize)> {
        let ticket = self.covering_path(path).into_iter().next()?;
        let want = self.wanted.lock().get(&ticket.label).cloned()?;
        let request = self.request(&ticket, &want).ok()?;
        let answers = self.network.client().ok()?.survey(&request, &self.identity);
        Some((answers.revoked(), answers.0.len()))
    }

    fn attribute(&self, ino: Ino, name: &str, asker: Asker) -> Result<String, Refused> {
        let now = crate::time::now();
        if name == "why" {
            let vfs = self.vfs.get().and_then(Weak::upgrade).ok_or_else(no_data)?;
            let path = vfs.path_of(ino).unwrap_or_default();
            let failure = vfs.last_failure(asker.uid, &path).ok_or_else(no_data)?;
            return Ok(self.explain(&failure, &path));
        }
        let tickets = self.covering(ino)?;
        let ticket = tickets.first().ok_or_else(no_data)?;
        let readers = || {
            let until = crate::time::day_or_moment(ticket.expiry, now);
            format!("me(r,until {until})")
        };
        let state = match ticket.revoked {
            Some(_) => "revoked",
            None if ticket.expiry <= now => "expired",
            None => "ok",
        };
        let quorum = format!("{}/{}", ticket.needed, ticket.total);
        match name {
            "info" => Ok(format!(
                "kms: owner={}; readers={}; quorum={quorum}; state={state}",
                self.owner_name().0.replace('…', ".."),
                readers()
            )),
            "readers" => Ok(readers()),
            "owner" => Ok(self.owner.to_string()),
            "threshold" => Ok(quorum),
            "state" => Ok(state.to_owned()),
            _ => Err(no_data()),
        }
    }
}

impl KeySource for Recipient {
    fn label_secret(&self, want: &LabelRequest) -> Result<LabelSecret, KeyError> {
        self.wanted.lock().insert(want.label, want.clone());
        self.keys.get(&want.capsule, || self.fetch(want))
    }
}

impl Shares for Recipient {
    fn current(&self) -> Arc<[Shared]> {
        let mut tickets = self.tickets.lock();
        self.refresh(&mut tickets);
        Arc::clone(&tickets.list)
    }
}

impl Verbs for Recipient {
    fn set(&self, _ino: Ino, name: &str, value: &[u8], _asker: Asker) -> Result<(), VerbError> {
        let result = match name {
            "grant" | "revoke" | "rekey" | "policy" => {
                let owner = self.owner_name().0;
                Err(Refused::new(
                    libc::EPERM,
                    format!("Only {owner}, the owner, decides who can read this."),
                )
                .why("You can read it; you cannot share it.")
                .now(format!("Ask {owner} to share it.")))
            }
            _ => write_back(name, value),
        };
        result.map_err(VerbError::from)
    }

    fn get(&self, ino: Ino, name: &str, asker: Asker) -> Result<Vec<u8>, VerbError> {
        let text = self.attribute(ino, name, asker).map_err(VerbError::from)?;
        Ok(text.into_bytes())
    }

    fn listed(&self, ino: Ino) -> bool {
        self.covering(ino).is_ok_and(|tickets| !tickets.is_empty())
    }
}

fn shared(ticket: &Ticket) -> Shared {
    Shared {
        label: ticket.label,
        is_dir: ticket.kind == Kind::Dir,
        path: ticket
            .path
            .iter()
            .map(|step| PathStep {
                plain: step.plain.clone(),
                backing: step.backing.clone(),
            })
            .collect(),
    }
}

/// What the network said, in the words of the filesystem.
fn key_error(err: ClientError, needed: u8) -> KeyError {
    match err {
        ClientError::NoNetwork(_) => KeyError::NoNetwork,
        ClientError::NotGranted => KeyError::NotShared,
        ClientError::Revoked { at } => KeyError::Revoked { at },
        ClientError::Expired { at } => KeyError::Expired { at },
        ClientError::Timeout(quorum) => KeyError::Timeout {
            answers: answers(&quorum.answers.0),
        },
        ClientError::BadProofs(quorum) => KeyError::BadProofs {
            answers: answers(&quorum.answers.0),
        },
        ClientError::NoQuorum(quorum) => KeyError::NoQuorum {
            needed: quorum.needed,
            answered: quorum.good,
            answers: answers(&quorum.answers.0),
        },
        ClientError::Open(_) | ClientError::BadRequest(_) => KeyError::WrongKey,
        _ => KeyError::NoQuorum {
            needed,
            answered: 0,
            answers: Vec::new(),
        },
    }
}

fn answers(answers: &[NodeAnswer]) -> Vec<hooks::NodeAnswer> {
    answers
        .iter()
        .map(|it| hooks::NodeAnswer {
            node: it.node,
            answer: it.answer.to_string(),
        })
        .collect()
}
