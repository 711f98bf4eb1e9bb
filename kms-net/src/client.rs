//! The client's side: dials nodes when there is something to ask, looks their addresses up, and keeps nothing.
//!
//! A client has a new identity at each start, so that nodes cannot tell its runs apart by it; requests that need an
//! author carry their own signature.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures::StreamExt;
use kms_crypto::key::PublicKey;
use kms_proto::transport::{BoxFuture, Transport, TransportError};
use libp2p::core::upgrade::NegotiationError;
use libp2p::identity::Keypair;
use libp2p::kad::{GetClosestPeersError, GetClosestPeersOk, PeerInfo, QueryId, QueryResult};
use libp2p::request_response::{self, OutboundFailure, OutboundRequestId};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, kad};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::NetError;
use crate::address::{self, ADDRESSES_PER_PEER, AddressScope, Scope};
use crate::behaviour::{Behaviour, BehaviourEvent, Protocols, Reach, Shape, swarm};
use crate::codec::{Manners, REQUEST_LIMIT};
use crate::peer::{key_of, peer};
use crate::routing::Routing;

/// How a client takes part in the network.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The network's name.
    pub network: String,
    /// Nodes to begin a search with, each ending in `/p2p/…`. Without any, only given addresses can be used.
    pub bootstrap: Vec<String>,
}

/// A node found by a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// The node's key.
    pub node: PublicKey,
    /// Addresses to call it at.
    pub addresses: Vec<String>,
}

/// A handle on a running client; clones share it, and the last one dropped ends it.
#[derive(Clone, Debug)]
pub struct NetClient {
    commands: mpsc::Sender<Command>,
}

impl NetClient {
    /// Starts a client. Dials nobody yet. To be called inside a tokio runtime.
    pub fn start(config: &ClientConfig) -> Result<Self, NetError> {
        Self::start_with(config, Manners::Proper)
    }

    /// Starts a client that writes its requests as no honest one does.
    #[cfg(feature = "test-util")]
    pub fn start_unruly(config: &ClientConfig, manners: Manners) -> Result<Self, NetError> {
        Self::start_with(config, manners)
    }

    fn start_with(config: &ClientConfig, manners: Manners) -> Result<Self, NetError> {
        let protocols = Protocols::of(&config.network)?;
        let bootstrap = config
            .bootstrap
            .iter()
            .map(|text| address::parse_with_peer(text))
            .collect::<Result<Vec<_>, _>>()?;
        let shape = Shape {
            mode: kad::Mode::Client,
            request_timeout: REQUEST_TIMEOUT,
            dial_timeout: DIAL_TIMEOUT,
            max_connections: MAX_CONNECTIONS,
            max_memory_bytes: None,
            manners,
        };
        let own = || bootstrap.iter().map(|(_, address)| address);
        let scope = Scope::new(AddressScope::of(own()));
        let reach = Reach {
            scope: scope.clone(),
            own: own().collect(),
        };
        let driver = Driver {
            swarm: swarm(Keypair::generate_secp256k1(), &protocols, shape, reach)?,
            routing: Routing::new(protocols, scope),
            impostors: HashMap::new(),
            bootstrap,
            calls: HashMap::new(),
            searches: HashMap::new(),
        };
        let (commands, inbox) = mpsc::channel(COMMANDS_WAITING);
        tokio::spawn(driver.run(inbox));
        Ok(Self { commands })
    }

    /// The nodes closest to `target` that answer, nearest first; at most `count`, and at most 20.
    pub async fn closest(
        &self,
        target: [u8; 32],
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Found>, NetError> {
        let Some(count) = NonZeroUsize::new(count) else {
            return Ok(Vec::new());
        };
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + timeout;
        self.commands
            .send(Command::Closest {
                target,
                count,
                deadline,
                reply,
            })
            .await
            .map_err(|_| NetError::Stopped)?;
        answer.await.map_err(|_| NetError::Stopped)
    }

    async fn request(
        &self,
        node: &PublicKey,
        addresses: &[String],
        request: Zeroizing<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        if request.len() > REQUEST_LIMIT {
            return Err(TransportError::TooLarge);
        }
        let deadline = Instant::now() + timeout;
        let (reply, answer) = oneshot::channel();
        // An address that cannot be read is as good as none: the others, or a search, may do.
        let addresses = addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .map(address::without_peer);
        let call = Call {
            peer: peer(node),
            addresses: addresses.take(ADDRESSES_PER_PEER).collect(),
            request,
            deadline,
            searched: false,
            wrong_peer: false,
            by_old_connection: None,
            reply,
        };
        let sent = async {
            self.commands
                .send(Command::Call(call))
                .await
                .map_err(|_| TransportError::Local)?;
            answer.await.map_err(|_| TransportError::Local)?
        };
        tokio::time::timeout_at(deadline, sent)
            .await
            .unwrap_or(Err(TransportError::Timeout))
    }
}

impl Transport for NetClient {
    fn call<'a>(
        &'a self,
        node: &'a PublicKey,
        addresses: &'a [String],
        request: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        // At once: it may never be polled.
        let request = Zeroizing::new(request);
        Box::pin(self.request(node, addresses, request, timeout))
    }
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a search for one node's address may take.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(250);
const MAX_CONNECTIONS: usize = 512;
const COMMANDS_WAITING: usize = 64;
const CALLS_AT_ONCE: usize = 1024;

#[derive(Debug)]
enum Command {
    Call(Call),
    Closest {
        target: [u8; 32],
        count: NonZeroUsize,
        deadline: Instant,
        reply: oneshot::Sender<Vec<Found>>,
    },
}

#[derive(Debug)]
struct Call {
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    request: Zeroizing<Vec<u8>>,
    deadline: Instant,
    searched: bool,
    /// Somebody else was found at one of the addresses.
    wrong_peer: bool,
    /// Whether the call went over a connection that was there before it; none as long as it was not sent.
    by_old_connection: Option<bool>,
    reply: oneshot::Sender<Result<Vec<u8>, TransportError>>,
}

impl Call {
    fn not_reached(&self) -> TransportError {
        if self.wrong_peer {
            TransportError::WrongPeer
        } else {
            TransportError::Unreachable
        }
    }

    fn fail(self, error: TransportError) {
        // An error here means that the caller has gone.
        drop(self.reply.send(Err(error)));
    }
}

struct Search {
    deadline: Instant,
    found: Vec<PeerInfo>,
    goal: Goal,
}

enum Goal {
    Node(PeerId, Vec<Call>),
    Closest {
        count: usize,
        reply: oneshot::Sender<Vec<Found>>,
    },
}

struct Driver {
    swarm: Swarm<Behaviour>,
    routing: Routing,
    /// Addresses at which another peer than the one meant was found.
    impostors: HashMap<PeerId, Multiaddr>,
    /// Put into the routing table when a search begins, for it may have dropped them when they were down.
    bootstrap: Vec<(PeerId, Multiaddr)>,
    calls: HashMap<OutboundRequestId, Call>,
    searches: HashMap<QueryId, Search>,
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Call(call)) => self.begin(call),
                    Some(Command::Closest { target, count, deadline, reply }) => {
                        self.join_network();
                        let query = self.swarm.behaviour_mut().kad.get_n_closest_peers(target.to_vec(), count);
                        let goal = Goal::Closest { count: count.get(), reply };
                        self.searches.insert(query, Search { deadline, found: Vec::new(), goal });
                    }
                    None => return,
                },
                _ = tick.tick(), if !self.searches.is_empty() => self.end_late_searches(),
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
    }

    fn join_network(&mut self) {
        for (peer, address) in &self.bootstrap {
            self.swarm
                .behaviour_mut()
                .kad
                .add_address(peer, address.clone());
        }
    }

    fn begin(&mut self, call: Call) {
        if self.calls.len() >= CALLS_AT_ONCE {
            return call.fail(TransportError::Local);
        }
        if call.addresses.is_empty() && !self.swarm.is_connected(&call.peer) {
            self.search(call);
        } else {
            self.send(call);
        }
    }

    fn send(&mut self, mut call: Call) {
        let connected = self.swarm.is_connected(&call.peer);
        // A call is sent again at most once.
        call.by_old_connection = Some(connected && call.by_old_connection.is_none());
        let rpc = &mut self.swarm.behaviour_mut().rpc;
        let id = rpc.send_request_with_addresses(
            &call.peer,
            call.request.clone(),
            call.addresses.clone(),
        );
        self.calls.insert(id, call);
    }

    /// Looks for the node's addresses; calls that want the same node share one search.
    fn search(&mut self, mut call: Call) {
        call.searched = true;
        for search in self.searches.values_mut() {
            if let Goal::Node(peer, calls) = &mut search.goal
                && *peer == call.peer
            {
                calls.push(call);
                return;
            }
        }
        self.join_network();
        let deadline = call.deadline.min(Instant::now() + SEARCH_TIMEOUT);
        let query = self.swarm.behaviour_mut().kad.get_closest_peers(call.peer);
        let goal = Goal::Node(call.peer, vec![call]);
        self.searches.insert(
            query,
            Search {
                deadline,
                found: Vec::new(),
                goal,
            },
        );
    }

    fn end_late_searches(&mut self) {
        let now = Instant::now();
        let late = self
            .searches
            .iter()
            .filter(|(_, search)| search.deadline <= now)
            .map(|(id, _)| *id);
        for id in late.collect::<Vec<_>>() {
            if let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&id) {
                // Its last event follows, with what it has.
                query.finish();
            } else if let Some(search) = self.searches.remove(&id) {
                self.conclude(search);
            }
        }
    }

    /// The node sought is there: who else is near it, and whether they answer, is of no interest.
    fn end_searches_for(&mut self, node: PeerId) {
        for (id, search) in &self.searches {
            if matches!(&search.goal, Goal::Node(sought, _) if *sought == node)
                && let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(id)
            {
                // Its last event follows.
                query.finish();
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Rpc(event)) => self.on_rpc(event),
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                id,
                result: QueryResult::GetClosestPeers(result),
                step,
                ..
            })) => self.on_closest(id, result, step.last),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                self.routing.on_identified(&mut self.swarm, peer_id, info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) if ping.result.is_err() => {
                self.swarm.close_connection(ping.connection);
            }
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                self.impostors.remove(&peer_id);
                self.routing.on_connected(&peer_id);
                self.end_searches_for(peer_id);
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => self.on_dial_error(peer, &error),
            _ => {}
        }
    }

    fn on_dial_error(&mut self, peer: PeerId, error: &DialError) {
        if let DialError::WrongPeerId { address, .. } = error
            && self.impostors.len() < CALLS_AT_ONCE
        {
            let address = address::without_peer(address.clone());
            self.impostors.insert(peer, address);
        }
        self.routing.on_failure(&mut self.swarm, peer);
    }

    /// Nobody could be reached at the addresses of a call, or somebody else: there may be other addresses.
    fn after_dial_failure(&mut self, mut call: Call) {
        if let Some(impostor) = self.impostors.remove(&call.peer) {
            call.wrong_peer = true;
            let before = call.addresses.len();
            call.addresses.retain(|address| *address != impostor);
            if !call.addresses.is_empty() && call.addresses.len() < before {
                return self.send(call);
            }
        }
        if call.searched {
            let error = call.not_reached();
            call.fail(error);
        } else {
            // The address may have changed since it was written down.
            self.search(call);
        }
    }

    fn on_rpc(&mut self, event: request_response::Event<Zeroizing<Vec<u8>>, Vec<u8>>) {
        match event {
            request_response::Event::Message {
                message:
                    request_response::Message::Response {
                        request_id,
                        response,
                    },
                ..
            } => {
                if let Some(call) = self.calls.remove(&request_id) {
                    drop(call.reply.send(Ok(response)));
                }
            }
            request_response::Event::OutboundFailure {
                request_id, error, ..
            } => {
                let Some(call) = self.calls.remove(&request_id) else {
                    return;
                };
                tracing::debug!(node = %call.peer, %error, "a call failed");
                match error {
                    OutboundFailure::DialFailure if !call.reply.is_closed() => {
                        self.after_dial_failure(call);
                    }
                    // The connection was dead already, of a node that has come back since, perhaps.
                    error
                        if broken(&error)
                            && call.by_old_connection == Some(true)
                            && !call.reply.is_closed() =>
                    {
                        self.send(call);
                    }
                    error => call.fail(transport_error(&error)),
                }
            }
            _ => {}
        }
    }

    fn on_closest(
        &mut self,
        id: QueryId,
        result: Result<GetClosestPeersOk, GetClosestPeersError>,
        last: bool,
    ) {
        let Some(search) = self.searches.get_mut(&id) else {
            return;
        };
        search.found.extend(match result {
            Ok(ok) => ok.peers,
            Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
        });
        if last && let Some(search) = self.searches.remove(&id) {
            self.conclude(search);
        }
    }

    fn conclude(&mut self, search: Search) {
        match search.goal {
            Goal::Closest { count, reply } => {
                let found = search
                    .found
                    .into_iter()
                    .filter_map(|info| self.found(info))
                    .take(count)
                    .collect();
                drop(reply.send(found));
            }
            Goal::Node(peer, calls) => {
                let addresses: Vec<_> = search
                    .found
                    .into_iter()
                    .filter(|i| i.peer_id == peer)
                    .flat_map(|i| self.usable(i.addrs))
                    .collect();
                let reachable = !addresses.is_empty() || self.swarm.is_connected(&peer);
                for mut call in calls {
                    if reachable {
                        call.addresses.clone_from(&addresses);
                        self.send(call);
                    } else {
                        let error = call.not_reached();
                        call.fail(error);
                    }
                }
            }
        }
    }

    fn usable(&self, addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let own = addresses.into_iter().map(address::without_peer);
        own.filter(|address| self.routing.scope().admits(address))
            .take(ADDRESSES_PER_PEER)
            .collect()
    }

    fn found(&self, info: PeerInfo) -> Option<Found> {
        let node = key_of(&info.peer_id)?;
        let addresses = self
            .usable(info.addrs)
            .iter()
            .map(ToString::to_string)
            .collect();
        Some(Found { node, addresses })
    }
}

/// Whether the connection ended, not the stream alone.
fn broken(error: &OutboundFailure) -> bool {
    use std::io::ErrorKind;
    match error {
        OutboundFailure::ConnectionClosed => true,
        OutboundFailure::Io(error) => {
            let of_the_stream = [ErrorKind::InvalidData, ErrorKind::UnexpectedEof];
            !of_the_stream.contains(&error.kind()) && !is_not_spoken(error)
        }
        _ => false,
    }
}

/// Whether the peer does not speak the protocol.
fn is_not_spoken(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|it| it.downcast_ref());
    matches!(cause, Some(NegotiationError::Failed))
}

fn transport_error(error: &OutboundFailure) -> TransportError {
    match error {
        OutboundFailure::DialFailure => TransportError::Unreachable,
        OutboundFailure::UnsupportedProtocols => TransportError::WrongPeer,
        // The same, heard after the request had gone along with the protocol's name.
        OutboundFailure::Io(error) if is_not_spoken(error) => TransportError::WrongPeer,
        // The codec's word for a frame beyond the limit.
        OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            TransportError::TooLarge
        }
        OutboundFailure::Timeout => TransportError::Timeout,
        OutboundFailure::ConnectionClosed | OutboundFailure::Io(_) => TransportError::Closed,
    }
}
