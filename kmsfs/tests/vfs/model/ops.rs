//! What is done at random: operations whose operands are chosen among what exists, now and then what does not.

use kmsfs::backing::Replace;
use kmsfs::vfs::Allocate;

use super::state::{Model, Object};
use crate::random::Rng;
use crate::support::CHUNK;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Makes a file or replaces its content, as a shell's redirection does.
    Put {
        path: String,
        len: usize,
        seed: u8,
    },
    /// Opens, writes in the middle, closes.
    Patch {
        path: String,
        at: usize,
        len: usize,
        seed: u8,
    },
    Truncate {
        path: String,
        len: usize,
    },
    Unlink {
        path: String,
    },
    Rmdir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        replace: Replace,
    },
    Link {
        from: String,
        to: String,
    },
    Mkdir {
        path: String,
    },
    Symlink {
        path: String,
        target: String,
    },
    SetXattr {
        path: String,
        name: &'static str,
        len: usize,
        seed: u8,
    },
    RemoveXattr {
        path: String,
        name: &'static str,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    Open {
        path: String,
    },
    WriteOpen {
        slot: usize,
        at: usize,
        len: usize,
        seed: u8,
    },
    Allocate {
        slot: usize,
        at: usize,
        len: usize,
        what: Room,
    },
    FsyncOpen {
        slot: usize,
    },
    CloseOpen {
        slot: usize,
    },
    Fsync {
        path: String,
    },
    Fsyncdir {
        dir: String,
    },
    /// The object gets a new key, and a label if it has none; what the old key sealed is sealed anew later.
    Revoke {
        path: String,
    },
    /// One new key is carried through.
    Rekey,
    Checkpoint,
    /// What was seen is written down.
    Remember,
    Remount,
    /// The process is gone from one moment to the next, with all handles closed.
    Kill,
}

/// A mode of `fallocate`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room(pub(crate) Allocate);

const ROOMS: [Allocate; 5] = [
    Allocate::Extend,
    Allocate::KeepSize,
    Allocate::PunchHole,
    Allocate::Zero,
    Allocate::ZeroKeepSize,
];
pub(crate) const XATTRS: [&str; 3] = ["user.a", "user.b", "user.comment.long.name"];
/// More names than these do not gather: each stands for much that is read again and again.
const CROWD: usize = 24;

impl Op {
    /// What is to be looked at afterwards.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Self::Put { path, .. }
            | Self::Patch { path, .. }
            | Self::Truncate { path, .. }
            | Self::Symlink { path, .. }
            | Self::SetXattr { path, .. }
            | Self::RemoveXattr { path, .. }
            | Self::Chmod { path, .. }
            | Self::Open { path }
            | Self::Fsync { path }
            | Self::Revoke { path }
            | Self::Rename { to: path, .. }
            | Self::Link { to: path, .. } => Some(path),
            _ => None,
        }
    }
}

impl Room {
    pub(crate) fn apply(self, content: &mut Vec<u8>, at: usize, len: usize) {
        let end = at + len;
        if matches!(
            self.0,
            Allocate::PunchHole | Allocate::Zero | Allocate::ZeroKeepSize
        ) {
            let stop = end.min(content.len());
            if at < stop {
                content[at..stop].fill(0);
            }
        }
        if matches!(self.0, Allocate::Extend | Allocate::Zero) && end > content.len() {
            content.resize(end, 0);
        }
    }
}

/// A name that may or may not exist.
fn some_path(rng: &mut Rng, model: &Model) -> String {
    let dirs: Vec<_> = model
        .dirs()
        .into_iter()
        .filter(|dir| dir.matches('/').count() < 2)
        .collect();
    let dir = rng.pick(&dirs).cloned().unwrap_or_default();
    let name = match rng.below(10) {
        0 => "n".repeat(200 + rng.below(2)),
        1 => "\u{fc}n\u{ef}c\u{f6}de".to_owned(),
        at => format!("f{at}"),
    };
    if dir.is_empty() {
        name
    } else {
        format!("{dir}/{name}")
    }
}

/// Where a symbolic link points: now and then so far that the store's link cannot hold it.
fn some_target(rng: &mut Rng, model: &Model) -> String {
    if rng.chance(25) {
        "far/".repeat(700 + rng.below(300))
    } else {
        some_path(rng, model)
    }
}

/// A file that exists, if there is any; rarely whatever.
fn some_file(rng: &mut Rng, model: &Model) -> String {
    let files = model.files();
    match rng.pick(&files) {
        Some(file) if !rng.chance(4) => file.clone(),
        _ => some_path(rng, model),
    }
}

/// Anything that exists.
fn some_name(rng: &mut Rng, model: &Model) -> String {
    let names: Vec<_> = model.names.keys().cloned().collect();
    match rng.pick(&names) {
        Some(name) if !rng.chance(4) => name.clone(),
        _ => some_path(rng, model),
    }
}

/// A length or an offset: small, at a chunk's border, or past the first page of tags.
pub(crate) fn some_size(rng: &mut Rng) -> usize {
    match rng.below(10) {
        0 => 0,
        1..=5 => rng.below(20_000),
        6 => rng.below(160) * CHUNK,
        7 => (1 + rng.below(160)) * CHUNK - 1 + rng.below(3),
        8 => 600_000 + rng.below(20_000),
        _ => rng.below(300),
    }
}

fn some_len(rng: &mut Rng) -> usize {
    match rng.below(8) {
        0..=3 => 1 + rng.below(600),
        4 | 5 => 1 + rng.below(20_000),
        6 => CHUNK * (1 + rng.below(4)),
        _ => 60_000 + rng.below(80_000),
    }
}

/// The next thing to do.
pub(crate) fn next(rng: &mut Rng, model: &Model) -> Op {
    let seed = rng.next() as u8;
    if model.names.len() > CROWD && rng.chance(30) {
        return Op::Unlink {
            path: some_name(rng, model),
        };
    }
    if !model.open.is_empty() && rng.chance(25) {
        let slot = rng.below(model.open.len());
        let (at, len) = (some_size(rng), some_len(rng));
        return match rng.below(10) {
            0..=5 => Op::WriteOpen {
                slot,
                at,
                len,
                seed,
            },
            6 | 7 => {
                let what = Room(*rng.pick(&ROOMS).unwrap_or(&Allocate::Extend));
                Op::Allocate {
                    slot,
                    at,
                    len,
                    what,
                }
            }
            8 => Op::FsyncOpen { slot },
            _ => Op::CloseOpen { slot },
        };
    }
    match rng.below(100) {
        0..=15 => {
            let path = if rng.chance(50) {
                some_file(rng, model)
            } else {
                some_path(rng, model)
            };
            Op::Put {
                path,
                len: some_size(rng),
                seed,
            }
        }
        16..=33 => Op::Patch {
            path: some_file(rng, model),
            at: some_size(rng),
            len: some_len(rng),
            seed,
        },
        34..=41 => truncate(rng, model),
        42..=46 => Op::Unlink {
            path: some_name(rng, model),
        },
        47..=48 => Op::Rmdir {
            path: some_name(rng, model),
        },
        49..=58 => rename(rng, model),
        59..=63 => link(rng, model),
        64..=66 => Op::Mkdir {
            path: some_path(rng, model),
        },
        67..=69 => Op::Symlink {
            path: some_path(rng, model),
            target: some_target(rng, model),
        },
        70..=74 => xattr(rng, model, seed),
        75..=77 => Op::Chmod {
            path: some_file(rng, model),
            mode: 0o600 | rng.below(0o200) as u32,
        },
        78..=81 if model.open.len() < 4 => Op::Open {
            path: some_file(rng, model),
        },
        78..=87 => Op::Fsync {
            path: some_file(rng, model),
        },
        88 => Op::Revoke {
            path: some_name(rng, model),
        },
        89 => Op::Rekey,
        90..=93 => Op::Fsyncdir {
            dir: rng.pick(&model.dirs()).cloned().unwrap_or_default(),
        },
        94 | 95 => Op::Checkpoint,
        96 => Op::Remember,
        97 => Op::Remount,
        _ => Op::Kill,
    }
}

/// A shorter file more often than a longer one.
fn truncate(rng: &mut Rng, model: &Model) -> Op {
    let path = some_file(rng, model);
    let len = match model.entry(&path).map(|entry| &entry.object) {
        Some(Object::File(content)) if rng.chance(60) => rng.below(content.len() + 1),
        _ => some_size(rng),
    };
    Op::Truncate { path, len }
}

fn rename(rng: &mut Rng, model: &Model) -> Op {
    let from = some_name(rng, model);
    let to = if rng.chance(50) {
        some_name(rng, model)
    } else {
        some_path(rng, model)
    };
    let replace = match rng.below(10) {
        0 => Replace::Exchange,
        1 => Replace::No,
        _ => Replace::Yes,
    };
    Op::Rename { from, to, replace }
}

fn link(rng: &mut Rng, model: &Model) -> Op {
    let files = model.files();
    // One file gathers more names than its header has room for.
    let crowded = files.first().filter(|_| rng.chance(50));
    match crowded.or(rng.pick(&files)) {
        Some(from) => Op::Link {
            from: from.clone(),
            to: if rng.chance(50) {
                format!("a{}", rng.below(30))
            } else {
                some_path(rng, model)
            },
        },
        None => Op::Checkpoint,
    }
}

fn xattr(rng: &mut Rng, model: &Model, seed: u8) -> Op {
    let path = some_file(rng, model);
    if !model.is_file(&path) {
        return Op::Checkpoint;
    }
    let name = XATTRS[rng.below(XATTRS.len())];
    if rng.chance(25) {
        return Op::RemoveXattr { path, name };
    }
    let len = if rng.chance(80) {
        rng.below(200)
    } else {
        rng.below(9_000)
    };
    Op::SetXattr {
        path,
        name,
        len,
        seed,
    }
}
