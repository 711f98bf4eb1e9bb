//! What a web server of a test hears and says: one request, one answer, and the connection is over.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::TcpStream;

/// One request, as far as it matters to tests.
pub struct Request {
    /// What is asked for, without what follows a question mark.
    pub path: String,
    /// What follows it.
    pub query: String,
    /// What was sent.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads one; nothing if the connection ends before it has.
    pub fn read(stream: &TcpStream) -> Result<Option<Self>> {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut len = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                len = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = Vec::new();
        reader.take(len).read_to_end(&mut body)?;
        let target = first.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Some(Self {
            path: path.to_owned(),
            query: query.to_owned(),
            body,
        }))
    }
}

/// Answers; `status` is `200 OK`, for example, and `kind` the type of the content.
pub fn answer(mut stream: &TcpStream, status: &str, kind: &str, body: &[u8]) -> Result<()> {
    let len = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}
