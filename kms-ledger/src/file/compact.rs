//! Leaving out what says nothing any more, under the same hashes (LEDGER §5.2.1).

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use kms_proto::ledger::{ChainFault, Compaction, Heading, LedgerError};

use super::{
    FileLedger,
    follow::{Held, View},
    frame, unavailable,
};

/// What compacting a ledger came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Compacted {
    /// How many records there are, all in all.
    pub records: u64,
    /// How many entries were left out this time.
    pub left_out: u64,
    /// How long the file was.
    pub bytes_before: u64,
    /// How long it is.
    pub bytes_after: u64,
}

/// What has been done, for tests that let the process die there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Made,
    Written,
    Synced,
    ReadBack,
    Renamed,
    Done,
}

impl FileLedger {
    /// Leaves out the entries that say nothing any more. Who has seen any head of the ledger finds it there still. Nodes
    /// may go on meanwhile: they wait to append, and then read what has taken the ledger's place.
    pub fn compact(&self) -> Result<Compacted, LedgerError> {
        self.compact_with(&mut |_| Ok(()))
    }

    fn compact_with(
        &self,
        done: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<Compacted, LedgerError> {
        if !self.writer {
            return Err(LedgerError::ReadOnly);
        }
        let _turn = self.turn.lock();
        let locked = self.lock_file()?;
        let now = (self.clock)();
        self.with_view_while(Held::Yes, |view| {
            let head = view.chain().head();
            let mut compaction = Compaction::default();
            let mut headings = HashMap::new();
            for height in 1..=head.height {
                // That they are what was read is seen when the new file is.
                let record = view.record(height).map_err(unavailable)?;
                let looked_at = compaction.look_at(height, &record);
                let heading = looked_at.map_err(|error| tampered(height, error.into()))?;
                headings.extend(heading.map(|heading| (height, heading)));
            }
            let left_out: HashSet<u64> = compaction.left_out(head.time).into_iter().collect();
            headings.retain(|height, _| left_out.contains(height));
            let mut compacted = Compacted {
                records: head.height,
                left_out: headings.len() as u64,
                bytes_before: view.places().end,
                bytes_after: view.places().end,
            };
            if headings.is_empty() {
                return Ok(compacted);
            }
            // Behind a link, the ledger is where it leads.
            let path = fs::canonicalize(&self.path).map_err(unavailable)?;
            let new = NewFile::beside(&path, &locked.0).map_err(unavailable)?;
            done(Step::Made).map_err(unavailable)?;
            write(view, &new.file, &headings)?;
            done(Step::Written).map_err(unavailable)?;
            new.file.sync_all().map_err(unavailable)?;
            done(Step::Synced).map_err(unavailable)?;
            compacted.bytes_after = check(view, &new.path, now)?;
            done(Step::ReadBack).map_err(unavailable)?;
            new.rename_to(&path).map_err(unavailable)?;
            done(Step::Renamed).map_err(unavailable)?;
            frame::sync_directory(&path)?;
            done(Step::Done).map_err(unavailable)?;
            Ok(compacted)
        })
    }
}

/// Writes all records, of some their headings.
fn write(view: &View, file: &File, headings: &HashMap<u64, Heading>) -> Result<(), LedgerError> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&frame::header()).map_err(unavailable)?;
    for height in 1..=view.chain().head().height {
        let record = match headings.get(&height) {
            Some(heading) => heading.to_bytes(),
            None => view.record(height).map_err(unavailable)?,
        };
        out.write_all(&frame::encode(&record))
            .map_err(unavailable)?;
    }
    out.flush().map_err(unavailable)
}

/// Reads it as everybody will, before it takes the ledger's place; its length.
fn check(view: &View, path: &Path, now: u64) -> Result<u64, LedgerError> {
    let file = File::open(path).map_err(unavailable)?;
    let chain = view.chain();
    let mut new = View::new(file, chain.network(), chain.order(), false).map_err(unavailable)?;
    new.believe(Some(chain.head()));
    new.follow(path, now, Held::Yes)?;
    if new.chain().head() != chain.head() || new.chain().nodes() != chain.nodes() {
        let height = new.chain().head().height;
        return Err(tampered(height, ChainFault::LeftOut));
    }
    Ok(new.places().end)
}

fn tampered(height: u64, fault: ChainFault) -> LedgerError {
    LedgerError::Tampered { height, fault }
}

/// A file that goes away unless it takes another one's place.
struct NewFile {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl NewFile {
    /// For those who may read and write the old one.
    fn beside(path: &Path, old: &File) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".compact");
        let path = path.with_file_name(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let meta = old.metadata()?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let new = Self {
            path,
            file,
            renamed: false,
        };
        let made = new.file.metadata()?;
        if (made.uid(), made.gid()) != (meta.uid(), meta.gid()) {
            fchown(&new.file, Some(meta.uid()), Some(meta.gid()))?;
        }
        new.file.set_permissions(meta.permissions())?;
        Ok(new)
    }

    fn rename_to(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
