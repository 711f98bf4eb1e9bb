//! How many files a store has that this person cannot see.

use std::{path::Path, sync::Arc};

use kms_client::{Kind, Ticket};

/// A larger store is not counted: a mount must not take long for a number.
const MAX: u64 = 100_000;

/// All files in the store but those shared; `None` in a very large store.
pub(super) fn count(store: &Path, live: &[&Arc<Ticket>]) -> Option<u64> {
    let all = files(store, MAX)?;
    let mut seen = 0_u64;
    for ticket in live {
        let backing: std::path::PathBuf = ticket.path.iter().map(|step| &step.backing).collect();
        seen += match ticket.kind {
            Kind::File => 1,
            Kind::Dir => files(&store.join(backing), MAX)?,
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
            if !is_encrypted(&entry.file_name().to_string_lossy()) {
                continue;
            }
            if kind.is_dir() {
                dirs.push(entry.path());
            } else {
                count += 1;
            }
            if count > max {
                return None;
            }
        }
    }
    Some(count)
}

/// Whether a name in a store is that of something people put there. What the
/// store keeps for itself has a shorter name, or one with an ending.
fn is_encrypted(name: &str) -> bool {
    let name = name.strip_prefix("l.").unwrap_or(name);
    name.len() >= SHORTEST && !name.contains('.')
}

/// A name of one byte: 17 bytes in base64url.
const SHORTEST: usize = 23;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_keeps_for_itself_is_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let one = "4RGZ7JqUGn_APKUq8dt3X-Z1";
        let long = format!("l.{}", "a".repeat(43));
        std::fs::create_dir_all(dir.path().join("shares/own")).unwrap();
        std::fs::create_dir(dir.path().join(one)).unwrap();
        for name in [
            "kmsfs.toml",
            "kmsfs.dir",
            "shares/own/0123456789abcdef0123456789abcdef.rec",
            &format!("{one}/kmsfs.dir"),
            &format!("{one}/{one}"),
            &long,
            &format!("{long}.name"),
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(count(dir.path(), &[]), Some(2));
    }
}
