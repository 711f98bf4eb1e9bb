//! The mount's side of the control socket.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{MAX_LINE, Request, short_address, socket_name};
use crate::{
    failure::{Exit, Failure},
    home::make_private_dir,
};

/// What answers requests; called on a thread of the connection.
pub trait Answer: Send + Sync + 'static {
    /// Answers one request of the user `uid`.
    fn answer(&self, request: Request, uid: u32) -> Result<serde_json::Value, Failure>;
}

/// A listening control socket; it goes away when this is dropped.
#[derive(Debug)]
pub struct Server {
    dir: Arc<File>,
    name: String,
    path: PathBuf,
    stopping: Arc<AtomicBool>,
}

/// How many connections are served at once.
const MAX_CONNECTIONS: usize = 16;

impl Server {
    /// Makes the socket for the mount at `point` and serves it.
    pub fn start(runtime: &Path, point: &Path, answer: Arc<dyn Answer>) -> Result<Self, Failure> {
        make_private_dir(runtime)?;
        let refuse = |err: std::io::Error| Failure::io("make the control socket in", runtime, &err);
        let dir = Arc::new(File::open(runtime).map_err(refuse)?);
        let name = socket_name(point);
        let path = runtime.join(&name);
        // One left by a crash: whoever mounts this point now owns the name.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(short_address(&dir, &name)).map_err(refuse)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(refuse)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&listener, &answer, &stop))
            .map_err(refuse)?;
        Ok(Self {
            dir,
            name,
            path,
            stopping,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = UnixStream::connect(short_address(&self.dir, &self.name));
        let _ = std::fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, answer: &Arc<dyn Answer>, stopping: &AtomicBool) {
    let running = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if running.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            running.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (answer, count) = (Arc::clone(answer), Arc::clone(&running));
        let served = std::thread::Builder::new()
            .name("control-connection".into())
            .spawn(move || {
                // A connection that breaks concerns nobody else.
                let _ = serve(stream, answer.as_ref());
                count.fetch_sub(1, Ordering::SeqCst);
            });
        if served.is_err() {
            running.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn serve(stream: UnixStream, answer: &dyn Answer) -> std::io::Result<()> {
    let uid = rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw();
    if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    // A silent connection may stay: `umount` waits on one for our end.
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if (&mut stream).take(MAX_LINE).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let result = match serde_json::from_str(&line) {
            Ok(request) => {
                let answered = catch_unwind(AssertUnwindSafe(|| answer.answer(request, uid)));
                answered.unwrap_or_else(|_| {
                    Err(Failure::new(
                        Exit::Software,
                        "The mount failed to answer; this is a mistake in kmsfs.",
                    ))
                })
            }
            Err(_) => Err(
                Failure::new(Exit::Usage, "This mount does not understand the request.")
                    .why("It may be of another version.")
                    .now("Unmount and mount again."),
            ),
        };
        let reply = match result {
            Ok(value) => serde_json::json!({ "ok": value }),
            Err(failure) => failure.to_json(),
        };
        let mut reply = serde_json::to_vec(&reply)?;
        reply.push(b'\n');
        stream.get_mut().write_all(&reply)?;
    }
}
