//! Granting and revoking (API §2.4): a record first, then nodes and ledger, then the ticket. Whatever a crash or a dropped
//! future leaves behind is in the records, and taken back when somebody shares again.

use futures::future::join_all;
use kms_crypto::id::{LabelId, PolicyId};
use kms_crypto::key::{LedgerKey, PublicKey};
use kms_crypto::policy::Threshold;
use rand_core::Rng;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Session, as_text, name_of, people};
use crate::catalogue::{ApiError, Code};
use crate::client::{Client, rng};
use crate::grammar::{Access, GrantSpec, RevokeSpec};
use crate::grant::GrantRequest;
use crate::place::Kind;
use crate::record::{OwnerRecord, Shared, Status};
use crate::revoke::RevokeRequest;
use crate::sealed::FIRST_GENERATION;
use crate::ticket::TicketText;

/// After so long a grant that is still being made was interrupted: no operation may take as long.
const INTERRUPTED_AFTER_SECONDS: u64 = 1800;

/// A grant that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Granted {
    /// To whom.
    #[serde(serialize_with = "as_text")]
    pub recipient: PublicKey,
    /// Their petname, if they have one.
    pub who: Option<String>,
    /// The policy.
    #[serde(serialize_with = "as_text")]
    pub policy: PolicyId,
    /// When it ends, in seconds since 1970.
    pub until: u64,
    /// How many nodes of how many, as `3/5`.
    #[serde(serialize_with = "as_text")]
    pub threshold: Threshold,
    /// What the recipient must be given; it opens for nobody else.
    #[serde(serialize_with = "as_text")]
    pub ticket: TicketText,
}

/// Access that was withdrawn.
#[derive(Clone, Debug, Serialize)]
pub struct Revoked {
    /// From whom.
    #[serde(serialize_with = "as_text")]
    pub recipient: PublicKey,
    /// Their petname, if they have one.
    pub who: Option<String>,
    /// The policy.
    #[serde(serialize_with = "as_text")]
    pub policy: PolicyId,
    /// When, in seconds since 1970.
    pub at: u64,
    /// How many nodes have signed that they deleted their fragment.
    pub removed: usize,
    /// How many had one.
    pub nodes: u8,
    /// Whether the others are enough to go on opening what was shared, if they all were dishonest. Then it may be withdrawn
    /// once more, when they are back; and what has to stay closed is encrypted anew.
    pub quorum_left: bool,
}

/// What is the same for everybody named in one grant.
struct Terms<'a> {
    client: &'a Client,
    label: LabelId,
    threshold: Threshold,
    expiry: u64,
}

impl Session {
    /// Shares what has a label with people: `terms` is `who [r] [ttl=7d|until=2030-12-24] [m=3/5]`. Returns when n nodes
    /// have taken a fragment each and the ledger has the grant: the tickets, one for each person.
    ///
    /// # Errors
    /// [`Code::BadParameter`], [`Code::BadKey`], [`Code::UnknownRecipient`], [`Code::AmbiguousRecipient`] of the terms;
    /// [`Code::Unsupported`] for `rw`; [`Code::NoNetwork`], [`Code::TooFewNodes`], [`Code::NotStored`],
    /// [`Code::NotRecorded`], [`Code::Ledger`]. When it fails for some of several people, the data has the others'
    /// `grants`, which stand.
    ///
    /// ```
    /// # async fn with(alice: kms_client::Session) -> Result<(), kms_client::ApiError> {
    /// let sealed = alice.encrypt(b"launch friday", Default::default())?;
    /// for grant in alice.grant(&sealed.label, "bob,carol ttl=7d").await? {
    ///     println!("send {} to {}", grant.ticket, grant.recipient);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn grant(&self, label: &LabelId, terms: &str) -> Result<Vec<Granted>, ApiError> {
        let spec: GrantSpec = terms.parse()?;
        if spec.access == Access::ReadWrite {
            let why = "others can read what is encrypted; they cannot write it: grant r";
            return Err(ApiError::new(Code::Unsupported, why));
        }
        let book = self.book()?;
        let who = people::keys(&book, &spec.who)?;
        if who.contains(&self.identity()) {
            let why = "one of the keys is your own, and you can open it already";
            return Err(ApiError::new(Code::BadParameter, why).with("parameter", "terms"));
        }
        let client = self.client()?;
        let threshold = spec.threshold.unwrap_or(self.inner.threshold);
        let expiry = match spec.expiry {
            Some(expiry) => expiry.deadline(self.now())?,
            None => client.usual_expiry(threshold).await,
        };
        self.settle().await;
        let terms = Terms {
            client,
            label: *label,
            threshold,
            expiry,
        };
        let made = join_all(who.iter().map(|key| self.grant_one(&terms, *key))).await;
        let (mut granted, mut failed) = (Vec::new(), None);
        for result in made {
            match result {
                Ok(mut grant) => {
                    grant.who = name_of(&book, &grant.recipient);
                    granted.push(grant);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            None => Ok(granted),
            Some(error) => {
                let grants: Vec<Value> = granted.iter().map(|it| json!(it)).collect();
                Err(error.with("grants", grants))
            }
        }
    }

    async fn grant_one(
        &self,
        terms: &Terms<'_>,
        recipient: PublicKey,
    ) -> Result<Granted, ApiError> {
        let earlier = self.records_of(&terms.label)?;
        let mut salt = [0; 32];
        rng().fill_bytes(&mut salt);
        let request = GrantRequest {
            delegating_key: &self.owner().delegating_key(&terms.label),
            ledger_key: &self.inner.store.key.ledger_key(&salt),
            recipient,
            salt,
            threshold: terms.threshold,
            expiry: terms.expiry,
            // The label's first: a later one costs nothing but the number in the ledger.
            epoch: 1,
        };
        let shared = Shared {
            label: terms.label,
            generation: FIRST_GENERATION,
            kind: Kind::File,
            path: &[],
        };
        let record = self.make(terms.client, &request, shared, &earlier).await?;
        let ticket = record.ticket(self.identity(), self.inner.store.id);
        let ticket = TicketText::seal(&self.inner.identity, &ticket, &mut rng())?;
        for old in earlier {
            if old.params.recipient == recipient && matches!(old.status, Status::Live { .. }) {
                self.forget_at_nodes(terms.client, &old).await;
            }
        }
        Ok(Granted {
            recipient,
            who: None,
            policy: record.policy(),
            until: terms.expiry,
            threshold: terms.threshold,
            ticket,
        })
    }

    /// Makes a grant, with its record before and after. `earlier` are the records of the label before.
    pub(super) async fn make(
        &self,
        client: &Client,
        request: &GrantRequest<'_>,
        of: Shared<'_>,
        earlier: &[OwnerRecord],
    ) -> Result<OwnerRecord, ApiError> {
        let mut record = OwnerRecord::preparing(request, of, self.now());
        self.put(&record)?;
        let grant = match client.grant(request).await {
            Ok(grant) => grant,
            Err(error) => {
                if error.leaves_nothing() {
                    self.inner
                        .records
                        .remove(&record.policy())
                        .unwrap_or_else(|err| {
                            tracing::warn!(%err, "a record of a failed grant stays");
                        });
                }
                return Err(error.into());
            }
        };
        record.made(&grant, earlier, self.now());
        self.put(&record)?;
        Ok(record)
    }

    /// Withdraws access to what has a label; `who` names people, or is `*`. Returns when the ledger shows it and the nodes
    /// that answer have deleted their fragments. Where a quorum was left, the nodes are asked once more.
    ///
    /// # Errors
    /// [`Code::NotFound`] if nobody named has access; [`Code::BadParameter`], [`Code::BadKey`],
    /// [`Code::UnknownRecipient`]; [`Code::NoNetwork`], [`Code::NotRecorded`], [`Code::Ledger`]: it is to be repeated,
    /// and does no harm to those it was done for.
    ///
    /// ```
    /// # async fn with(alice: kms_client::Session, label: kms_client::LabelId) -> Result<(), kms_client::ApiError> {
    /// for ended in alice.revoke(&label, "bob").await? {
    ///     println!("{} of {} nodes have deleted their part", ended.removed, ended.nodes);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn revoke(&self, label: &LabelId, who: &str) -> Result<Vec<Revoked>, ApiError> {
        let spec: RevokeSpec = who.parse()?;
        let book = self.book()?;
        let who = match &spec {
            RevokeSpec::Everybody => None,
            RevokeSpec::These(people) => Some(people::keys(&book, people)?),
        };
        let records = self.records_of(label)?;
        let epoch = records.iter().map(epoch_after).max().unwrap_or(2);
        let now = self.now();
        let ending = records.into_iter().filter(|record| {
            let named = who
                .as_ref()
                .is_none_or(|keys| keys.contains(&record.params.recipient));
            let open = record.is_pending_or_live() || record.leaves_quorum();
            named && open && record.expiry > now
        });
        let ending: Vec<OwnerRecord> = ending.collect();
        if ending.is_empty() {
            let why = "nobody named has access: there is nothing to withdraw";
            return Err(ApiError::new(Code::NotFound, why));
        }
        let client = self.client()?;
        for record in &ending {
            self.note_wish(record)?;
        }
        let ended = join_all(ending.iter().map(|it| self.revoke_one(client, it, epoch))).await;
        let mut revoked: Vec<Revoked> = ended.into_iter().collect::<Result<_, _>>()?;
        for it in &mut revoked {
            it.who = name_of(&book, &it.recipient);
        }
        Ok(revoked)
    }

    /// Ends one policy.
    #[cfg(feature = "signing")]
    pub(super) async fn end(
        &self,
        client: &Client,
        record: &OwnerRecord,
    ) -> Result<Revoked, ApiError> {
        self.note_wish(record)?;
        self.revoke_one(client, record, epoch_after(record)).await
    }

    /// What is wanted is known before anybody is asked: should the ledger not confirm it, it is tried again.
    fn note_wish(&self, record: &OwnerRecord) -> Result<(), ApiError> {
        if !matches!(record.status, Status::Live { .. }) {
            return Ok(());
        }
        let mut wished = record.clone();
        wished.status = Status::Revoking { since: self.now() };
        self.put(&wished)
    }

    async fn revoke_one(
        &self,
        client: &Client,
        record: &OwnerRecord,
        epoch: u32,
    ) -> Result<Revoked, ApiError> {
        let key = self.inner.store.key.ledger_key(&record.params.salt);
        let request = revoke_request(&key, record, epoch)?;
        let mut ended = record.clone();
        let (at, epoch, before) = match &record.status {
            Status::Revoked { at, epoch, removed } => (*at, *epoch, removed.clone()),
            _ => {
                let at = client.record_revocation(&request).await?.at;
                let removed = Vec::new();
                ended.status = Status::Revoked { at, epoch, removed };
                self.put(&ended)?;
                (at, epoch, Vec::new())
            }
        };
        let mut removed = client.remove_fragments(&request).await.removed;
        // Who has signed once may be away now.
        let earlier = before.into_iter().filter(|it| !removed.contains(it));
        let earlier: Vec<_> = earlier.collect();
        removed.extend(earlier);
        let count = removed.len();
        ended.status = Status::Revoked { at, epoch, removed };
        self.put(&ended)?;
        Ok(Revoked {
            recipient: record.params.recipient,
            who: None,
            policy: record.policy(),
            at,
            removed: count,
            nodes: record.total,
            quorum_left: ended.leaves_quorum(),
        })
    }

    /// Finishes what was interrupted: grants that were never made are taken back, revocations that the ledger has not
    /// confirmed are tried again. What cannot be done now is left for the next time. `grant` begins with it.
    pub async fn settle(&self) {
        let (Ok(list), Ok(client)) = (self.inner.records.list(), self.client()) else {
            return;
        };
        let now = self.now();
        let unfinished = list.records.iter().filter(|record| {
            let interrupted = record.created.saturating_add(INTERRUPTED_AFTER_SECONDS) < now;
            record.status == Status::Preparing && interrupted
        });
        join_all(unfinished.map(|record| self.forget_at_nodes(client, record))).await;
        let wished = list.records.iter().filter(|record| {
            matches!(record.status, Status::Revoking { .. }) && record.expiry > now
        });
        let again = wished.map(|record| self.revoke_one(client, record, epoch_after(record)));
        for error in join_all(again).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "a revocation is not confirmed yet");
        }
    }

    /// Ends a policy that stands in nobody's way: the same person has another one, or nobody ever could use it.
    async fn forget_at_nodes(&self, client: &Client, record: &OwnerRecord) {
        let key = self.inner.store.key.ledger_key(&record.params.salt);
        let Ok(request) = revoke_request(&key, record, epoch_after(record)) else {
            return;
        };
        if record.expiry > self.now()
            && let Err(error) = client.record_revocation(&request).await
        {
            tracing::warn!(%error, "an earlier grant stays until it is withdrawn again");
            return;
        }
        client.remove_fragments(&request).await;
        if let Err(error) = self.inner.records.remove(&record.policy()) {
            tracing::warn!(%error, "the record of an earlier grant stays");
        }
    }

    pub(super) fn records_of(&self, label: &LabelId) -> Result<Vec<OwnerRecord>, ApiError> {
        let mut records = self.inner.records.list()?.records;
        records.retain(|record| record.label == *label);
        Ok(records)
    }

    fn put(&self, record: &OwnerRecord) -> Result<(), ApiError> {
        Ok(self.inner.records.put(record, &mut rng())?)
    }
}

pub(super) fn revoke_request<'a>(
    key: &'a LedgerKey,
    record: &'a OwnerRecord,
    epoch: u32,
) -> Result<RevokeRequest<'a>, ApiError> {
    Ok(RevokeRequest {
        ledger_key: key,
        params: record.params,
        threshold: record.threshold()?,
        nodes: &record.nodes,
        epoch,
    })
}

/// The label's epoch after a revocation.
pub(super) fn epoch_after(record: &OwnerRecord) -> u32 {
    match record.status {
        Status::Revoked { epoch, .. } => epoch.saturating_add(1),
        _ => 2,
    }
}
