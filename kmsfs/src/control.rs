//! The control socket of a running mount (CLI 6): one Unix socket for each
//! mount, only for the mounting user and root, one JSON document a line.
//!
//! It lets `grant`, `revoke` and `why` work on files that are read-only and on
//! paths that cannot be looked up.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use kms_crypto::kdf;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, sentence};

mod server;

pub use self::server::{Answer, Server};

/// What can be asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Who is there.
    Hello,
    /// Share a path; the value is that of `user.kms.grant`.
    Grant {
        /// The path inside the mount.
        path: Vec<u8>,
        /// Who, what, how long, how many.
        value: String,
    },
    /// Say what such a grant would be and cost, and change nothing.
    Estimate {
        /// The path inside the mount.
        path: Vec<u8>,
        /// Who, what, how long, how many.
        value: String,
    },
    /// How long the ledger usually takes to confirm what is written.
    Pace,
    /// Withdraw access; the value is that of `user.kms.revoke`.
    Revoke {
        /// The path inside the mount.
        path: Vec<u8>,
        /// Who.
        value: String,
    },
    /// Say what withdrawing it would be and cost, and change nothing.
    EstimateRevoke {
        /// The path inside the mount.
        path: Vec<u8>,
        /// Who.
        value: String,
    },
    /// Everything that is shared.
    Shares,
    /// Why the last operation on a path failed.
    Why {
        /// The path inside the mount.
        path: Vec<u8>,
    },
    /// How many nodes serve each grant below a path.
    Health {
        /// The path inside the mount.
        path: Vec<u8>,
        /// Whether to grant anew what has lost nodes.
        reissue: bool,
    },
    /// Who has used the grants below a path.
    Audit {
        /// The path inside the mount.
        path: Vec<u8>,
    },
    /// Health of the mount and the nodes.
    Status,
}

/// The longest line in either direction.
const MAX_LINE: u64 = 1 << 22;

/// Where the socket of a mount point is, as a name in the runtime directory.
pub fn socket_name(point: &Path) -> String {
    let hash = kdf::mac(
        &[0; 32],
        "kms/control-socket/1",
        &[point.as_os_str().as_bytes()],
    );
    format!("{}.sock", data_encoding::HEXLOWER.encode(&hash[..12]))
}

/// The address of a socket through a descriptor of its directory: the path of
/// a socket is limited to 107 bytes, the depth of a home directory is not.
fn short_address(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

/// A connection to a running mount.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the mount at `point`; `None` when none of this person's answers there.
    pub fn connect(runtime: &Path, point: &Path) -> Option<Self> {
        let dir = File::open(runtime).ok()?;
        let stream = UnixStream::connect(short_address(&dir, &socket_name(point))).ok()?;
        Some(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Asks and waits for the answer, at most `patience`.
    pub fn ask(
        &mut self,
        request: &Request,
        patience: Duration,
    ) -> Result<serde_json::Value, Failure> {
        let broken = |err: &std::io::Error| {
            let slow = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
            if slow.contains(&err.kind()) {
                Failure::new(Exit::TempFail, "The mount does not answer.")
                    .why(format!("It was given {} seconds.", patience.as_secs()))
            } else {
                Failure::new(Exit::Io, "The connection to the mount broke.").why(sentence(err))
            }
        };
        let mut line = serde_json::to_vec(request).expect("a request is plain data");
        line.push(b'\n');
        let mut ask = || -> std::io::Result<String> {
            self.stream.get_ref().set_read_timeout(Some(patience))?;
            self.stream.get_mut().write_all(&line)?;
            let mut answer = String::new();
            (&mut self.stream).take(MAX_LINE).read_line(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|err| broken(&err))?;
        let answer: serde_json::Value = serde_json::from_str(&answer).map_err(|_| {
            Failure::new(Exit::Software, "The mount's answer makes no sense.")
                .why("It may be of another version, or it ended just now.")
        })?;
        match Failure::from_json(&answer) {
            Some(failure) => Err(failure),
            None => Ok(answer.get("ok").cloned().unwrap_or_default()),
        }
    }

    /// Waits until the mount's process has ended, at most `patience`; whether it did.
    pub fn wait_for_end(mut self, patience: Duration) -> bool {
        let stream = self.stream.get_mut();
        let _ = stream.set_read_timeout(Some(patience));
        // Nothing is sent unasked: reading ends when the other side does.
        matches!(stream.read(&mut [0]), Ok(0)) || stream.take_error().is_ok_and(|err| err.is_some())
    }
}

#[cfg(test)]
mod tests;
