//! Random operations on the filesystem and on a model of it: they must agree on every answer and on what is there,
//! whatever checkpoints, remounts and kills come between.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kmsfs::backing::Disk;
use rustix::io::Errno;

use self::ops::Op;
use self::real::Real;
use self::state::Model;
use crate::random::{Rng, cases};
use crate::support::*;

pub(crate) mod ops;
pub(crate) mod real;
pub(crate) mod state;

/// How many operations one store sees.
const LIFE: u64 = 250;
/// After so many operations everything is compared; after each, what it was about.
const FULL_CHECK: u64 = 25;

/// Does operations on both and compares.
struct Pair<'a> {
    real: Real<'a>,
    model: Model,
    number: u64,
}

impl<'a> Pair<'a> {
    fn new(world: &'a World) -> Self {
        Self {
            real: Real::new(world, Disk::default()),
            model: Model::default(),
            number: 0,
        }
    }

    fn step(&mut self, op: &Op) {
        self.number += 1;
        let before = matches!(op, Op::Link { .. } | Op::Rename { .. }).then(|| self.model.clone());
        let expected = self.model.apply(op);
        let got = self.real.apply(op).map_err(|error| error.errno());
        if let (Err(Errno::MLINK), Some(before)) = (got, before) {
            // A header has room for so many names, and after a kill for fewer.
            self.model = before;
            return;
        }
        match op {
            // Of several reasons to refuse, each is right.
            Op::Rename { .. } | Op::Truncate { .. } => {
                assert_eq!(
                    got.is_err(),
                    expected.is_err(),
                    "{op:?}: {got:?}, not {expected:?}"
                );
            }
            _ => assert_eq!(got, expected, "{op:?}"),
        }
        if matches!(op, Op::Remount | Op::Kill) || self.number.is_multiple_of(FULL_CHECK) {
            self.real.check(&self.model);
        } else if let Some(path) = op.path() {
            self.real.check_path(&self.model, path);
        }
    }

    fn finish(&mut self) {
        for last in [Op::Kill, Op::Remount] {
            self.step(&last);
            assert_eq!(fsck(self.real.vfs()), [""; 0]);
        }
    }
}

fn live(seed: u64) -> u64 {
    let mut ops = Vec::new();
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let world = World::new();
        let mut pair = Pair::new(&world);
        let mut rng = Rng::new(seed);
        for _ in 0..LIFE {
            ops.push(ops::next(&mut rng, &pair.model));
            pair.step(&ops[ops.len() - 1]);
        }
        pair.finish();
    }));
    if let Err(panic) = failed {
        for op in shortest(ops, &kind(&*panic)) {
            println!("    {op:?}");
        }
        resume_unwind(panic);
    }
    LIFE
}

/// What went wrong, without the numbers.
fn kind(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    text.chars()
        .filter(|c| !c.is_ascii_digit())
        .take(60)
        .collect()
}

fn fails(ops: &[Op], wanted: &str) -> bool {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let world = World::new();
        let mut pair = Pair::new(&world);
        for op in ops {
            pair.step(op);
        }
        pair.finish();
    }));
    result.is_err_and(|panic| kind(&*panic) == wanted)
}

/// Leaves out whatever is not needed for the failure.
fn shortest(mut ops: Vec<Op>, wanted: &str) -> Vec<Op> {
    println!("leaving out what does not matter:");
    let mut span = ops.len() / 2;
    while span > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + span).min(ops.len()));
            if fails(&fewer, wanted) {
                ops = fewer;
            } else {
                at += span;
            }
        }
        span /= 2;
    }
    ops
}

#[test]
fn the_filesystem_does_what_the_model_does() {
    cases("KMSFS_MODEL_OPERATIONS", 10_000, live);
}
