//! Telling systemd(1) that the mount answers, when a unit of `Type=notify`
//! started it.

use std::{
    ffi::OsString,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Says `READY=1` where `NOTIFY_SOCKET` points; without it nothing.
pub(super) fn ready() {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        // A service manager that does not listen is no reason not to mount.
        let _ = send(&socket, b"READY=1\n");
    }
}

fn send(socket: &OsString, message: &[u8]) -> std::io::Result<usize> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_hears_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(&path.into_os_string(), b"READY=1\n").unwrap();
        let mut heard = [0; 32];
        let len = socket.recv(&mut heard).unwrap();
        assert_eq!(&heard[..len], b"READY=1\n");
    }
}
