//! The seam between protocol and network: one request, one response (WIRE §1).

use std::{future::Future, pin::Pin, time::Duration};

use kms_crypto::key::PublicKey;

/// A future behind a pointer, so that the trait can be an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why no response came.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Nobody answers at any known address.
    #[error("cannot be reached")]
    Unreachable,
    /// No response in time.
    #[error("did not answer in time")]
    Timeout,
    /// The connection ended in the middle.
    #[error("broke the connection off")]
    Closed,
    /// The peer at that address proved another key, or speaks another protocol.
    #[error("is not the node it should be")]
    WrongPeer,
    /// The response was longer than allowed.
    #[error("sent more than is allowed")]
    TooLarge,
    /// This side is shutting down or has too much under way.
    #[error("this side cannot send now")]
    Local,
}

/// Carries requests to nodes. The peer's key has been proven when a response is returned.
pub trait Transport: Send + Sync {
    /// Sends one encoded request to `node` and waits for its encoded response.
    ///
    /// `addrs` are multiaddresses known for it, tried beside what the transport knows itself.
    fn call<'a>(
        &'a self,
        node: &'a PublicKey,
        addrs: &'a [String],
        request: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>>;
}
