//! Granting (SEMANTICS 5.2): a label for the object, a fragment for each of n
//! nodes, an entry in the ledger, a ticket for the reader. In this order, and
//! with a record written first, so that whatever a crash leaves behind at
//! nodes is known and can be taken back.

use std::{path::PathBuf, sync::Arc};

use kms_client::{
    ClientError, Cost, GrantRequest, Kind, OwnerRecord, Step, Threshold,
    blocking::Client,
    grammar::Access,
    record::Shared,
    ticket::{TicketError, write_ticket},
};
use kms_crypto::error::SplitError;
use kms_crypto::key::PublicKey;
use kms_crypto::scheme::SchemeKind;
use rand_core::Rng;

use super::{
    Owner, Refused,
    owner::{kind, names, path_of, steps},
    people::grant_spec,
    settle::Job,
};
use crate::vfs::{Ino, LabelInfo, Vfs};

/// A grant that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Granted {
    /// The people.
    pub who: Vec<PublicKey>,
    /// The path in the store.
    pub path: PathBuf,
    /// A directory with all below it.
    pub is_dir: bool,
    /// When it ends, in seconds since 1970.
    pub expiry: u64,
    /// How many nodes of how many.
    pub threshold: Threshold,
}

/// What somebody wants to grant.
struct Wish {
    who: Vec<PublicKey>,
    threshold: Threshold,
    expiry: u64,
    client: Arc<Client>,
    now: u64,
}

/// What a grant would be and cost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Estimate {
    /// What would be granted.
    pub granted: Granted,
    /// How many nodes have promised to serve so long.
    pub serving: usize,
    /// What it costs to write it into the ledger.
    pub cost: Option<Cost>,
}

/// What is the same for everybody named in one grant.
pub(super) struct Terms<'a> {
    /// The way to the nodes.
    pub(super) client: &'a Client,
    /// The label.
    pub(super) info: &'a LabelInfo,
    /// Where the object is.
    pub(super) path: &'a [Step],
    /// How many nodes of how many.
    pub(super) threshold: Threshold,
    /// When it ends.
    pub(super) expiry: u64,
    /// When it is made.
    pub(super) now: u64,
}

impl Owner {
    /// Shares an object; `value` is that of `user.kms.grant`.
    pub fn grant(&self, ino: Ino, value: &[u8]) -> Result<Granted, Refused> {
        let Wish {
            who,
            threshold,
            expiry,
            client,
            now,
        } = self.wish(value)?;
        let vfs = self.vfs()?;
        let info = vfs.ensure_label(ino)?;
        let lock = self.hold(info.label);
        let _held = lock.lock();
        let path = place(&vfs, ino)?;
        let terms = Terms {
            client: &client,
            info: &info,
            path: &path,
            threshold,
            expiry,
            now,
        };
        self.grant_all(&terms, &who)?;
        Ok(Granted {
            who,
            path: path_of(&path),
            is_dir: info.is_dir,
            expiry,
            threshold,
        })
    }

    /// What such a grant would be and cost; changes nothing.
    pub fn estimate(&self, ino: Ino, value: &[u8]) -> Result<Estimate, Refused> {
        let wish = self.wish(value)?;
        let vfs = self.vfs()?;
        let nodes = wish.client.nodes()?;
        let serving = nodes.iter().filter(|it| it.available_until >= wish.expiry);
        let (needed, total) = (wish.threshold.needed(), wish.threshold.total());
        let each = wish.client.grant_cost(needed, total)?;
        let people = u64::try_from(wish.who.len()).unwrap_or(u64::MAX);
        Ok(Estimate {
            serving: serving.count(),
            cost: each.map(|it| Cost {
                gas: it.gas.saturating_mul(people),
                wei: it.wei.saturating_mul(people.into()),
            }),
            granted: Granted {
                path: path_of(&place(&vfs, ino)?),
                is_dir: vfs.getattr(ino, None)?.kind == crate::backing::Kind::Dir,
                who: wish.who,
                expiry: wish.expiry,
                threshold: wish.threshold,
            },
        })
    }

    /// What a grant's value asks for.
    fn wish(&self, value: &[u8]) -> Result<Wish, Refused> {
        let spec = grant_spec(value)?;
        if spec.access == Access::ReadWrite {
            return Err(Refused::new(libc::EOPNOTSUPP, "Nothing was granted.")
                .why("Others can read here; letting them write comes with a later version.")
                .now("Grant r, or leave it out."));
        }
        let now = crate::time::now();
        let who = self.people.keys(&spec.who)?;
        if who.contains(&self.identity.public()) {
            return Err(Refused::new(libc::EINVAL, "Nothing was granted.")
                .why("One of the keys is your own, and you can read everything already."));
        }
        let scheme = self.vfs()?.info().scheme;
        let scheme = SchemeKind::try_from(scheme).map_err(|_| SplitError::Scheme(scheme))?;
        let threshold = match spec.threshold {
            Some(asked) => asked,
            None => scheme.rule().adapt(self.threshold),
        };
        scheme.check(threshold)?;
        let client = self.network.client()?;
        let expiry = match spec.expiry {
            Some(expiry) => expiry.deadline(now)?,
            None => client.usual_expiry(threshold),
        };
        Ok(Wish {
            who,
            threshold,
            expiry,
            client,
            now,
        })
    }

    /// Grants to everybody at once, so that many take no longer than one.
    fn grant_all(&self, terms: &Terms<'_>, who: &[PublicKey]) -> Result<(), Refused> {
        let results: Vec<(PublicKey, Result<(), Refused>)> = std::thread::scope(|scope| {
            let running: Vec<_> = who
                .iter()
                .map(|key| (*key, scope.spawn(move || self.grant_one(terms, *key))))
                .collect();
            running
                .into_iter()
                .map(|(key, thread)| {
                    let result = thread.join().unwrap_or_else(|_| {
                        Err(Refused::new(libc::EIO, "The grant failed inside."))
                    });
                    (key, result)
                })
                .collect()
        });
        let done: Vec<PublicKey> = results
            .iter()
            .filter(|(_, result)| result.is_ok())
            .map(|(key, _)| *key)
            .collect();
        match results.into_iter().find_map(|(_, result)| result.err()) {
            None => Ok(()),
            Some(refused) if done.is_empty() => Err(refused),
            Some(mut refused) => {
                let some = names(&self.people, &done);
                refused.failure.what = format!("{} Granted to {some} only.", refused.failure.what);
                Err(refused)
            }
        }
    }

    pub(super) fn grant_one(&self, terms: &Terms<'_>, recipient: PublicKey) -> Result<(), Refused> {
        let info = terms.info;
        let earlier = self.records_of(&info.label);
        let mut salt = [0; 32];
        crate::random().fill_bytes(&mut salt);
        let delegating_key =
            self.key
                .delegating_key_for(info.scheme, &info.label, info.generation)?;
        let request = GrantRequest {
            delegating_key: &delegating_key,
            ledger_key: &self.key.ledger_key(&salt),
            recipient,
            salt,
            threshold: terms.threshold,
            expiry: terms.expiry,
            epoch: info.epoch,
        };
        let shared = Shared {
            label: info.label,
            generation: info.generation,
            kind: kind(info),
            path: terms.path,
        };
        let mut record = OwnerRecord::preparing(&request, shared, terms.now);
        self.put(&record)?;
        let grant = match terms.client.grant(&request) {
            Ok(grant) => grant,
            Err(err) => {
                self.after_failed_grant(&record, &err);
                return Err(err.into());
            }
        };
        record.made(&grant, &earlier, terms.now);
        self.put(&record)?;
        self.write_ticket(&record)?;
        for old in earlier {
            if old.params.recipient == recipient && old.is_pending_or_live() {
                self.worker.send(Job::Supersede(Box::new(old)));
            }
        }
        Ok(())
    }

    /// What nodes may still have is remembered; what they have not is forgotten.
    fn after_failed_grant(&self, record: &OwnerRecord, err: &ClientError) {
        if err.leaves_nothing() {
            if let Err(refused) = self.forget(record) {
                tracing::warn!(errno = refused.errno, "a record of a failed grant stays");
            }
        } else {
            self.worker.send(Job::TakeBack(Box::new(record.clone())));
        }
    }

    /// Tells a reader where the shared thing is, or that it was withdrawn.
    pub(super) fn write_ticket(&self, record: &OwnerRecord) -> Result<(), Refused> {
        let ticket = record.ticket(self.identity.public(), self.store);
        write_ticket(&self.root, &self.identity, &ticket, &mut crate::random())?;
        Ok(())
    }
}

/// Where an object is, for the ticket.
pub(super) fn place(vfs: &Vfs, ino: Ino) -> Result<Vec<Step>, Refused> {
    vfs.locate(ino)
        .map(steps)
        .ok_or_else(|| Refused::new(libc::EINVAL, "The object has no name any more."))
}

impl From<TicketError> for Refused {
    fn from(err: TicketError) -> Self {
        Self::new(libc::EIO, "The reader's ticket cannot be written.")
            .why(super::refusal::capital(&format!("{err}.")))
    }
}

impl From<SplitError> for Refused {
    fn from(err: SplitError) -> Self {
        let refused = Self::new(libc::EINVAL, "Nothing was granted.");
        match err {
            SplitError::Rule { scheme, rule, .. } => {
                let name = SchemeKind::try_from(scheme).map_or("this scheme", SchemeKind::name);
                refused
                    .why(format!("This store's scheme, {name}, works {rule} only."))
                    .now("Leave the threshold out.")
            }
            err => refused.why(super::refusal::capital(&format!("{err}."))),
        }
    }
}

impl Granted {
    /// `bob can read plan.txt until 2026-11-29 (3 of 5 nodes).`
    pub fn sentence(&self, names: &str, now: u64) -> String {
        let below = if self.is_dir {
            " and everything below it"
        } else {
            ""
        };
        let path = shown(&self.path);
        format!(
            "{names} can read {path}{below} until {} ({} of {} nodes needed).",
            crate::time::day_or_moment(self.expiry, now),
            self.threshold.needed(),
            self.threshold.total()
        )
    }
}

impl Estimate {
    /// What would happen, and what would be paid.
    pub fn sentence(&self, names: &str, now: u64) -> String {
        let enough = match self.serving >= usize::from(self.granted.threshold.total()) {
            true => "",
            false => ", which is too few",
        };
        let cost = match &self.cost {
            None => "It costs nothing.".to_owned(),
            Some(cost) => format!(
                "It costs about {} gas, {} gwei now, which the node that writes it pays.",
                cost.gas,
                cost.wei / 1_000_000_000
            ),
        };
        format!(
            "Nothing was changed. It would be: {}\n{} nodes serve so long{enough}.\n{cost}",
            self.granted.sentence(names, now),
            self.serving
        )
    }
}

/// A path in the store as people read it.
pub(super) fn shown(path: &std::path::Path) -> String {
    if path.as_os_str().is_empty() {
        "the whole store".to_owned()
    } else {
        path.display().to_string()
    }
}

/// A directory or a file, in words.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Dir => "directory",
    }
}
