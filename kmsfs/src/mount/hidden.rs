//! How many files a store has that this person cannot see.

use std::{path::Path, sync::Arc};

use kms_client::{Kind, Ticket};

/// A larger store is not counted: a mount must not take long for a number.
const MAX: u64 = 100_000;

/// All files in the store but those shared; `None` in a very large store.
pub(super) fn count(store: &Path, live: &[&Arc<Ticket>]) -> Option<u64> {
    let data = store.join("data");
    let all = files(&data, MAX)?;
    let mut seen = 0_u64;
    for ticket in live {
        let backing: std::path::PathBuf = ticket.path.iter().map(|step| &step.backing).collect();
        seen += match ticket.kind {
            Kind::File => 1,
            Kind::Dir => files(&data.join(backing), MAX)?,
        };
    }
    Some(all.saturating_sub(seen))
}

fn files(dir: &Path, max: u64) -> Option<u64> {
    let mut count = 0;
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        // What cannot be read cannot be counted, and is hidden in any case.
        let Ok(entries) = std::fs::read_dir(dir) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if name != "kmsfs.dir" && !name.ends_with(".name") {
                count += 1;
            }
            if count > max {
                return None;
            }
        }
    }
    Some(count)
}
