//! What both sides of the network are made of, with every queue and table bounded.

use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p::core::{Transport, upgrade};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, kad,
    memory_connection_limits, noise, ping, request_response, tcp, yamux,
};

use crate::NetError;
use crate::address::Scope;
use crate::bounds::{Bounds, Limits};
use crate::codec::{Manners, RawCodec};
use crate::names::Names;

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // The bounds come first: what they refuse, the others never see.
    bounds: Bounds,
    memory: Toggle<memory_connection_limits::Behaviour>,
    pub(crate) rpc: request_response::Behaviour<RawCodec>,
    pub(crate) kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// The names that keep networks apart.
#[derive(Clone, Debug)]
pub(crate) struct Protocols {
    rpc: StreamProtocol,
    kad: StreamProtocol,
    family: String,
}

impl Protocols {
    pub(crate) fn of(network: &str) -> Result<Self, NetError> {
        let usable = (1..=63).contains(&network.len())
            && network
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !usable {
            return Err(NetError::Network(network.to_owned()));
        }
        let name = |what| {
            StreamProtocol::try_from_owned(format!("/kms/{network}/{what}/1"))
                .expect("it starts with a slash")
        };
        Ok(Self {
            rpc: name("rpc"),
            kad: name("kad"),
            family: format!("/kms/{network}/1"),
        })
    }

    /// Whether a peer says of itself that it is a node of this network.
    pub(crate) fn are_of_a_node(&self, info: &identify::Info) -> bool {
        info.protocol_version == self.family && info.protocols.contains(&self.kad)
    }
}

/// What differs between a node and a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) mode: kad::Mode,
    pub(crate) request_timeout: Duration,
    pub(crate) dial_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_memory_bytes: Option<usize>,
    pub(crate) manners: Manners,
}

const STREAMS_PER_CONNECTION: usize = 16;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const KAD_QUERY_TIMEOUT: Duration = Duration::from_secs(15);
const KAD_PEER_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the network may be called.
pub(crate) struct Reach<'a> {
    pub(crate) scope: Scope,
    /// The addresses of our own configuration.
    pub(crate) own: Vec<&'a Multiaddr>,
}

pub(crate) fn swarm(
    keypair: Keypair,
    protocols: &Protocols,
    shape: Shape,
    reach: Reach<'_>,
) -> Result<Swarm<Behaviour>, NetError> {
    let numeric = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let named = Names::new(numeric, reach.scope, reach.own);
    let built = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|keypair| {
            let secured = named
                .upgrade(upgrade::Version::V1Lazy)
                .authenticate(noise::Config::new(keypair)?)
                .multiplex(yamux_config());
            Ok(secured)
        })
        .map_err(transport_error)?
        .with_behaviour(|keypair| behaviour(keypair, protocols, shape))
        .map_err(transport_error)?
        .with_swarm_config(swarm_config)
        .with_connection_timeout(shape.dial_timeout)
        .build();
    Ok(built)
}

fn transport_error(error: impl std::fmt::Display) -> NetError {
    NetError::Transport(error.to_string())
}

fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(4 * STREAMS_PER_CONNECTION);
    config
}

fn swarm_config(config: libp2p::swarm::Config) -> libp2p::swarm::Config {
    config
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(STREAMS_PER_CONNECTION)
        // A stream has one protocol to choose from: what is asked goes along with its name, and a journey is saved.
        .with_substream_upgrade_protocol_override(upgrade::Version::V1Lazy)
}

fn behaviour(keypair: &Keypair, protocols: &Protocols, shape: Shape) -> Behaviour {
    let id = keypair.public().to_peer_id();
    let support = match shape.mode {
        kad::Mode::Client => request_response::ProtocolSupport::Outbound,
        kad::Mode::Server => request_response::ProtocolSupport::Full,
    };
    Behaviour {
        bounds: Bounds::new(Limits {
            established: shape.max_connections,
        }),
        memory: shape
            .max_memory_bytes
            .map(memory_connection_limits::Behaviour::with_max_bytes)
            .into(),
        rpc: request_response::Behaviour::with_codec(
            RawCodec {
                manners: shape.manners,
            },
            [(protocols.rpc.clone(), support)],
            request_response::Config::default()
                .with_request_timeout(shape.request_timeout)
                .with_max_concurrent_streams(STREAMS_PER_CONNECTION),
        ),
        kad: kademlia(id, protocols, shape.mode),
        identify: identify::Behaviour::new(
            identify::Config::new_with_signed_peer_record(protocols.family.clone(), keypair)
                .with_agent_version(concat!("kms/", env!("CARGO_PKG_VERSION")).to_owned())
                .with_cache_size(0),
        ),
        ping: ping::Behaviour::new(
            ping::Config::new()
                .with_interval(PING_INTERVAL)
                .with_timeout(PING_TIMEOUT),
        ),
    }
}

fn kademlia(id: PeerId, protocols: &Protocols, mode: kad::Mode) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(protocols.kad.clone());
    config
        .set_query_timeout(KAD_QUERY_TIMEOUT)
        .set_substreams_timeout(KAD_PEER_TIMEOUT)
        .set_parallelism(NonZeroUsize::new(6).expect("six is not zero"))
        // Peers enter the table through `Routing` only, after identify has shown what they are.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        // Nothing is ever stored for others: fragments belong to one node each.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    if mode == kad::Mode::Client {
        config.set_periodic_bootstrap_interval(None);
    }
    let nothing = MemoryStoreConfig {
        max_records: 0,
        max_provided_keys: 0,
        ..MemoryStoreConfig::default()
    };
    let mut kad = kad::Behaviour::with_config(id, MemoryStore::with_config(id, nothing), config);
    kad.set_mode(Some(mode));
    kad
}
