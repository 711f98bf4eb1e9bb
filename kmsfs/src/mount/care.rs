//! What a running mount answers about how its grants are doing (CLI 7.1, 7.2).

use std::{os::unix::ffi::OsStrExt, path::Path};

use kms_client::{ClientError, NodeAudit, OwnerRecord, Quorum};
use serde_json::{Value, json};

use super::answer::Answers;
use crate::{contact, failure::Failure, share, time};

impl Answers {
    pub(super) fn health(&self, path: &[u8], reissue: bool) -> Result<Value, Failure> {
        let owner = self.owner()?;
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let mut grants = Vec::new();
        for (record, health) in owner.health(path)? {
            let mut row = self.health_row(&record, &health);
            let lost = health.is_ok_and(|it| it.good < record.total);
            if reissue && lost {
                let outcome = owner.reissue(&record);
                row["reissued"] = outcome.is_ok().into();
                if let Err(refused) = outcome {
                    row["trouble"] = Failure::from(refused).what.into();
                }
            }
            grants.push(row);
        }
        Ok(json!({ "grants": grants }))
    }

    fn health_row(&self, record: &OwnerRecord, health: &Result<Quorum, ClientError>) -> Value {
        let mut row = self.grant_row(record);
        match health {
            Ok(quorum) => {
                row["serving"] = quorum.good.into();
                let answers = quorum.answers.0.iter().map(
                    |it| json!({ "node": it.node.to_string(), "answer": it.answer.to_string() }),
                );
                row["nodes"] = answers.collect();
            }
            Err(error) => {
                row["serving"] = Value::Null;
                row["trouble"] = share::capital(&format!("{error}.")).into();
            }
        }
        row
    }

    fn grant_row(&self, record: &OwnerRecord) -> Value {
        let person = &record.params.recipient;
        json!({
            "path": self.point().join(share::path_of(&record.path)).to_string_lossy(),
            "who": self.book().display(person),
            "key": person.to_string(),
            "needed": record.needed,
            "total": record.total,
        })
    }

    pub(super) fn audit(&self, path: &[u8]) -> Result<Value, Failure> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let grants = self
            .owner()?
            .audit(path)?
            .into_iter()
            .map(|(record, reports)| {
                let mut row = self.grant_row(&record);
                row["uses"] = uses(&reports);
                let nodes = reports.iter().map(|it| {
                    json!({
                        "node": it.node.to_string(),
                        "entries": it.entries.len(),
                        "answer": it.answer.to_string(),
                        "dropped": it.dropped,
                        "lost": it.lost,
                    })
                });
                row["nodes"] = nodes.collect();
                row
            });
        Ok(json!({ "grants": grants.collect::<Vec<_>>() }))
    }
}

/// What the nodes have noted.
fn uses(reports: &[NodeAudit]) -> Value {
    let uses = share::uses(reports).into_iter().map(|it| {
        let nodes: Vec<_> = it.nodes.iter().map(contact::short).collect();
        json!({
            "at": it.at,
            "at_text": time::moment(it.at),
            "outcome": it.outcome,
            "nodes": nodes,
        })
    });
    uses.collect()
}
