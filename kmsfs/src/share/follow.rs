//! Shared things that move (SEMANTICS 5.5): tickets learn the new place, and a
//! file saved by rename takes over the grants of the one it replaced.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

use kms_client::{
    OwnerRecord, Step,
    record::{Status, next_sequence},
};
use kms_crypto::id::LabelId;

use super::{
    Owner, Refused,
    owner::{path_of, steps},
    settle::Job,
};
use crate::vfs::{
    Ino, Vfs,
    hooks::{Moved, Removed},
};

/// How many renames are remembered while a label's place is not known.
const MOST_MOVED: usize = 256;

impl Owner {
    /// Something was renamed: every label whose recorded place no longer holds
    /// is looked for at the new one.
    ///
    /// A second rename can be under way while the first is looked at: a file
    /// moved into a directory that is moved in turn stands at neither place for
    /// a moment. So what was moved is kept until every label is found again.
    pub(super) fn follow_move(&self, moved: Ino) -> Result<(), Refused> {
        let vfs = self.vfs()?;
        let candidates: Vec<Ino> = {
            let mut queue = self.moved.lock();
            if queue.len() == MOST_MOVED {
                queue.pop_front();
            }
            queue.push_back(moved);
            queue.iter().rev().copied().collect()
        };
        let mut labels: Vec<LabelId> = Vec::new();
        for record in self.all_records() {
            if !labels.contains(&record.label) {
                labels.push(record.label);
            }
        }
        let mut all_found = true;
        for label in labels {
            let records = self.records_of(&label);
            let Some(recorded) = records.last().map(|record| record.path.clone()) else {
                continue;
            };
            if stands_at(&vfs, &label, &path_of(&recorded)) {
                continue;
            }
            let place = candidates.iter().find_map(|ino| {
                let new_place = vfs.locate(*ino).map(steps)?;
                find(&vfs, &label, &new_place, &recorded)
            });
            let Some(place) = place else {
                // What nobody can read any more may well be gone for good.
                all_found &= !records.iter().any(OwnerRecord::is_pending_or_live);
                continue;
            };
            for record in records {
                self.put_place(record, &place)?;
            }
        }
        if all_found {
            self.moved.lock().clear();
        }
        Ok(())
    }

    /// A saved file takes the label, and with it every grant, without a word to
    /// any node: their fragments work for every capsule of the label.
    pub(super) fn follow_save(&self, label: LabelId, by: Ino) -> Result<(), Refused> {
        let standing = self.standing(&label);
        let Some(last) = standing.last() else {
            return Ok(());
        };
        let vfs = self.vfs()?;
        let lock = self.hold(label);
        let _held = lock.lock();
        let info = vfs.adopt_label(by, label, last.generation)?;
        if info.label != label {
            // Shared by itself in the meantime: the other label has nothing left to stand on.
            self.worker.send(Job::End(label));
            return Ok(());
        }
        let Some(place) = vfs.locate(by).map(steps) else {
            self.moved.lock().push_back(by);
            return Ok(());
        };
        for record in self.records_of(&label) {
            self.put_place(record, &place)?;
        }
        Ok(())
    }

    /// Some editors put the old file aside, write a new one under its name, and then delete the
    /// old one: where a file came from is remembered for as long as that may take.
    pub(super) fn note_leaving(&self, moved: &Moved, at: Instant) {
        let Some((dir, name)) = moved.aside.clone().filter(|_| self.tunnel) else {
            return;
        };
        let mut left = self.left.lock();
        left.retain(|leaving| leaving.ino != moved.ino && leaving.at.elapsed() < SAVE_SPAN);
        if left.len() < MOST_MOVED {
            left.push(Leaving {
                ino: moved.ino,
                dir,
                name,
                at,
            });
        }
    }

    /// A labelled object lost its last name: saved in the way of [`Self::note_leaving`], or gone.
    pub(super) fn follow_removal(&self, removed: Removed) -> Result<(), Refused> {
        let left = {
            let mut left = self.left.lock();
            let found = left
                .iter()
                .position(|leaving| leaving.ino == removed.ino && leaving.at.elapsed() < SAVE_SPAN);
            found.map(|found| left.swap_remove(found))
        };
        if let Some(leaving) = left {
            let vfs = self.vfs()?;
            let dir = vfs.path_of(leaving.dir);
            let path = dir.map(|dir| dir.join(OsStr::from_bytes(&leaving.name)));
            if let Some(ino) = path.and_then(|path| vfs.resolve(&path).ok())
                // Made after the old one had gone: a file that was there before is no new version.
                && vfs.made_since(ino, self.uid, leaving.at).unwrap_or(false)
            {
                return self.follow_save(removed.label, ino);
            }
        }
        self.worker.send(Job::End(removed.label));
        Ok(())
    }

    /// Writes a record and its ticket with a new place.
    fn put_place(&self, mut record: OwnerRecord, place: &[Step]) -> Result<(), Refused> {
        if record.path == place {
            return Ok(());
        }
        record.path = place.to_vec();
        if record.status == Status::Preparing {
            return self.put(&record);
        }
        // Of several policies for one person the newest has the ticket.
        let earlier = self.records_of(&record.label);
        let newest = earlier
            .iter()
            .filter(|it| it.params.recipient == record.params.recipient)
            .all(|it| it.sequence <= record.sequence);
        if newest && !record.nodes.is_empty() {
            record.sequence = next_sequence(&earlier, &record.params.recipient, crate::time::now());
            self.put(&record)?;
            return self.write_ticket(&record);
        }
        self.put(&record)
    }
}

/// A file that was given another name in its directory.
pub(super) struct Leaving {
    ino: Ino,
    dir: Ino,
    name: Vec<u8>,
    at: Instant,
}

/// How long saving a file may take.
const SAVE_SPAN: Duration = Duration::from_secs(15);

/// Whether the object at a path has this label.
fn stands_at(vfs: &Vfs, label: &LabelId, path: &Path) -> bool {
    let Ok(ino) = vfs.resolve(path) else {
        return false;
    };
    matches!(vfs.label_of(ino), Ok(Some(info)) if info.label == *label)
}

/// The label's place now that something was renamed to `new`: there, or as far
/// below it as it was below the old place, which is some part of the recorded one.
fn find(vfs: &Vfs, label: &LabelId, new: &[Step], recorded: &[Step]) -> Option<Vec<Step>> {
    (0..=recorded.len()).rev().find_map(|from| {
        let below = recorded.get(from..)?;
        let path = path_of(&[new, below].concat());
        if !stands_at(vfs, label, &path) {
            return None;
        }
        // The names below are as they were; those in the store may not be.
        let ino = vfs.resolve(&path).ok()?;
        vfs.locate(ino).map(steps)
    })
}
