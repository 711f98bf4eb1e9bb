//! Granting, fetching keys and revoking over a network in memory whose nodes fail in every way one by one.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

mod decrypt;
mod grant;
mod revoke;
mod schemes;
mod sealed;
mod session;
mod slow_ledger;

use std::sync::Arc;

use kms_client::fake::FakeNetwork;
use kms_client::{Client, ClientError, Grant, GrantRequest, KeyRequest, RevokeRequest, Threshold};
use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{IdentitySecret, LabelSecret, StoreKey};
use kms_crypto::scheme::{Capsule, LabelContext, SchemeKind, encapsulate};
use rand_core::UnwrapErr;

/// An owner with one label, and somebody to share it with.
struct Scene {
    network: Arc<FakeNetwork>,
    client: Client,
    store_key: StoreKey,
    label: LabelId,
    context: LabelContext,
    capsule: Capsule,
    secret: LabelSecret,
    bob: IdentitySecret,
    salt: [u8; 32],
    /// When the scene was made: the same request is the same a second later, too.
    start: u64,
}

const WEEK: u64 = 7 * 86_400;

fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

fn three_of_five() -> Threshold {
    Threshold::new(3, 5).unwrap()
}

impl Scene {
    fn new(nodes: usize) -> Self {
        Self::of(nodes, SchemeKind::Split)
    }

    fn of(nodes: usize, scheme: SchemeKind) -> Self {
        let network = FakeNetwork::new(nodes);
        let client = network.client();
        let start = network.now();
        let store_key = StoreKey::generate(&mut rng());
        let label = LabelId::random(&mut rng());
        let context = LabelContext {
            store: StoreId::random(&mut rng()),
            label,
            epoch: 1,
        };
        let label_key = store_key
            .delegating_key_for(scheme.id(), &label, 1)
            .unwrap();
        let (capsule, secret) =
            encapsulate(&mut rng(), scheme.id(), &label_key.public(), &context).unwrap();
        let bob = IdentitySecret::generate(&mut rng());
        Self {
            network,
            client,
            store_key,
            label,
            context,
            capsule,
            secret,
            bob,
            salt: [7; 32],
            start,
        }
    }

    async fn grant(&self) -> Result<Grant, ClientError> {
        self.grant_for(three_of_five(), WEEK).await
    }

    async fn grant_for(&self, threshold: Threshold, seconds: u64) -> Result<Grant, ClientError> {
        let delegating_key = self
            .store_key
            .delegating_key_for(self.capsule.scheme(), &self.label, 1)
            .unwrap();
        let request = GrantRequest {
            delegating_key: &delegating_key,
            ledger_key: &self.store_key.ledger_key(&self.salt),
            recipient: self.bob.public(),
            salt: self.salt,
            threshold,
            expiry: self.start + seconds,
            epoch: 1,
        };
        self.client.grant(&request).await
    }

    fn key_request(&self, grant: &Grant) -> KeyRequest {
        KeyRequest {
            params: grant.params,
            threshold: grant.threshold,
            nodes: grant.nodes.clone(),
            capsule: Capsule::from_bytes(&self.capsule.to_bytes()).unwrap(),
            context: self.context,
        }
    }

    async fn fetch(&self, grant: &Grant) -> Result<LabelSecret, ClientError> {
        self.client
            .decrypt_key(&self.key_request(grant), &self.bob)
            .await
    }

    /// Fetches the key and compares it with the one that was encapsulated.
    async fn opens(&self, grant: &Grant) {
        let secret = self.fetch(grant).await.unwrap();
        assert_eq!(secret.as_bytes(), self.secret.as_bytes());
    }

    /// The error of a fetch that must fail.
    async fn refused(&self, grant: &Grant) -> ClientError {
        match self.fetch(grant).await {
            Err(error) => error,
            Ok(_) => panic!("the key opened"),
        }
    }

    async fn revoke(&self, grant: &Grant) -> Result<kms_client::RevokeOutcome, ClientError> {
        let request = RevokeRequest {
            ledger_key: &self.store_key.ledger_key(&self.salt),
            params: grant.params,
            threshold: grant.threshold,
            nodes: &grant.nodes,
            epoch: 2,
        };
        self.client.revoke(&request).await
    }

    /// The indices of the nodes that hold fragments, in the order of the fragments.
    fn holders(&self, grant: &Grant) -> Vec<usize> {
        grant
            .nodes
            .iter()
            .map(|node| self.network.index(&node.key).unwrap())
            .collect()
    }
}
