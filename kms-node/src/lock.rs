//! One program per directory: a lock that ends with the process, however that ends.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for a lock: a process that was just killed may not be quite gone.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(20);

/// Takes the lock of a directory that is there. None if another process keeps it.
pub fn take(directory: &Path) -> io::Result<Option<File>> {
    let lock = File::create(directory.join("lock"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(None),
            Err(fs::TryLockError::WouldBlock) => thread::sleep(INTERVAL),
        }
    }
}
