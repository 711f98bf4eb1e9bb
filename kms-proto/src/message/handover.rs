//! What a node that leaves says to one that stays, and its operator to it (WIRE §7).

use kms_crypto::{
    error::SealError,
    id::PolicyId,
    kdf,
    key::{IdentitySecret, NodeSecret, PublicKey},
    policy::PolicyParams,
    seal::seal_to,
};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use crate::{
    codec::{self, DecodeError},
    message::{Command, RemoveRekey},
    signed::{Signed, SignedRequest, Statement},
};

/// The most removals forwarded at once.
pub const MAX_REMOVALS: usize = 32;
/// The longest request that is kept and forwarded as proof of a removal.
pub const MAX_REMOVAL_BYTES: usize = 1024;

/// Hands a fragment from one node to another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Handover {
    /// The node that leaves, who signs.
    pub from: PublicKey,
    /// What the policy id follows from.
    pub params: PolicyParams,
    /// Which of the policy's fragments it is.
    pub index: u8,
    /// Random: the receipt proves possession for it.
    #[serde(with = "serde_bytes")]
    pub challenge: [u8; 32],
    /// The key fragment, sealed to the node addressed; see [`Parcel`].
    pub fragment: ByteBuf,
}

/// What a sealed fragment is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'a> {
    /// The network.
    pub network: &'a str,
    /// The node that leaves.
    pub from: PublicKey,
    /// The node that stays.
    pub to: PublicKey,
    /// The policy.
    pub policy: PolicyId,
    /// Which of its fragments.
    pub index: u8,
}

const FRAGMENT_DOMAIN: &str = "kms/handover-fragment/1";

impl Parcel<'_> {
    /// Seals a key fragment's encoding to the node that stays.
    pub fn seal<R: CryptoRng + ?Sized>(&self, fragment: &[u8], rng: &mut R) -> ByteBuf {
        let index = [self.index];
        let ad = self.ad(&index);
        ByteBuf::from(seal_to(&self.to, FRAGMENT_DOMAIN, &ad, fragment, rng))
    }

    /// Opens one that was sealed to this node.
    pub fn open(&self, sealed: &[u8], node: &NodeSecret) -> Result<Zeroizing<Vec<u8>>, SealError> {
        // Boxes are opened by identities; a node's key is one, and domains keep its uses apart.
        let secret = IdentitySecret::from_bytes(&node.to_bytes());
        let secret = secret.map_err(|_| SealError::Refused)?;
        let index = [self.index];
        secret.open_sealed(FRAGMENT_DOMAIN, &self.ad(&index), sealed)
    }

    /// Shows that whoever computes it has the fragment at hand.
    pub fn proof(&self, challenge: &[u8; 32], fragment: &[u8]) -> [u8; 32] {
        let parts: [&[u8]; 5] = [
            challenge,
            self.to.as_bytes(),
            self.policy.as_bytes(),
            &[self.index],
            fragment,
        ];
        kdf::hash("kms/handover-proof/1", &parts)
    }

    fn ad<'b>(&'b self, index: &'b [u8; 1]) -> [&'b [u8]; 4] {
        [
            self.network.as_bytes(),
            self.from.as_bytes(),
            self.policy.as_bytes(),
            index,
        ]
    }
}

/// Owners' removals, passed on to a node that is handed fragments.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ForwardRemovals {
    /// The node that leaves, who signs.
    pub from: PublicKey,
    /// Signed requests that were addressed to it, encoded; 1 to [`MAX_REMOVALS`].
    pub removals: Vec<ByteBuf>,
}

/// Why a forwarded removal is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// It is not a request.
    #[error("it does not parse: {0}")]
    Malformed(#[from] DecodeError),
    /// It asks for something else, or somebody else.
    #[error("it is not a removal at that node")]
    NotARemoval,
    /// The owner has not signed it.
    #[error("its signature is wrong")]
    BadSignature,
}

/// The policy whose fragment its owner had removed at some node, if `request` proves that. That node may have handed it on
/// to the one it comes from.
pub fn forwarded_removal(request: &[u8], network: &str) -> Result<PolicyId, RemovalError> {
    let request: SignedRequest = codec::decode(request, MAX_REMOVAL_BYTES)?;
    let claim = request.claim();
    let Command::RemoveRekey(RemoveRekey { .. }) = &claim.command else {
        return Err(RemovalError::NotARemoval);
    };
    if claim.network != network {
        return Err(RemovalError::NotARemoval);
    }
    let request = request.verify().map_err(|_| RemovalError::BadSignature)?;
    match request.into_statement().command {
        Command::RemoveRekey(it) => Ok(it.policy()),
        _ => Err(RemovalError::NotARemoval),
    }
}

/// Has a node hand over what outlives a time. Signed by the node itself: by who has its identity file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Retire {
    /// The node, who signs.
    pub node: PublicKey,
    /// Until when it goes on, Unix seconds; a time that is over means now.
    pub until: u64,
    /// The node that is to have all of it; nothing: each fragment goes to the nearest one that takes it.
    pub to: Option<PublicKey>,
}

/// How far a node is that was told to retire.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Retiring {
    /// Until when it serves, Unix seconds.
    pub until: u64,
    /// How many fragments it has yet to hand over.
    pub left: u64,
    /// Whether all is handed over and the ledger knows.
    pub done: bool,
    /// Why the last try did not succeed; empty if it did.
    pub trouble: String,
}

/// What a node signs when it keeps a fragment that was handed to it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Taken {
    /// The network.
    pub network: String,
    /// The node, who signs.
    pub node: PublicKey,
    /// The node that handed it over.
    pub from: PublicKey,
    /// The policy.
    pub policy: PolicyId,
    /// The fragment's index.
    pub index: u8,
    /// See [`Parcel::proof`].
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 32],
    /// When, Unix seconds.
    pub at: u64,
}

impl Statement for Taken {
    const DOMAIN: &'static str = "kms/handover-receipt/1";
    const MAX_BYTES: usize = 512;

    fn signer(&self) -> Option<PublicKey> {
        Some(self.node)
    }
}

/// A receipt for a fragment that was handed over.
pub type HandoverReceipt = Signed<Taken>;
