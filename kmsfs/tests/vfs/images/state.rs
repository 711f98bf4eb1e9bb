//! What a disk may hold when the power is cut, by JOURNAL A1 to A3 and nothing better: pages that were not synced are
//! there or not, one by one, and each in any of its versions; lengths and names in the order in which they changed.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::record::{Bytes, Entry, Log, Name, Node, PAGE, Thing};
use crate::random::Rng;

/// What becomes of the changes that nobody has synced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cut {
    /// The process was killed: all of them are there.
    Killed,
    /// None is.
    Synced,
    /// Some are.
    Torn,
}

/// A directory as it is found after the cut.
pub(super) struct Found<'a> {
    log: &'a Log,
    names: BTreeMap<Name, Node>,
    content: HashMap<Node, (u64, BTreeMap<u64, Bytes>)>,
}

/// A state a page has had, and the truncation that made it if one did.
type Version = (Option<Bytes>, Option<usize>);

/// A file's changes since it was last synced.
#[derive(Default)]
struct Pending {
    lens: Vec<u64>,
    pages: BTreeMap<u64, Vec<Version>>,
}

impl<'a> Found<'a> {
    /// After the first `done` entries, of which the cut leaves what it leaves.
    pub(super) fn after(log: &'a Log, done: usize, cut: Cut, rng: &mut Rng) -> Self {
        let entries = &log.entries[..done];
        let mut found = Self {
            log,
            names: log.names.clone(),
            content: log.content.clone(),
        };
        let kept = kept_names(entries, cut, rng);
        for entry in &entries[..kept] {
            found.change_names(entry);
        }
        let mut synced: HashMap<Node, usize> = HashMap::new();
        let mut all = 0;
        for (at, entry) in entries.iter().enumerate() {
            match entry {
                Entry::SyncFile(node) | Entry::SyncAll(node) => drop(synced.insert(*node, at)),
                Entry::SyncFs => all = at,
                _ => {}
            }
        }
        let mut pending: BTreeMap<Node, Pending> = BTreeMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let node = match entry {
                Entry::Write(node, ..) | Entry::SetLen(node, _) | Entry::Punch(node, ..) => *node,
                _ => continue,
            };
            let is_synced = at < all || synced.get(&node).is_some_and(|synced| at < *synced);
            if is_synced || cut == Cut::Killed {
                found.change(node, entry, None);
            } else {
                found.change(node, entry, Some(pending.entry(node).or_default()));
            }
        }
        if cut == Cut::Torn {
            for (node, pending) in pending {
                found.tear(node, &pending, rng);
            }
        }
        found
    }

    fn change_names(&mut self, entry: &Entry) {
        match entry {
            Entry::Make(name, node) => drop(self.names.insert(name.clone(), *node)),
            Entry::Remove(name) => drop(self.names.remove(name)),
            Entry::Rename(from, to) => {
                if let Some(node) = self.names.remove(from) {
                    self.names.insert(to.clone(), node);
                }
            }
            Entry::Exchange(one, other) => {
                let (a, b) = (self.names[one], self.names[other]);
                self.names.insert(one.clone(), b);
                self.names.insert(other.clone(), a);
            }
            _ => {}
        }
    }

    /// Makes a change for good, or notes it among those that may be lost.
    fn change(&mut self, node: Node, entry: &Entry, pending: Option<&mut Pending>) {
        let (len, pages) = self.content.entry(node).or_default();
        let mut no_pending = Pending::default();
        let is_lasting = pending.is_none();
        let pending = pending.unwrap_or(&mut no_pending);
        let now = |pending: &Pending, page: u64| match pending
            .pages
            .get(&page)
            .and_then(|all| all.last())
        {
            Some((bytes, _)) => bytes.clone(),
            None => pages.get(&page).cloned(),
        };
        let current = pending.lens.last().copied().unwrap_or(*len);
        let mut new_len = None;
        let mut changes: Vec<(u64, Version)> = Vec::new();
        match entry {
            Entry::Write(_, offset, bytes) => {
                let end = offset + bytes.len() as u64;
                for page in offset / PAGE..end.div_ceil(PAGE) {
                    let mut new = whole(now(pending, page));
                    let (from, to) = ((*offset).max(page * PAGE), end.min((page + 1) * PAGE));
                    let within = |at: u64| (at - page * PAGE) as usize;
                    new[within(from)..=within(to - 1)]
                        .copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
                    changes.push((page, (Some(new.into()), None)));
                }
                new_len = (end > current).then_some(end);
            }
            Entry::SetLen(_, len) => {
                if *len < current {
                    let mut held: Vec<u64> =
                        pages.keys().chain(pending.pages.keys()).copied().collect();
                    held.retain(|page| (page + 1) * PAGE > *len);
                    held.sort_unstable();
                    held.dedup();
                    for page in held {
                        let start = page * PAGE;
                        if start >= *len {
                            changes.push((page, (None, Some(pending.lens.len() + 1))));
                        } else {
                            let mut new = whole(now(pending, page));
                            new[(len - start) as usize..].fill(0);
                            changes.push((page, (Some(new.into()), None)));
                        }
                    }
                }
                new_len = Some(*len);
            }
            Entry::Punch(_, offset, len) => {
                for page in offset / PAGE..(offset + len).div_ceil(PAGE) {
                    let mut new = whole(now(pending, page));
                    for at in (page * PAGE).max(*offset)..((page + 1) * PAGE).min(offset + len) {
                        new[(at - page * PAGE) as usize] = 0;
                    }
                    changes.push((page, (Some(new.into()), None)));
                }
            }
            _ => {}
        }
        if is_lasting {
            for (page, (bytes, _)) in changes {
                match bytes {
                    Some(bytes) => drop(pages.insert(page, bytes)),
                    None => drop(pages.remove(&page)),
                }
            }
            *len = new_len.unwrap_or(current);
        } else {
            for (page, version) in changes {
                pending.pages.entry(page).or_default().push(version);
            }
            pending.lens.extend(new_len);
        }
    }

    /// Leaves some of a file's changes.
    fn tear(&mut self, node: Node, pending: &Pending, rng: &mut Rng) {
        let (len, pages) = self.content.entry(node).or_default();
        let kept = rng.below(pending.lens.len() + 1);
        if let Some(kept) = kept.checked_sub(1) {
            *len = pending.lens[kept];
        }
        for (&page, versions) in &pending.pages {
            // A truncation that is kept takes what was there before; one that is not leaves no room for what came after.
            let is_kept = |cut: usize| cut <= kept;
            let first = versions
                .iter()
                .rposition(|(_, cut)| cut.is_some_and(is_kept))
                .map_or(0, |at| at + 1);
            let last = versions
                .iter()
                .position(|(_, cut)| cut.is_some_and(|cut| !is_kept(cut)))
                .unwrap_or(versions.len());
            let choice = match rng.below(3) {
                0 => first,
                1 => last,
                _ => first + rng.below(last.saturating_sub(first) + 1),
            };
            if let Some(choice) = choice.checked_sub(1) {
                match &versions[choice].0 {
                    Some(bytes) => drop(pages.insert(page, bytes.clone())),
                    None => drop(pages.remove(&page)),
                }
            }
        }
    }

    /// Lays it out in a directory.
    pub(super) fn put(&self, dir: &Path) {
        self.put_below(dir, 0, &mut HashMap::new());
    }

    fn put_below(&self, dir: &Path, node: Node, made: &mut HashMap<Node, std::path::PathBuf>) {
        let from = (node, String::new());
        for ((_, name), child) in self.names.range(from..(node + 1, String::new())) {
            let path = dir.join(name);
            match &self.log.things[*child] {
                Thing::Dir => {
                    std::fs::create_dir(&path).unwrap();
                    self.put_below(&path, *child, made);
                }
                Thing::Symlink(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
                Thing::File => {
                    if let Some(other) = made.get(child) {
                        std::fs::hard_link(other, &path).unwrap();
                    } else {
                        self.put_file(&path, *child);
                        made.insert(*child, path);
                    }
                }
            }
        }
    }

    fn put_file(&self, path: &Path, node: Node) {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .unwrap();
        if let Some((len, pages)) = self.content.get(&node) {
            for (page, bytes) in pages {
                file.write_all_at(bytes, page * PAGE).unwrap();
            }
            file.set_len(*len).unwrap();
        }
    }
}

fn whole(bytes: Option<Bytes>) -> Vec<u8> {
    bytes.map_or_else(|| vec![0; PAGE as usize], |bytes| bytes.to_vec())
}

/// Up to which entry names have changed for good.
fn kept_names(entries: &[Entry], cut: Cut, rng: &mut Rng) -> usize {
    let mut least = 0;
    for (at, entry) in entries.iter().enumerate() {
        let touches = |dir: Node| {
            entries[..at].iter().rposition(|entry| match entry {
                Entry::Make((one, _), _) | Entry::Remove((one, _)) => *one == dir,
                Entry::Rename((one, _), (other, _)) | Entry::Exchange((one, _), (other, _)) => {
                    *one == dir || *other == dir
                }
                _ => false,
            })
        };
        let made = |file: Node| {
            let is_it = |entry: &Entry| matches!(entry, Entry::Make(_, node) if *node == file);
            entries[..at].iter().position(is_it)
        };
        let durable = match entry {
            Entry::SyncDir(dir) => touches(*dir),
            Entry::SyncAll(file) | Entry::SyncFile(file) => made(*file),
            Entry::SyncFs => Some(at),
            _ => None,
        };
        least = least.max(durable.map_or(0, |at| at + 1));
    }
    match cut {
        Cut::Killed => entries.len(),
        Cut::Synced => least,
        Cut::Torn => least + rng.below(entries.len() - least + 1),
    }
}
