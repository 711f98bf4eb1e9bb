//! `kmsfs health` and `audit` (CLI 7.1, 7.2): how grants are doing, and who has
//! used them.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{AuditArgs, Common, HealthArgs, output};
use crate::{control::Request, failure::Failure, mount::running::Inside};

pub(super) fn health(args: &HealthArgs, common: &Common) -> Result<ExitCode, Failure> {
    let inside = Inside::find(&args.path)?;
    let (path, reissue) = (inside.bytes(), args.reissue);
    let grants = grants(&inside.ask(&Request::Health { path, reissue })?);
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
        let missing = grant.get("nodes").and_then(Value::as_array);
        for node in missing.into_iter().flatten() {
            if text(node, "answer") != GOOD && !anew {
                let key: String = text(node, "node").chars().take(12).collect();
                lines.push(vec![format!("    {key}… {}", text(node, "answer"))]);
            }
        }
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
    let mut lines = Vec::new();
    for grant in &grants {
        let uses = grant.get("uses").and_then(Value::as_array).cloned();
        let uses = uses.unwrap_or_default();
        let mut row = vec![text(grant, "path"), text(grant, "who")];
        if uses.is_empty() {
            row.push("has not asked for the key".to_owned());
            lines.push(row);
            continue;
        }
        for one in &uses {
            let nodes = one
                .get("nodes")
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            let outcome = match text(one, "outcome").as_str() {
                "ok" => "got the key".to_owned(),
                refusal => format!("was refused: {}", refusal.replace('_', " ")),
            };
            let mut row = row.clone();
            row.extend([
                text(one, "at_text"),
                outcome,
                format!("{nodes} nodes say so"),
            ]);
            lines.push(row);
        }
    }
    output::answer(common, &json!({ "grants": grants }), &shown(&lines));
    Ok(ExitCode::SUCCESS)
}

fn shown(lines: &[Vec<String>]) -> String {
    if lines.is_empty() {
        "Nothing is shared there.".to_owned()
    } else {
        output::table(lines)
    }
}

fn grants(answer: &Value) -> Vec<Value> {
    let grants = answer.get("grants").and_then(Value::as_array);
    grants.cloned().unwrap_or_default()
}

fn text(of: &Value, name: &str) -> String {
    let text = of.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
