//! What a running mount answers on its control socket (CLI 6).

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use kms_client::{OwnerRecord, record::Status};
use kms_crypto::{key::PublicKey, scheme::SchemeKind};
use serde_json::{Value, json};

use super::Plan;
use crate::{
    config::Config,
    contact::Book,
    control::{Answer, Request},
    failure::{Exit, Failure},
    share::{
        self, Network, Owner, Recipient,
        nodes::{NodeHealth, ask_all},
    },
    time,
    vfs::{Ino, Oddity, Vfs, VfsError},
    why,
};

/// Whose store it is.
#[derive(Clone)]
pub(super) enum Role {
    /// One's own.
    Owner(Arc<Owner>),
    /// Somebody else's.
    Recipient(Arc<Recipient>),
}

impl Role {
    pub(super) fn recipient(&self) -> Option<&Recipient> {
        match self {
            Self::Owner(_) => None,
            Self::Recipient(recipient) => Some(recipient),
        }
    }
}

/// Answers for one mount.
pub(super) struct Answers {
    vfs: Arc<Vfs>,
    role: Role,
    store: PathBuf,
    point: PathBuf,
    contacts: PathBuf,
    read_only: bool,
    since: u64,
    network: Network,
    needed: u8,
}

/// How many nodes a new grant will need.
fn needed(config: &Config, vfs: &Vfs) -> u8 {
    SchemeKind::try_from(vfs.info().scheme)
        .map_or(config.threshold, |kind| kind.rule().adapt(config.threshold))
        .needed()
}

impl Answers {
    pub(super) fn new(plan: &Plan, config: &Config, vfs: Arc<Vfs>, role: Role) -> Self {
        Self {
            needed: needed(config, &vfs),
            vfs,
            role,
            store: plan.target.store.clone(),
            point: plan.target.point.clone(),
            contacts: plan.home.contacts.clone(),
            read_only: plan.options.read_only,
            since: time::now(),
            network: Network::new(&config.network, config.net_timeout),
        }
    }

    pub(super) fn point(&self) -> &Path {
        &self.point
    }

    pub(super) fn book(&self) -> Book {
        Book::load(&self.contacts).unwrap_or_default()
    }

    pub(super) fn owner(&self) -> Result<&Owner, Failure> {
        match &self.role {
            Role::Owner(owner) => Ok(owner),
            Role::Recipient(recipient) => {
                let owner = recipient.owner_name().0;
                Err(Failure::new(
                    Exit::Denied,
                    format!("Only {owner}, the owner, decides who can read this."),
                )
                .why("You can read it; you cannot share it.")
                .now(format!("Ask {owner} to share it.")))
            }
        }
    }

    fn resolve(&self, path: &[u8]) -> Result<Ino, Failure> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        self.vfs.resolve(path).map_err(|err| {
            let exit = match err {
                VfsError::Os(rustix::io::Errno::NOENT) => Exit::NoInput,
                VfsError::Damaged(_) => Exit::Data,
                _ => Exit::Denied,
            };
            Failure::new(
                exit,
                format!("Cannot use {}.", self.point.join(path).display()),
            )
            .why(format!("{}.", share::capital(&err.to_string())))
        })
    }

    fn grant(&self, path: &[u8], value: &str) -> Result<Value, Failure> {
        let owner = self.owner()?;
        let granted = owner.grant(self.resolve(path)?, value.as_bytes())?;
        let names = self.names(&granted.who);
        Ok(json!({
            "text": granted.sentence(&names, time::now()),
            "path": self.point.join(&granted.path).to_string_lossy(),
            "to": self.people(&granted.who),
            "until": granted.expiry,
            "threshold": granted.threshold.to_string(),
        }))
    }

    fn estimate(&self, path: &[u8], value: &str) -> Result<Value, Failure> {
        let owner = self.owner()?;
        let estimate = owner.estimate(self.resolve(path)?, value.as_bytes())?;
        let names = self.names(&estimate.granted.who);
        Ok(json!({
            "text": estimate.sentence(&names, time::now()),
            "path": self.point.join(&estimate.granted.path).to_string_lossy(),
            "to": self.people(&estimate.granted.who),
            "until": estimate.granted.expiry,
            "threshold": estimate.granted.threshold.to_string(),
            "serving": estimate.serving,
            "gas": estimate.cost.map(|cost| cost.gas),
            // As text: it may be more than programs count to.
            "wei": estimate.cost.map(|cost| cost.wei.to_string()),
        }))
    }

    fn revoke(&self, path: &[u8], value: &str) -> Result<Value, Failure> {
        let owner = self.owner()?;
        let withdrawn = owner.revoke(self.resolve(path)?, value.as_bytes())?;
        let names = self.names(&withdrawn.who);
        Ok(json!({
            "text": withdrawn.sentence(&names),
            "path": self.point.join(&withdrawn.path).to_string_lossy(),
            "from": self.people(&withdrawn.who),
            "changed": withdrawn.epoch.is_some(),
            "epoch": withdrawn.epoch,
        }))
    }

    fn estimate_revoke(&self, path: &[u8], value: &str) -> Result<Value, Failure> {
        let owner = self.owner()?;
        let toll = owner.estimate_revoke(self.resolve(path)?, value.as_bytes())?;
        let names = self.names(&toll.who);
        Ok(json!({
            "text": toll.sentence(&names),
            "path": self.point.join(&toll.path).to_string_lossy(),
            "from": self.people(&toll.who),
            "entries": toll.entries,
            "gas": toll.cost.map(|cost| cost.gas),
            "wei": toll.cost.map(|cost| cost.wei.to_string()),
        }))
    }

    /// Seconds; nothing where what is written counts at once, or nothing is known.
    fn pace(&self) -> Value {
        let client = self.network.client().ok();
        let usual = client.map(|client| client.usual_pace()).unwrap_or_default();
        json!({ "grant": usual.grant.as_secs(), "revoke": usual.revoke.as_secs() })
    }

    fn names(&self, keys: &[PublicKey]) -> String {
        let book = self.book();
        let names: Vec<String> = keys.iter().map(|key| book.display(key)).collect();
        match names.as_slice() {
            [] => "nobody".to_owned(),
            [one] => one.clone(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        }
    }

    fn people(&self, keys: &[PublicKey]) -> Vec<Value> {
        let book = self.book();
        keys.iter()
            .map(|key| json!({ "who": book.display(key), "key": key.to_string() }))
            .collect()
    }

    fn shares(&self) -> Value {
        let (book, now) = (self.book(), time::now());
        let list: Vec<Value> = match &self.role {
            Role::Owner(owner) => owner
                .all_records()
                .iter()
                .map(|record| record_row(record, &book, now))
                .collect(),
            Role::Recipient(recipient) => {
                let (owner, _) = recipient.owner_name();
                recipient
                    .all_tickets()
                    .iter()
                    .map(|ticket| {
                        let state = match ticket.revoked {
                            Some(at) => format!("withdrawn {}", time::moment(at)),
                            None if ticket.expiry <= now => "expired".to_owned(),
                            None => "live".to_owned(),
                        };
                        json!({
                            "role": "recipient",
                            "path": share::path_of(&ticket.path).to_string_lossy(),
                            "kind": share::kind_name(ticket.kind),
                            "who": format!("you, from {owner}"),
                            "key": ticket.params.recipient.to_string(),
                            "access": "r",
                            "until": ticket.expiry,
                            "until_text": format!("until {}", time::day_or_moment(ticket.expiry, now)),
                            "threshold": format!("{}/{}", ticket.needed, ticket.total),
                            "state": state,
                        })
                    })
                    .collect()
            }
        };
        json!({ "shares": list })
    }

    fn why(&self, path: &[u8], uid: u32) -> Value {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        match self.vfs.last_failure(uid, path) {
            Some(failure) => json!({
                "text": match &self.role {
                    Role::Owner(_) => why::explain(&failure, &why::Context::owner()),
                    Role::Recipient(recipient) => recipient.explain(&failure, path),
                },
                "at": failure.at,
                "operation": failure.operation,
            }),
            None => json!({ "text": "Nothing has failed here since the store was mounted." }),
        }
    }

    fn status(&self) -> Value {
        let now = time::now();
        let role = match &self.role {
            Role::Owner(_) => "owner",
            Role::Recipient(_) => "recipient",
        };
        let shared = match &self.role {
            Role::Owner(owner) => owner
                .all_records()
                .iter()
                .filter(|record| record.is_live(now))
                .count(),
            Role::Recipient(recipient) => recipient
                .all_tickets()
                .iter()
                .filter(|ticket| ticket.revoked.is_none() && ticket.expiry > now)
                .count(),
        };
        let rekeying = match &self.role {
            Role::Owner(_) => self.vfs.rekey_backlog(),
            Role::Recipient(_) => 0,
        };
        let nodes = self.nodes();
        let up = nodes
            .iter()
            .filter(|node| node.get("answers") == Some(&Value::Bool(true)))
            .count();
        let network = match (self.network.is_set_up(), nodes.len()) {
            (false, _) => "no network set up".to_owned(),
            (true, all) => format!("{up} of {all} nodes answer, {} needed", self.needed),
        };
        let access = if self.read_only || role == "recipient" {
            "read-only"
        } else {
            "read-write"
        };
        let cipher = self.vfs.info().cipher;
        let scheme = self.vfs.info().scheme;
        let warning = super::store::warning(scheme);
        let scheme = SchemeKind::try_from(scheme).map_or("unknown", SchemeKind::name);
        let mut text = format!(
            "{access}   store {}   {cipher}   {shared} shared   {network}",
            self.store.display()
        );
        if let Some(warning) = &warning {
            text.push_str(&format!("   {warning}"));
        }
        if rekeying > 0 {
            text.push_str(&format!("   {rekeying} objects wait for new keys"));
        }
        let notices = self.vfs.notices();
        for notice in &notices {
            text.push_str(&format!("\n    {} {}", notice.path.display(), notice.what));
        }
        // A conflict copy is for its owner to look at: the store is as it should be.
        let odd = notices.iter().any(|it| it.what != Oddity::Copy);
        if odd {
            text.push_str("\n    If that was you, or another machine of yours: unmount, then kmsfs fsck --accept-older STORE");
        }
        let noticed: Vec<_> = notices
            .iter()
            .map(|it| json!({ "at": it.at, "path": it.path.to_string_lossy(), "what": it.what.to_string() }))
            .collect();
        let degraded = self.network.is_set_up() && up < usize::from(self.needed);
        json!({
            "text": text,
            "state": "mounted",
            "role": role,
            "cipher": cipher.name(),
            "scheme": scheme,
            "warning": warning,
            "read_only": self.read_only,
            "pid": std::process::id(),
            "since": self.since,
            "shared": shared,
            "rekeying": rekeying,
            "nodes": nodes,
            "needed": self.needed,
            "notices": noticed,
            "degraded": degraded || odd,
        })
    }

    /// How each node of the ledger is, all asked at once.
    fn nodes(&self) -> Vec<Value> {
        let Ok(client) = self.network.client() else {
            return Vec::new();
        };
        let nodes = ask_all(&client).unwrap_or_default();
        nodes.iter().map(NodeHealth::document).collect()
    }
}

/// So long a grant may be under way.
const GRANTING_SECONDS: u64 = 30 * 60;

fn record_row(record: &OwnerRecord, book: &Book, now: u64) -> Value {
    let state = match &record.status {
        // It waits for nodes, or for the ledger to confirm it.
        Status::Preparing if now < record.created.saturating_add(GRANTING_SECONDS) => {
            "granting".to_owned()
        }
        Status::Preparing => "unfinished".to_owned(),
        Status::Live { .. } if record.expiry <= now => "expired".to_owned(),
        Status::Live { .. } => "live".to_owned(),
        Status::Revoking { .. } if record.expiry <= now => "expired".to_owned(),
        Status::Revoking { .. } => "revoking".to_owned(),
        Status::Revoked { at, removed, .. } => format!(
            "withdrawn {} ({} of {} nodes confirmed)",
            time::moment(*at),
            removed.len(),
            record.nodes.len()
        ),
    };
    json!({
        "role": "owner",
        "path": share::path_of(&record.path).to_string_lossy(),
        "kind": share::kind_name(record.kind),
        "who": book.display(&record.params.recipient),
        "key": record.params.recipient.to_string(),
        "access": "r",
        "until": record.expiry,
        "until_text": format!("until {}", time::day_or_moment(record.expiry, now)),
        "threshold": format!("{}/{}", record.needed, record.total),
        "state": state,
    })
}

impl Answer for Answers {
    fn answer(&self, request: Request, uid: u32) -> Result<Value, Failure> {
        match request {
            Request::Hello => Ok(json!({
                "pid": std::process::id(),
                "since": self.since,
                "store": self.store.to_string_lossy(),
                "point": self.point.to_string_lossy(),
            })),
            Request::Grant { path, value } => self.grant(&path, &value),
            Request::Estimate { path, value } => self.estimate(&path, &value),
            Request::Pace => Ok(self.pace()),
            Request::Revoke { path, value } => self.revoke(&path, &value),
            Request::EstimateRevoke { path, value } => self.estimate_revoke(&path, &value),
            Request::Shares => Ok(self.shares()),
            Request::Why { path } => Ok(self.why(&path, uid)),
            Request::Health { path, reissue } => self.health(&path, reissue),
            Request::Audit { path } => self.audit(&path),
            Request::Status => Ok(self.status()),
        }
    }
}
