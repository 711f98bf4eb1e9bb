//! The client without `async`, for programs that have threads: a small runtime of its own runs the network.
//!
//! A runtime does not survive a fork: a program that puts itself into the background connects afterwards. Nothing here may
//! be called from inside another tokio runtime's worker.

use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::{IdentitySecret, LabelSecret, PublicKey};
use kms_crypto::policy::Threshold;
use kms_proto::ledger::{Cost, Head, LedgerSource, NodeRecord, PolicyState};
use kms_proto::message::NodeStatus;
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use crate::audit::{Bookmark, NodeAudit};
use crate::connect::NetworkConfig;
use crate::decrypt::KeyRequest;
use crate::error::{Answer, Answers, ClientError, ConnectError, Quorum};
use crate::grant::{Grant, GrantRequest};
use crate::ledger::{LedgerLine, LedgerReport, UsualPace};
use crate::place::NodeAddress;
use crate::revoke::{Removal, Revocation, RevokeOutcome, RevokeRequest};
use crate::sealed::SealedError;
use crate::ticket::Ticket;

/// [`crate::Client`] with its own threads. Any number of threads may call it at once.
pub struct Client {
    client: crate::Client,
    // Dropped last: tasks of the client end with it.
    runtime: Runtime,
}

/// The threads that move messages; calls wait on their own threads.
const WORKERS: usize = 2;

impl Client {
    /// Connects; see [`crate::Client::connect`].
    pub fn connect(config: &NetworkConfig) -> Result<Self, ConnectError> {
        let runtime = runtime()?;
        let client = runtime.block_on(crate::Client::connect(config))?;
        Ok(Self { client, runtime })
    }

    /// Gives a client threads of its own.
    pub fn new(client: crate::Client) -> Result<Self, ConnectError> {
        Ok(Self {
            client,
            runtime: runtime()?,
        })
    }

    /// See [`crate::Client::grant`].
    pub fn grant(&self, request: &GrantRequest<'_>) -> Result<Grant, ClientError> {
        self.runtime.block_on(self.client.grant(request))
    }

    /// See [`crate::Client::usual_expiry`].
    pub fn usual_expiry(&self, threshold: Threshold) -> u64 {
        self.runtime.block_on(self.client.usual_expiry(threshold))
    }

    /// See [`crate::Client::revoke`].
    pub fn revoke(&self, request: &RevokeRequest<'_>) -> Result<RevokeOutcome, ClientError> {
        self.runtime.block_on(self.client.revoke(request))
    }

    /// See [`crate::Client::usual_pace`].
    pub fn usual_pace(&self) -> UsualPace {
        self.runtime.block_on(self.client.usual_pace())
    }

    /// See [`crate::Client::revocation_cost`].
    pub fn revocation_cost(
        &self,
        request: &RevokeRequest<'_>,
    ) -> Result<Option<Cost>, ClientError> {
        self.runtime.block_on(self.client.revocation_cost(request))
    }

    /// See [`crate::Client::record_revocation`].
    pub fn record_revocation(
        &self,
        request: &RevokeRequest<'_>,
    ) -> Result<Revocation, ClientError> {
        self.runtime
            .block_on(self.client.record_revocation(request))
    }

    /// See [`crate::Client::remove_fragments`].
    pub fn remove_fragments(&self, request: &RevokeRequest<'_>) -> Removal {
        self.runtime.block_on(self.client.remove_fragments(request))
    }

    /// See [`crate::Client::audit`].
    pub fn audit(
        &self,
        request: &RevokeRequest<'_>,
        known: impl Fn(&PublicKey) -> Bookmark,
    ) -> Vec<NodeAudit> {
        self.runtime.block_on(self.client.audit(request, known))
    }

    /// See [`crate::Client::policy_health`].
    pub fn policy_health(&self, request: &RevokeRequest<'_>) -> Result<Quorum, ClientError> {
        self.runtime.block_on(self.client.policy_health(request))
    }

    /// See [`crate::Client::decrypt_key`].
    pub fn decrypt_key(
        &self,
        request: &KeyRequest,
        identity: &IdentitySecret,
    ) -> Result<LabelSecret, ClientError> {
        self.runtime
            .block_on(self.client.decrypt_key(request, identity))
    }

    /// The same, as long as it is wanted: `wanted` is asked at first, and each time so long has passed. None: it was not.
    pub fn decrypt_key_while(
        &self,
        request: &KeyRequest,
        identity: &IdentitySecret,
        each: Duration,
        wanted: impl Fn() -> bool,
    ) -> Option<Result<LabelSecret, ClientError>> {
        let unwanted = async {
            while wanted() {
                tokio::time::sleep(each).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = unwanted => None,
                fetched = self.client.decrypt_key(request, identity) => Some(fetched),
            }
        })
    }

    /// See [`crate::Client::decrypt`].
    pub fn decrypt(
        &self,
        sealed: &[u8],
        ticket: &Ticket,
        identity: &IdentitySecret,
    ) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        self.runtime
            .block_on(self.client.decrypt(sealed, ticket, identity))
    }

    /// See [`crate::Client::survey`].
    pub fn survey(&self, request: &KeyRequest, identity: &IdentitySecret) -> Answers {
        self.runtime.block_on(self.client.survey(request, identity))
    }

    /// See [`crate::Client::policy_state`].
    pub fn policy_state(&self, policy: &PolicyId) -> Result<PolicyState, ClientError> {
        self.runtime.block_on(self.client.policy_state(policy))
    }

    /// See [`crate::Client::nodes`].
    pub fn nodes(&self) -> Result<Vec<NodeRecord>, ClientError> {
        self.runtime.block_on(self.client.nodes())
    }

    /// See [`crate::Client::ledger_report`].
    pub fn ledger_report(&self) -> Result<LedgerReport, ClientError> {
        self.runtime.block_on(self.client.ledger_report())
    }

    /// See [`crate::Client::ledger_sources`].
    pub fn ledger_sources(&self) -> Result<Vec<LedgerSource>, ClientError> {
        self.runtime.block_on(self.client.ledger_sources())
    }

    /// See [`crate::Client::verify_ledger`].
    pub fn verify_ledger(&self, each: impl FnMut(&LedgerLine)) -> Result<Head, ClientError> {
        self.runtime.block_on(self.client.verify_ledger(each))
    }

    /// See [`crate::Client::grant_cost`].
    pub fn grant_cost(&self, needed: u8, total: u8) -> Result<Option<Cost>, ClientError> {
        self.runtime.block_on(self.client.grant_cost(needed, total))
    }

    /// See [`crate::Client::node_status`].
    pub fn node_status(&self, node: &NodeAddress) -> Result<NodeStatus, Answer> {
        self.runtime.block_on(self.client.node_status(node))
    }
}

fn runtime() -> Result<Runtime, ConnectError> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("kms-client")
        .enable_all()
        .build()
        .map_err(ConnectError::Runtime)
}
