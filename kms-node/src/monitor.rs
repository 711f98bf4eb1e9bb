//! What operators' tools ask: `/healthz`, `/readyz` and `/metrics` over HTTP, on loopback alone (CLI, kms-node).
//!
//! It is up before the node is: a node that waits for its storage key is alive and not ready, and says why.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::node::Node;

/// What is known of the node.
#[derive(Default)]
enum State {
    #[default]
    Starting,
    Serving(Arc<Node>),
    Stopping,
}

/// Answers operators' tools until it is dropped.
pub struct Monitor {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

const AT_ONCE: usize = 8;
const REQUEST_BYTES: usize = 4096;
const TIMEOUT: Duration = Duration::from_secs(5);

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Monitor {
    /// Listens on a loopback address.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Ok(Self {
            state,
            address,
            server,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node serves.
    pub fn serving(&self, node: Arc<Node>) {
        *self.state.lock() = State::Serving(node);
    }

    /// The node serves no more.
    pub fn stopping(&self) {
        *self.state.lock() = State::Stopping;
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of files, mostly: not a reason to spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // Who is slow, or goes away, gets nothing.
            drop(timeout(TIMEOUT, answer(stream, &state)).await);
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|it| it == b"\r\n\r\n") {
        let mut some = [0; 1024];
        let count = stream.read(&mut some).await?;
        request.extend_from_slice(&some[..count]);
        if count == 0 || request.len() > REQUEST_BYTES {
            return Ok(());
        }
    }
    let line = request.split(|byte| *byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let (status, body) = match line.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", path] => page(path, state),
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

fn page(path: &str, state: &Mutex<State>) -> (&'static str, String) {
    let node = match &*state.lock() {
        State::Serving(node) => Ok(Arc::clone(node)),
        State::Starting => Err("starting, or waiting for the storage key: the log says which"),
        State::Stopping => Err("stopping"),
    };
    match path {
        "/healthz" => match node {
            Ok(node) if node.vault().is_closed() => (
                "503 Service Unavailable",
                "not alive: its store is closed, and a new start opens it again\n".to_owned(),
            ),
            _ => ("200 OK", "alive\n".to_owned()),
        },
        "/readyz" => match node.and_then(|node| node.is_ready()) {
            Ok(()) => ("200 OK", "ready\n".to_owned()),
            Err(why) => ("503 Service Unavailable", format!("not ready: {why}\n")),
        },
        "/metrics" => (
            "200 OK",
            node.map_or_else(|_| String::new(), |it| metrics(&it)),
        ),
        _ => (
            "404 Not Found",
            "/healthz, /readyz or /metrics\n".to_owned(),
        ),
    }
}

/// The text that Prometheus reads.
fn metrics(node: &Node) -> String {
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, value: u64| {
        // Writing to memory cannot fail.
        let _ = writeln!(
            out,
            "# HELP kms_node_{name} {help}\n# TYPE kms_node_{name} gauge\nkms_node_{name} {value}"
        );
    };
    gauge("fragments", "Fragments kept.", node.vault().held());
    let ready = node.is_ready().is_ok();
    gauge("ready", "Whether it serves.", u64::from(ready));
    let head = node.view().head();
    gauge(
        "ledger_height",
        "The ledger's height as last seen; 0 if it is out of sight.",
        head.map_or(0, |head| head.height),
    );
    gauge(
        "fragments_to_hand_over",
        "What a node that leaves has yet to hand over.",
        node.retirement().map_or(0, |it| it.left),
    );
    let audit = node.audit().fill();
    gauge("audit_entries", "Entries of the audit log.", audit.entries);
    gauge(
        "audit_share",
        "How many entries of one policy are kept: less than 16384 when the log is full.",
        audit.share,
    );
    gauge(
        "audit_lost",
        "Requests that could not be noted since the start.",
        audit.lost,
    );
    let _ = writeln!(
        out,
        "# HELP kms_node_responses_total Requests answered, by answer.\n# TYPE kms_node_responses_total counter"
    );
    for (answer, count) in node.tally().counts() {
        let _ = writeln!(
            out,
            "kms_node_responses_total{{answer=\"{answer}\"}} {count}"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::audit::AuditLog;
    use crate::keyfile::StorageKey;
    use crate::node::{Parts, Service};
    use crate::rng;
    use crate::store::faults::Faulty;
    use crate::store::{Note, Slots, Vault};
    use kms_crypto::key::NodeSecret;
    use kms_ledger::{MemoryLedger, system_clock};
    use kms_proto::message::Query;

    fn node(store: Faulty) -> Arc<Node> {
        let key = StorageKey::from_bytes(&[1; 32]);
        let store = Box::new(store);
        Arc::new(Node::new(Parts {
            secret: NodeSecret::generate(&mut rng()),
            network: "test".to_owned(),
            vault: Vault::open(store, Slots::in_memory(), &key, 1).unwrap(),
            ledger: Arc::new(MemoryLedger::new("test", system_clock())),
            clock: system_clock(),
            max_fragments: 9,
            own_key: true,
            requests: None,
            audit: AuditLog::in_memory(),
        }))
    }

    async fn get(monitor: &Monitor, request: &str) -> String {
        let mut stream = TcpStream::connect(monitor.address()).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_node_is_alive_before_it_is_ready_and_counts_what_it_answers() {
        let monitor = Monitor::start("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        assert!(get(&monitor, "GET /healthz").await.contains("200 OK"));
        let waiting = get(&monitor, "GET /readyz").await;
        assert!(
            waiting.contains("503") && waiting.contains("storage key"),
            "{waiting}"
        );
        let node = node(Faulty::default());
        monitor.serving(Arc::clone(&node));
        let blind = get(&monitor, "GET /readyz").await;
        assert!(blind.contains("503") && blind.contains("ledger"), "{blind}");
        node.view().follow(0).unwrap();
        let stranger = get(&monitor, "GET /readyz").await;
        assert!(
            stranger.contains("503") && stranger.contains("registered"),
            "{stranger}"
        );
        node.promise(u64::MAX);
        assert!(get(&monitor, "GET /readyz").await.contains("200 OK"));
        let service = Service::new(node);
        service.answer(Query::Status.to_bytes()).await;
        service.answer(vec![0; 9]).await;
        let metrics = get(&monitor, "GET /metrics").await;
        for line in [
            "kms_node_ready 1",
            "kms_node_fragments 0",
            "kms_node_responses_total{answer=\"status\"} 1",
            "kms_node_responses_total{answer=\"bad_request\"} 1",
        ] {
            assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
        }
        assert!(get(&monitor, "POST /metrics").await.contains("405"));
        assert!(get(&monitor, "GET /else").await.contains("404"));
    }

    /// A node whose store took nothing any more was `ready`, one without a thread to write with was `alive`.
    #[tokio::test]
    async fn a_node_that_cannot_write_is_not_ready_and_one_that_never_will_is_not_alive() {
        let monitor = Monitor::start("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let store = Faulty::default();
        let node = node(store.clone());
        node.view().follow(0).unwrap();
        node.promise(u64::MAX);
        monitor.serving(Arc::clone(&node));
        let write = || node.vault().set_note(Note::LedgerHead, vec![1]);
        store.0.fails.store(true, Ordering::SeqCst);
        assert!(write().await.is_err());
        let full = get(&monitor, "GET /readyz").await;
        assert!(full.contains("503") && full.contains("store"), "{full}");
        assert!(get(&monitor, "GET /healthz").await.contains("200 OK"));
        store.0.fails.store(false, Ordering::SeqCst);
        write().await.unwrap();
        assert!(get(&monitor, "GET /readyz").await.contains("200 OK"));
        store.0.panics.store(true, Ordering::SeqCst);
        assert!(write().await.is_err());
        while !node.vault().is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(get(&monitor, "GET /readyz").await.contains("503"));
        assert!(get(&monitor, "GET /healthz").await.contains("503"));
    }
}
