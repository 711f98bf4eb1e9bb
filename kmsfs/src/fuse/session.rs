//! The life of a mount: from the first answer to the clean end.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fuser::{Config, Session};
use nix::errno::Errno;

use super::{Bridge, MountOptions, direct};
use crate::vfs::Vfs;

/// A running mount. Dropping it detaches it without waiting.
#[derive(Debug)]
pub struct Mount {
    vfs: Arc<Vfs>,
    session: Option<fuser::BackgroundSession>,
    at: PathBuf,
}

/// Ends a mount from any thread.
#[derive(Clone, Debug)]
pub struct Unmounter {
    at: PathBuf,
}

impl Mount {
    pub(super) fn start(
        vfs: Arc<Vfs>,
        bridge: Bridge,
        at: &Path,
        options: &MountOptions,
        config: &Config,
    ) -> io::Result<Self> {
        let at = at.canonicalize()?;
        let Some(device) = direct::try_mount(&at, options)? else {
            let session = Session::new(bridge, &at, config)?.spawn()?;
            return Ok(Self {
                vfs,
                session: Some(session),
                at,
            });
        };
        let session = Session::from_fd(bridge, device, config.acl, config.clone())
            .and_then(Session::spawn)
            .inspect_err(|_| {
                // Nobody answers there: a dead mount must not stay.
                let _ = Unmounter { at: at.clone() }.unmount();
            })?;
        direct::read_further_ahead(&at);
        Ok(Self {
            vfs,
            session: Some(session),
            at,
        })
    }

    /// Something that unmounts from another thread, such as one that waits for signals.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        Unmounter {
            at: self.at.clone(),
        }
    }

    /// Waits until somebody unmounts, then makes everything durable ([`Vfs::close`]). `before_closing` is called between
    /// the two, for whoever has to finish something while the filesystem still works.
    ///
    /// # Errors
    /// The session broke, or not everything could be made durable.
    pub fn wait(mut self, before_closing: impl FnOnce()) -> io::Result<()> {
        let ended = self
            .session
            .take()
            .map_or(Ok(()), fuser::BackgroundSession::join)
            .or_else(ended_all_the_same);
        before_closing();
        self.vfs
            .close()
            .map_err(|err| io::Error::from(err.errno()))?;
        ended
    }
}

/// The kernel's word for a connection that ended while a thread was reading from it is not always ENODEV: once in some
/// hundred unmounts it was this one (Linux 6.18), and the unmount was reported as a failure.
fn ended_all_the_same(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::ConnectionAborted => Ok(()),
        _ => Err(error),
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.session.is_some() {
            let _ = self.unmounter().unmount();
        }
    }
}

impl Unmounter {
    /// Detaches the mount; open files stay usable until they are closed. [`Mount::wait`] then returns.
    ///
    /// # Errors
    /// The kernel or `fusermount3` refuses.
    pub fn unmount(&self) -> io::Result<()> {
        match nix::mount::umount2(&self.at, nix::mount::MntFlags::MNT_DETACH) {
            // Nothing is mounted there any more: somebody else was quicker.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            Err(Errno::EPERM) => self.unmount_by_helper(),
            Err(err) => Err(err.into()),
        }
    }

    fn unmount_by_helper(&self) -> io::Result<()> {
        let status = Command::new("fusermount3")
            .args(["-u", "-z", "--"])
            .arg(&self.at)
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(Errno::EPERM.into())
        }
    }
}
