//! The node's side: listens, serves Kademlia, and hands requests to a [`Handler`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use kms_crypto::key::{NodeSecret, PublicKey};
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, InboundRequestId, ResponseChannel};
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Multiaddr, PeerId, Swarm, identify, kad};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use zeroize::Zeroizing;

use crate::NetError;
use crate::address::{self, AddressScope, Scope, is_public};
use crate::behaviour::{Behaviour, BehaviourEvent, Protocols, Reach, Shape, swarm};
use crate::codec::Manners;
use crate::limit::RateLimit;
use crate::names::Name;
use crate::peer::{PeerKey, keypair};
use crate::routing::{self, Members, Routing};

/// Answers requests. Whatever bytes arrive, an answer is due.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of at most [`REQUEST_LIMIT`](crate::REQUEST_LIMIT) bytes; the answer has at most
    /// [`RESPONSE_LIMIT`](crate::RESPONSE_LIMIT).
    fn handle(&self, peer: PeerKey, request: Zeroizing<Vec<u8>>) -> BoxFuture<'_, Vec<u8>>;

    /// The answer when there is no room for another request.
    fn busy(&self) -> Vec<u8>;
}

/// How a node takes part in the network.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The network's name; networks of different names do not see each other.
    pub network: String,
    /// Addresses to listen on, such as `/ip4/0.0.0.0/tcp/4710`. Port 0 takes a free one.
    pub listen: Vec<String>,
    /// The addresses under which others reach this node. Empty: the ones it listens on.
    pub external: Vec<String>,
    /// Nodes to begin with, each ending in `/p2p/…`. The node's own address may be among them.
    pub bootstrap: Vec<String>,
    /// Nodes met in an earlier life, as [`Neighbours::addresses`] has named them; what cannot be read is left out.
    pub remembered: Vec<String>,
    /// New connections are refused while the process is larger than this.
    pub max_memory_bytes: usize,
}

impl ServerConfig {
    /// A server of `network` on `listen`, with the usual limits.
    pub fn new(network: impl Into<String>, listen: Vec<String>) -> Self {
        Self {
            network: network.into(),
            listen,
            external: Vec::new(),
            bootstrap: Vec::new(),
            remembered: Vec::new(),
            max_memory_bytes: 512 * 1024 * 1024,
        }
    }
}

/// A handle on the routing table of a server.
#[derive(Clone, Debug)]
pub struct Neighbours {
    members: watch::Sender<Members>,
    addresses: watch::Receiver<Vec<String>>,
}

impl Neighbours {
    /// Says whom the ledger knows: nobody else is in the table from now on. Until then all nodes are let in.
    pub fn set_members(&self, members: HashSet<PublicKey>) {
        self.members.send_if_modified(|known| {
            let is_new = known.as_deref() != Some(&members);
            if is_new {
                *known = Some(Arc::new(members));
            }
            is_new
        });
    }

    /// Addresses of nodes in the table, each ending in `/p2p/…`: worth remembering for the next start.
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.borrow().clone()
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct NetServer {
    addresses: Vec<String>,
    neighbours: Neighbours,
    stop: Option<oneshot::Sender<()>>,
    driver: JoinHandle<()>,
}

impl NetServer {
    /// Starts listening; returns when every address is bound. To be called inside a tokio runtime.
    pub async fn start(
        config: ServerConfig,
        secret: &NodeSecret,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, NetError> {
        let protocols = Protocols::of(&config.network)?;
        let listen = config
            .listen
            .iter()
            .map(|text| address::parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        let external = config
            .external
            .iter()
            .map(|text| address::parse(text).map(address::without_peer))
            .collect::<Result<Vec<_>, _>>()?;
        let bootstrap = config
            .bootstrap
            .iter()
            .map(|text| address::parse_with_peer(text))
            .collect::<Result<Vec<_>, _>>()?;
        let own = || {
            let begun = bootstrap.iter().map(|(_, address)| address);
            listen.iter().chain(&external).chain(begun)
        };
        let scope = Scope::new(AddressScope::of(own()));
        look_up_own(&external, &scope).await;
        let reach = Reach {
            scope: scope.clone(),
            own: own().collect(),
        };
        let shape = Shape {
            mode: kad::Mode::Server,
            request_timeout: REQUEST_TIMEOUT,
            dial_timeout: DIAL_TIMEOUT,
            max_connections: MAX_CONNECTIONS,
            max_memory_bytes: Some(config.max_memory_bytes),
            manners: Manners::Proper,
        };
        let mut swarm = swarm(keypair(secret)?, &protocols, shape, reach)?;
        let own = *swarm.local_peer_id();
        let (listeners, bound) = bind(&mut swarm, listen).await?;
        let announced = if external.is_empty() { bound } else { external };
        for address in &announced {
            swarm.add_external_address(address.clone());
        }
        let addresses = announced
            .into_iter()
            .map(|address| address.with(Protocol::P2p(own)).to_string())
            .collect();
        let remembered = config.remembered.iter().take(REMEMBERED);
        let remembered = remembered.filter_map(|text| address::parse_with_peer(text).ok());
        let known = bootstrap.into_iter().chain(remembered);
        let known = known.filter(|(peer, _)| *peer != own).collect();
        let (stop, stopped) = oneshot::channel();
        let (members, told) = watch::channel(None);
        let (found, neighbours) = watch::channel(Vec::new());
        let driver = Driver {
            swarm,
            routing: Routing::new(protocols, scope),
            members: told,
            found,
            known,
            handler,
            listeners,
            work: JoinSet::new(),
            owed: HashSet::new(),
            rate: RateLimit::new(REQUEST_BURST, REQUEST_REFILL),
        };
        Ok(Self {
            addresses,
            neighbours: Neighbours {
                members,
                addresses: neighbours,
            },
            stop: Some(stop),
            driver: tokio::spawn(driver.run(stopped)),
        })
    }

    /// The announced addresses, each ending in `/p2p/…`, with the ports that were really bound.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Its routing table.
    pub const fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// Stops listening; requests already taken are answered first, as long as their askers wait.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // The driver's own deadline ends it; its result carries nothing.
        let _ = (&mut self.driver).await;
    }
}

/// Whether our own names stand for private addresses. Others are called by theirs, and looked up then.
async fn look_up_own(external: &[Multiaddr], scope: &Scope) {
    for name in external.iter().filter_map(Name::of) {
        match tokio::time::timeout(LOOK_UP_TIMEOUT, name.look_up()).await {
            Ok(Ok(found)) if found.iter().any(|ip| !is_public(*ip)) => scope.is_private(),
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => tracing::warn!(?name, "this node's own name is not known here"),
        }
    }
}

impl Drop for NetServer {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const BIND_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// Whoever asks waits no longer.
const DRAIN_TIMEOUT: Duration = REQUEST_TIMEOUT;
/// How long connections stay open for the last answers.
const LINGER: Duration = Duration::from_secs(1);
/// How often a node without any peer calls those that it knows again, and looks who is in its table.
const TICK: Duration = Duration::from_secs(2);
/// How many nodes are worth remembering.
const REMEMBERED: usize = 64;
const MAX_CONNECTIONS: usize = 256;
const REQUESTS_AT_ONCE: usize = 256;
const REQUEST_BURST: u32 = 512;
const REQUEST_REFILL: Duration = Duration::from_millis(5);

/// Listens on every address and waits until each is bound.
async fn bind(
    swarm: &mut Swarm<Behaviour>,
    listen: Vec<Multiaddr>,
) -> Result<(Vec<ListenerId>, Vec<Multiaddr>), NetError> {
    let mut waiting: HashMap<ListenerId, Multiaddr> = HashMap::new();
    for address in listen {
        let refused = |source| NetError::Listen {
            address: address.to_string(),
            source,
        };
        let id = swarm
            .listen_on(address.clone())
            .map_err(|error| refused(std::io::Error::other(error)))?;
        waiting.insert(id, address);
    }
    let listeners = waiting.keys().copied().collect();
    let deadline = tokio::time::Instant::now() + BIND_TIMEOUT;
    let mut bound = Vec::new();
    while !waiting.is_empty() {
        match tokio::time::timeout_at(deadline, swarm.select_next_some()).await {
            Ok(SwarmEvent::NewListenAddr {
                listener_id,
                address,
            }) => {
                waiting.remove(&listener_id);
                bound.push(address);
            }
            Ok(SwarmEvent::ListenerClosed {
                listener_id,
                reason: Err(source),
                ..
            }) => {
                if let Some(address) = waiting.remove(&listener_id) {
                    return Err(NetError::Listen {
                        address: address.to_string(),
                        source,
                    });
                }
            }
            Ok(_) => {}
            Err(_) => {
                let address = waiting
                    .into_values()
                    .map(|a| a.to_string())
                    .collect::<Vec<_>>()
                    .join(", ");
                return Err(NetError::Listen {
                    address,
                    source: std::io::ErrorKind::TimedOut.into(),
                });
            }
        }
    }
    Ok((listeners, bound))
}

struct Driver {
    swarm: Swarm<Behaviour>,
    routing: Routing,
    members: watch::Receiver<Members>,
    found: watch::Sender<Vec<String>>,
    /// Nodes to begin with.
    known: Vec<(PeerId, Multiaddr)>,
    handler: Arc<dyn Handler>,
    listeners: Vec<ListenerId>,
    work: JoinSet<(ResponseChannel<Vec<u8>>, Vec<u8>)>,
    /// Requests taken, whose answers have not left yet.
    owed: HashSet<InboundRequestId>,
    rate: RateLimit<PeerId>,
}

impl Driver {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        self.join_network();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                Some(done) = self.work.join_next(), if !self.work.is_empty() => self.answer(done),
                Ok(()) = self.members.changed() => {
                    let members = self.members.borrow_and_update().clone();
                    self.routing.set_members(&mut self.swarm, members);
                }
                _ = tick.tick() => self.look_round(),
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
        self.drain().await;
    }

    /// Calls the nodes to begin with. They enter the table as all others do: when they have shown what they are, and
    /// then Kademlia itself looks for more.
    fn join_network(&mut self) {
        for (peer, address) in &self.known {
            let call = DialOpts::peer_id(*peer)
                .addresses(vec![address.clone()])
                .build();
            if let Err(error) = self.swarm.dial(call) {
                tracing::debug!(%peer, %error, "not called");
            }
        }
    }

    fn look_round(&mut self) {
        if self.swarm.connected_peers().next().is_none() {
            self.join_network();
        }
        let found = routing::addresses(&mut self.swarm, REMEMBERED);
        self.found.send_if_modified(|before| {
            let changed = *before != found && !found.is_empty();
            if changed {
                *before = found;
            }
            changed
        });
    }

    /// Lets the requests already taken finish, and their answers leave. What comes now is not taken: its asker learns
    /// at once that nothing comes.
    async fn drain(mut self) {
        for listener in std::mem::take(&mut self.listeners) {
            self.swarm.remove_listener(listener);
        }
        let was_asked = !self.owed.is_empty();
        let answered = async {
            while !self.owed.is_empty() {
                tokio::select! {
                    Some(done) = self.work.join_next(), if !self.work.is_empty() => self.answer(done),
                    event = self.swarm.select_next_some() => self.on_last_event(event),
                }
            }
        };
        if tokio::time::timeout(DRAIN_TIMEOUT, answered).await.is_err() {
            tracing::warn!("stopped with unanswered requests");
        }
        // An answer that was given to a connection has yet to travel, and an asker who finds the connection closed
        // reads no further.
        if was_asked {
            let linger = async {
                loop {
                    self.swarm.select_next_some().await;
                }
            };
            drop(tokio::time::timeout(LINGER, linger).await);
        }
    }

    fn on_last_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let SwarmEvent::Behaviour(BehaviourEvent::Rpc(event)) = event else {
            return;
        };
        if !matches!(event, request_response::Event::Message { .. }) {
            self.on_rpc(event);
        }
    }

    fn answer(
        &mut self,
        done: Result<(ResponseChannel<Vec<u8>>, Vec<u8>), tokio::task::JoinError>,
    ) {
        match done {
            // An error here means that the asker has gone.
            Ok((channel, response)) => drop(
                self.swarm
                    .behaviour_mut()
                    .rpc
                    .send_response(channel, response),
            ),
            Err(error) => tracing::error!(
                panicked = error.is_panic(),
                "a request was dropped by its handler"
            ),
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Rpc(event)) => self.on_rpc(event),
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
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                ..
            } => self.routing.on_failure(&mut self.swarm, peer),
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                self.routing.on_connected(&peer_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, .. } => {
                self.routing.on_closed(&self.swarm, &peer_id);
            }
            _ => {}
        }
    }

    fn on_rpc(&mut self, event: request_response::Event<Zeroizing<Vec<u8>>, Vec<u8>>) {
        match event {
            request_response::Event::Message {
                peer,
                message:
                    request_response::Message::Request {
                        request_id,
                        request,
                        channel,
                    },
                ..
            } => self.on_request(peer, request_id, request, channel),
            request_response::Event::ResponseSent { request_id, .. } => {
                self.owed.remove(&request_id);
            }
            request_response::Event::InboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                self.owed.remove(&request_id);
                tracing::debug!(%peer, %error, "a request was not taken or not answered");
            }
            _ => {}
        }
    }

    fn on_request(
        &mut self,
        peer: PeerId,
        id: InboundRequestId,
        request: Zeroizing<Vec<u8>>,
        channel: ResponseChannel<Vec<u8>>,
    ) {
        let Some(key) = PeerKey::of(&peer) else {
            let _ = self.swarm.disconnect_peer_id(peer);
            return;
        };
        if self.work.len() >= REQUESTS_AT_ONCE || !self.rate.admit(peer, Instant::now()) {
            let busy = self.handler.busy();
            drop(self.swarm.behaviour_mut().rpc.send_response(channel, busy));
            return;
        }
        let handler = Arc::clone(&self.handler);
        self.work.spawn(async move {
            let response = handler.handle(key, request).await;
            (channel, response)
        });
        self.owed.insert(id);
    }
}
