//! What there is: grants, tickets, the health of a policy, who has used it (API §2.4).

use std::path::{Path, PathBuf};

use kms_crypto::format::config::{FILE_NAME, LEN_MAX, StoreConfig};
use kms_crypto::id::{LabelId, PolicyId, StoreId};
use kms_crypto::key::PublicKey;
use kms_crypto::policy::Threshold;
use serde::Serialize;
use serde_json::{Value, json};

use super::sharing::{epoch_after, revoke_request};
use super::{Session, as_text, name_of};
use crate::audit::Bookmark;
use crate::catalogue::{ApiError, Code};
use crate::error::Answer;
use crate::home::read_plain;
use crate::place::{Kind, NodeAddress, Step};
use crate::record::{OwnerRecord, Status};
use crate::ticket::{MAX_TICKET_BYTES, Mailbox, Ticket, TicketText, read_tickets, shelf};

/// One of one's own grants.
#[derive(Clone, Debug, Serialize)]
pub struct GrantInfo {
    /// The policy.
    #[serde(serialize_with = "as_text")]
    pub policy: PolicyId,
    /// What is shared.
    #[serde(serialize_with = "as_text")]
    pub label: LabelId,
    /// With whom.
    #[serde(serialize_with = "as_text")]
    pub recipient: PublicKey,
    /// Their petname, if they have one.
    pub who: Option<String>,
    /// `preparing`, `live`, `revoking`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it ends, in seconds since 1970.
    pub until: u64,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// How many nodes of how many, as `3/5`.
    pub threshold: String,
    /// The nodes that hold a fragment.
    pub nodes: Vec<String>,
    /// When it was withdrawn, in seconds since 1970.
    pub revoked: Option<u64>,
    /// Whether it was withdrawn and the nodes that have not signed for the deletion are enough to go on opening it, if they all
    /// were dishonest.
    pub quorum_left: bool,
}

/// What a ticket says.
#[derive(Clone, Debug, Serialize)]
pub struct TicketInfo {
    /// Who shares.
    #[serde(serialize_with = "as_text")]
    pub owner: PublicKey,
    /// Their petname; nothing: they are not in the contacts.
    pub who: Option<String>,
    /// The owner's store.
    #[serde(serialize_with = "as_text")]
    pub store: StoreId,
    /// What is shared.
    #[serde(serialize_with = "as_text")]
    pub label: LabelId,
    /// One file, or a directory with all below it.
    pub kind: Kind,
    /// The policy.
    #[serde(serialize_with = "as_text")]
    pub policy: PolicyId,
    /// When it ends, in seconds since 1970.
    pub until: u64,
    /// How many nodes of how many, as `3/5`.
    #[serde(serialize_with = "as_text")]
    pub threshold: Threshold,
    /// The nodes that hold a fragment.
    pub nodes: Vec<String>,
    /// When the owner withdrew it, in seconds since 1970.
    pub revoked: Option<u64>,
}

/// A ticket that lies in a store.
#[derive(Clone, Debug, Serialize)]
pub struct StoredTicket {
    /// The ticket by itself.
    #[serde(serialize_with = "as_text")]
    pub ticket: TicketText,
    /// What it says.
    #[serde(flatten)]
    pub info: TicketInfo,
    /// Where the owner has it, as he names it.
    pub path: String,
    /// The file in the store; nothing for a directory.
    pub file: Option<PathBuf>,
}

/// How a policy is.
#[derive(Clone, Debug, Serialize)]
pub struct HealthReport {
    /// The policy.
    #[serde(serialize_with = "as_text")]
    pub policy: PolicyId,
    /// As in [`GrantInfo::state`], by one's own record.
    pub state: &'static str,
    /// How many nodes must answer.
    pub needed: u8,
    /// How many would.
    pub good: usize,
    /// Each node that holds a fragment.
    pub nodes: Vec<NodeHealth>,
}

/// How a node is.
#[derive(Clone, Debug, Serialize)]
pub struct NodeHealth {
    /// Its key.
    #[serde(serialize_with = "as_text")]
    pub node: PublicKey,
    /// Whether it serves.
    pub good: bool,
    /// What it said, or what happened.
    pub answer: String,
}

/// Who has used a grant.
#[derive(Clone, Debug, Serialize)]
pub struct AuditReport {
    /// Each node's own word.
    pub nodes: Vec<AuditedNode>,
}

/// What one node has noted.
#[derive(Clone, Debug, Serialize)]
pub struct AuditedNode {
    /// Its key.
    #[serde(serialize_with = "as_text")]
    pub node: PublicKey,
    /// Whether that is all there is.
    pub good: bool,
    /// How it answered.
    pub answer: String,
    /// How many older entries it has dropped: it keeps so many of one grant and no more.
    pub dropped: u64,
    /// How many requests, of this grant or others, it could not note since it has started.
    pub lost: u64,
    /// Oldest first.
    pub entries: Vec<AuditedUse>,
}

/// One use.
#[derive(Clone, Debug, Serialize)]
pub struct AuditedUse {
    /// When, in seconds since 1970.
    pub at: u64,
    /// By whom.
    #[serde(serialize_with = "as_text")]
    pub recipient: PublicKey,
    /// Their petname, if they have one.
    pub who: Option<String>,
    /// `ok`, or the name of the refusal.
    pub outcome: String,
    /// For how many capsules.
    pub capsules: u32,
}

impl Session {
    /// One's own grants, oldest first: of one label, or all. Asks nobody.
    ///
    /// # Errors
    /// [`Code::Io`].
    ///
    /// ```
    /// # fn with(alice: kms_client::Session) -> Result<(), kms_client::ApiError> {
    /// let live = alice.list_grants(None)?.into_iter().filter(|grant| grant.state == "live");
    /// println!("{} people can open something", live.count());
    /// # Ok(()) }
    /// ```
    pub fn list_grants(&self, label: Option<&LabelId>) -> Result<Vec<GrantInfo>, ApiError> {
        let (book, now) = (self.names(), self.now());
        let mut records = self.inner.records.list()?.records;
        records.retain(|record| {
            !record.is_for_signing() && label.is_none_or(|label| record.label == *label)
        });
        let info = |record: &OwnerRecord| GrantInfo {
            policy: record.policy(),
            label: record.label,
            recipient: record.params.recipient,
            who: name_of(&book, &record.params.recipient),
            state: state(record, now),
            until: record.expiry,
            created: record.created,
            threshold: format!("{}/{}", record.needed, record.total),
            nodes: keys(&record.nodes),
            quorum_left: record.leaves_quorum(),
            revoked: match record.status {
                Status::Revoked { at, .. } => Some(at),
                _ => None,
            },
        };
        Ok(records.iter().map(info).collect())
    }

    /// What a ticket for this identity says. Asks nobody: whether it still opens anything is said by `decrypt`.
    ///
    /// # Errors
    /// [`Code::NotForYou`], [`Code::BadData`], [`Code::Tampered`].
    ///
    /// ```
    /// # fn with(bob: kms_client::Session, text: &str) -> Result<(), kms_client::ApiError> {
    /// use kms_client::ticket::TicketText;
    ///
    /// let ticket = bob.open_ticket(&TicketText::parse(text)?)?;
    /// println!("from {:?} until {}", ticket.who, ticket.until);
    /// # Ok(()) }
    /// ```
    pub fn open_ticket(&self, ticket: &TicketText) -> Result<TicketInfo, ApiError> {
        let ticket = ticket.open(&self.inner.identity)?;
        self.ticket_info(&ticket)
    }

    /// The tickets for this identity that lie in a store of the filesystem. What they share can be opened as it lies there.
    ///
    /// # Errors
    /// [`Code::Io`], [`Code::BadData`] if it is no store.
    ///
    /// ```
    /// # async fn with(bob: kms_client::Session) -> Result<(), kms_client::ApiError> {
    /// use kms_client::Opening;
    ///
    /// for it in bob.tickets("/home/bob/Sync/alice.kmsfs".as_ref())? {
    ///     if let Some(file) = &it.file {
    ///         let by = Opening::Ticket { ticket: &it.ticket, owner: None };
    ///         bob.decrypt_file(file, "plain".as_ref(), by).await?;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn tickets(&self, store: &Path) -> Result<Vec<StoredTicket>, ApiError> {
        let config = read_config(store)?;
        let me = &self.inner.identity;
        let mailbox = Mailbox::incoming(me, &config.owner, config.store);
        let listing = read_tickets(store, me, &config.owner, config.store)?;
        let shelf = shelf(&mailbox, store);
        let stored = listing.tickets.iter().map(|ticket| {
            let name = mailbox.file_name(&ticket.label);
            let sealed = shelf
                .read(&name, MAX_TICKET_BYTES)
                .map_err(|error| ApiError::io("read", &shelf.path().join(&name), &error))?;
            let backing: PathBuf = ticket.path.iter().map(|step| &step.backing).collect();
            Ok(StoredTicket {
                ticket: TicketText::of_file(ticket, sealed),
                info: self.ticket_info(ticket)?,
                path: shown(&ticket.path),
                file: (ticket.kind == Kind::File).then(|| store.join(backing)),
            })
        });
        stored.collect()
    }

    fn ticket_info(&self, ticket: &Ticket) -> Result<TicketInfo, ApiError> {
        Ok(TicketInfo {
            owner: ticket.owner,
            who: name_of(&self.names(), &ticket.owner),
            store: ticket.store,
            label: ticket.label,
            kind: ticket.kind,
            policy: ticket.params.id(),
            until: ticket.expiry,
            threshold: ticket.threshold()?,
            nodes: keys(&ticket.nodes),
            revoked: ticket.revoked,
        })
    }

    /// Whether the nodes of one of one's own policies would serve its recipient now: each is asked for a re-encryption on
    /// trial.
    ///
    /// # Errors
    /// [`Code::NotFound`] if it is none of one's own; [`Code::Revoked`], [`Code::Expired`], [`Code::NotGranted`] if it is
    /// not live; [`Code::NoNetwork`], [`Code::Ledger`].
    ///
    /// ```
    /// # async fn with(alice: kms_client::Session, policy: kms_client::PolicyId) -> Result<(), kms_client::ApiError> {
    /// let health = alice.policy_health(&policy).await?;
    /// if health.good < usize::from(health.needed) {
    ///     println!("nobody can open it now: {:?}", health.nodes);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn policy_health(&self, policy: &PolicyId) -> Result<HealthReport, ApiError> {
        let record = self.record(policy)?;
        if record.is_for_signing() {
            let why = "there is no trial of a signing key but to sign";
            return Err(ApiError::new(Code::Unsupported, why));
        }
        let key = self.inner.store.key.ledger_key(&record.params.salt);
        let request = revoke_request(&key, &record, epoch_after(&record))?;
        let quorum = self.client()?.policy_health(&request).await?;
        let nodes = quorum.answers.0.iter().map(|it| NodeHealth {
            node: it.node,
            good: it.answer == Answer::Good,
            answer: it.answer.to_string(),
        });
        Ok(HealthReport {
            policy: *policy,
            state: state(&record, self.now()),
            needed: quorum.needed,
            good: usize::from(quorum.good),
            nodes: nodes.collect(),
        })
    }

    /// Who has used one of one's own grants, as its nodes have noted it.
    ///
    /// # Errors
    /// [`Code::NotFound`] if it is none of one's own, [`Code::NoNetwork`].
    ///
    /// ```
    /// # async fn with(alice: kms_client::Session, policy: kms_client::PolicyId) -> Result<(), kms_client::ApiError> {
    /// for node in alice.audit(&policy).await?.nodes {
    ///     println!("{}: {} requests", node.node, node.entries.len());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn audit(&self, policy: &PolicyId) -> Result<AuditReport, ApiError> {
        let record = self.record(policy)?;
        let key = self.inner.store.key.ledger_key(&record.params.salt);
        let request = revoke_request(&key, &record, epoch_after(&record))?;
        let reports = self
            .client()?
            .audit(&request, |_| Bookmark::default())
            .await;
        let book = self.names();
        let nodes = reports.into_iter().map(|report| AuditedNode {
            node: report.node,
            good: report.answer == Answer::Good,
            answer: report.answer.to_string(),
            dropped: report.dropped,
            lost: report.lost,
            entries: report
                .entries
                .into_iter()
                .map(|entry| AuditedUse {
                    at: entry.at,
                    recipient: entry.recipient,
                    who: name_of(&book, &entry.recipient),
                    outcome: entry.outcome,
                    capsules: entry.capsules,
                })
                .collect(),
        });
        Ok(AuditReport {
            nodes: nodes.collect(),
        })
    }

    fn record(&self, policy: &PolicyId) -> Result<OwnerRecord, ApiError> {
        let none = || ApiError::new(Code::NotFound, "this is no policy of yours");
        self.inner.records.find(policy)?.ok_or_else(none)
    }
}

/// What the header of encrypted data says; nothing of it has been verified. At least the first 4096 bytes are needed.
///
/// # Errors
/// [`Code::BadData`].
///
/// ```
/// # fn with(sealed: &[u8]) -> Result<(), kms_client::ApiError> {
/// let header = kms_client::session::inspect(sealed)?;
/// println!("sealed with {}", header["cipher"]);
/// # Ok(()) }
/// ```
pub fn inspect(sealed: &[u8]) -> Result<Value, ApiError> {
    let header = kms_crypto::format::file::inspect(sealed)?;
    let labels = header.labels().iter().map(|slot| {
        json!({
            "label": slot.id.to_string(),
            "scheme": slot.scheme.0,
            "epoch": slot.epoch,
        })
    });
    Ok(json!({
        "version": kms_crypto::format::VERSION,
        "cipher": header.core().cipher.name(),
        "store": header.core().store.to_string(),
        "labels": labels.collect::<Vec<_>>(),
    }))
}

pub(super) fn state(record: &OwnerRecord, now: u64) -> &'static str {
    match record.status {
        Status::Revoked { .. } => "revoked",
        _ if record.expiry <= now => "expired",
        Status::Preparing => "preparing",
        Status::Revoking { .. } => "revoking",
        Status::Live { .. } => "live",
    }
}

pub(super) fn keys(nodes: &[NodeAddress]) -> Vec<String> {
    nodes.iter().map(|node| node.key.to_string()).collect()
}

fn shown(path: &[Step]) -> String {
    let names = path.iter().map(|it| String::from_utf8_lossy(&it.plain));
    names.collect::<Vec<_>>().join("/")
}

pub(super) fn read_config(store: &Path) -> Result<StoreConfig, ApiError> {
    let path = store.join(FILE_NAME);
    let bytes = read_plain(&path, LEN_MAX).map_err(|error| ApiError::io("read", &path, &error))?;
    let bad = |why: String| {
        let why = format!("cannot use {}: {why}", path.display());
        ApiError::new(Code::BadData, why)
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| bad(error.to_string()))?;
    StoreConfig::parse(text).map_err(|error| bad(error.to_string()))
}
