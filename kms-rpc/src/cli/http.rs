//! One POST to the daemon. Nothing else is needed of HTTP here: one request, one answer, then the connection ends.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::auth::read_cookie;

/// The longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Where the daemon is.
pub(super) enum To {
    /// Host and port.
    Net(String),
    /// A socket on this machine.
    Unix(PathBuf),
}

/// By what a daemon lets somebody in.
pub(super) enum Credential {
    /// User and password.
    Given(Zeroizing<String>),
    /// The file in which the daemon writes one at each start; read at each call.
    Cookie(PathBuf),
    /// Being the user at a Unix socket.
    Local,
}

/// Calls a daemon.
pub(super) struct Caller {
    to: To,
    credential: Credential,
    timeout: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Neither a password nor a cookie.
    #[error("Could not locate RPC credentials: there is no cookie, and no rpcpassword was given.")]
    NoCookie,
    /// Nobody listens there.
    #[error("Could not connect to the server: {0}")]
    Unreachable(io::Error),
    /// The connection ended in the middle.
    #[error("The server did not answer as a server does: {0}")]
    Broken(io::Error),
}

impl Caller {
    pub(super) const fn new(to: To, credential: Credential, timeout: Option<Duration>) -> Self {
        Self {
            to,
            credential,
            timeout,
        }
    }

    /// The status and the body of the answer.
    pub(super) fn post(&self, body: &str) -> Result<(u16, Vec<u8>), CallError> {
        match &self.to {
            To::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(CallError::Unreachable)?;
                let set = stream.set_read_timeout(self.timeout);
                set.map_err(CallError::Broken)?;
                exchange(stream, "localhost", None, body).map_err(CallError::Broken)
            }
            To::Net(address) => {
                let credential = self.credential()?;
                let stream = connect(address).map_err(CallError::Unreachable)?;
                let set = stream.set_read_timeout(self.timeout);
                set.map_err(CallError::Broken)?;
                exchange(stream, address, credential.as_ref(), body).map_err(CallError::Broken)
            }
        }
    }

    fn credential(&self) -> Result<Option<Zeroizing<String>>, CallError> {
        match &self.credential {
            Credential::Given(text) => Ok(Some(text.clone())),
            Credential::Cookie(path) => match read_cookie(path) {
                Ok(cookie) => Ok(Some(cookie)),
                Err(_) => Err(CallError::NoCookie),
            },
            Credential::Local => Ok(None),
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(
    mut stream: impl Read + Write,
    host: &str,
    credential: Option<&Zeroizing<String>>,
    body: &str,
) -> io::Result<(u16, Vec<u8>)> {
    let basic = credential.map_or_else(String::new, |credential| {
        let encoded = BASE64.encode(credential.trim().as_bytes());
        format!("Authorization: Basic {encoded}\r\n")
    });
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{basic}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    // A server that refuses a long request may answer before all of it was sent.
    let sent = stream
        .write_all(body.as_bytes())
        .and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let read = stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer);
    if answer.is_empty() {
        sent.and(read)?;
    }
    parse(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The daemon never sends in pieces: its answers have a length, or end with the connection.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let at = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..at)?).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, answer.get(at + 4..)?.to_vec()))
}
