//! Revoking (SEMANTICS 5.3): the ledger first, since from then on no honest
//! node helps; then a new secret for the object; then the nodes delete their
//! fragments, which may take its time.

use std::path::PathBuf;

use kms_client::{
    OwnerRecord, RevokeSpec, blocking::Client, record::Status, revoke::RevokeRequest,
};
use kms_crypto::key::PublicKey;

use super::{
    Owner, Refused,
    grant::{next_sequence, place, shown},
    owner::{is_pending_or_live, names, path_of},
    people::revoke_spec,
    settle::Job,
};
use crate::vfs::{Ino, LabelInfo, Vfs};

/// Access that was withdrawn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Withdrawn {
    /// The people who had access and have none now.
    pub who: Vec<PublicKey>,
    /// The path in the store.
    pub path: PathBuf,
    /// The label's epoch from now on; `None` when nobody had access.
    pub epoch: Option<u32>,
}

impl Owner {
    /// Withdraws access; `value` is that of `user.kms.revoke`.
    pub fn revoke(&self, ino: Ino, value: &[u8]) -> Result<Withdrawn, Refused> {
        let spec = revoke_spec(value)?;
        let who = match &spec {
            RevokeSpec::Everybody => None,
            RevokeSpec::These(people) => Some(self.people.keys(people)?),
        };
        let now = crate::time::now();
        let vfs = self.vfs()?;
        let path = path_of(&place(&vfs, ino)?);
        self.refuse_inherited(&vfs, ino, who.as_deref(), now)?;
        let nobody = |who: Option<Vec<PublicKey>>| Withdrawn {
            who: who.unwrap_or_default(),
            path: path.clone(),
            epoch: None,
        };
        let Some(info) = vfs.label_of(ino)? else {
            return Ok(nobody(who));
        };
        let lock = self.hold(info.label);
        let _held = lock.lock();
        let ending: Vec<OwnerRecord> = self
            .records_of(&info.label)
            .into_iter()
            .filter(is_pending_or_live)
            .filter(|record| {
                who.as_ref()
                    .is_none_or(|keys| keys.contains(&record.params.recipient))
            })
            .collect();
        if ending.is_empty() {
            return Ok(nobody(who));
        }
        let epoch = self.end(&vfs, ino, &info, &ending, now)?;
        let mut gone: Vec<PublicKey> = Vec::new();
        for record in &ending {
            if !gone.contains(&record.params.recipient) {
                gone.push(record.params.recipient);
            }
        }
        Ok(Withdrawn {
            who: gone,
            path,
            epoch: Some(epoch),
        })
    }

    /// Ends policies: entries in the ledger, records and tickets, a new secret.
    fn end(
        &self,
        vfs: &Vfs,
        ino: Ino,
        info: &LabelInfo,
        ending: &[OwnerRecord],
        now: u64,
    ) -> Result<u32, Refused> {
        let epoch = info.epoch.saturating_add(1);
        // One that has ended by itself needs no word in the ledger.
        let client = match ending.iter().any(|record| record.expiry > now) {
            true => Some(self.network.client()?),
            false => None,
        };
        let results: Vec<Result<u64, Refused>> = std::thread::scope(|scope| {
            let client = client.as_deref();
            let running: Vec<_> = ending
                .iter()
                .map(|record| {
                    scope.spawn(move || match client {
                        Some(client) if record.expiry > now => {
                            self.record_end(client, record, epoch)
                        }
                        _ => Ok(record.expiry),
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|_| {
                        Err(Refused::new(libc::EIO, "The revocation failed inside."))
                    })
                })
                .collect()
        });
        let mut first_error = None;
        let mut ended = false;
        for (record, result) in ending.iter().zip(results) {
            match result {
                Ok(at) => {
                    self.note_end(record, at, epoch)?;
                    ended = true;
                }
                Err(refused) => first_error = first_error.or(Some(refused)),
            }
        }
        // Whoever could be cut off is, also from what is written from now on; the verb can be
        // repeated for the others.
        let rotated = if ended { Some(vfs.rotate(ino)?) } else { None };
        match (first_error, rotated) {
            (Some(refused), _) => Err(refused),
            (None, rotated) => Ok(rotated.map_or(info.epoch, |info| info.epoch)),
        }
    }

    fn record_end(
        &self,
        client: &Client,
        record: &OwnerRecord,
        epoch: u32,
    ) -> Result<u64, Refused> {
        let request = RevokeRequest {
            ledger_key: &self.key.ledger_key(&record.params.salt),
            params: record.params,
            threshold: record.threshold()?,
            nodes: &record.nodes,
            epoch,
        };
        let revocation = client.record_revocation(&request)?;
        Ok(revocation.at)
    }

    /// Writes down that a policy has ended, tells the reader, and has the nodes
    /// delete their fragments in the background.
    pub(super) fn note_end(
        &self,
        record: &OwnerRecord,
        at: u64,
        epoch: u32,
    ) -> Result<(), Refused> {
        let earlier = self.records_of(&record.label);
        let mut ended = record.clone();
        ended.status = Status::Revoked {
            at,
            epoch,
            removed: Vec::new(),
        };
        ended.sequence = next_sequence(&earlier, &record.params.recipient, crate::time::now());
        self.put(&ended)?;
        if !ended.nodes.is_empty() {
            self.write_ticket(&ended, Some(at))?;
        }
        self.worker.send(Job::Delete(Box::new(ended)));
        Ok(())
    }

    /// Access that comes from a directory above cannot be withdrawn below it,
    /// and must not seem to be.
    fn refuse_inherited(
        &self,
        vfs: &Vfs,
        ino: Ino,
        who: Option<&[PublicKey]>,
        now: u64,
    ) -> Result<(), Refused> {
        for (above, info) in vfs.labels_over(ino)? {
            if above == ino {
                continue;
            }
            let readers: Vec<PublicKey> = self
                .live_of(&info.label, now)
                .into_iter()
                .map(|record| record.params.recipient)
                .filter(|key| who.is_none_or(|keys| keys.contains(key)))
                .collect();
            if readers.is_empty() {
                continue;
            }
            let names = names(&self.people, &readers);
            let dir = shown(&vfs.path_of(above).unwrap_or_default());
            return Err(Refused::new(libc::EINVAL, "Nothing was withdrawn.")
                .why(format!(
                    "{names} can read this through {dir}, which is shared as a whole."
                ))
                .now(format!("Withdraw it there: kmsfs revoke {dir} {names}")));
        }
        Ok(())
    }
}

impl Withdrawn {
    /// `bob can no longer read plan.txt.`
    pub fn sentence(&self, names: &str) -> String {
        let path = shown(&self.path);
        match self.epoch {
            Some(_) => format!(
                "{names} can no longer open {path}. What was read before may have been kept."
            ),
            None if self.who.is_empty() => {
                format!("Nobody had access to {path}; nothing changed.")
            }
            None => format!("{names} had no access to {path}; nothing changed."),
        }
    }
}
