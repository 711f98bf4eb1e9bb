//! HTTP (API §4.1): who may speak, how much, how long; then [`crate::rpc`].

use std::convert::Infallible;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::auth::{Credentials, User};
use crate::daemon::Daemon;
use crate::gate::Gate;
use crate::rpc::{self, Reply};

/// How many connections there may be at once besides those whose calls run or wait.
pub const SPARE_CONNECTIONS: usize = 32;
/// The longest body that is read.
pub const MAX_BODY_BYTES: usize = 4 << 20;
pub(crate) const MAX_HEADER_BYTES: usize = 16 << 10;
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Guessing is slow.
const PAUSE_AFTER_WRONG: Duration = Duration::from_millis(250);
/// How long requests under way may still take when the daemon ends.
const FINISH_WITHIN: Duration = Duration::from_secs(15);

/// What a server is made of.
pub struct ServerConfig {
    /// Who is let in.
    pub gate: Gate,
    /// Who is known.
    pub credentials: Credentials,
    /// How many calls run at once.
    pub threads: usize,
    /// How many more may wait.
    pub queue: usize,
    /// How long a body may take.
    pub timeout: Duration,
}

/// Speaks HTTP for a daemon.
pub struct Server {
    daemon: Arc<Daemon>,
    config: ServerConfig,
    connections: Semaphore,
    /// Whoever else is on this machine can take all others, without a credential.
    own_connections: Semaphore,
    running: Semaphore,
    waiting: Semaphore,
}

/// Where requests come from.
enum Peer {
    /// The network; the port it was listened on.
    Net { from: SocketAddr, port: u16 },
    /// This machine's user himself.
    Local,
}

/// A Unix socket; its file goes with it.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`, in place of a socket that nobody listens at any more.
    ///
    /// # Errors
    /// Something else is there, or a daemon is.
    pub fn bind(path: &Path) -> std::io::Result<Self> {
        // Only what nobody listens at any more: not what is somebody else's, and no other file.
        let connected = std::os::unix::net::UnixStream::connect(path);
        let is_left_over =
            connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        let is_socket = |it: Metadata| it.file_type().is_socket();
        if is_left_over && path.symlink_metadata().is_ok_and(is_socket) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Server {
    /// A server for `daemon`.
    #[must_use]
    pub fn new(daemon: Arc<Daemon>, config: ServerConfig) -> Arc<Self> {
        Arc::new(Self {
            daemon,
            connections: Semaphore::new(config.threads + config.queue + SPARE_CONNECTIONS),
            own_connections: Semaphore::new(config.threads + config.queue + SPARE_CONNECTIONS),
            running: Semaphore::new(config.threads),
            waiting: Semaphore::new(config.threads + config.queue),
            config,
        })
    }

    /// Serves until the daemon has been asked to end; requests under way are answered.
    pub async fn serve(self: Arc<Self>, listeners: Vec<TcpListener>, socket: Option<Socket>) {
        let (end, ended) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(Arc::clone(&self).accept(listener, ended.clone()));
        }
        if let Some(socket) = socket {
            tasks.spawn(Arc::clone(&self).accept_local(socket, ended.clone()));
        }
        self.daemon.stopped().await;
        let _ = end.send(true);
        let finished = timeout(FINISH_WITHIN, async {
            while tasks.join_next().await.is_some() {}
        });
        if finished.await.is_err() {
            tracing::warn!("requests are still under way, and are given up");
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, mut ended: watch::Receiver<bool>) {
        let port = listener.local_addr().map_or(0, |it| it.port());
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        let _ = stream.set_nodelay(true);
                        let peer = Peer::Net { from, port };
                        connections.spawn(Arc::clone(&self).connection(stream, peer, ended.clone()));
                    }
                    // No more file descriptors, mostly.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
                _ = ended.changed() => break,
            }
        }
        while connections.join_next().await.is_some() {}
    }

    async fn accept_local(self: Arc<Self>, socket: Socket, mut ended: watch::Receiver<bool>) {
        let me = rustix::process::geteuid().as_raw();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = socket.listener.accept() => {
                    let Ok((stream, _)) = accepted else {
                        sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    let user = stream.peer_cred().map(|it| it.uid());
                    if user.is_ok_and(|user| user == me || user == 0) {
                        connections.spawn(Arc::clone(&self).connection(stream, Peer::Local, ended.clone()));
                    }
                },
                Some(_) = connections.join_next() => {}
                _ = ended.changed() => break,
            }
        }
        while connections.join_next().await.is_some() {}
    }

    async fn connection(
        self: Arc<Self>,
        mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        mut ended: watch::Receiver<bool>,
    ) {
        let connections = match &peer {
            Peer::Net { .. } => &self.connections,
            Peer::Local => &self.own_connections,
        };
        let Ok(_permit) = connections.try_acquire() else {
            let _ = stream.write_all(TOO_MANY).await;
            return;
        };
        let service = service_fn(|request| self.respond(request, &peer));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_WITHIN)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        loop {
            tokio::select! {
                // What clients do wrong on the wire is their business.
                _ = connection.as_mut() => return,
                _ = ended.changed() => connection.as_mut().graceful_shutdown(),
            }
        }
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let mut response = self.answer(request, peer).await;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(response)
    }

    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Full<Bytes>> {
        let user = match self.admit(&request, peer).await {
            Err(refusal) => return refusal,
            Ok(user) => user,
        };
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "Work queue depth exceeded");
        };
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        let body = match timeout(self.config.timeout, body).await {
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "The request takes too long"),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return text(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large");
            }
            Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "The request breaks off"),
            Ok(Ok(body)) => body.to_bytes(),
        };
        let Ok(_running) = self.running.acquire().await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "The server ends");
        };
        match rpc::answer(&self.daemon, &user, &body).await {
            Reply::Json(status, document) => json(status, document),
            Reply::Nothing => Response::builder()
                .status(StatusCode::NO_CONTENT)
                .body(Full::default())
                .unwrap_or_default(),
            Reply::Forbidden => {
                tracing::warn!(user = user.name(), "called what is not on the whitelist");
                text(StatusCode::FORBIDDEN, "This user may not call that")
            }
        }
    }

    /// Everything that is checked before the body is read, in the order of API §4.1.
    async fn admit(
        &self,
        request: &Request<Incoming>,
        peer: &Peer,
    ) -> Result<User, Response<Full<Bytes>>> {
        let headers = request.headers();
        let port = match peer {
            Peer::Net { from, port } => {
                if !self.config.gate.lets_in(from.ip()) {
                    return Err(text(StatusCode::FORBIDDEN, "This address is not allowed"));
                }
                Some(*port)
            }
            Peer::Local => None,
        };
        if let Some(why) = self.config.gate.refuses(request.uri(), headers, port) {
            return Err(text(StatusCode::FORBIDDEN, why));
        }
        if request.uri().path() != "/" {
            return Err(text(StatusCode::NOT_FOUND, "There is nothing here"));
        }
        if request.method() != Method::POST {
            let why = "JSONRPC server handles only POST requests";
            return Err(text(StatusCode::METHOD_NOT_ALLOWED, why));
        }
        let user = match peer {
            Peer::Local => User::local(),
            Peer::Net { from, .. } => {
                let shown = headers.get(AUTHORIZATION);
                let shown = shown.and_then(|value| value.to_str().ok());
                match self.config.credentials.check(shown) {
                    Some(user) => user,
                    None => {
                        tracing::warn!(%from, "wrong credential");
                        sleep(PAUSE_AFTER_WRONG).await;
                        return Err(unauthorized());
                    }
                }
            }
        };
        let kind = headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let why = "The content type must be application/json";
            return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        Ok(user)
    }
}

pub(crate) fn text(status: StatusCode, line: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{line}\n")));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::UNAUTHORIZED, "A credential is needed");
    let basic = HeaderValue::from_static("Basic realm=\"jsonrpc\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, basic);
    response
}

fn json(status: u16, mut document: String) -> Response<Full<Bytes>> {
    document.push('\n');
    let mut response = Response::new(Full::from(document));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

pub(crate) const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\
    Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n";
