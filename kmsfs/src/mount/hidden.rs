//! How many files a store has that this person cannot see.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::Arc,
};

use kms_client::{Kind, Ticket};

use crate::backing::{self, Disk};

/// A larger store is not counted: a mount must not take long for a number.
const MAX: u64 = 100_000;
/// Nor is one that is deeper.
const MAX_DEPTH: u32 = 200;

/// All files in the store but those shared; `None` in a very large store.
pub(super) fn count(store: &Path, live: &[&Arc<Ticket>]) -> Option<u64> {
    let disk = Disk::default();
    let root = disk.open_root(store).ok()?;
    let all = files(&disk, root.as_fd(), MAX_DEPTH)?;
    let mut seen = 0_u64;
    for ticket in live {
        seen += match ticket.kind {
            Kind::File => 1,
            Kind::Dir => {
                let mut dir = disk.open_root(store).ok()?;
                let mut steps = ticket.path.iter();
                let found = steps.all(|step| {
                    let next = disk.open_dir(dir.as_fd(), &step.backing);
                    next.map(|next| dir = next).is_ok()
                });
                if found {
                    files(&disk, dir.as_fd(), MAX_DEPTH)?
                } else {
                    0
                }
            }
        };
    }
    Some(all.saturating_sub(seen))
}

fn files(disk: &Disk, dir: BorrowedFd<'_>, depth: u32) -> Option<u64> {
    let deeper = depth.checked_sub(1)?;
    // What cannot be read cannot be counted, and is hidden in any case.
    let Ok(entries) = disk.list(dir) else {
        return Some(0);
    };
    let mut count = 0;
    for entry in entries {
        let Ok(name) = std::str::from_utf8(&entry.name) else {
            continue;
        };
        if !is_encrypted(name) {
            continue;
        }
        let may_be_dir = entry.kind.is_none_or(|kind| kind == backing::Kind::Dir);
        let below = may_be_dir.then(|| disk.open_dir(dir, name));
        count += match below {
            Some(Ok(below)) => files(disk, below.as_fd(), deeper)?,
            _ => 1,
        };
        if count > MAX {
            return None;
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
