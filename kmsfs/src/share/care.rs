//! How grants are doing: how many nodes serve them now, and grants made anew where
//! nodes were lost (SEMANTICS 5.2, WIRE 3.2).

use std::{collections::HashSet, path::Path};

use kms_client::{ClientError, OwnerRecord, Quorum, blocking::Client, revoke::RevokeRequest};
use kms_crypto::key::LedgerKey;

use super::{
    Owner, Refused,
    grant::{Terms, place},
    owner::path_of,
};

/// Live grants, and what is known of each.
pub(super) type Known<T> = Vec<(OwnerRecord, T)>;

/// How many policies are asked about at once.
const AT_ONCE: usize = 16;

impl Owner {
    /// The live grants of a path and of everything below it; of one that takes another's place, the newer.
    pub(super) fn live_below(&self, path: &Path) -> Vec<OwnerRecord> {
        let now = crate::time::now();
        let mut records = self.all_records();
        records.retain(|it| it.is_live(now) && path_of(&it.path).starts_with(path));
        let newer: HashSet<_> = records
            .iter()
            .flat_map(|it| self.live_of(&it.label, now))
            .map(|it| it.policy())
            .collect();
        records.retain(|it| newer.contains(&it.policy()));
        records
    }

    /// Asks the nodes of every live grant below a path for a re-encryption on trial.
    pub fn health(&self, path: &Path) -> Result<Known<Result<Quorum, ClientError>>, Refused> {
        let records = self.live_below(path);
        self.ask_about(records, |client, request| client.policy_health(request))
    }

    /// Makes a grant anew, for the same person and time: its nodes are others, as far as it takes. Of the old one,
    /// what is left is taken back.
    pub fn reissue(&self, record: &OwnerRecord) -> Result<(), Refused> {
        let vfs = self.vfs()?;
        let gone = || Refused::new(libc::ENOENT, "What was shared has another place now.");
        let ino = vfs.resolve(&path_of(&record.path)).map_err(|_| gone())?;
        let client = self.network.client()?;
        let lock = self.hold(record.label);
        let _held = lock.lock();
        let info = vfs.label_of(ino)?.filter(|it| it.label == record.label);
        let terms = Terms {
            client: &client,
            info: &info.ok_or_else(gone)?,
            path: &place(&vfs, ino)?,
            threshold: record.threshold()?,
            expiry: record.expiry,
            now: crate::time::now(),
        };
        self.grant_one(&terms, record.params.recipient)
    }

    pub(super) fn ask_about<T: Send>(
        &self,
        records: Vec<OwnerRecord>,
        ask: impl Fn(&Client, &RevokeRequest<'_>) -> T + Sync,
    ) -> Result<Known<T>, Refused> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let client = self.network.client()?;
        let ask = |record: &OwnerRecord, ledger_key: &LedgerKey| -> Result<T, Refused> {
            let request = RevokeRequest {
                ledger_key,
                params: record.params,
                threshold: record.threshold()?,
                nodes: &record.nodes,
                // Nothing is revoked.
                epoch: 0,
            };
            Ok(ask(&client, &request))
        };
        let mut answers = Vec::with_capacity(records.len());
        for some in records.chunks(AT_ONCE) {
            let asked: Vec<Result<T, Refused>> = std::thread::scope(|scope| {
                let ask = &ask;
                let start = |record: &'_ OwnerRecord| {
                    let (record, key) = (record.clone(), self.key.ledger_key(&record.params.salt));
                    scope.spawn(move || ask(&record, &key))
                };
                let running: Vec<_> = some.iter().map(start).collect();
                let failed = |_| Err(Refused::new(libc::EIO, "Asking failed inside."));
                let join = running
                    .into_iter()
                    .map(|it| it.join().unwrap_or_else(failed));
                join.collect()
            });
            for (record, answer) in some.iter().zip(asked) {
                answers.push((record.clone(), answer?));
            }
        }
        Ok(answers)
    }
}
