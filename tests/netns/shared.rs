//! A key that is shared, as its owner and its recipient see it.

use kms_client::blocking::Client;
use kms_client::revoke::RevokeRequest;
use kms_client::{ClientError, Grant, GrantRequest, KeyRequest, NodeAddress, Threshold};
use kms_crypto::id::{LabelId, SchemeId, StoreId};
use kms_crypto::key::{DelegatingKey, IdentitySecret, LabelSecret, LedgerKey};
use kms_crypto::scheme::{LabelContext, encapsulate};
use kms_proto::ledger::PolicyState;

type Rng = rand_core::UnwrapErr<getrandom::SysRng>;

const WEEK_SECONDS: u64 = 7 * 24 * 60 * 60;

/// A granted key.
pub(crate) struct Shared {
    ledger_key: LedgerKey,
    recipient: IdentitySecret,
    secret: LabelSecret,
    request: KeyRequest,
    grant: Grant,
}

impl Shared {
    /// Makes a key and grants it.
    #[track_caller]
    pub(crate) fn grant(client: &Client, needed: u8, total: u8) -> Self {
        let rng: &mut Rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
        let (delegating_key, ledger_key) = (DelegatingKey::generate(rng), LedgerKey::generate(rng));
        let recipient = IdentitySecret::generate(rng);
        let mut salt = [0; 32];
        rand_core::Rng::fill_bytes(rng, &mut salt);
        let context = LabelContext {
            store: StoreId([1; 16]),
            label: LabelId([2; 16]),
            epoch: 1,
        };
        let label = delegating_key.public();
        let (capsule, secret) = encapsulate(rng, SchemeId::SPLIT_ECIES, &label, &context).unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs();
        let grant = client
            .grant(&GrantRequest {
                delegating_key: &delegating_key,
                ledger_key: &ledger_key,
                recipient: recipient.public(),
                salt,
                threshold: Threshold::new(needed, total).unwrap(),
                expiry: now + WEEK_SECONDS,
                epoch: 1,
            })
            .unwrap();
        let request = KeyRequest {
            params: grant.params,
            threshold: grant.threshold,
            nodes: grant.nodes.clone(),
            capsule,
            context,
        };
        Self {
            ledger_key,
            recipient,
            secret,
            request,
            grant,
        }
    }

    /// Who keeps its fragments at first.
    pub(crate) fn first_holders(&self) -> &[NodeAddress] {
        &self.grant.nodes
    }

    /// Who keeps them by the ledger's word.
    pub(crate) fn holders(&self, client: &Client) -> Vec<kms_crypto::key::PublicKey> {
        match client.policy_state(&self.grant.params.id()).unwrap() {
            PolicyState::Live(grant) => grant.nodes,
            other => panic!("{other:?}"),
        }
    }

    /// The owner asks how many nodes serve.
    pub(crate) fn serving(&self, client: &Client) -> u8 {
        let request = RevokeRequest {
            ledger_key: &self.ledger_key,
            params: self.grant.params,
            threshold: self.grant.threshold,
            nodes: &self.grant.nodes,
            epoch: 2,
        };
        client.policy_health(&request).unwrap().good
    }

    /// The recipient opens it.
    #[track_caller]
    pub(crate) fn opens(&self, client: &Client) {
        let opened = self.try_open(client);
        opened.unwrap_or_else(|error| panic!("{error}"));
    }

    /// The recipient tries to open it.
    #[track_caller]
    pub(crate) fn try_open(&self, client: &Client) -> Result<(), ClientError> {
        let secret = client.decrypt_key(&self.request, &self.recipient)?;
        assert!(secret == self.secret, "another secret");
        Ok(())
    }

    /// The recipient tries to open it and cannot.
    #[track_caller]
    pub(crate) fn refused(&self, client: &Client) -> ClientError {
        self.try_open(client).expect_err("it opens")
    }
}
