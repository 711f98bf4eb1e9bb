//! How many connections there may be, in all, of one peer and of one origin (NODE §1.4).
//!
//! Counted from the first packet on: somebody who opens connections and says nothing must not use up what others need.
//! When there are enough in all, whoever has most makes room for those who have less: connections are cheap, and few people
//! with many of them must not keep all others out. libp2p's own `connection-limits` does not know origins, and remembers
//! every peer that was ever connected.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
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
    established: HashMap<ConnectionId, Held>,
    /// Have to make room, and have not been told yet.
    put_out: Vec<(PeerId, ConnectionId)>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    peer: PeerId,
    origin: Origin,
    /// It has to make room, and counts no more.
    leaves: bool,
}

impl Bounds {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            coming_in: HashMap::new(),
            going_out: HashMap::new(),
            established: HashMap::new(),
            put_out: Vec::new(),
        }
    }

    fn staying(&self) -> impl Iterator<Item = (&ConnectionId, &Held)> {
        self.established.iter().filter(|(_, held)| !held.leaves)
    }

    /// How many are established from an origin. There are few in all: counting them is quick, and never wrong.
    fn from(&self, origin: Origin) -> usize {
        let of_it = self.staying().filter(|(_, it)| it.origin == origin);
        if origin.is_some() { of_it.count() } else { 0 }
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

    /// Lets one more connection in, of a peer and from an origin; if there are enough, in place of another one.
    fn let_in(&mut self, peer: &PeerId, origin: Origin) -> Result<(), Enough> {
        let of_it = self.staying().filter(|(_, it)| it.peer == *peer);
        if of_it.count() >= OF_ONE_PEER {
            return Err(Enough("of this peer"));
        }
        if self.staying().count() < self.limits.established {
            return Ok(());
        }
        let dispensable = self.dispensable_for(origin);
        let dispensable = dispensable.ok_or(Enough("in all"))?;
        if let Some(held) = self.established.get_mut(&dispensable) {
            held.leaves = true;
            self.put_out.push((held.peer, dispensable));
        }
        Ok(())
    }

    /// The oldest connection from where most are, if `origin` will have fewer all the same.
    fn dispensable_for(&self, origin: Origin) -> Option<ConnectionId> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for from in self.staying().filter_map(|(_, it)| it.origin) {
            *counts.entry(from).or_default() += 1;
        }
        let (most, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let theirs = self.staying().filter(|(_, it)| it.origin == Some(most));
        let oldest = theirs.map(|(connection, _)| *connection).min();
        oldest.filter(|_| count > self.from(origin) + 1)
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
        from: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.coming_in.remove(&connection);
        let origin = origin(from);
        self.let_in(&peer, origin).map_err(ConnectionDenied::new)?;
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
        self.let_in(&peer, None).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(it) => {
                let origin = match it.endpoint {
                    ConnectedPoint::Listener { send_back_addr, .. } => origin(send_back_addr),
                    ConnectedPoint::Dialer { .. } => None,
                };
                let held = Held {
                    peer: it.peer_id,
                    origin,
                    leaves: false,
                };
                self.established.insert(it.connection_id, held);
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
        match self.put_out.pop() {
            Some((peer_id, connection)) => Poll::Ready(ToSwarm::CloseConnection {
                peer_id,
                connection: CloseConnection::One(connection),
            }),
            None => Poll::Pending,
        }
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
            let leaves = false;
            let held = Held {
                peer,
                origin,
                leaves,
            };
            bounds.established.insert(connection, held);
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

    #[test]
    fn who_has_most_connections_makes_room_for_those_who_have_less() {
        // Eight people with 32 connections each had all there were, for as long as they liked.
        let [many, one, late] = [7, 8, 9].map(|it| format!("/ip4/7.7.7.{it}/tcp/1"));
        let mut bounds = bounds(5);
        assert!(enter(&mut bounds, 1, PeerId::random(), &one));
        assert!((2..6).all(|it| enter(&mut bounds, it, PeerId::random(), &many)));
        assert!(!enter(&mut bounds, 6, PeerId::random(), &many));
        assert!(enter(&mut bounds, 7, PeerId::random(), &late));
        assert!(enter(&mut bounds, 8, PeerId::random(), &late));
        let number = ConnectionId::new_unchecked;
        let put_out: Vec<_> = bounds.put_out.iter().map(|it| it.1).collect();
        assert_eq!(put_out, [number(2), number(3)], "the oldest of the many");
        for from in [&late, &one, &many] {
            assert!(!enter(&mut bounds, 9, PeerId::random(), from));
        }
    }
}
