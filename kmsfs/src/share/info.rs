//! The readable attributes (SEMANTICS 5.1). None of them asks the network, but `audit`.

use kms_client::OwnerRecord;
use kms_crypto::key::PublicKey;

use super::{Owner, Refused, owner::is_withdrawing};
use crate::{
    contact::Book,
    vfs::{Ino, LabelInfo, hooks::Asker},
};

/// Who can read an object, and how.
pub(super) struct View {
    /// The grants that are live, or are to end and may still be, the object's own first.
    pub(super) grants: Vec<OwnerRecord>,
    /// The nearest label.
    pub(super) label: Option<LabelInfo>,
}

impl Owner {
    pub(super) fn view(&self, ino: Ino, now: u64) -> Result<View, Refused> {
        let vfs = self.vfs()?;
        let labels = vfs.labels_over(ino)?;
        let mut grants: Vec<OwnerRecord> = Vec::new();
        for (_, info) in &labels {
            for record in self.readable_of(&info.label, now) {
                let known = |it: &OwnerRecord| it.params.recipient == record.params.recipient;
                if !grants.iter().any(known) {
                    grants.push(record);
                }
            }
        }
        Ok(View {
            grants,
            label: labels.into_iter().next().map(|(_, info)| info),
        })
    }

    /// Whether somebody can read the object, directly or through a directory.
    pub(super) fn is_shared(&self, ino: Ino) -> bool {
        let now = crate::time::now();
        self.shares_anything(now)
            && self
                .view(ino, now)
                .is_ok_and(|view| !view.grants.is_empty())
    }

    /// One readable attribute.
    pub(super) fn attribute(&self, ino: Ino, name: &str, asker: Asker) -> Result<String, Refused> {
        let now = crate::time::now();
        match name {
            "info" => {
                let view = self.view(ino, now)?;
                Ok(format!(
                    "kms: owner=me; readers={}; epoch={}; quorum={}; state={}",
                    self.readers(&view, now),
                    epoch(&view),
                    self.quorum(&view),
                    self.state(&view)?
                ))
            }
            "readers" => Ok(self.readers(&self.view(ino, now)?, now)),
            "owner" => Ok(self.identity.public().to_string()),
            "epoch" => Ok(epoch(&self.view(ino, now)?).to_string()),
            "threshold" => Ok(self.quorum(&self.view(ino, now)?)),
            "state" => self.state(&self.view(ino, now)?),
            "why" => {
                let vfs = self.vfs()?;
                let path = vfs.path_of(ino).unwrap_or_default();
                let failure = vfs.last_failure(asker.uid, &path);
                failure
                    .map(|failure| crate::why::explain(&failure, &crate::why::Context::owner()))
                    .ok_or_else(no_data)
            }
            "audit" => {
                self.check_asker(asker)?;
                self.audit_line(ino, now)
            }
            _ => Err(no_data()),
        }
    }

    fn readers(&self, view: &View, now: u64) -> String {
        readers(&self.people.book_for_display(), &view.grants, now)
    }

    fn quorum(&self, view: &View) -> String {
        match view.grants.first() {
            Some(record) => format!("{}/{}", record.needed, record.total),
            None => self.threshold.to_string(),
        }
    }

    fn state(&self, view: &View) -> Result<String, Refused> {
        let state = if view.grants.iter().any(is_withdrawing) {
            "revoking"
        } else if self.vfs()?.rekey_backlog() > 0 {
            "rekeying"
        } else {
            "ok"
        };
        Ok(state.to_owned())
    }
}

fn epoch(view: &View) -> u32 {
    view.label.as_ref().map_or(1, |info| info.epoch)
}

/// `bob(r,until 2026-11-29),carol(r,until …)`, in printable ASCII so that
/// getfattr(1) shows it as text; a long list is cut.
fn readers(book: &Book, grants: &[OwnerRecord], now: u64) -> String {
    if grants.is_empty() {
        return "none".to_owned();
    }
    let mut texts: Vec<String> = grants
        .iter()
        .take(MAX_READERS)
        .map(|record| {
            let name = ascii_name(book, &record.params.recipient);
            if is_withdrawing(record) {
                return format!("{name}(r,revoking)");
            }
            let until = crate::time::day_or_moment(record.expiry, now);
            format!("{name}(r,until {until})")
        })
        .collect();
    if let Some(more) = grants
        .len()
        .checked_sub(MAX_READERS)
        .filter(|more| *more > 0)
    {
        texts.push(format!("and {more} more"));
    }
    texts.join(",")
}

/// More are shown by `kmsfs shares`.
const MAX_READERS: usize = 50;

pub(super) fn ascii_name(book: &Book, key: &PublicKey) -> String {
    match book.name_of(key) {
        Some(name) => name.to_owned(),
        None => crate::contact::short(key).replace('…', ".."),
    }
}

/// What tools write back that copy every attribute they were shown: nothing
/// happens, and it succeeds. Everything else that is written here is a mistake.
pub(super) fn write_back(name: &str, value: &[u8]) -> Result<(), Refused> {
    match name {
        "info" if value.starts_with(b"kms:") => Ok(()),
        "info" | "readers" | "owner" | "epoch" | "threshold" | "state" | "fileid" | "why"
        | "audit" => Err(
            Refused::new(libc::EINVAL, format!("user.kms.{name} cannot be set."))
                .why("It says how things are.")
                .now("To change who can read: user.kms.grant and user.kms.revoke."),
        ),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Refused {
    Refused::new(
        libc::EINVAL,
        format!("There is no attribute user.kms.{name}."),
    )
    .why("A mistyped verb must not be stored as an ordinary attribute.")
    .now("Verbs are user.kms.grant and user.kms.revoke.")
}

/// There is nothing to say, or nothing by that name.
pub(super) fn no_data() -> Refused {
    Refused::new(libc::ENODATA, "There is nothing to say.")
}
