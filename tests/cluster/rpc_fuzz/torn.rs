//! Requests that somebody has bitten into, and what only HTTP can have.

use super::shapes::{CANARY, CANARY_HEX, Shapes};

impl Shapes<'_> {
    /// Bytes changed, lost, doubled, cut off.
    pub(super) fn torn(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        // What names a file must not come to name one elsewhere, and where a secret comes to stand is anybody's guess.
        let files = format!("{}/", self.files.display());
        for at in find(&bytes, files.as_bytes()).into_iter().rev() {
            bytes.drain(at..at + files.len());
        }
        for at in find(&bytes, CANARY.as_bytes()) {
            bytes[at] = b'F';
        }
        for at in find(&bytes, CANARY_HEX.as_bytes()) {
            bytes[at] = b'0';
        }
        self.bitten(bytes)
    }

    fn bitten(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.rng.below(4) {
            let at = self.rng.index(bytes.len() + 1);
            let end = (at + self.rng.index(40)).min(bytes.len());
            match self.rng.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                3 => {
                    let other = self.rng.bytes(end - at);
                    bytes.splice(at..end, other);
                }
                4 => {
                    let odd = ["\0", "\r\n", "\r\n\r\n", "[[[[", "\\u", "\u{80}", "\"", "}"];
                    let odd = self.rng.one_of(&odd).bytes();
                    bytes.splice(at..at, odd);
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.rng.below(8);
                    }
                }
            }
        }
        bytes
    }

    /// The same for the whole of a request, and what only HTTP can have.
    pub(super) fn torn_http(&mut self, request: Vec<u8>) -> Vec<u8> {
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let with = |line: &str| format!("{head}\r\n{line}\r\n\r\n{body}").into_bytes();
        match self.rng.below(14) {
            0 => with("Transfer-Encoding: chunked"),
            1 => with("Transfer-Encoding: identity, chunked"),
            2 => with("Content-Length: 5"),
            3 => with("Content-Length: 99999999999999999999"),
            4 => with(&format!("X-Long: {}", "x".repeat(self.rng.index(40_000)))),
            5 => with("X-Many: x\r\n".repeat(self.rng.index(300) + 1).trim_end()),
            6 => with("Expect: 100-continue"),
            7 => with("Authorization: Basic AAAA"),
            8 => {
                let chunked =
                    head.replace("Content-Length", "Transfer-Encoding: chunked\r\nX-Length");
                let len = body.len();
                format!("{chunked}\r\n\r\n{len:x};x=y\r\n{body}\r\n0\r\nX-Trailer: 1\r\n\r\n")
                    .into_bytes()
            }
            9 => {
                let longer = head.replace("Content-Length: ", "Content-Length: 9");
                format!("{longer}\r\n\r\n{body}").into_bytes()
            }
            10 => format!(
                "{}\r\n\r\n{body}{text}",
                head.replace("close", "keep-alive")
            )
            .into_bytes(),
            11 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            12 => format!(
                "{}\r\n\r\n{body}",
                head.replace("POST / ", "POST http://evil.example/ ")
            )
            .into_bytes(),
            _ => self.torn(text.into_bytes()),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(what.len()).enumerate();
    windows
        .filter(|(_, it)| *it == what)
        .map(|(at, _)| at)
        .collect()
}
