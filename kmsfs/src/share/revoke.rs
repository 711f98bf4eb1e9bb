//! Revoking (SEMANTICS 5.3): what is wanted is written down; then the ledger,
//! since from then on no honest node helps; then a new secret for the object;
//! then the nodes delete their fragments, which may take its time. What the
//! ledger has not confirmed is tried again until it has.

use std::path::{Path, PathBuf};

use kms_client::{
    Cost, OwnerRecord, RevokeSpec,
    blocking::Client,
    record::{Status, next_sequence},
    revoke::RevokeRequest,
};
use kms_crypto::key::PublicKey;

use super::{
    Owner, Refused,
    grant::{place, shown},
    owner::{is_withdrawing, names, path_of},
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

/// What withdrawing would be, and cost.
#[derive(Clone, Debug)]
pub struct Toll {
    /// The people who have access.
    pub who: Vec<PublicKey>,
    /// The path in the store.
    pub path: PathBuf,
    /// How many entries the ledger would get.
    pub entries: u64,
    /// What they cost at most, if anything: what the same node writes at the same time is cheaper together.
    pub cost: Option<Cost>,
}

/// What came of ending policies.
pub(super) struct Ended {
    /// The label's epoch from now on.
    epoch: u32,
    /// What the ledger has not confirmed.
    pending: Option<Pending>,
}

struct Pending {
    who: Vec<PublicKey>,
    why: Refused,
}

/// The people policies are for, each once.
fn recipients(records: &[OwnerRecord]) -> Vec<PublicKey> {
    let mut people: Vec<PublicKey> = Vec::new();
    for record in records {
        if !people.contains(&record.params.recipient) {
            people.push(record.params.recipient);
        }
    }
    people
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
        let ending = self.named_in(&info, who.as_deref());
        if ending.is_empty() {
            return Ok(nobody(who));
        }
        let ended = self.end(&vfs, ino, &info, &ending, now)?;
        if let Some(pending) = ended.pending {
            return Err(self.still_withdrawing(&path, &pending.who, &pending.why));
        }
        Ok(Withdrawn {
            who: recipients(&ending),
            path,
            epoch: Some(ended.epoch),
        })
    }

    /// What withdrawing would be and cost; changes nothing.
    pub fn estimate_revoke(&self, ino: Ino, value: &[u8]) -> Result<Toll, Refused> {
        let who = match revoke_spec(value)? {
            RevokeSpec::Everybody => None,
            RevokeSpec::These(people) => Some(self.people.keys(&people)?),
        };
        let now = crate::time::now();
        let vfs = self.vfs()?;
        let path = path_of(&place(&vfs, ino)?);
        self.refuse_inherited(&vfs, ino, who.as_deref(), now)?;
        let ending = match vfs.label_of(ino)? {
            Some(info) => self.named_in(&info, who.as_deref()),
            None => Vec::new(),
        };
        let mut toll = Toll {
            who: recipients(&ending),
            path,
            entries: 0,
            cost: None,
        };
        for record in ending.iter().filter(|record| record.expiry > now) {
            let request = RevokeRequest {
                ledger_key: &self.key.ledger_key(&record.params.salt),
                params: record.params,
                threshold: record.threshold()?,
                nodes: &record.nodes,
                epoch: self.known_epoch(&record.label).saturating_add(1),
            };
            let cost = self.network.client()?.revocation_cost(&request)?;
            toll.entries = toll.entries.saturating_add(1);
            if let Some(cost) = cost {
                let sum = toll.cost.get_or_insert(Cost { gas: 0, wei: 0 });
                sum.gas = sum.gas.saturating_add(cost.gas);
                sum.wei = sum.wei.saturating_add(cost.wei);
            }
        }
        Ok(toll)
    }

    /// The grants of an object that are to end when it is withdrawn from these people, or from everybody.
    fn named_in(&self, info: &LabelInfo, who: Option<&[PublicKey]>) -> Vec<OwnerRecord> {
        let mut records = self.records_of(&info.label);
        records.retain(|record| {
            let named = who.is_none_or(|keys| keys.contains(&record.params.recipient));
            named && record.is_pending_or_live()
        });
        records
    }

    fn still_withdrawing(&self, path: &Path, who: &[PublicKey], why: &Refused) -> Refused {
        let (names, path) = (names(&self.people, who), shown(path));
        Refused::new(
            libc::EINPROGRESS,
            format!("{names} may be able to open {path} for a while yet."),
        )
        .why(format!(
            "The ledger has not confirmed the withdrawal. {}",
            why.failure.why
        ))
        .now("It is written down and tried again until it is confirmed; until then it is shown as revoking: kmsfs shares")
    }

    /// Ends policies: entries in the ledger, records and tickets, a new secret.
    pub(super) fn end(
        &self,
        vfs: &Vfs,
        ino: Ino,
        info: &LabelInfo,
        ending: &[OwnerRecord],
        now: u64,
    ) -> Result<Ended, Refused> {
        let epoch = info.epoch.saturating_add(1);
        for record in ending.iter().filter(|record| record.expiry > now) {
            self.note_wish(record, now)?;
        }
        // One that has ended by itself needs no word in the ledger.
        let client = match ending.iter().any(|record| record.expiry > now) {
            true => Some(self.network.client().map_err(Refused::from)),
            false => None,
        };
        let results: Vec<Result<u64, Refused>> = std::thread::scope(|scope| {
            let client = client.as_ref();
            let running: Vec<_> = ending
                .iter()
                .map(|record| {
                    scope.spawn(move || match client {
                        Some(Ok(client)) if record.expiry > now => {
                            self.record_end(client, record, epoch)
                        }
                        Some(Err(refused)) if record.expiry > now => Err(refused.clone()),
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
        let mut pending: Option<Pending> = None;
        let mut any = false;
        for (record, result) in ending.iter().zip(results) {
            match result {
                Ok(at) => {
                    self.note_end(record, at, epoch)?;
                    any = true;
                }
                Err(why) => {
                    let who = Vec::new();
                    let pending = pending.get_or_insert(Pending { who, why });
                    if !pending.who.contains(&record.params.recipient) {
                        pending.who.push(record.params.recipient);
                    }
                }
            }
        }
        // Whoever could be cut off is, also from what is written from now on; the others follow.
        let epoch = match any {
            true => vfs.rotate(ino)?.epoch,
            false => info.epoch,
        };
        Ok(Ended { epoch, pending })
    }

    /// Writes down that a policy is to end, before the network is asked: it is not forgotten.
    fn note_wish(&self, record: &OwnerRecord, now: u64) -> Result<(), Refused> {
        if matches!(record.status, Status::Revoking { .. }) {
            return Ok(());
        }
        let mut ending = record.clone();
        ending.status = Status::Revoking { since: now };
        self.put(&ending)
    }

    /// Tries again to end what is to end; whether all has.
    pub(super) fn withdraw_again(&self) -> Result<bool, Refused> {
        let mut all = true;
        for label in self.withdrawing() {
            let lock = self.hold(label);
            let _held = lock.lock();
            let (now, mut ending) = (crate::time::now(), self.records_of(&label));
            ending.retain(is_withdrawing);
            let Some(path) = ending.first().map(|it| path_of(&it.path)) else {
                continue;
            };
            let vfs = self.vfs()?;
            let found = vfs.resolve(&path).ok();
            let info = found.and_then(|ino| vfs.label_of(ino).ok().flatten());
            let ended = match (found, info) {
                (Some(ino), Some(info)) if info.label == label => {
                    self.end(&vfs, ino, &info, &ending, now)?.pending.is_none()
                }
                // It is gone, or somewhere else by now: what it was is to end all the same.
                _ => self.end_without_place(&ending, now)?,
            };
            if !ended {
                // A node that can be reached need not wait for the ledger.
                ending.iter().for_each(|it| self.ask_to_delete(it));
            }
            all &= ended;
        }
        Ok(all)
    }

    fn end_without_place(&self, ending: &[OwnerRecord], now: u64) -> Result<bool, Refused> {
        let client = self.network.client()?;
        let mut all = true;
        for record in ending {
            let epoch = self.known_epoch(&record.label).saturating_add(1);
            let ended = match record.expiry > now {
                true => self.record_end(&client, record, epoch).ok(),
                false => Some(record.expiry),
            };
            match ended {
                Some(at) => self.note_end(record, at, epoch)?,
                None => all = false,
            }
        }
        Ok(all)
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
            self.write_ticket(&ended)?;
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

impl Toll {
    /// What would happen, and what would be paid.
    pub fn sentence(&self, names: &str) -> String {
        let path = shown(&self.path);
        if self.who.is_empty() {
            return format!("Nothing was changed. Nobody named has access to {path}.");
        }
        let entries = match self.entries {
            1 => "1 entry".to_owned(),
            many => format!("{many} entries"),
        };
        let cost = match &self.cost {
            None => "It costs nothing.".to_owned(),
            Some(cost) => format!(
                "It costs at most {} gas, {} gwei now, which the nodes that write it pay; less if one of them writes several together.",
                cost.gas,
                cost.wei / 1_000_000_000
            ),
        };
        format!(
            "Nothing was changed. It would be: {names} can no longer open {path} ({entries} in the ledger).\n{cost}"
        )
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
