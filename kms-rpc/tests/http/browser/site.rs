//! Somebody else's web server: it serves the pages, and hears what they have seen.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use kms_tests::web::{Request, answer};
use serde_json::Value;

/// The files.
pub(super) const PAGES: [(&str, &str); 4] = [
    ("/attacks.js", include_str!("attacks.js")),
    ("/foreign.html", include_str!("foreign.html")),
    ("/rebound.html", include_str!("rebound.html")),
    ("/opened.html", include_str!("opened.html")),
];

/// A server.
pub(super) struct Site {
    /// Where it listens.
    pub(super) address: SocketAddr,
    told: Receiver<(String, Value)>,
}

impl Site {
    /// Serves the pages. Once `/rebind` was asked for, its name leads to the daemon at that port instead, as it does when
    /// a name server has changed its mind.
    pub(super) fn start(address: &str, then: Option<u16>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = channel();
        let is_rebound = Arc::new(AtomicBool::new(false));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, is_rebound) = (tell.clone(), Arc::clone(&is_rebound));
                thread::spawn(move || match (then, is_rebound.load(Ordering::SeqCst)) {
                    (Some(port), true) => become_daemon(&stream, port),
                    _ => drop(serve(&stream, &tell, &is_rebound)),
                });
            }
        });
        Self { address, told }
    }

    /// What so many pages have told.
    #[track_caller]
    pub(super) fn reports(&self, count: usize, within: Duration) -> HashMap<String, Value> {
        let end = Instant::now() + within;
        let mut reports = HashMap::new();
        while reports.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left) {
                Ok((page, seen)) => drop(reports.insert(page, seen)),
                Err(_) => panic!("only these pages came to their end: {:?}", reports.keys()),
            }
        }
        reports
    }
}

fn serve(
    stream: &TcpStream,
    tell: &Sender<(String, Value)>,
    is_rebound: &AtomicBool,
) -> std::io::Result<()> {
    let Some(request) = Request::read(stream)? else {
        return Ok(());
    };
    let page = PAGES.iter().find(|(name, _)| *name == request.path);
    let (status, kind, text) = match (request.path.as_str(), page) {
        (_, Some((name, text))) if name.ends_with(".js") => ("200 OK", "text/javascript", *text),
        (_, Some((_, text))) => ("200 OK", "text/html", *text),
        ("/honest", None) => ("200 OK", "text/plain", "yes"),
        ("/rebind", None) => {
            is_rebound.store(true, Ordering::SeqCst);
            ("200 OK", "text/plain", "done")
        }
        ("/report", None) => {
            let seen = serde_json::from_slice(&request.body).unwrap_or_default();
            let _ = tell.send((request.query, seen));
            ("200 OK", "text/plain", "heard")
        }
        _ => ("404 Not Found", "text/plain", ""),
    };
    answer(stream, status, kind, text.as_bytes())
}

fn become_daemon(stream: &TcpStream, port: u16) {
    let Ok(daemon) = TcpStream::connect(("127.0.0.1", port)) else {
        return;
    };
    let copy = |from: &TcpStream, to: &TcpStream| {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        })
    };
    let (there, back) = (copy(stream, &daemon), copy(&daemon, stream));
    let _ = (there.join(), back.join());
}
