//! The directories this client removes names from, kept so that a crash does not make its own removals look like
//! somebody else's (FRESHNESS §5).

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use super::rows::Id;

/// The file and what stands in it.
#[derive(Debug, Default)]
pub(super) struct Removals {
    path: Option<PathBuf>,
    file: Option<File>,
    dirs: HashSet<Id>,
    /// Those of the rows that are being written.
    leaving: HashSet<Id>,
    /// What an earlier mount may have removed before the machine crashed is not in the database yet.
    is_unknown: bool,
    /// The file's name is durable.
    is_durable: bool,
}

/// What an earlier mount has left.
#[derive(Debug)]
pub(super) enum Found {
    /// It ended in order, or with the process: these directories may have lost names by its doing.
    Dirs(Vec<Id>),
    /// The machine has been started since: any directory may.
    Unknown,
}

impl Found {
    pub(super) fn dirs(&self) -> &[Id] {
        match self {
            Self::Dirs(dirs) => dirs,
            Self::Unknown => &[],
        }
    }

    pub(super) const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

const NAME: &str = "seen.open";

impl Removals {
    /// Reads what was left in `dir` and begins anew, if the memory there is kept.
    pub(super) fn open(dir: &Path, is_kept: bool) -> (Self, Found) {
        if !is_kept {
            return (Self::default(), Found::Dirs(Vec::new()));
        }
        let path = dir.join(NAME);
        let found = match std::fs::read_to_string(&path) {
            Ok(text) => read(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Dirs(Vec::new()),
            Err(_) => Found::Unknown,
        };
        let this = Self {
            path: Some(path),
            // They count until a writing has dealt with them.
            dirs: found.dirs().iter().copied().collect(),
            is_unknown: found.is_unknown(),
            ..Self::default()
        };
        (this, found)
    }

    pub(super) fn remove(dir: &Path) {
        let _ = std::fs::remove_file(dir.join(NAME));
    }

    /// Notes a directory before a name goes from it.
    pub(super) fn add(&mut self, dir: &Id) {
        if self.path.is_none() || !self.dirs.insert(*dir) {
            return;
        }
        if self.file.is_none() {
            return self.rewrite();
        }
        let line = format!("{}\n", HEXLOWER.encode(dir));
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(line.as_bytes())
        {
            tracing::debug!(%error, "a removal was not noted");
        }
    }

    /// The rows seen so far are about to be written.
    pub(super) fn set_aside(&mut self) {
        self.leaving = std::mem::take(&mut self.dirs);
    }

    pub(super) fn written(&mut self) {
        let had_dirs = !std::mem::take(&mut self.leaving).is_empty();
        if std::mem::take(&mut self.is_unknown) || had_dirs {
            self.rewrite();
        }
    }

    pub(super) fn not_written(&mut self) {
        self.dirs.extend(std::mem::take(&mut self.leaving));
    }

    pub(super) fn close(&mut self) {
        self.file = None;
        if let Some(path) = &self.path
            && self.dirs.is_empty()
            && !self.is_unknown
        {
            let _ = std::fs::remove_file(path);
        }
    }

    fn rewrite(&mut self) {
        let Some(path) = &self.path else { return };
        // A line that is no boot's keeps what is unknown unknown.
        let mut text = if self.is_unknown {
            "-".to_owned()
        } else {
            boot_id()
        };
        text.push('\n');
        for dir in self.dirs.iter().chain(&self.leaving) {
            HEXLOWER.encode_append(dir, &mut text);
            text.push('\n');
        }
        let new = path.with_extension("new");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file))
            .and_then(|file| std::fs::rename(&new, path).map(|()| file));
        match written {
            Ok(file) => {
                if !self.is_durable {
                    // From here on a power cut leaves a trace, whatever else of the file it leaves.
                    let dir = path.parent().map(File::open);
                    let synced = file.sync_all().is_ok();
                    self.is_durable =
                        synced && dir.is_some_and(|dir| dir.and_then(|it| it.sync_all()).is_ok());
                }
                self.file = Some(file);
            }
            Err(error) => tracing::debug!(%error, "the list of removals was not written"),
        }
    }
}

fn read(text: &str) -> Found {
    let mut lines = text.lines();
    if lines.next() != Some(&boot_id()) {
        return Found::Unknown;
    }
    let dirs = lines.map(|line| {
        let bytes = HEXLOWER.decode(line.as_bytes()).ok()?;
        Id::try_from(bytes).ok()
    });
    dirs.collect::<Option<_>>()
        .map_or(Found::Unknown, Found::Dirs)
}

/// Differs from one start of the machine to the next.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
