//! `kmsfs status` (CLI 8): running mounts, and the nodes they use.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Common, output};
use crate::{
    control::Request,
    failure::Failure,
    mount::{point::is_dead, running},
};

/// All is well.
const HEALTHY: u8 = 0;
/// A mount is dead, or too few nodes answer for grants to be made.
const DEGRADED: u8 = 2;

pub(super) fn run(common: &Common) -> Result<ExitCode, Failure> {
    let mut mounts = Vec::new();
    let mut text = String::new();
    let mut code = HEALTHY;
    for entry in running::all() {
        let point = entry.point.to_string_lossy().into_owned();
        let store = entry.store().unwrap_or_default();
        match running::ask(&entry.point, &Request::Status) {
            Ok(status) => {
                let said = status
                    .get("text")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                text.push_str(&format!("{point}   {said}\n"));
                if status.get("degraded").and_then(Value::as_bool) == Some(true) {
                    code = DEGRADED;
                }
                let mut document = status.clone();
                if let Some(fields) = document.as_object_mut() {
                    fields.remove("text");
                    fields.insert("point".into(), point.into());
                    fields.insert("store".into(), store.to_string_lossy().into());
                }
                mounts.push(document);
            }
            // A dead mount of this person left its socket behind; any other is somebody else's.
            Err(_) if is_dead(&entry.point) && running::was_ours(&entry.point) => {
                code = DEGRADED;
                text.push_str(&format!(
                    "{point}   dead; to revive it: kmsfs mount {} {point}\n",
                    store.display()
                ));
                mounts.push(json!({
                    "point": point,
                    "store": store.to_string_lossy(),
                    "state": "dead",
                }));
            }
            Err(_) => {}
        }
    }
    if text.is_empty() {
        text.push_str("No store of yours is mounted.");
    }
    output::answer(common, &json!({ "mounts": mounts }), &text);
    Ok(ExitCode::from(code))
}
