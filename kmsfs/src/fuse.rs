//! Puts a [`Vfs`] where programs see it: every request is a call and a reply, nothing more.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::vfs::Vfs;

/// How a mount is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MountOptions {
    /// What `mount` shows as the source.
    pub source: String,
    /// Whether other users may use the mount.
    pub allow_other: bool,
    /// Whether the kernel refuses every change.
    pub read_only: bool,
    /// How many requests are worked on at once, besides those that wait for the network.
    pub threads: usize,
    /// Whether key errors are folded into `EACCES` and `EIO`.
    pub posix_errno: bool,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            source: "kmsfs".to_owned(),
            allow_other: false,
            read_only: false,
            threads: 2,
            posix_errno: false,
        }
    }
}

/// A running mount. Dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    _private: (),
}

/// Ends a mount from any thread.
#[derive(Clone, Debug)]
pub struct Unmounter {
    _private: (),
}

/// Mounts; the mount answers when this returns.
///
/// # Errors
/// The kernel or `fusermount3` refuses.
#[expect(clippy::todo, reason = "bodies follow")]
pub fn mount(_vfs: Arc<Vfs>, _at: &Path, _options: &MountOptions) -> io::Result<Mount> {
    todo!()
}

#[expect(clippy::todo, reason = "bodies follow")]
impl Mount {
    /// Something that unmounts from another thread, such as one that waits for signals.
    pub fn unmounter(&self) -> Unmounter {
        todo!()
    }

    /// Waits until somebody unmounts, then makes everything durable ([`Vfs::close`]).
    ///
    /// # Errors
    /// The session broke, or not everything could be made durable.
    pub fn wait(self) -> io::Result<()> {
        todo!()
    }
}

#[expect(clippy::todo, reason = "bodies follow")]
impl Unmounter {
    /// Detaches the mount; open files stay usable until they are closed. [`Mount::wait`] then returns.
    ///
    /// # Errors
    /// The kernel or `fusermount3` refuses.
    pub fn unmount(&self) -> io::Result<()> {
        todo!()
    }
}
