//! A web server with a page that does what it is told, and beside it a gateway that lies.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kms_proto::message::{Refusal, Response};
use kms_tests::web::{Request, answer};
use serde_json::Value;

/// How long the page may take for one thing on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

/// What it serves.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    next: Sender<Value>,
    told: Receiver<Value>,
}

#[derive(Clone)]
struct Served {
    sealed: PathBuf,
    gateway: String,
    origin: String,
    /// What the page is to do next; asked for by one page.
    next: Arc<Mutex<Receiver<Value>>>,
    told: Sender<Value>,
}

impl Site {
    /// Serves the page beside an encrypted file. The lying gateway has its truth from the one at `gateway`.
    pub(super) fn start(listener: TcpListener, sealed: &Path, gateway: &str) -> Self {
        let address = listener.local_addr().unwrap();
        let ((next, to_do), (tell, told)) = (channel(), channel());
        let served = Served {
            sealed: sealed.to_owned(),
            gateway: gateway.to_owned(),
            origin: format!("http://{address}"),
            next: Arc::new(Mutex::new(to_do)),
            told: tell,
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                thread::spawn(move || drop(served.answer(&stream)));
            }
        });
        Self {
            address,
            next,
            told,
        }
    }

    /// Waits until the page is there.
    #[track_caller]
    pub(super) fn is_ready(&self) {
        let ready = self.told.recv_timeout(WITHIN);
        assert_eq!(ready.expect("the page did not load")["ready"], true);
    }

    /// Has the page do something; what came of it.
    #[track_caller]
    pub(super) fn does(&self, deed: Value) -> Value {
        self.next.send(deed).unwrap();
        self.told.recv_timeout(WITHIN).expect("the page is silent")
    }
}

impl Served {
    fn answer(&self, stream: &TcpStream) -> std::io::Result<()> {
        let Some(request) = Request::read(stream)? else {
            return Ok(());
        };
        let (kind, body) = match request.path.as_str() {
            "/next" => {
                let _ = self
                    .told
                    .send(serde_json::from_slice(&request.body).unwrap_or_default());
                let next = self.next.lock().unwrap().recv().unwrap_or_default();
                ("application/json", next.to_string().into_bytes())
            }
            "/sealed" | "/film.sealed" => ("application/octet-stream", fs::read(&self.sealed)?),
            path => match path.strip_prefix("/lying/") {
                Some(path) => ("application/octet-stream", self.lie(path, &request)),
                None => file(path),
            },
        };
        answer(stream, "200 OK", kind, &body)
    }

    /// `MANNER/v1/node/…`: what the honest gateway says, altered.
    fn lie(&self, path: &str, request: &Request) -> Vec<u8> {
        let (manner, path) = path.split_once('/').unwrap();
        let (_, mut truth) = post(
            &self.gateway,
            &format!("/{path}"),
            &self.origin,
            &request.body,
        );
        let is_fragment = matches!(
            Response::from_bytes(&truth),
            Ok(Response::Reencrypted { .. })
        );
        match manner {
            "altered" if is_fragment => {
                let at = truth.len() - 40;
                truth[at] ^= 1;
                truth
            }
            "revoked" if is_fragment => {
                let (at, epoch) = (1_700_000_000, 1);
                Response::Refused(Refusal::Revoked { at, epoch }).to_bytes()
            }
            "noise" => vec![7; 100_000],
            _ => truth,
        }
    }
}

/// A file of the page, or of the package.
fn file(path: &str) -> (&'static str, Vec<u8>) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = match path.strip_prefix("/kms/") {
        Some(name) => here.join("../target/browser/package").join(name),
        None => here
            .join("cluster/pages")
            .join(path.trim_start_matches('/')),
    };
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html",
        Some("mjs") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => "text/plain",
    };
    (kind, fs::read(file).unwrap_or_default())
}

/// A request as no browser would let a page make it: status and body, or its head where the status is not 200.
pub(super) fn post(to: &str, path: &str, origin: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(to).unwrap();
    let len = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {to}\r\nOrigin: {origin}\r\nContent-Type: application/octet-stream\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    (head, answer[end + 4..].to_vec())
}
