//! Who has used a grant, by what its nodes say (WIRE §3.3, SEMANTICS 5.1).

use std::{collections::HashMap, path::Path};

use kms_client::{Answer, Bookmark, NodeAudit, OwnerRecord};
use kms_crypto::{id::PolicyId, key::PublicKey};
use parking_lot::Mutex;

use super::{Owner, Refused, care::Known, info::ascii_name};
use crate::{contact::Book, time, vfs::Ino};

/// Entries of several nodes within this time, of the same outcome, are of one request.
const TOGETHER_SECONDS: u64 = 10;
/// So many entries of one node are kept in mind; where there are more, the next look begins at the first one again.
const KEPT: usize = 10_000;
/// An attribute has at most 64 KiB.
const SHOWN: usize = 500;

/// What nodes have said in this mount: only what is new is fetched, and a node that alters what it said is found out.
#[derive(Default)]
pub(super) struct Told(Mutex<HashMap<PolicyId, HashMap<PublicKey, NodeAudit>>>);

impl Told {
    fn of(&self, policy: &PolicyId) -> HashMap<PublicKey, NodeAudit> {
        self.0.lock().get(policy).cloned().unwrap_or_default()
    }

    fn keep(&self, policy: PolicyId, reports: &[NodeAudit]) {
        let short = reports.iter().filter(|it| it.entries.len() <= KEPT);
        let kept = short.map(|it| (it.node, it.clone())).collect();
        self.0.lock().insert(policy, kept);
    }
}

/// One request, as some nodes have noted it.
pub struct Use {
    /// When the first of them did.
    pub at: u64,
    /// What came of it.
    pub outcome: String,
    /// Which ones.
    pub nodes: Vec<PublicKey>,
}

impl Owner {
    /// Asks the nodes of every live grant below a path who has used it.
    pub fn audit(&self, path: &Path) -> Result<Known<Vec<NodeAudit>>, Refused> {
        self.audit_all(self.live_below(path))
    }

    fn audit_all(&self, records: Vec<OwnerRecord>) -> Result<Known<Vec<NodeAudit>>, Refused> {
        self.ask_about(records, |client, request| {
            let policy = request.params.id();
            let before = self.told.of(&policy);
            let begin =
                |node: &PublicKey| before.get(node).map_or(Bookmark::default(), |it| it.next);
            let mut reports = client.audit(request, begin);
            for report in &mut reports {
                if let Some(before) = before.get(&report.node) {
                    report.dropped = report.dropped.saturating_add(before.dropped);
                    report.entries.splice(..0, before.entries.iter().cloned());
                }
            }
            self.told.keep(policy, &reports);
            reports
        })
    }

    /// Who has used the grants by which the object can be read, in one line.
    pub(super) fn audit_line(&self, ino: Ino, now: u64) -> Result<String, Refused> {
        let grants = self.view(ino, now)?.grants;
        let book = self.people.book_for_display();
        let told = self.audit_all(grants)?;
        let each = told
            .iter()
            .map(|(record, reports)| line(&book, record, reports));
        let line = each.collect::<Vec<_>>().join("; ");
        Ok(if line.is_empty() {
            "none".to_owned()
        } else {
            line
        })
    }
}

/// `bob: 2026-11-22T10:14Z ok (3 nodes), …; carol: none (2 of 5 nodes do not tell)`.
fn line(book: &Book, record: &OwnerRecord, reports: &[NodeAudit]) -> String {
    let uses = uses(reports);
    let skipped = uses.len().saturating_sub(SHOWN);
    let mut shown: Vec<_> = uses.iter().skip(skipped).map(Use::to_string).collect();
    if shown.is_empty() {
        shown.push("none".to_owned());
    }
    let silent = reports
        .iter()
        .filter(|it| it.answer != Answer::Good)
        .count();
    let silence = match silent {
        0 => String::new(),
        _ => format!(" ({silent} of {} nodes do not tell)", reports.len()),
    };
    let short = reports.iter().filter(|it| it.dropped > 0 || it.lost > 0);
    let gaps = match short.count() {
        0 => String::new(),
        some => format!(" ({some} of {} nodes have not all of it)", reports.len()),
    };
    let name = ascii_name(book, &record.params.recipient);
    format!("{name}: {}{silence}{gaps}", shown.join(", "))
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = time::day_or_moment(self.at, self.at);
        let nodes = match self.nodes.len() {
            1 => "1 node".to_owned(),
            many => format!("{many} nodes"),
        };
        // A node's word: it may say anything.
        let outcome = self.outcome.escape_default();
        write!(f, "{at} {outcome} ({nodes})")
    }
}

/// What the nodes have noted, oldest first, the same request of several nodes as one.
pub fn uses(reports: &[NodeAudit]) -> Vec<Use> {
    let mut noted: Vec<_> = reports
        .iter()
        .flat_map(|report| report.entries.iter().map(|entry| (entry, report.node)))
        .collect();
    noted.sort_by_key(|(entry, _)| entry.at);
    let mut uses: Vec<Use> = Vec::new();
    for (entry, node) in noted {
        let recent = uses
            .iter_mut()
            .rev()
            .take_while(|it| entry.at.saturating_sub(it.at) <= TOGETHER_SECONDS);
        match recent.into_iter().find(|it| it.outcome == entry.outcome) {
            Some(known) if !known.nodes.contains(&node) => known.nodes.push(node),
            Some(_) => {}
            None => uses.push(Use {
                at: entry.at,
                outcome: entry.outcome.clone(),
                nodes: vec![node],
            }),
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use kms_client::AuditEntry;
    use kms_crypto::key::IdentitySecret;

    use super::*;

    fn report(seed: u8, said: &[(u64, &str)]) -> NodeAudit {
        let key = IdentitySecret::generate(&mut crate::random()).public();
        let entry = |(at, outcome): &(u64, &str)| AuditEntry {
            at: *at,
            recipient: key,
            outcome: (*outcome).to_owned(),
            capsules: seed.into(),
            before: 0,
        };
        NodeAudit {
            node: key,
            entries: said.iter().map(entry).collect(),
            dropped: 0,
            lost: 0,
            next: Bookmark::default(),
            answer: Answer::Good,
        }
    }

    #[test]
    fn what_several_nodes_noted_of_one_request_is_one_use() {
        let reports = [
            report(1, &[(100, "ok"), (200, "ok")]),
            report(2, &[(103, "ok"), (104, "revoked\n")]),
        ];
        let told: Vec<_> = uses(&reports).iter().map(Use::to_string).collect();
        assert_eq!(
            told,
            [
                "1970-01-01T00:01Z ok (2 nodes)",
                "1970-01-01T00:01Z revoked\\n (1 node)",
                "1970-01-01T00:03Z ok (1 node)"
            ]
        );
    }
}
