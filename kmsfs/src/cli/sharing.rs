//! `kmsfs grant`, `revoke`, `shares` and `why` (CLI 7): the attributes' verbs
//! with a sentence as the answer.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use serde_json::{Value, json};

use super::{Common, GrantArgs, RevokeArgs, SharesArgs, WhyArgs, output};
use crate::{
    contact::Book,
    control::Request,
    failure::{Exit, Failure},
    home::Home,
    mount::running::{self, Inside},
};

pub(super) fn grant(args: &GrantArgs, common: &Common) -> Result<ExitCode, Failure> {
    let inside = Inside::find(&args.path)?;
    let mut value = format!("{} {}", args.who, args.access);
    for (name, option) in [
        ("ttl", &args.ttl),
        ("until", &args.until),
        ("m", &args.threshold),
    ] {
        if let Some(option) = option {
            value.push_str(&format!(" {name}={option}"));
        }
    }
    let path = inside.bytes();
    if args.dry_run {
        let answer = inside.ask(&Request::Estimate { path, value })?;
        output::answer(common, &document(&answer), &text(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    let patience = patience(&inside, "grant", common);
    let answer = inside.ask_within(&Request::Grant { path, value }, patience)?;
    let text = format!(
        "{}\nUndo: kmsfs revoke {} {}",
        text(&answer),
        args.path.display(),
        args.who
    );
    output::result(common, &document(&answer), &text);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn revoke(args: &RevokeArgs, common: &Common) -> Result<ExitCode, Failure> {
    let inside = Inside::find(&args.path)?;
    let path = inside.bytes();
    let value = args.who.clone();
    if args.dry_run {
        let answer = inside.ask(&Request::EstimateRevoke { path, value })?;
        output::answer(common, &document(&answer), &text(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    let patience = patience(&inside, "revoke", common);
    let answer = inside.ask_within(&Request::Revoke { path, value }, patience)?;
    let mut text = text(&answer);
    if answer.get("changed") == Some(&Value::Bool(true)) {
        let people = names(answer.get("from"));
        text.push_str(&format!(
            "\nUndo: kmsfs grant {} {people}",
            args.path.display()
        ));
    }
    output::result(common, &document(&answer), &text);
    Ok(ExitCode::SUCCESS)
}

/// How long the mount may take, which is what the ledger takes and some more. Where that is long, it is said.
pub(super) fn patience(inside: &Inside, what: &str, common: &Common) -> Duration {
    let pace = inside.ask(&Request::Pace).ok();
    let usual = pace.as_ref().and_then(|it| it.get(what)?.as_u64());
    let usual = usual.unwrap_or_default();
    if usual >= WORTH_SAYING && !common.quiet && !common.json {
        output::warning(&format!(
            "Waiting for the ledger to confirm it, which usually takes {usual} s …"
        ));
    }
    running::PATIENCE + Duration::from_secs(usual.saturating_mul(4).min(1200))
}

/// Seconds after which people wonder.
const WORTH_SAYING: u64 = 3;

pub(super) fn why(args: &WhyArgs, common: &Common) -> Result<ExitCode, Failure> {
    let inside = Inside::find_untouched(&args.path)?;
    let path = inside.bytes();
    let answer = inside.ask(&Request::Why { path })?;
    output::answer(common, &document(&answer), &text(&answer));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn shares(args: &SharesArgs, common: &Common) -> Result<ExitCode, Failure> {
    let to = match &args.to {
        None => None,
        Some(who) => {
            let book = Book::load(&Home::of_process()?.contacts)?;
            let keys = book.resolve_all(who)?;
            Some(keys.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
    };
    let mut shares = Vec::new();
    for point in points(&args.dirs)? {
        let answer = running::ask(&point, &Request::Shares)?;
        let list = answer.get("shares").and_then(Value::as_array).cloned();
        for mut share in list.unwrap_or_default() {
            let wanted = to.as_ref().is_none_or(|keys| {
                let key = share.get("key").and_then(Value::as_str).unwrap_or_default();
                keys.iter().any(|wanted| wanted == key)
            });
            if wanted {
                let path = point.join(share.get("path").and_then(Value::as_str).unwrap_or(""));
                share["path"] = path.to_string_lossy().into();
                shares.push(share);
            }
        }
    }
    let rows: Vec<Vec<String>> = shares
        .iter()
        .filter(|share| {
            // What has ended is history to the owner, and news to the reader.
            let field = |name: &str| share.get(name).and_then(Value::as_str).unwrap_or_default();
            ["granting", "live", "revoking"].contains(&field("state"))
                || field("role") == "recipient"
        })
        .map(row)
        .collect();
    let text = if rows.is_empty() {
        "Nothing is shared.".to_owned()
    } else {
        output::table(&rows)
    };
    output::answer(common, &json!({ "shares": shares }), &text);
    Ok(ExitCode::SUCCESS)
}

/// The mounts that are meant: those named, or all of this person's that answer.
fn points(dirs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if !dirs.is_empty() {
        return dirs
            .iter()
            .map(|dir| running::entry(dir).map(|entry| entry.point))
            .collect();
    }
    let points: Vec<PathBuf> = running::all()
        .into_iter()
        .map(|entry| entry.point)
        .filter(|point| running::ask(point, &Request::Hello).is_ok())
        .collect();
    if points.is_empty() {
        return Err(
            Failure::new(Exit::Unavailable, "No store of yours is mounted.")
                .why("What is shared stands encrypted in the store.")
                .now("Mount it first: kmsfs mount DIR"),
        );
    }
    Ok(points)
}

/// People as a grant names them: by petname where there is one, else by key.
fn names(people: Option<&Value>) -> String {
    let people = people.and_then(Value::as_array);
    let name = |person: &Value| {
        let field = |name: &str| person.get(name).and_then(Value::as_str).unwrap_or_default();
        let (who, key) = (field("who"), field("key"));
        if who.starts_with("kms1") { key } else { who }.to_owned()
    };
    let names: Vec<String> = people.into_iter().flatten().map(name).collect();
    names.join(",")
}

fn row(share: &Value) -> Vec<String> {
    let field = |name: &str| {
        share
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let path = field("path");
    let path = if field("kind") == "directory" && !path.ends_with('/') {
        path + "/"
    } else {
        path
    };
    vec![
        path,
        field("who"),
        field("access"),
        field("until_text"),
        field("threshold"),
        field("state"),
    ]
}

fn text(answer: &Value) -> String {
    answer
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// The answer without its wording.
fn document(answer: &Value) -> Value {
    let mut document = answer.clone();
    if let Some(fields) = document.as_object_mut()
        && fields.len() > 1
    {
        fields.remove("text");
    }
    document
}
