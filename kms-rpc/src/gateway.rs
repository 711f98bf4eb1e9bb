//! The gateway (WIRE §8.1): pages on a list of origins reach nodes through it, and nothing else of the daemon.
//!
//! It listens on a port of its own and has no way to the methods, identities or files of [`crate::rpc`]; the RPC port goes
//! on refusing whatever a page sends.

mod rate;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kms_client::{Client, RelayError};
use kms_crypto::key::PublicKey;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::rate::Rate;
use crate::daemon::Daemon;
use crate::server::{MAX_HEADER_BYTES, TOO_MANY, text};

/// The port of a gateway that is told nothing else.
pub const DEFAULT_GATEWAY_PORT: u16 = 9471;
/// How many connections there may be at once.
const MAX_CONNECTIONS: usize = 256;
/// The longest request of WIRE §2.2.
const MAX_BODY_BYTES: usize = 16 << 10;
/// How long a header, and then a body, may take.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
const PATH: &str = "/v1/node/";
const BYTES: &str = "application/octet-stream";

/// An origin as browsers write it: scheme, host, and port unless it is the scheme's own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(HeaderValue);

impl Origin {
    /// `https://app.example`, `http://localhost:8000`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))?;
        let fits =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b':' | b'[' | b']');
        let is_origin = !host.is_empty() && host.bytes().all(fits);
        is_origin.then(|| HeaderValue::from_str(text).ok().map(Self))?
    }
}

/// What a gateway is made of.
pub struct GatewayConfig {
    /// The pages that it serves.
    pub origins: Vec<Origin>,
    /// How many requests a second one address may make.
    pub rate: u32,
}

/// Passes requests on.
pub struct Gateway {
    daemon: Arc<Daemon>,
    origins: Vec<Origin>,
    rate: Rate,
    connections: Semaphore,
}

impl Gateway {
    /// A gateway that uses a daemon's network.
    #[must_use]
    pub fn new(daemon: Arc<Daemon>, config: GatewayConfig) -> Arc<Self> {
        Arc::new(Self {
            daemon,
            origins: config.origins,
            rate: Rate::new(config.rate),
            connections: Semaphore::new(MAX_CONNECTIONS),
        })
    }

    /// Serves until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        let _ = stream.set_nodelay(true);
                        connections.spawn(Arc::clone(&self).connection(stream, from));
                    }
                    // No more file descriptors, mostly.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream, from: SocketAddr) {
        let Ok(_permit) = self.connections.try_acquire() else {
            let _ = stream.write_all(TOO_MANY).await;
            return;
        };
        let service = service_fn(|request| self.respond(request, from.ip()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(ARRIVES_WITHIN)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        // What clients do wrong on the wire is their business.
        let _ = connection.await;
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let Some(origin) = self.origin(request.headers()) else {
            let why = "This gateway does not serve that page";
            return Ok(with_headers(text(StatusCode::FORBIDDEN, why)));
        };
        let answer = self.answer(request, from).await;
        let mut response = with_headers(answer.unwrap_or_else(|refusal| refusal));
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        Ok(response)
    }

    /// The page's origin, if it is the only one named and on the list.
    fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut named = headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (named.next(), named.next()) else {
            return None;
        };
        let is_known = self.origins.iter().any(|it| it.0 == origin);
        is_known.then(|| origin.clone())
    }

    /// In the order of WIRE §8.1; a refusal is an `Err`.
    async fn answer(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
    ) -> Result<Response<Full<Bytes>>, Response<Full<Bytes>>> {
        if request.method() == Method::OPTIONS {
            return Ok(preflight());
        }
        let Some(name) = request.uri().path().strip_prefix(PATH) else {
            return Err(text(StatusCode::NOT_FOUND, "There is nothing here"));
        };
        let node: PublicKey = name
            .parse()
            .map_err(|_| text(StatusCode::NOT_FOUND, "There is no such node"))?;
        if request.method() != Method::POST {
            let why = "Only POST is served";
            return Err(text(StatusCode::METHOD_NOT_ALLOWED, why));
        }
        if !self.rate.admits(from, Instant::now()) {
            let mut refusal = text(StatusCode::TOO_MANY_REQUESTS, "Too many requests");
            let headers = refusal.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return Err(refusal);
        }
        if request
            .headers()
            .get(CONTENT_TYPE)
            .is_none_or(|it| it != BYTES)
        {
            let why = "The content type must be application/octet-stream";
            return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let body = read(request.into_body()).await?;
        let Some(client) = self.daemon.client() else {
            let why = "The network is not ready";
            return Err(text(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        relay(&client, &node, body).await
    }
}

async fn read(body: Incoming) -> Result<Vec<u8>, Response<Full<Bytes>>> {
    let body = Limited::new(body, MAX_BODY_BYTES).collect();
    match timeout(ARRIVES_WITHIN, body).await {
        Err(_) => Err(text(
            StatusCode::REQUEST_TIMEOUT,
            "The request takes too long",
        )),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request is too large",
        )),
        Ok(Err(_)) => Err(text(StatusCode::BAD_REQUEST, "The request breaks off")),
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
    }
}

async fn relay(
    client: &Client,
    node: &PublicKey,
    request: Vec<u8>,
) -> Result<Response<Full<Bytes>>, Response<Full<Bytes>>> {
    use kms_client::relay::TransportError::Timeout;
    let answer = client.relay(node, request).await.map_err(|error| {
        let (status, why) = match error {
            RelayError::NotPassed => (
                StatusCode::BAD_REQUEST,
                "Only a recipient's requests to this node pass",
            ),
            RelayError::UnknownNode => (StatusCode::NOT_FOUND, "The ledger has no such node"),
            RelayError::Ledger(_) => (StatusCode::SERVICE_UNAVAILABLE, "The ledger cannot be read"),
            RelayError::Node(Timeout) => (
                StatusCode::GATEWAY_TIMEOUT,
                "The node did not answer in time",
            ),
            _ => (StatusCode::BAD_GATEWAY, "The node cannot be reached"),
        };
        text(status, why)
    })?;
    let mut response = Response::new(Full::from(answer));
    let kind = HeaderValue::from_static(BYTES);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn preflight() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn with_headers(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_send_and_nothing_like_everybody() {
        for good in [
            "https://app.example",
            "http://localhost:8000",
            "http://[::1]:80",
        ] {
            assert!(Origin::parse(good).is_some(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "",
            "https://",
            "app.example",
            "https://app.example/",
            "https://App.example",
            "https://*.example",
            "ftp://app.example",
            "https://app.example\r\nX: y",
        ] {
            assert!(Origin::parse(bad).is_none(), "{bad:?}");
        }
    }
}
