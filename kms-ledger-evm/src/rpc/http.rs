//! As much of HTTP/1.1 as a POST of a JSON text and its answer need.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use super::{Fault, Provider, Scheme, tls};

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
const MAX_HEAD_BYTES: usize = 16 * 1024;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Posts `body` and returns the body of the answer.
pub(super) fn post(provider: &Provider, body: &[u8], patience: Duration) -> Result<Vec<u8>, Fault> {
    let deadline = Instant::now() + patience;
    let answer = exchange(provider, body, deadline).map_err(Fault::Silent)?;
    let at = answer
        .windows(4)
        .take(MAX_HEAD_BYTES)
        .position(|four| four == b"\r\n\r\n")
        .ok_or(Fault::Nonsense)?;
    let (head, rest) = answer.split_at(at);
    let head = std::str::from_utf8(head).map_err(|_| Fault::Nonsense)?;
    let body = rest.get(4..).unwrap_or_default();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    // Some answer an error of JSON-RPC with a status that is one too; its body is worth more than the number.
    if status.is_none_or(|status| status.len() != 3) {
        return Err(Fault::Nonsense);
    }
    let header = |name: &str| {
        head.split("\r\n").skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    if header("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
        return unchunk(body).ok_or(Fault::Nonsense);
    }
    let expected = header("content-length").and_then(|length| length.parse::<usize>().ok());
    match expected {
        Some(length) => body
            .get(..length)
            .map(<[u8]>::to_vec)
            .ok_or(Fault::Nonsense),
        None => Ok(body.to_vec()),
    }
}

fn exchange(provider: &Provider, body: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    let Provider {
        authority, path, ..
    } = provider;
    let socket = connect(authority, deadline)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(left(deadline)?))?;
    socket.set_read_timeout(Some(left(deadline)?))?;
    let mut stream: Box<dyn Stream> = match provider.scheme {
        Scheme::Http => Box::new(socket.try_clone()?),
        Scheme::Https => Box::new(tls::connect(provider.host(), socket.try_clone()?)?),
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        socket.set_read_timeout(Some(left(deadline)?))?;
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            // Many servers leave TLS without a word. Whether the answer is whole is seen by its length.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(answer),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        answer.extend(buffer.iter().take(read));
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(io::Error::other("the answer is too long"));
        }
    }
}

fn connect(authority: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the name has no address");
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = size.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(out);
        }
        let start = end.checked_add(2)?;
        let stop = start.checked_add(size)?;
        out.extend(rest.get(start..stop)?);
        rest = rest.get(stop.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_and_broken_ones_refused() {
        assert_eq!(
            unchunk(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"),
            Some(b"abcde".to_vec())
        );
        for broken in [&b"3\r\nab"[..], b"", b"zz\r\n", b"ffffffffffffffff\r\nabc"] {
            assert_eq!(unchunk(broken), None);
        }
    }
}
