//! Nodes' keys and libp2p's peer ids: the same thing in two encodings.
//!
//! A secp256k1 key is short enough for its peer id to contain it whole, so neither has to be looked up from the other.

use std::fmt;

use kms_crypto::key::{NodeSecret, PublicKey};
use libp2p::identity::{self, Keypair};
use libp2p::{PeerId, kad};

use crate::NetError;

/// The key at the other end of a connection, proven by the handshake. Clients make a new one at each start.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct PeerKey([u8; 33]);

impl PeerKey {
    /// The compressed point.
    pub const fn to_bytes(self) -> [u8; 33] {
        self.0
    }

    pub(crate) fn of(peer: &PeerId) -> Option<Self> {
        secp256k1_key(peer).map(|key| Self(key.to_bytes()))
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, a, b, c, d, ..] = self.0;
        write!(f, "PeerKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// The peer id of a node, as it stands after `/p2p/` in its addresses.
pub fn peer_id(node: &PublicKey) -> String {
    peer(node).to_string()
}

/// The node a peer id belongs to. None when it is not the id of a secp256k1 key.
pub fn public_key(peer_id: &str) -> Option<PublicKey> {
    key_of(&peer_id.parse().ok()?)
}

/// The distance between a value and a node, as Kademlia measures it; compare as big-endian numbers.
pub fn distance(target: &[u8; 32], node: &PublicKey) -> [u8; 32] {
    let target = kad::KBucketKey::from(target.to_vec());
    target
        .distance(&kad::KBucketKey::from(peer(node)))
        .0
        .to_big_endian()
}

pub(crate) fn peer(node: &PublicKey) -> PeerId {
    let key = identity::secp256k1::PublicKey::try_from_bytes(&node.to_bytes())
        .expect("a PublicKey is always a valid point of this curve");
    identity::PublicKey::from(key).to_peer_id()
}

pub(crate) fn key_of(peer: &PeerId) -> Option<PublicKey> {
    PublicKey::from_bytes(&secp256k1_key(peer)?.to_bytes()).ok()
}

fn secp256k1_key(peer: &PeerId) -> Option<identity::secp256k1::PublicKey> {
    let multihash = peer.as_ref();
    // Code 0 is "identity": the digest is the key's own encoding.
    if multihash.code() != 0 {
        return None;
    }
    identity::PublicKey::try_decode_protobuf(multihash.digest())
        .ok()?
        .try_into_secp256k1()
        .ok()
}

pub(crate) fn keypair(secret: &NodeSecret) -> Result<Keypair, NetError> {
    // libp2p wipes the array it is given; ours wipes itself.
    let mut bytes = secret.to_bytes();
    let secret = identity::secp256k1::SecretKey::try_from_bytes(bytes.as_mut_slice())
        .map_err(|_| NetError::Secret)?;
    Ok(identity::secp256k1::Keypair::from(secret).into())
}
