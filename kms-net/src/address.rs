//! Addresses: reading them from text, and deciding which of the ones peers claim are worth keeping.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::NetError;
use crate::names::Name;

/// How many addresses are kept for one peer.
pub(crate) const ADDRESSES_PER_PEER: usize = 8;

/// Which of the addresses that peers announce are believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressScope {
    /// Only addresses that can be reached over the Internet: a peer must not send us into our own local network.
    Public,
    /// Also private and loopback ones: for a network on one machine or in one building.
    Any,
}

impl AddressScope {
    /// `Any` when one of our own addresses (listening or bootstrap) is itself private, otherwise `Public`.
    pub(crate) fn of<'a>(own: impl IntoIterator<Item = &'a Multiaddr>) -> Self {
        if own
            .into_iter()
            .any(|address| ip(address).is_some_and(|ip| !ip.is_unspecified() && !is_public(ip)))
        {
            Self::Any
        } else {
            Self::Public
        }
    }
}

/// The scope, of which more may be learnt: that a name in our own configuration stands for a private address.
#[derive(Clone, Debug)]
pub(crate) struct Scope(Arc<AtomicBool>);

impl Scope {
    pub(crate) fn new(scope: AddressScope) -> Self {
        Self(Arc::new(AtomicBool::new(scope == AddressScope::Any)))
    }

    /// One of our own addresses is private.
    pub(crate) fn is_private(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn admits_ip(&self, ip: IpAddr) -> bool {
        !ip.is_unspecified() && (self.0.load(Ordering::Relaxed) || is_public(ip))
    }

    /// Whether an address announced by a peer is kept: a number or a name, and a port. What the name stands for is seen when
    /// it is called.
    pub(crate) fn admits(&self, address: &Multiaddr) -> bool {
        let mut parts = address.iter().skip(1);
        if !matches!(
            (parts.next(), parts.next()),
            (Some(Protocol::Tcp(1..)), None)
        ) {
            return false;
        }
        match ip(address) {
            Some(ip) => self.admits_ip(ip),
            None => Name::of(address).is_some(),
        }
    }
}

/// The IP address an address starts with.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.to_ipv4_mapped().map_or(ip.into(), Into::into)),
        _ => None,
    }
}

pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                // Carrier-grade NAT, 100.64.0.0/10.
                || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64))
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}

/// Reads an address.
pub(crate) fn parse(text: &str) -> Result<Multiaddr, NetError> {
    text.parse().map_err(|_| NetError::Address {
        address: text.to_owned(),
        reason: "it is not a multiaddress",
    })
}

/// Reads an address that ends in `/p2p/<id>`; returns the address without that part, and the peer.
pub(crate) fn parse_with_peer(text: &str) -> Result<(PeerId, Multiaddr), NetError> {
    let mut address = parse(text)?;
    match address.pop() {
        Some(Protocol::P2p(peer)) if !address.is_empty() => Ok((peer, address)),
        _ => Err(NetError::Address {
            address: text.to_owned(),
            reason: "it does not end in /p2p/ and a node's id",
        }),
    }
}

/// Drops a final `/p2p/…`: addresses are kept beside the peer they belong to.
pub(crate) fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(scope: AddressScope, text: &str) -> bool {
        Scope::new(scope).admits(&text.parse().unwrap())
    }

    #[test]
    fn a_public_network_does_not_believe_in_private_addresses() {
        for address in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.1.1.1/tcp/1",
            "/ip4/100.100.0.1/tcp/1",
            "/ip6/::1/tcp/1",
        ] {
            assert!(!admitted(AddressScope::Public, address), "{address}");
            assert!(admitted(AddressScope::Any, address), "{address}");
        }
        assert!(!admitted(
            AddressScope::Public,
            "/ip6/::ffff:127.0.0.1/tcp/1"
        ));
        for address in [
            "/ip4/9.9.9.9/tcp/1",
            "/dns4/node.example/tcp/1",
            "/ip6/2620:fe::fe/tcp/1",
        ] {
            assert!(admitted(AddressScope::Public, address), "{address}");
        }
    }

    #[test]
    fn an_unspecified_or_strange_address_is_never_kept() {
        for address in [
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/9.9.9.9/tcp/0",
            "/ip4/9.9.9.9/udp/1",
            "/ip4/9.9.9.9/tcp/1/ws",
            "/dnsaddr/node.example",
            "/dnsaddr/node.example/tcp/1",
            "/memory/7",
            "/memory/7/dns4/node.example/tcp/1",
            "/unix/tmp",
        ] {
            assert!(!admitted(AddressScope::Any, address), "{address}");
        }
    }

    #[test]
    fn a_bootstrap_address_names_its_node() {
        let id = PeerId::random();
        let (peer, address) =
            parse_with_peer(&format!("/ip4/127.0.0.1/tcp/4001/p2p/{id}")).unwrap();
        assert_eq!(
            (peer, address.to_string()),
            (id, "/ip4/127.0.0.1/tcp/4001".to_owned())
        );
        for bad in [
            "/ip4/127.0.0.1/tcp/4001",
            "",
            "127.0.0.1:4001",
            &format!("/p2p/{id}"),
        ] {
            assert!(parse_with_peer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_scope_follows_from_our_own_addresses() {
        let scope = |text: &str| AddressScope::of([&text.parse().unwrap()]);
        assert_eq!(scope("/ip4/127.0.0.1/tcp/1"), AddressScope::Any);
        assert_eq!(scope("/ip4/0.0.0.0/tcp/1"), AddressScope::Public);
        assert_eq!(scope("/ip4/9.9.9.9/tcp/1"), AddressScope::Public);
    }
}
