//! The requests a node has done, in a file: one that was restarted does none of them a second time (NODE §4).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use kms_proto::CLOCK_SKEW_SECONDS;
use kms_proto::signed::Mark;
use parking_lot::Mutex;

const RECORD_BYTES: usize = 24;
/// So many records are appended before the file is written anew with those that still count.
const RECORDS_APPENDED: usize = 1 << 16;

/// The file, and what was in it when it was opened.
#[derive(Debug)]
pub struct RequestLog {
    path: PathBuf,
    recalled: Mutex<Vec<Mark>>,
    open: Mutex<Open>,
    failed: AtomicBool,
}

#[derive(Debug)]
struct Open {
    file: File,
    appended: usize,
}

impl RequestLog {
    /// Opens the file, or makes it. What is over at `now`, Unix seconds, is left out: nobody can repeat it any more.
    pub fn open(path: &Path, now: u64) -> io::Result<Self> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let (records, _) = bytes.as_chunks::<RECORD_BYTES>();
        let counts = |it: &Mark| it.deadline.saturating_add(CLOCK_SKEW_SECONDS) >= now;
        let recalled: Vec<Mark> = records.iter().map(mark).filter(counts).collect();
        let file = rewrite(path, &recalled)?;
        Ok(Self {
            path: path.to_owned(),
            recalled: Mutex::new(recalled),
            open: Mutex::new(Open { file, appended: 0 }),
            failed: AtomicBool::new(false),
        })
    }

    /// What was in the file when it was opened; once.
    pub fn recalled(&self) -> Vec<Mark> {
        std::mem::take(&mut *self.recalled.lock())
    }

    /// Adds a request. `live` are all that count, when the file has to be written anew.
    pub fn note(&self, mark: Mark, live: impl FnOnce() -> Vec<Mark>) {
        let mut open = self.open.lock();
        let written = if open.appended >= RECORDS_APPENDED {
            rewrite(&self.path, &live()).map(|file| *open = Open { file, appended: 0 })
        } else {
            open.appended += 1;
            open.file.write_all(&record(&mark))
        };
        drop(open);
        match written {
            Ok(()) => self.failed.store(false, Ordering::Relaxed),
            // Serving is worth more than this second line of defence.
            Err(error) if !self.failed.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "requests cannot be noted: after a restart they could be repeated");
            }
            Err(_) => {}
        }
    }
}

fn rewrite(path: &Path, marks: &[Mark]) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&marks.iter().flat_map(record).collect::<Vec<u8>>())?;
    fs::rename(&temporary, path)?;
    Ok(file)
}

fn record(mark: &Mark) -> [u8; RECORD_BYTES] {
    let mut out = [0; RECORD_BYTES];
    out[..8].copy_from_slice(&mark.deadline.to_be_bytes());
    out[8..].copy_from_slice(&mark.id);
    out
}

fn mark(record: &[u8; RECORD_BYTES]) -> Mark {
    let (deadline, id) = record
        .split_first_chunk::<8>()
        .expect("a record is longer than a number");
    Mark {
        deadline: u64::from_be_bytes(*deadline),
        id: id.try_into().expect("the rest are 16 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: u64) -> Mark {
        Mark {
            deadline: number,
            id: [7; 16],
        }
    }

    #[test]
    fn what_was_noted_is_there_again_and_what_is_over_goes_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("requests");
        let log = RequestLog::open(&path, 0).unwrap();
        log.note(numbered(1), Vec::new);
        log.note(numbered(2), Vec::new);
        drop(log);
        // A process that is killed may leave half a record.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&[9; 10]).unwrap();
        let log = RequestLog::open(&path, 0).unwrap();
        assert_eq!(log.recalled(), [numbered(1), numbered(2)]);
        for number in 0..=RECORDS_APPENDED as u64 {
            log.note(numbered(number), || vec![numbered(5)]);
        }
        drop(log);
        let log = RequestLog::open(&path, 0).unwrap();
        assert_eq!(log.recalled(), [numbered(5)]);
    }
    #[test]
    fn what_is_over_is_not_carried_from_start_to_start() {
        // Each start wrote back all that it found, and counted anew how much may be added: the file only grew.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("requests");
        let log = RequestLog::open(&path, 1000).unwrap();
        for deadline in [969, 970, 1030] {
            log.note(numbered(deadline), Vec::new);
        }
        drop(log);
        let log = RequestLog::open(&path, 1000).unwrap();
        assert_eq!(log.recalled(), [numbered(970), numbered(1030)]);
        assert_eq!(fs::read(&path).unwrap().len(), 2 * RECORD_BYTES);
    }
}
