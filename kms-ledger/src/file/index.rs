//! The index a reader keeps for itself (LEDGER §5.2.2).

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use kms_proto::ledger::{Chain, Head, LedgerError};

use super::follow::View;

/// How many records may be missing in it: reading them takes a moment only.
const MISSING: u64 = 4096;
/// The part of a long ledger that may be missing while it is being followed.
const MISSING_PART: u64 = 16;

/// When it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keep {
    /// If it saves work the next time.
    AtOnce,
    /// The same, but seldom if it takes long.
    NowAndThen,
}

/// An index file.
pub(super) struct Index {
    path: PathBuf,
    /// The height up to which it goes.
    height: AtomicU64,
}

impl Index {
    pub(super) fn at(path: PathBuf) -> Self {
        Self {
            path,
            height: AtomicU64::new(0),
        }
    }

    /// Lets a view go on from what is in it, if it contains the head that was seen. If the ledger stands otherwise now,
    /// what was seen is at least what the index says.
    pub(super) fn resume(&mut self, view: &mut View, seen: &mut Head) -> Result<(), LedgerError> {
        let chain = view.chain();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "what was kept of the ledger cannot be read");
                }
                return Ok(());
            }
        };
        let Some((chain, places)) = Chain::from_index(&bytes, chain.network(), chain.order())
        else {
            tracing::warn!(
                "what was kept of the ledger is damaged or of another one, and made anew"
            );
            return Ok(());
        };
        let head = chain.head();
        if chain
            .hash_at(seen.height)
            .is_some_and(|hash| hash != seen.hash)
        {
            tracing::warn!("what was kept of the ledger is of another one, and made anew");
            return Ok(());
        }
        match view.resume(chain, places) {
            Ok(()) => *self.height.get_mut() = head.height,
            Err(LedgerError::Unavailable(error)) => return Err(LedgerError::Unavailable(error)),
            // Compacted, or not the ledger it was: it has to have the head in any case.
            Err(error) => {
                tracing::info!(%error, "the ledger is read from its beginning");
                if head.height > seen.height {
                    *seen = head;
                }
            }
        }
        Ok(())
    }

    /// Writes it, if enough is missing in it. It can always be made again.
    pub(super) fn keep(&self, view: &View, when: Keep) {
        let height = view.chain().head().height;
        let missing = height.saturating_sub(self.height.load(Ordering::Relaxed));
        let allowed = match when {
            Keep::AtOnce => MISSING,
            Keep::NowAndThen => MISSING.max(height / MISSING_PART),
        };
        if missing <= allowed {
            return;
        }
        self.height.store(height, Ordering::Relaxed);
        if let Err(error) = self.write(&view.chain().to_index(view.places())) {
            tracing::warn!(%error, "what follows from the ledger could not be kept");
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        // Two processes of one person may do this at once.
        name.push(format!(".{}.new", std::process::id()));
        let temporary = self.path.with_file_name(name);
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            // Not synced: a torn one is passed over.
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}
