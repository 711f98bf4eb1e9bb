//! How many connections there may be, in all, of one peer and of one origin (NODE §1.4).
//!
//! Counted from the first packet on: somebody who opens connections and says nothing must not use up what others need.
//! libp2p's own `connection-limits` does not know origins, and remembers every peer that was ever connected.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::address;

/// What comes in from one address, or from one IPv6 network of 64 bits, whose addresses one person has all. None: from
/// this machine, or going out; that is not counted by origin.
type Origin = Option<IpAddr>;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections, whoever made them.
    pub(crate) established: usize,
}

const OF_ONE_PEER: usize = 2;
const OF_ONE_ORIGIN: usize = 32;
const COMING_IN: usize = 128;
const COMING_IN_OF_ONE_ORIGIN: usize = 8;
const GOING_OUT: usize = 64;

/// There are enough of this kind already.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there are enough connections {0}")]
pub(crate) struct Enough(&'static str);

/// Counts connections, and refuses what is too many.
#[derive(Debug)]
pub(crate) struct Bounds {
    limits: Limits,
    coming_in: HashMap<ConnectionId, Origin>,
    going_out: HashMap<ConnectionId, Origin>,
    established: HashMap<ConnectionId, (PeerId, Origin)>,
}

impl Bounds {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            coming_in: HashMap::new(),
            going_out: HashMap::new(),
            established: HashMap::new(),
        }
    }

    /// How many are established from an origin. There are few in all: counting them is quick, and never wrong.
    fn from(&self, origin: Origin) -> usize {
        let origins = self.established.values().map(|(_, origin)| *origin);
        origins
            .filter(|it| origin.is_some() && *it == origin)
            .count()
    }

    fn check_incoming(&self, origin: Origin) -> Result<(), Enough> {
        let pending = self.coming_in.values();
        let of_it = pending.filter(|it| origin.is_some() && **it == origin);
        let of_it = of_it.count();
        if self.coming_in.len() >= COMING_IN {
            Err(Enough("being set up"))
        } else if of_it >= COMING_IN_OF_ONE_ORIGIN {
            Err(Enough("being set up from there"))
        } else if of_it + self.from(origin) >= OF_ONE_ORIGIN {
            Err(Enough("from there"))
        } else {
            Ok(())
        }
    }

    fn check_peer(&self, peer: &PeerId) -> Result<(), Enough> {
        let of_it = self.established.values().filter(|(it, _)| it == peer);
        if of_it.count() >= OF_ONE_PEER {
            Err(Enough("of this peer"))
        } else if self.established.len() >= self.limits.established {
            Err(Enough("in all"))
        } else {
            Ok(())
        }
    }
}

/// Where an incoming connection is from.
fn origin(address: &Multiaddr) -> Origin {
    match address::ip(address)? {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
        ip => Some(ip),
    }
}

impl NetworkBehaviour for Bounds {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let origin = origin(from);
        self.check_incoming(origin).map_err(ConnectionDenied::new)?;
        self.coming_in.insert(connection, origin);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.coming_in.remove(&connection);
        self.check_peer(&peer).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.going_out.len() >= GOING_OUT {
            return Err(ConnectionDenied::new(Enough("being made")));
        }
        self.going_out.insert(connection, None);
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.going_out.remove(&connection);
        self.check_peer(&peer).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(it) => {
                let origin = match it.endpoint {
                    ConnectedPoint::Listener { send_back_addr, .. } => origin(send_back_addr),
                    ConnectedPoint::Dialer { .. } => None,
                };
                self.established
                    .insert(it.connection_id, (it.peer_id, origin));
            }
            FromSwarm::ConnectionClosed(it) => drop(self.established.remove(&it.connection_id)),
            FromSwarm::DialFailure(it) => drop(self.going_out.remove(&it.connection_id)),
            FromSwarm::ListenFailure(it) => drop(self.coming_in.remove(&it.connection_id)),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knock(bounds: &mut Bounds, number: usize, from: &str) -> bool {
        let here: Multiaddr = "/ip4/9.9.9.9/tcp/1".parse().unwrap();
        let from: Multiaddr = from.parse().unwrap();
        let number = ConnectionId::new_unchecked(number);
        bounds
            .handle_pending_inbound_connection(number, &here, &from)
            .is_ok()
    }

    fn enter(bounds: &mut Bounds, number: usize, peer: PeerId, from: &str) -> bool {
        let here: Multiaddr = "/ip4/9.9.9.9/tcp/1".parse().unwrap();
        let from: Multiaddr = from.parse().unwrap();
        let connection = ConnectionId::new_unchecked(number);
        let entered = bounds.handle_established_inbound_connection(connection, peer, &here, &from);
        if entered.is_ok() {
            let origin = origin(&from);
            bounds.established.insert(connection, (peer, origin));
        }
        entered.is_ok()
    }

    fn bounds(established: usize) -> Bounds {
        Bounds::new(Limits { established })
    }

    #[test]
    fn somebody_who_opens_connections_and_says_nothing_leaves_room_for_others() {
        for (of_one, same, other) in [
            (
                "/ip4/7.7.7.7/tcp/1",
                "/ip4/7.7.7.7/tcp/2",
                "/ip4/7.7.7.8/tcp/1",
            ),
            (
                "/ip6/2620:fe::1/tcp/1",
                "/ip6/2620:fe:0:0:ffff::/tcp/1",
                "/ip6/2620:fe:0:1::1/tcp/1",
            ),
        ] {
            let mut bounds = bounds(100);
            assert!((0..COMING_IN_OF_ONE_ORIGIN).all(|it| knock(&mut bounds, it, of_one)));
            assert!(!knock(&mut bounds, 50, same));
            assert!(knock(&mut bounds, 51, other));
        }
        let mut bounds = bounds(100);
        let local = (0..COMING_IN).filter(|it| knock(&mut bounds, *it, "/ip4/127.0.0.1/tcp/1"));
        assert_eq!(local.count(), COMING_IN, "a machine is one origin for many");
    }

    #[test]
    fn one_origin_and_one_peer_have_so_many_connections_and_no_more() {
        let from = "/ip4/7.7.7.7/tcp/1";
        let mut bounds = bounds(100);
        for number in 0..OF_ONE_ORIGIN {
            assert!(knock(&mut bounds, number, from));
            assert!(enter(&mut bounds, number, PeerId::random(), from));
        }
        assert!(!knock(&mut bounds, 50, from));
        let (peer, elsewhere) = (PeerId::random(), "/ip4/7.7.7.8/tcp/1");
        assert!(enter(&mut bounds, 60, peer, elsewhere));
        assert!(enter(&mut bounds, 61, peer, elsewhere));
        assert!(!enter(&mut bounds, 62, peer, elsewhere));
    }

    #[test]
    fn all_together_are_so_many_and_no_more() {
        let mut bounds = bounds(3);
        let from = "/ip4/127.0.0.1/tcp/1";
        let entered = (0..9).filter(|it| enter(&mut bounds, *it, PeerId::random(), from));
        assert_eq!(entered.count(), 3);
    }
}
