//! Ports for programs that are told where to listen.
//!
//! They lie below those that the kernel gives to connections, so that one on which nobody listens for a while, because a
//! node is killed and started again, is nobody else's meanwhile.

use std::net::TcpListener;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// What a devnet chooses from by itself begins above.
const PORTS: Range<u16> = 10_000..20_000;

/// Shows all tests on this machine what this process has taken, as long as it lives.
static TAKEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port for nobody but this process.
#[track_caller]
pub fn port() -> u16 {
    ports(1)
}

/// The first of `count` ports in a row, for nobody but this process.
#[track_caller]
pub fn ports(count: u16) -> u16 {
    let mut firsts = PORTS.step_by(usize::from(count));
    let (first, taken) = firsts
        .find_map(|first| {
            let taken: Option<Vec<_>> = (first..first + count).map(take).collect();
            Some((first, taken?))
        })
        .expect("no port is free");
    TAKEN.lock().unwrap().extend(taken);
    first
}

/// An address that no file stands for, and that its owner cannot leave behind.
fn take(port: u16) -> Option<UnixListener> {
    let mark = SocketAddr::from_abstract_name(format!("kms-tests-port-{port}")).unwrap();
    let mark = UnixListener::bind_addr(&mark).ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok()?;
    Some(mark)
}
