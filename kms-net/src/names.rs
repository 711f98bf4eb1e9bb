//! Addresses with a name in them, as `/dns4/node.example.org/tcp/4790`: looked up when they are called (NODE §1.1).
//!
//! As this machine looks names up. What a peer calls itself must not send us where its numeric addresses could not: in a
//! public network a name counts only for its public addresses, unless it stands in our own configuration.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;

use crate::address::{Scope, is_public};

/// So many addresses of a name are tried, in the order in which they are told.
const ADDRESSES_PER_NAME: usize = 4;

/// A transport that understands numeric addresses, and the names in front of it.
pub(crate) struct Names<T> {
    inner: Arc<Mutex<T>>,
    scope: Scope,
    own: Arc<HashSet<String>>,
}

/// The name that an address starts with, and which of its addresses are meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Name {
    text: String,
    family: Family,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    Any,
    Four,
    Six,
}

impl Name {
    pub(crate) fn of(address: &Multiaddr) -> Option<Self> {
        let (text, family) = match address.iter().next()? {
            Protocol::Dns(name) => (name, Family::Any),
            Protocol::Dns4(name) => (name, Family::Four),
            Protocol::Dns6(name) => (name, Family::Six),
            _ => return None,
        };
        let text = text.to_ascii_lowercase();
        Some(Self { text, family })
    }

    /// Asks the machine.
    pub(crate) async fn look_up(&self) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((self.text.as_str(), 0)).await?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for ip in found.map(|it| it.ip()) {
            let is_meant = match self.family {
                Family::Any => true,
                Family::Four => ip.is_ipv4(),
                Family::Six => ip.is_ipv6(),
            };
            if is_meant && !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        Ok(addresses)
    }
}

impl<T> Names<T> {
    /// Names in front of `inner`. Those in the addresses `own` are ours.
    pub(crate) fn new<'a>(
        inner: T,
        scope: Scope,
        own: impl IntoIterator<Item = &'a Multiaddr>,
    ) -> Self {
        let own = own.into_iter().filter_map(Name::of);
        Self {
            inner: Arc::new(Mutex::new(inner)),
            scope,
            own: Arc::new(own.map(|name| name.text).collect()),
        }
    }
}

/// Which of a name's addresses may be called.
fn allowed(found: Vec<IpAddr>, is_own: bool, scope: &Scope) -> io::Result<Vec<IpAddr>> {
    if is_own && found.iter().any(|ip| !is_public(*ip)) {
        // Known before whoever is found there tells where the others are.
        scope.is_private();
    }
    let allowed = found
        .into_iter()
        .filter(|ip| !ip.is_unspecified() && (is_own || scope.admits_ip(*ip)));
    let allowed: Vec<_> = allowed.take(ADDRESSES_PER_NAME).collect();
    if allowed.is_empty() {
        let why = "the name has no address that may be called";
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
    }
    Ok(allowed)
}

impl<T> Transport for Names<T>
where
    T: Transport<Error = io::Error> + Send + Unpin + 'static,
    T::Dial: Send,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<T::Output>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        lock(&self.inner).listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        lock(&self.inner).remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some(name) = Name::of(&address) else {
            return Ok(lock(&self.inner).dial(address, opts)?.boxed());
        };
        let (inner, scope) = (Arc::clone(&self.inner), self.scope.clone());
        let is_own = self.own.contains(&name.text);
        let dial = async move {
            let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for ip in allowed(name.look_up().await?, is_own, &scope)? {
                let address = address.replace(0, |_| Some(ip.into()));
                let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
                let dial = lock(&inner).dial(address, opts);
                let dialled = match dial {
                    Ok(dial) => dial.await,
                    Err(TransportError::Other(error)) => Err(error),
                    Err(TransportError::MultiaddrNotSupported(_)) => {
                        Err(io::ErrorKind::Unsupported.into())
                    }
                };
                match dialled {
                    Ok(connection) => return Ok(connection),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        };
        Ok(dial.boxed())
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut *lock(&self.inner)).poll(cx)
    }
}

fn lock<T>(inner: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AddressScope;

    fn name(address: &str) -> Option<Name> {
        Name::of(&address.parse().unwrap())
    }

    #[tokio::test]
    async fn a_name_stands_for_the_addresses_that_this_machine_knows() {
        let found = name("/dns4/LocalHost/tcp/1").unwrap().look_up().await;
        assert_eq!(found.unwrap(), [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(name("/ip4/127.0.0.1/tcp/1"), None);
    }

    #[test]
    fn a_peers_name_leads_into_no_private_network_and_our_own_does() {
        let found = || ["127.0.0.1", "10.0.0.1", "9.9.9.9"].map(|it| it.parse().unwrap());
        let scope = Scope::new(AddressScope::Public);
        let public: IpAddr = "9.9.9.9".parse().unwrap();
        assert_eq!(allowed(found().into(), false, &scope).unwrap(), [public]);
        assert!(allowed(vec!["127.0.0.1".parse().unwrap()], false, &scope).is_err());
        assert_eq!(allowed(found().into(), true, &scope).unwrap(), found());
        // Ours is a network with private addresses, then.
        assert_eq!(allowed(found().into(), false, &scope).unwrap(), found());
        assert!(allowed(vec!["0.0.0.0".parse().unwrap()], true, &scope).is_err());
        let many = (0..9).map(|it| IpAddr::from([9, 9, 9, it])).collect();
        assert_eq!(
            allowed(many, false, &scope).unwrap().len(),
            ADDRESSES_PER_NAME
        );
    }
}
