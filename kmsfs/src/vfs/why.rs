//! What last went wrong for whom, so that `why` can tell.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::{Result, Vfs, VfsError};
use crate::inode::Inode;

/// The last failure of a user at a path.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The name of the operation.
    pub operation: &'static str,
    /// Why.
    pub error: VfsError,
}

/// The failures that are remembered, a bounded number.
#[derive(Default)]
pub(super) struct Failures {
    by_path: Mutex<HashMap<(u32, PathBuf), Failure>>,
}

const MAX: usize = 1024;

impl Failures {
    fn put(&self, uid: u32, path: PathBuf, failure: Failure) {
        let mut by_path = self.by_path.lock();
        if by_path.len() >= MAX
            && !by_path.contains_key(&(uid, path.clone()))
            && let Some(oldest) = by_path
                .iter()
                .min_by_key(|(_, failure)| failure.at)
                .map(|(key, _)| key.clone())
        {
            by_path.remove(&oldest);
        }
        by_path.insert((uid, path), failure);
    }
}

impl Vfs {
    /// The last failure of `uid` at `path` (relative to the root), of whatever operation.
    #[must_use]
    pub fn last_failure(&self, uid: u32, path: &Path) -> Option<Failure> {
        self.failures
            .by_path
            .lock()
            .get(&(uid, path.to_owned()))
            .cloned()
    }

    /// Remembers a failure that needs an explanation, and passes the result on.
    pub(super) fn note<T>(
        &self,
        uid: u32,
        inode: &Inode,
        name: Option<&[u8]>,
        operation: &'static str,
        result: Result<T>,
    ) -> Result<T> {
        let Err(error) = &result else { return result };
        if matches!(error, VfsError::Os(errno) if *errno != Errno::ACCESS && *errno != Errno::PERM)
        {
            // What every filesystem says explains itself.
            return result;
        }
        if let Some(mut path) = self.path_of_inode(inode) {
            if let Some(name) = name {
                use std::os::unix::ffi::OsStrExt;
                path.push(std::ffi::OsStr::from_bytes(name));
            }
            let at = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs());
            self.failures.put(
                uid,
                path,
                Failure {
                    at,
                    operation,
                    error: error.clone(),
                },
            );
        }
        result
    }
}
