//! The power is cut at any moment of a random life, and the disk keeps what it pleases of what was not synced: whatever
//! was acknowledged is there, everything can be read, in a state that it once had, and the check finds nothing.
//!
//! A file that was never synced may be lost (JOURNAL §1), but not when only the process is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use kmsfs::backing::{Disk, Kind};
use kmsfs::vfs::{Result, Vfs, VfsError};
use rustix::io::Errno;

use self::record::{Log, Recorder};
use self::state::{Cut, Found};
use crate::model::ops::{self, Op, XATTRS};
use crate::model::real::Real;
use crate::model::state::{Model, Node, Object};
use crate::random::{Rng, cases};
use crate::support::*;

mod record;
mod state;
mod stories;

/// How many operations a life has, and how many of its moments are looked at.
const LIFE: usize = 60;
const MOMENTS: u64 = 40;
const ROOT: Node = 0;

/// A name in a directory.
type Name = (Node, String);

/// Content and attributes.
type Seen = (Vec<u8>, BTreeMap<String, Vec<u8>>);

/// What was done, and what was there after each operation.
#[derive(Default)]
struct Life {
    ops: Vec<Op>,
    /// Before the first operation, and after each.
    models: Vec<Model>,
    /// How many entries the log had then.
    ends: Vec<usize>,
    /// Of each operation: the file whose content it made durable, the one it committed, the directory whose names it
    /// made durable.
    synced: Vec<Option<Node>>,
    closed: Vec<Vec<Node>>,
    listed: Vec<Option<Node>>,
}

fn dir_node(model: &Model, path: &str) -> Option<Node> {
    if path.is_empty() {
        Some(ROOT)
    } else {
        model.names.get(path).copied()
    }
}

fn live(world: &World, recorder: &Arc<Recorder>, rng: &mut Rng) -> Life {
    let mut real = Real::new(world, Disk::gated(Arc::clone(recorder) as _));
    let mut life = Life::default();
    let mut model = Model::default();
    life.models.push(model.clone());
    life.ends.push(recorder.0.lock().entries.len());
    while life.ops.len() < LIFE {
        let op = ops::next(rng, &model);
        let before = model.clone();
        let expected = model.apply(&op);
        let got = real.apply(&op);
        assert_eq!(got.is_ok(), expected.is_ok(), "{op:?}: {got:?}");
        let ok = got.is_ok();
        life.synced.push(match &op {
            Op::Fsync { path } if ok && model.is_file(path) => model.names.get(path).copied(),
            // Of a file without a name nothing is promised.
            Op::FsyncOpen { slot } if ok => {
                let node = before.open.get(*slot).copied();
                node.filter(|node| model.links(*node) > 0)
            }
            _ => None,
        });
        life.closed.push(match &op {
            Op::Put { path, .. } | Op::Patch { path, .. } | Op::Fsync { path } if ok => {
                model.names.get(path).copied().into_iter().collect()
            }
            Op::CloseOpen { slot } | Op::FsyncOpen { slot } if ok => {
                before.open.get(*slot).copied().into_iter().collect()
            }
            Op::Kill | Op::Remount => before.open.clone(),
            _ => Vec::new(),
        });
        life.listed.push(match &op {
            Op::Fsyncdir { dir } if ok => dir_node(&model, dir),
            _ => None,
        });
        life.ops.push(op);
        life.models.push(model.clone());
        life.ends.push(recorder.0.lock().entries.len());
    }
    drop(real);
    life
}

/// One moment of a life, and what may be found afterwards.
struct Judge<'a> {
    life: &'a Life,
    cut: Cut,
    /// How many operations had returned.
    done: usize,
    /// Files found whole, and paths that may be lost.
    found: BTreeSet<Node>,
    excused: Vec<String>,
    /// A directory could not be looked into.
    skipped: bool,
}

impl Judge<'_> {
    fn models(&self, from: usize) -> &[Model] {
        let until = (self.done + 1).min(self.life.models.len() - 1);
        &self.life.models[from..=until]
    }

    /// From which state on the content of a file counts.
    fn floor(&self, node: Node) -> usize {
        let synced = self.life.synced[..self.done]
            .iter()
            .rposition(|it| *it == Some(node));
        let closed = self.life.closed[..self.done]
            .iter()
            .rposition(|it| it.contains(&node));
        let last = if self.cut == Cut::Killed {
            closed.max(synced)
        } else {
            synced
        };
        last.map_or(0, |at| at + 1)
    }

    fn was_synced(&self, node: Node) -> bool {
        self.life.synced[..self.done].contains(&Some(node))
    }

    /// What a name may stand for; `None` for nothing.
    fn candidates(&self, name: &Name) -> BTreeSet<Option<Node>> {
        let from = match self.cut {
            Cut::Killed => self.done,
            _ => self.life.listed[..self.done]
                .iter()
                .rposition(|it| *it == Some(name.0))
                .map_or(0, |at| at + 1),
        };
        self.models(from)
            .iter()
            .map(|model| entry_at(model, name))
            .collect()
    }

    /// States of a file that may be found: those it had since it was last synced.
    fn states(&self, node: Node) -> Vec<Seen> {
        let floor = self.floor(node);
        let mut states = Vec::new();
        for (at, model) in self.models(floor).iter().enumerate() {
            let Some(entry) = model.objects.get(&node) else {
                // Not made yet, or without a name and closed: nothing, or what it was last.
                continue;
            };
            if let Object::File(content) = &entry.object {
                states.push((content.clone(), entry.xattrs.clone()));
                // Replacing begins with cutting.
                let replaced =
                    floor + at > 0 && matches!(self.life.ops[floor + at - 1], Op::Put { .. });
                if replaced && at > 0 || floor == 0 {
                    states.push((Vec::new(), entry.xattrs.clone()));
                }
            }
        }
        states
    }

    /// Whether losing this is in order.
    fn may_be_lost(&self, node: Node) -> bool {
        if self.cut == Cut::Killed {
            return false;
        }
        let last = &self.life.models[self.done];
        match last.objects.get(&node).map(|entry| &entry.object) {
            Some(Object::Dir) => !self.is_anchored(node),
            _ => !self.was_synced(node),
        }
    }

    /// Whether a directory's header was promised to be there.
    fn is_anchored(&self, node: Node) -> bool {
        let life = self.life;
        (0..self.done).any(|at| {
            let model = &life.models[at + 1];
            let Some(path) = model
                .names
                .iter()
                .find(|(_, other)| **other == node)
                .map(|(path, _)| path)
            else {
                return false;
            };
            let parent = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let is_below = |file: Node| {
                model
                    .names
                    .iter()
                    .any(|(name, other)| *other == file && name.starts_with(&format!("{path}/")))
            };
            life.listed[at].is_some_and(|dir| dir == node || Some(dir) == dir_node(model, parent))
                || life.synced[at].is_some_and(is_below)
        })
    }

    /// Looks at the directory at a path, which is one of these.
    fn check_dir(&mut self, vfs: &Vfs, path: &str, dirs: &[Node]) -> Result<()> {
        let names = list(vfs, path)?;
        let mut known: BTreeSet<String> = names.iter().cloned().collect();
        for (model, node) in self
            .models(0)
            .iter()
            .flat_map(|it| dirs.iter().map(move |dir| (it, *dir)))
        {
            let dir = if node == ROOT {
                Some(String::new())
            } else {
                path_of(model, node)
            };
            known.extend(dir.map(|dir| model.children(&dir)).unwrap_or_default());
        }
        for name in known {
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}/{name}")
            };
            let candidates: BTreeSet<_> = dirs
                .iter()
                .flat_map(|dir| self.candidates(&(*dir, name.clone())))
                .collect();
            if names.contains(&name) {
                self.check_name(vfs, &below, &candidates);
            } else if !candidates.contains(&None) {
                let lost = candidates
                    .iter()
                    .flatten()
                    .any(|node| self.may_be_lost(*node));
                assert!(lost, "{below} is gone");
            }
        }
        Ok(())
    }

    fn check_name(&mut self, vfs: &Vfs, path: &str, candidates: &BTreeSet<Option<Node>>) {
        let candidates: Vec<Node> = candidates.iter().flatten().copied().collect();
        assert!(!candidates.is_empty(), "{path} has come back");
        let excuse = candidates.iter().any(|node| self.may_be_lost(*node));
        if excuse {
            self.excused.push(path.to_owned());
        }
        let kind = match attr(vfs, path) {
            Ok(attr) => attr.kind,
            Err(error) => return assert!(excuse, "{path}: {error}"),
        };
        match kind {
            Kind::Dir => {
                let is_dir = |node: &&Node| {
                    self.models(0).iter().any(|model| {
                        matches!(
                            model.objects.get(node).map(|entry| &entry.object),
                            Some(Object::Dir)
                        )
                    })
                };
                let dirs: Vec<Node> = candidates.iter().filter(is_dir).copied().collect();
                if let Err(error) = self.check_dir(vfs, path, &dirs) {
                    self.skipped = true;
                    assert!(excuse, "{path}: {error}");
                }
            }
            Kind::Symlink => {
                drop(readlink(vfs, path).unwrap_or_else(|error| panic!("{path}: {error}")))
            }
            _ => self.check_file(vfs, path, &candidates, excuse),
        }
    }

    fn check_file(&mut self, vfs: &Vfs, path: &str, candidates: &[Node], excuse: bool) {
        let content = match get(vfs, path) {
            Ok(content) => content,
            Err(error) => return assert!(excuse, "{path}: {error}"),
        };
        let mut xattrs = BTreeMap::new();
        for name in XATTRS {
            match xattr(vfs, path, name) {
                Ok(value) => drop(xattrs.insert(name.to_owned(), value)),
                Err(VfsError::Os(Errno::NODATA)) => {}
                // Those of a file that was never synced stand in a side file, which may be of another state.
                Err(error) => return assert!(excuse, "{path}: {name}: {error}"),
            }
        }
        let seen = (content, xattrs);
        let whose: Vec<Node> = candidates
            .iter()
            .copied()
            .filter(|node| self.states(*node).contains(&seen))
            .collect();
        assert!(
            !whose.is_empty(),
            "{path}: {} bytes in no state it ever had: {:?}",
            seen.0.len(),
            candidates
                .iter()
                .map(|node| (
                    *node,
                    self.floor(*node),
                    self.states(*node)
                        .iter()
                        .map(|it| it.0.len())
                        .collect::<Vec<_>>()
                ))
                .collect::<Vec<_>>()
        );
        self.found.extend(whose);
    }

    /// What was synced and never lost its last name is somewhere.
    fn check_all_found(&self) {
        for (at, node) in self.life.synced[..self.done].iter().enumerate() {
            let Some(node) = node else { continue };
            let stays = self
                .models(at + 1)
                .iter()
                .all(|model| model.links(*node) > 0 && path_of(model, *node).is_some());
            assert!(
                !stays || self.skipped || self.found.contains(node),
                "file {node}, synced by operation {at}, is gone"
            );
        }
    }
}

fn entry_at(model: &Model, (dir, name): &Name) -> Option<Node> {
    let dir = if *dir == ROOT {
        String::new()
    } else {
        format!("{}/", path_of(model, *dir)?)
    };
    model.names.get(&format!("{dir}{name}")).copied()
}

fn path_of(model: &Model, node: Node) -> Option<String> {
    model
        .names
        .iter()
        .find(|(_, other)| **other == node)
        .map(|(path, _)| path.clone())
}

/// Mounts what the cut has left, and judges it.
fn examine(life: &Life, log: &Log, entries: usize, cut: Cut, rng: &mut Rng) {
    let dir = memory();
    Found::after(log, entries, cut, rng).put(dir.path());
    let world = World::borrowed(dir.path());
    if rng.chance(20) {
        // Once more, while it is being put in order.
        let faults = Faults::kill_at(1 + rng.below(25) as u64);
        drop(world.try_open(Disk::gated(faults as _)));
    }
    let vfs = world.open();
    let done = life
        .ends
        .iter()
        .rposition(|end| *end <= entries)
        .unwrap_or(0);
    let mut judge = Judge {
        life,
        cut,
        done,
        found: BTreeSet::new(),
        excused: Vec::new(),
        skipped: false,
    };
    judge.check_dir(&vfs, "", &[ROOT]).unwrap();
    judge.check_all_found();
    for finding in fsck(&vfs) {
        let excused = judge
            .excused
            .iter()
            .any(|path| finding.starts_with(path.as_str()));
        assert!(excused, "fsck: {finding}");
    }
    put(&vfs, "afterwards", b"works").unwrap();
    vfs.close().unwrap();
}

/// A store, and what takes notes of a mount of it.
fn recorded() -> (World, Arc<Recorder>) {
    let world = World::new();
    world.open().close().unwrap();
    let recorder = Arc::new(Recorder::default());
    *recorder.0.lock() = Log::of(world.dir.path());
    (world, recorder)
}

fn cut_at_many_moments(seed: u64) -> u64 {
    let mut rng = Rng::new(seed);
    let (world, recorder) = recorded();
    let life = live(&world, &recorder, &mut rng);
    let log = recorder.0.lock();
    let first = life.ends[0];
    for _ in 0..MOMENTS {
        let entries = first + rng.below(log.entries.len() - first + 1);
        let cut = match rng.below(6) {
            0 => Cut::Killed,
            1 => Cut::Synced,
            _ => Cut::Torn,
        };
        let judged = catch_unwind(AssertUnwindSafe(|| {
            examine(&life, &log, entries, cut, &mut rng.clone())
        }));
        if let Err(panic) = judged {
            println!("{cut:?} after {entries} of {} calls", log.entries.len());
            for (number, op) in life.ops.iter().enumerate() {
                let here = if life.ends[number + 1] > entries && life.ends[number] <= entries {
                    "=> "
                } else {
                    ""
                };
                println!(
                    "  {number:3} up to {:4} {here}{op:?}",
                    life.ends[number + 1]
                );
            }
            resume_unwind(panic);
        }
        rng.next();
    }
    MOMENTS
}

#[test]
fn after_a_power_cut_everything_acknowledged_is_there_and_everything_can_be_read() {
    cases("KMSFS_CRASH_IMAGES", 1_000, cut_at_many_moments);
}
