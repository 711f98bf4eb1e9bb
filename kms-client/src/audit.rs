//! Asking the nodes of a policy who has used it (WIRE §3.3).
//!
//! Each node speaks for itself and signs for it. Who keeps what [`NodeAudit::next`] says can tell later whether the node
//! has altered what it reported before.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kms_crypto::key::PublicKey;
pub use kms_proto::message::AuditEntry;
use kms_proto::message::{Audit, Command, Continued, Response};
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::error::Answer;
use crate::place::NodeAddress;
use crate::revoke::RevokeRequest;

/// Where to go on reading a node's entries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bookmark {
    /// How many entries were read.
    pub count: u64,
    /// The hash after the last of them.
    pub hash: [u8; 32],
}

/// What one node says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeAudit {
    /// The node.
    pub node: PublicKey,
    /// What it has noted, oldest first.
    pub entries: Vec<AuditEntry>,
    /// How many entries before these it does not keep any more: it keeps so many of one grant and no more.
    pub dropped: u64,
    /// How many requests, of this grant or others, it could not note since it has started.
    pub lost: u64,
    /// Where to go on the next time.
    pub next: Bookmark,
    /// How it answered: not good if the entries are not all there are.
    pub answer: Answer,
}

/// What a node says at once.
struct Page {
    new: Continued,
    lost: u64,
    /// Whether there is more to be asked for.
    more: bool,
}

impl Client {
    /// Asks every node of a policy what was asked of it. `known` says where to begin; nothing: at the first entry.
    pub async fn audit(
        &self,
        request: &RevokeRequest<'_>,
        known: impl Fn(&PublicKey) -> Bookmark,
    ) -> Vec<NodeAudit> {
        let deadline = self.deadline();
        let (nodes, _) = self.holders(request, deadline).await;
        let known = &known;
        let mut asking: FuturesUnordered<_> = nodes
            .iter()
            .map(|node| self.audit_node(request, node, known(&node.key), deadline))
            .collect();
        let mut reports = Vec::with_capacity(nodes.len());
        while let Some(report) = asking.next().await {
            reports.push(report);
        }
        reports.sort_by_key(|it| nodes.iter().position(|node| node.key == it.node));
        reports
    }

    async fn audit_node(
        &self,
        request: &RevokeRequest<'_>,
        node: &NodeAddress,
        known: Bookmark,
        deadline: Instant,
    ) -> NodeAudit {
        let mut report = NodeAudit {
            node: node.key,
            entries: Vec::new(),
            dropped: 0,
            lost: 0,
            next: known,
            answer: Answer::Pending,
        };
        loop {
            let page = self.audit_page(request, node, report.next, deadline);
            match timeout_at(deadline, page).await {
                Ok(Ok(page)) => {
                    report.entries.extend(page.new.entries);
                    report.dropped = report.dropped.saturating_add(page.new.dropped);
                    report.lost = page.lost;
                    report.next = Bookmark {
                        count: page.new.next,
                        hash: page.new.hash,
                    };
                    if !page.more {
                        report.answer = Answer::Good;
                        return report;
                    }
                }
                Ok(Err(answer)) => {
                    report.answer = answer;
                    return report;
                }
                Err(_) => return report,
            }
        }
    }

    async fn audit_page(
        &self,
        request: &RevokeRequest<'_>,
        node: &NodeAddress,
        known: Bookmark,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let params = &request.params;
        let command = || {
            Command::Audit(Audit {
                ledger_key: params.ledger_key,
                inner: params.inner(),
                from: known.count,
            })
        };
        let response = self.command(node, command, request.ledger_key, deadline);
        let report = match response.await? {
            Response::Audited(report) => report.verify().map_err(|_| Answer::Malformed)?,
            Response::Refused(refusal) => return Err(Answer::Refused(refusal)),
            _ => return Err(Answer::Malformed),
        };
        let about_this = report.node == node.key
            && report.policy == params.id()
            && report.network == self.network()
            && report.from == known.count;
        if !about_this {
            return Err(Answer::Malformed);
        }
        let new = report.entries_after(&known.hash);
        let new = new.map_err(|_| Answer::Altered)?;
        Ok(Page {
            lost: report.lost,
            more: new.next < report.total && new.next > known.count,
            new,
        })
    }
}
