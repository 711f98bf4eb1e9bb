//! Somebody who can write into the store changes it. Whatever he does: every name, byte, mode, attribute and target is
//! exactly what was written, or an error, or the owner is told; and nothing else stops working.
//!
//! [`stage`] makes the store, [`attacks`] is the table, and each attack is tried against a store that is opened
//! afterwards, one that is open meanwhile, one that is written to afterwards, and `fsck`.

mod attacks;
mod bytes;
mod rollback;
mod stage;

use kmsfs::vfs::{Damage, Part, Result, VfsError};

pub(crate) fn part<T: std::fmt::Debug>(result: Result<T>) -> Part {
    match result {
        Err(VfsError::Damaged(Damage { part, .. })) => part,
        other => panic!("{other:?} is no damage"),
    }
}
