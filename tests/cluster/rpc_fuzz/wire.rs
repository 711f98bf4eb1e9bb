//! HTTP as it is written on the wire, right and wrong.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::Value;

use super::shapes::Shapes;

/// Nothing takes so long, however busy the machine: who waits longer has found something that hangs.
const WITHIN: Duration = Duration::from_secs(300);

/// Where the daemon is.
pub(super) struct Wire {
    pub(super) port: u16,
    pub(super) cookie: String,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Self {
            status: head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        })
    }

    pub(super) fn json(&self) -> Option<Value> {
        if !self.head.contains("content-type: application/json") {
            return None;
        }
        // Of several answers on one connection, the first.
        let mut values = serde_json::Deserializer::from_str(&self.body).into_iter();
        Some(values.next().expect("a document").expect("JSON"))
    }

    pub(super) fn shown(&self) -> String {
        let body: String = self.body.chars().take(4000).collect();
        format!("{}\n\n{body}", self.head)
    }
}

impl Wire {
    fn head(&self, len: usize) -> String {
        let credential = BASE64.encode(self.cookie.as_bytes());
        format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nAuthorization: Basic {credential}\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n",
            self.port
        )
    }

    /// A request that lacks nothing.
    pub(super) fn request(&self, body: &[u8]) -> Vec<u8> {
        [self.head(body.len()).as_bytes(), body].concat()
    }

    /// The answer to a request that lacks nothing.
    #[track_caller]
    pub(super) fn post(&self, body: &[u8]) -> Answer {
        self.send(&self.request(body), false).expect("an answer")
    }

    /// What comes back until the connection ends; nothing: it was no HTTP. With `is_all`, the daemon is told that nothing
    /// more follows, which is what it would otherwise wait for.
    #[track_caller]
    pub(super) fn send(&self, request: &[u8], is_all: bool) -> Option<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        // It may have answered before all is sent.
        let _ = stream.write_all(request);
        if is_all {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("it hangs: {}", String::from_utf8_lossy(request))
            }
            _ => Answer::parse(&bytes),
        }
    }

    /// A request with one thing in it for which it is refused, whatever it asks for.
    pub(super) fn refused(&self, shapes: &mut Shapes<'_>) -> Vec<u8> {
        let body = shapes.call().1.to_string();
        let head = self.head(body.len());
        let (from, to) = *shapes.rng.one_of(&[
            ("Authorization: Basic ", "Authorization: Basic AAAA"),
            ("Authorization: Basic ", "Authorization: Bearer "),
            ("Authorization", "X-Authorization"),
            ("Host: 127", "Host: 128"),
            ("Host: ", "Host: evil."),
            ("Content-Type: application/json", "Content-Type: text/plain"),
            ("Content-Type", "Content-Typo"),
            ("Connection: close", "Connection: close\r\nOrigin: null"),
            (
                "Connection: close",
                "Connection: close\r\nSec-Fetch-Site: cross-site",
            ),
            (
                "Connection: close",
                "Connection: close\r\nHost: evil.example",
            ),
            ("POST / ", "POST /wallet "),
            ("POST / ", "GET / "),
            ("POST / ", "CONNECT / "),
            ("HTTP/1.1", "HTTP/3.7"),
        ]);
        [head.replacen(from, to, 1).as_bytes(), body.as_bytes()].concat()
    }
}
