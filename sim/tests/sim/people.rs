//! People: a label, a grant of it, and what they do with it through the real client.

use std::sync::Arc;
use std::time::Duration;

use kms_client::revoke::RevokeRequest;
use kms_client::{Client, ClientError, Grant, GrantRequest, KeyRequest, RevokeOutcome, Threshold};
use kms_crypto::id::{LabelId, PolicyId, SchemeId, StoreId};
use kms_crypto::key::{DelegatingKey, IdentitySecret, LabelSecret, LedgerKey};
use kms_crypto::policy::PolicyParams;
use kms_crypto::scheme::{Capsule, LabelContext, encapsulate};
use kms_ledger::machine;
use kms_proto::ledger::PolicyState;
use kms_proto::message::{Command, Reencrypt};
use kms_proto::signed::Address;
use kms_proto::transport::Transport;
use serde_bytes::ByteBuf;

use crate::chance;
use crate::conduct::Conduct;
use crate::node::SimNode;
use crate::world::{NETWORK, World};

const TRIES: usize = 20;

/// Something to share, with whom, and how.
pub struct Share {
    label: DelegatingKey,
    author: LedgerKey,
    recipient: IdentitySecret,
    salt: [u8; 32],
    pub threshold: Threshold,
    expiry: u64,
    capsule: Capsule,
    secret: Arc<LabelSecret>,
    context: LabelContext,
}

impl Share {
    pub fn new(world: &World, needed: u8, total: u8) -> Arc<Self> {
        let rng = &mut machine::rng();
        let label = DelegatingKey::generate(rng);
        let context = LabelContext {
            store: StoreId(chance::bytes()),
            label: LabelId(chance::bytes()),
            epoch: 1,
        };
        let sealed = encapsulate(rng, SchemeId::SPLIT_ECIES, &label.public(), &context);
        let (capsule, secret) = sealed.expect("the label is of that scheme");
        Arc::new(Self {
            label,
            author: LedgerKey::generate(rng),
            recipient: IdentitySecret::generate(rng),
            salt: chance::bytes(),
            threshold: Threshold::new(needed, total).expect("needed <= total"),
            expiry: world.now() + 7 * 86_400,
            capsule,
            secret: Arc::new(secret),
            context,
        })
    }

    pub fn params(&self) -> PolicyParams {
        PolicyParams::new(
            self.author.public(),
            self.label.public(),
            self.recipient.public(),
            self.salt,
        )
    }

    pub fn policy(&self) -> PolicyId {
        self.params().id()
    }

    pub async fn grant(&self, owner: &Client) -> Result<Grant, ClientError> {
        let request = GrantRequest {
            delegating_key: &self.label,
            ledger_key: &self.author,
            recipient: self.recipient.public(),
            salt: self.salt,
            threshold: self.threshold,
            expiry: self.expiry,
            epoch: 1,
        };
        owner.grant(&request).await
    }

    /// The same to the same person, by a policy of its own: how a second try is made.
    pub fn again(&self) -> Self {
        let rng = &mut machine::rng();
        let copy = |key: &[u8; 32]| IdentitySecret::from_bytes(key).expect("it was one before");
        Self {
            label: DelegatingKey::from_bytes(&self.label.to_bytes()).expect("it was one before"),
            author: LedgerKey::generate(rng),
            recipient: copy(&self.recipient.to_bytes()),
            salt: chance::bytes(),
            threshold: self.threshold,
            expiry: self.expiry,
            capsule: self.capsule.clone(),
            secret: Arc::clone(&self.secret),
            context: self.context,
        }
    }

    /// What an owner does about a grant that was not acknowledged: she revokes it, as often as it takes.
    pub async fn take_back(&self, world: &Arc<World>) {
        for _ in 0..TRIES {
            let (owner, _line) = world.client();
            if self.revoke(&owner).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
    }

    pub async fn revoke(&self, owner: &Client) -> Result<RevokeOutcome, ClientError> {
        let request = RevokeRequest {
            ledger_key: &self.author,
            params: self.params(),
            threshold: self.threshold,
            nodes: &[],
            epoch: 2,
        };
        owner.revoke(&request).await
    }

    /// Fetches the secret. Whatever nodes do, it is the right one or none.
    pub async fn open(&self, reader: &Client) -> Result<(), ClientError> {
        let request = KeyRequest {
            params: self.params(),
            threshold: self.threshold,
            nodes: Vec::new(),
            capsule: self.capsule.clone(),
            context: self.context,
        };
        let secret = reader.decrypt_key(&request, &self.recipient).await?;
        assert!(secret == *self.secret, "another secret was substituted");
        Ok(())
    }

    /// The nodes that the ledger names.
    pub fn holders(&self, world: &World) -> Vec<Arc<SimNode>> {
        let grant = world.ledger.policy(&self.policy()).into_grant();
        let keys = grant.map(|grant| grant.nodes).unwrap_or_default();
        keys.iter().filter_map(|key| world.node(key)).collect()
    }

    /// Asks every holder, one after the other, whether or not there is a grant.
    pub async fn insist(&self, world: &Arc<World>) {
        let (_, line) = world.client();
        for node in self.holders(world).iter().map(|node| node.key) {
            let command = Command::Reencrypt(Reencrypt {
                recipient: self.recipient.public(),
                policy: self.policy(),
                capsules: vec![ByteBuf::from(self.capsule.to_bytes())],
            });
            let to = Address {
                network: NETWORK,
                node,
                deadline: world.now() + 30,
            };
            let request = command.sign(&to, &self.recipient, &mut machine::rng());
            let request = request.expect("the recipient asks");
            // What comes back is looked at where it leaves.
            let _ = line.call(&node, &[], request, Duration::from_secs(5)).await;
        }
    }

    /// Whether every honest node that the ledger names has what it is named for.
    pub fn is_whole(&self, world: &World) -> bool {
        let policy = self.policy();
        let PolicyState::Live(grant) = world.ledger.policy(&policy) else {
            return false;
        };
        let named = grant.nodes.iter().map(|key| world.node(key)).enumerate();
        let mut named = named.filter_map(|(index, node)| Some((index, node?)));
        named.all(|(index, node)| {
            node.conduct != Conduct::Honest || node.kept(&policy) == Some(index)
        })
    }
}

/// Waits for a moment within `span`.
pub async fn some_time(span: Duration) {
    tokio::time::sleep(chance::between(Duration::ZERO, span)).await;
}
