//! Stands where the daemon is looked for, passes everything on, and notes it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What passed over one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    /// To the daemon.
    pub(super) asked: String,
    /// From the daemon.
    pub(super) answered: String,
}

impl Exchange {
    /// The status of each answer.
    pub(super) fn statuses(&self) -> impl Iterator<Item = &str> {
        self.answered
            .split("HTTP/1.1 ")
            .skip(1)
            .filter_map(|rest| rest.get(..3))
    }
}

type Seen = Arc<Mutex<Vec<Arc<Mutex<Exchange>>>>>;

/// A tap on the daemon at 127.0.0.2.
pub(super) struct Tap(Seen);

impl Tap {
    /// Listens on the usual addresses of the machine itself.
    pub(super) fn start(port: u16) -> Self {
        let seen = Seen::default();
        let v4 = TcpListener::bind(("127.0.0.1", port)).unwrap();
        // A machine may have no IPv6.
        let v6 = TcpListener::bind(("::1", port)).ok();
        for listener in [Some(v4), v6].into_iter().flatten() {
            let seen = Arc::clone(&seen);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let exchange = Arc::default();
                    seen.lock().unwrap().push(Arc::clone(&exchange));
                    if let Ok(daemon) = TcpStream::connect(("127.0.0.2", port)) {
                        pass(&stream, &daemon, &exchange, |it| &mut it.asked);
                        pass(&daemon, &stream, &exchange, |it| &mut it.answered);
                    }
                }
            });
        }
        Self(seen)
    }

    /// Waits until all this was asked since the last time, in whatever letters.
    #[track_caller]
    pub(super) fn wait_for(&self, lines: &[&str], within: Duration) {
        let end = Instant::now() + within;
        let asked = || {
            let seen = self.0.lock().unwrap();
            let asked = seen.iter().map(|it| it.lock().unwrap().asked.clone());
            asked.collect::<String>().to_ascii_lowercase()
        };
        for line in lines {
            while !asked().contains(line) {
                assert!(Instant::now() < end, "the browser has not sent {line}");
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// What has passed since the last time.
    pub(super) fn take(&self) -> Vec<Exchange> {
        let seen = std::mem::take(&mut *self.0.lock().unwrap());
        seen.iter().map(|it| it.lock().unwrap().clone()).collect()
    }
}

fn pass(
    from: &TcpStream,
    to: &TcpStream,
    exchange: &Arc<Mutex<Exchange>>,
    side: fn(&mut Exchange) -> &mut String,
) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let exchange = Arc::clone(exchange);
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            side(&mut exchange.lock().unwrap()).push_str(&text);
            if to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
