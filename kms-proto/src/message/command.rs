//! Requests with an author: the owner of a policy, or its recipient (WIRE §3.2).
//!
//! The author's key stands in the body where the policy needs it, so that a signature by anybody else
//! has no encoding.

use kms_crypto::{
    id::PolicyId,
    key::PublicKey,
    policy::{PolicyParams, policy_id},
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::audit::Audit;
use super::handover::{ForwardRemovals, Handover, MAX_REMOVALS, Retire};
use super::signing::{SignCommit, SignShare};
use crate::{message::Refusal, secret::SecretBytes};

/// The most capsules in one request.
pub const MAX_CAPSULES: usize = 32;

/// A request that is signed.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Would you keep a fragment? Signed by the policy's ledger key. Answered by `Response::Arranged`.
    Arrange(Arrange),
    /// Keep this fragment. Signed by the policy's ledger key. Answered by `Response::Stored` when it is durable.
    StoreRekey(StoreRekey),
    /// Re-encrypt these capsules. Signed by the recipient. Answered by `Response::Reencrypted`.
    Reencrypt(Reencrypt),
    /// Delete the fragment. Signed by the policy's ledger key. Answered by `Response::Removed`.
    RemoveRekey(RemoveRekey),
    /// Keep this fragment in my place. Signed by the node that leaves. Answered by `Response::Taken`.
    Handover(Handover),
    /// Remember what owners had removed here. Signed by the node that leaves. Answered by `Response::Noted`.
    ForwardRemovals(ForwardRemovals),
    /// Do you still serve? Signed by the policy's ledger key. Answered by `Response::Reencrypted`.
    Canary(Canary),
    /// What was asked about this policy? Signed by the policy's ledger key. Answered by `Response::Audited`.
    Audit(Audit),
    /// Hand over what outlives a time. Signed by the node addressed. Answered by `Response::Retiring`.
    Retire(Retire),
    /// Draw nonces for a signature. Signed by the recipient. Answered by `Response::Committed`.
    SignCommit(SignCommit),
    /// Sign this with them. Signed by the recipient. Answered by `Response::SignedShare`.
    SignShare(SignShare),
}

/// Asks for a promise to keep a fragment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Arrange {
    /// The policy's ledger key, who signs.
    pub ledger_key: PublicKey,
    /// The hidden half of the policy id (SCHEMES, policy id).
    #[serde(with = "serde_bytes")]
    pub inner: [u8; 32],
    /// Until when, Unix seconds.
    pub expiry: u64,
    /// How many fragments open.
    pub m: u8,
    /// How many fragments there are.
    pub n: u8,
}

impl Arrange {
    /// The policy it is about.
    pub fn policy(&self) -> PolicyId {
        policy_id(&self.ledger_key, &self.inner)
    }
}

/// Hands a key fragment over.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StoreRekey {
    /// What the policy id follows from. Its ledger key signs.
    pub params: PolicyParams,
    /// Until when, Unix seconds.
    pub expiry: u64,
    /// How many fragments open.
    pub m: u8,
    /// How many fragments there are.
    pub n: u8,
    /// Which of them this is, from 0.
    pub index: u8,
    /// The key fragment, encoded (SCHEMES). The node verifies it against the parameters above.
    pub fragment: SecretBytes,
}

/// Asks for capsule fragments.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reencrypt {
    /// The recipient of the policy, who signs.
    pub recipient: PublicKey,
    /// The policy.
    pub policy: PolicyId,
    /// Capsules, encoded (SCHEMES); 1 to [`MAX_CAPSULES`].
    pub capsules: Vec<ByteBuf>,
}

/// Asks for a fragment's deletion. Deleting what is not there succeeds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RemoveRekey {
    /// The policy's ledger key, who signs.
    pub ledger_key: PublicKey,
    /// The hidden half of the policy id.
    #[serde(with = "serde_bytes")]
    pub inner: [u8; 32],
}

impl RemoveRekey {
    /// The policy it is about.
    pub fn policy(&self) -> PolicyId {
        policy_id(&self.ledger_key, &self.inner)
    }
}

/// Asks for a re-encryption on trial: of a capsule that the owner has made for nothing else.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Canary {
    /// The policy's ledger key, who signs.
    pub ledger_key: PublicKey,
    /// The hidden half of the policy id.
    #[serde(with = "serde_bytes")]
    pub inner: [u8; 32],
    /// A capsule, encoded (SCHEMES).
    pub capsule: ByteBuf,
}

impl Canary {
    /// The policy it is about.
    pub fn policy(&self) -> PolicyId {
        policy_id(&self.ledger_key, &self.inner)
    }
}

impl Command {
    /// Who has to sign it.
    pub fn signer(&self) -> PublicKey {
        match self {
            Self::Arrange(it) => it.ledger_key,
            Self::StoreRekey(it) => it.params.ledger_key,
            Self::Reencrypt(it) => it.recipient,
            Self::RemoveRekey(it) => it.ledger_key,
            Self::Canary(it) => it.ledger_key,
            Self::Audit(it) => it.ledger_key,
            Self::Handover(it) => it.from,
            Self::ForwardRemovals(it) => it.from,
            Self::Retire(it) => it.node,
            Self::SignCommit(it) => it.recipient,
            Self::SignShare(it) => it.recipient,
        }
    }

    /// The policy it is about, if it is about one.
    pub fn policy(&self) -> Option<PolicyId> {
        match self {
            Self::Arrange(it) => Some(it.policy()),
            Self::StoreRekey(it) => Some(it.params.id()),
            Self::Reencrypt(it) => Some(it.policy),
            Self::RemoveRekey(it) => Some(it.policy()),
            Self::Canary(it) => Some(it.policy()),
            Self::Audit(it) => Some(it.policy()),
            Self::Handover(it) => Some(it.params.id()),
            Self::SignCommit(it) => Some(it.policy),
            Self::SignShare(it) => Some(it.policy),
            Self::ForwardRemovals(_) | Self::Retire(_) => None,
        }
    }

    /// Checks what can be checked without a store or a ledger.
    pub fn check(&self) -> Result<(), Refusal> {
        let fits = match self {
            Self::Arrange(it) => 1 <= it.m && it.m <= it.n,
            Self::StoreRekey(it) => 1 <= it.m && it.m <= it.n && it.index < it.n,
            Self::Reencrypt(it) => (1..=MAX_CAPSULES).contains(&it.capsules.len()),
            Self::ForwardRemovals(it) => (1..=MAX_REMOVALS).contains(&it.removals.len()),
            Self::SignShare(it) => it.fits(),
            Self::RemoveRekey(_)
            | Self::Canary(_)
            | Self::Audit(_)
            | Self::Handover(_)
            | Self::Retire(_)
            | Self::SignCommit(_) => true,
        };
        if fits {
            Ok(())
        } else {
            Err(Refusal::BadRequest)
        }
    }
}
