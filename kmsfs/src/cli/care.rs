//! `kmsfs health` and `audit` (CLI 7.1, 7.2): how grants are doing, and who has
//! used them.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{AuditArgs, Common, HealthArgs, output};
use crate::{
    control::Request,
    failure::Failure,
    mount::running::{self, Inside},
};

pub(super) fn health(args: &HealthArgs, common: &Common) -> Result<ExitCode, Failure> {
    let inside = Inside::find(&args.path)?;
    let (path, reissue) = (inside.bytes(), args.reissue);
    let patience = match reissue {
        true => super::sharing::patience(&inside, "grant", common),
        false => running::PATIENCE,
    };
    let grants = grants(&inside.ask_within(&Request::Health { path, reissue }, patience)?);
    let mut lines = Vec::new();
    let mut is_well = true;
    for grant in &grants {
        let number = |name: &str| grant.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (serving, total) = (number("serving"), number("total"));
        let anew = grant.get("reissued") == Some(&Value::Bool(true));
        is_well &= serving == total || anew;
        let state = match () {
            () if anew => "granted anew".to_owned(),
            () if serving == total => "well".to_owned(),
            () if serving >= number("needed") => "opens, with nodes missing".to_owned(),
            () => "does not open".to_owned(),
        };
        lines.push(vec![
            text(grant, "path"),
            text(grant, "who"),
            format!("{serving} of {total} serve, {} needed", number("needed")),
            state,
        ]);
        let missing = list(grant, "nodes")
            .iter()
            .filter(|it| !anew && !is_good(it));
        lines.extend(missing.map(node_line));
        if let Some(trouble) = grant.get("trouble").and_then(Value::as_str) {
            lines.push(vec![format!("    {trouble}")]);
        }
    }
    let mut said = shown(&lines);
    if !is_well && !args.reissue {
        said.push_str("\nNodes that are away may come back. To grant anew what has lost some: kmsfs health --reissue PATH");
    }
    output::answer(common, &json!({ "grants": grants }), &said);
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// What a node's answer reads when it serves.
const GOOD: &str = "ok";

pub(super) fn audit(args: &AuditArgs, common: &Common) -> Result<ExitCode, Failure> {
    let inside = Inside::find(&args.path)?;
    let path = inside.bytes();
    let grants = grants(&inside.ask(&Request::Audit { path })?);
    let lines: Vec<_> = grants.iter().flat_map(audited).collect();
    output::answer(common, &json!({ "grants": grants }), &shown(&lines));
    let silent = |grant: &Value| list(grant, "nodes").iter().any(|it| !is_good(it));
    Ok(if grants.iter().any(silent) {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// What the nodes of one grant have noted, and which of them do not tell, or tell something else than before.
fn audited(grant: &Value) -> Vec<Vec<String>> {
    let row = [text(grant, "path"), text(grant, "who")];
    let nodes = list(grant, "nodes");
    let telling = nodes.iter().filter(|it| is_good(it) && gaps(it).is_empty());
    let telling = telling.count();
    let mut lines: Vec<_> = list(grant, "uses")
        .iter()
        .map(|one| {
            let outcome = match text(one, "outcome").as_str() {
                "ok" => "got the key".to_owned(),
                refusal => format!("was refused: {}", refusal.replace('_', " ")),
            };
            let told = format!("{} nodes say so", list(one, "nodes").len());
            [&row[..], &[text(one, "at_text"), outcome, told]].concat()
        })
        .collect();
    if lines.is_empty() {
        let nothing = match (telling, nodes.len()) {
            (0, _) => "not known: no node tells all".to_owned(),
            (all, total) if all == total => "has not asked for the key".to_owned(),
            (some, total) => format!("has not asked the {some} of {total} nodes that tell"),
        };
        lines.push([&row[..], &[nothing]].concat());
    }
    lines.extend(nodes.iter().filter(|it| !is_good(it)).map(node_line));
    let gaps = nodes.iter().filter(|it| !gaps(it).is_empty());
    lines.extend(gaps.map(|it| vec![format!("    {} {}", short_key(it), self::gaps(it))]));
    lines
}

/// What a node has noted and does not have any more, or has not noted, and why.
fn gaps(node: &Value) -> String {
    let number = |name: &str| node.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut gaps = Vec::new();
    if number("dropped") > 0 {
        gaps.push(format!(
            "has dropped the {} oldest entries: it keeps so many of one grant and no more",
            number("dropped")
        ));
    }
    if number("lost") > 0 {
        gaps.push(format!(
            "could not note {} requests, of this grant or others: its disk was full or failed",
            number("lost")
        ));
    }
    gaps.join("; ")
}

/// A node that does not do what it should, under the line of its grant.
fn node_line(node: &Value) -> Vec<String> {
    vec![format!("    {} {}", short_key(node), text(node, "answer"))]
}

fn short_key(node: &Value) -> String {
    let key: String = text(node, "node").chars().take(12).collect();
    format!("{key}…")
}

fn is_good(node: &Value) -> bool {
    text(node, "answer") == GOOD
}

fn shown(lines: &[Vec<String>]) -> String {
    if lines.is_empty() {
        "Nothing is shared there.".to_owned()
    } else {
        output::table(lines)
    }
}

fn grants(answer: &Value) -> Vec<Value> {
    list(answer, "grants").to_vec()
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    let list = of.get(name).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn text(of: &Value, name: &str) -> String {
    let text = of.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(uses: &Value, answers: &[&str]) -> String {
        let nodes: Vec<_> = answers
            .iter()
            .map(|it| json!({ "node": "kms1node12345", "answer": it }))
            .collect();
        let grant = json!({ "path": "/plan", "who": "bob", "uses": uses, "nodes": nodes });
        output::table(&audited(&grant))
    }

    /// The nodes' answers were not looked at: with all nodes dead, and with one that had altered its report, it read
    /// "bob has not asked for the key".
    #[test]
    fn an_owner_reads_that_nobody_asked_only_if_every_node_says_so() {
        let none = json!([]);
        assert_eq!(
            said(&none, &["ok", "ok"]),
            "/plan  bob  has not asked for the key\n"
        );
        let altered = said(&none, &["ok", "has altered what it reported before"]);
        assert!(
            altered.contains("bob  has not asked the 1 of 2 nodes that tell")
                && altered.contains("\n    kms1node1234… has altered what it reported before"),
            "{altered}"
        );
        let dead = said(&none, &["no connection", "no connection"]);
        assert!(
            dead.contains("bob  not known: no node tells all")
                && dead.matches("kms1node1234… no connection").count() == 2,
            "{dead}"
        );
        let unknown = said(&none, &[]);
        assert!(unknown.contains("no node tells"), "{unknown}");
    }

    #[test]
    fn an_owner_reads_what_a_node_has_not_kept_and_why() {
        let nodes = json!([
            { "node": "kms1node12345", "answer": "ok", "dropped": 12, "lost": 0 },
            { "node": "kms1other2345", "answer": "ok", "dropped": 0, "lost": 3 },
        ]);
        let grant = json!({ "path": "/plan", "who": "bob", "uses": [], "nodes": nodes });
        let said = output::table(&audited(&grant));
        for line in [
            "bob  not known: no node tells all",
            "kms1node1234… has dropped the 12 oldest entries",
            "kms1other234… could not note 3 requests",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
    }

    #[test]
    fn what_was_noted_is_shown_beside_the_nodes_that_do_not_tell() {
        let uses =
            json!([{ "at": 1, "at_text": "10:14", "outcome": "not_granted", "nodes": ["a", "b"] }]);
        let said = said(&uses, &["ok", "ok", "no answer yet"]);
        assert_eq!(
            said.lines().map(str::trim_end).collect::<Vec<_>>(),
            [
                "/plan  bob  10:14  was refused: not granted  2 nodes say so",
                "    kms1node1234… no answer yet"
            ]
        );
    }
}
