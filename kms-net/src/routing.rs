//! Who is in the routing table (NODE §1.2): peers that say, and sign, that they are nodes of our network, and that the
//! ledger knows, if we were told whom it knows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kms_crypto::key::PublicKey;
use libp2p::core::PeerRecord;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, Swarm, identify};

use crate::address::{ADDRESSES_PER_PEER, Scope, without_peer};
use crate::behaviour::{Behaviour, Protocols};
use crate::peer::key_of;

/// The nodes that the ledger knows; none: nobody has said yet, and all are let in.
pub type Members = Option<Arc<HashSet<PublicKey>>>;

/// Looks after the routing table.
#[derive(Debug)]
pub(crate) struct Routing {
    protocols: Protocols,
    scope: Scope,
    members: Members,
    /// Nodes by their own word, whom the ledger did not know when they were met. Connected ones only.
    waiting: HashMap<PeerId, Vec<Multiaddr>>,
    /// How often each peer could not be dialled in a row: Kademlia itself keeps peers that are gone.
    failures: HashMap<PeerId, u8>,
}

const FAILURES_ALLOWED: u8 = 3;
const FAILURES_REMEMBERED: usize = 1024;

impl Routing {
    pub(crate) fn new(protocols: Protocols, scope: Scope) -> Self {
        Self {
            protocols,
            scope,
            members: None,
            waiting: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// A peer has said who it is.
    pub(crate) fn on_identified(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        peer: PeerId,
        info: identify::Info,
    ) {
        let ours = self.protocols.are_of_a_node(&info);
        let Some(key) = key_of(&peer).filter(|_| ours) else {
            return;
        };
        // A later message of the peer's has the record of the first one, but addresses that it has not signed.
        let record = info.signed_peer_record;
        let record = record.and_then(|it| PeerRecord::from_signed_envelope(it).ok());
        let Some(record) = record.filter(|it| it.peer_id() == peer) else {
            return;
        };
        let kept = record.addresses().iter().cloned().map(without_peer);
        let kept = kept.filter(|address| self.scope.admits(address));
        let kept: Vec<_> = kept.take(ADDRESSES_PER_PEER).collect();
        if self.is_member(&key) {
            insert(swarm, peer, kept);
        } else {
            tracing::debug!(%peer, "a node that the ledger does not know");
            self.waiting.insert(peer, kept);
        }
    }

    /// The ledger was read: takes in who is in it now, and drops who is not.
    pub(crate) fn set_members(&mut self, swarm: &mut Swarm<Behaviour>, members: Members) {
        self.members = members;
        for (peer, addresses) in std::mem::take(&mut self.waiting) {
            if !swarm.is_connected(&peer) {
                continue;
            }
            if key_of(&peer).is_some_and(|key| self.is_member(&key)) {
                insert(swarm, peer, addresses);
            } else {
                self.waiting.insert(peer, addresses);
            }
        }
        for peer in peers(swarm) {
            if !key_of(&peer).is_some_and(|key| self.is_member(&key)) {
                tracing::info!(%peer, "is no node of the ledger any more");
                swarm.behaviour_mut().kad.remove_peer(&peer);
            }
        }
    }

    pub(crate) fn on_connected(&mut self, peer: &PeerId) {
        self.failures.remove(peer);
    }

    pub(crate) fn on_closed(&mut self, swarm: &Swarm<Behaviour>, peer: &PeerId) {
        if !swarm.is_connected(peer) {
            self.waiting.remove(peer);
        }
    }

    /// Drops a peer from the table when it could not be dialled too often.
    pub(crate) fn on_failure(&mut self, swarm: &mut Swarm<Behaviour>, peer: PeerId) {
        if self.failures.len() >= FAILURES_REMEMBERED {
            self.failures.clear();
        }
        let failures = self.failures.entry(peer).or_default();
        *failures = failures.saturating_add(1);
        if *failures >= FAILURES_ALLOWED {
            self.failures.remove(&peer);
            swarm.behaviour_mut().kad.remove_peer(&peer);
        }
    }

    fn is_member(&self, key: &PublicKey) -> bool {
        let members = self.members.as_ref();
        members.is_none_or(|members| members.contains(key))
    }
}

/// The addresses of at most `limit` peers in the table, each ending in `/p2p/…`, one for each peer.
pub(crate) fn addresses(swarm: &mut Swarm<Behaviour>, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    for bucket in swarm.behaviour_mut().kad.kbuckets() {
        for entry in bucket.iter() {
            let (peer, address) = (*entry.node.key.preimage(), entry.node.value.first());
            let address = without_peer(address.clone()).with(Protocol::P2p(peer));
            found.push(address.to_string());
        }
    }
    // Buckets begin with the nearest; few of those are as good as any.
    found.truncate(limit);
    found
}

fn peers(swarm: &mut Swarm<Behaviour>) -> Vec<PeerId> {
    let mut peers = Vec::new();
    for bucket in swarm.behaviour_mut().kad.kbuckets() {
        peers.extend(bucket.iter().map(|entry| *entry.node.key.preimage()));
    }
    peers
}

/// Puts a peer in the table with these addresses and no others: Kademlia itself keeps every one that it was ever told, until
/// an answer with all of them is too long to be read.
fn insert(swarm: &mut Swarm<Behaviour>, peer: PeerId, addresses: Vec<Multiaddr>) {
    swarm.behaviour_mut().kad.remove_peer(&peer);
    for address in addresses {
        swarm.behaviour_mut().kad.add_address(&peer, address);
    }
}
