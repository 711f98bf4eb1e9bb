//! Granting: a label's key is split over nodes, then the ledger is told (WIRE §6, LEDGER §2).
//!
//! Candidates are the nodes that promised, in the ledger, to serve until the grant ends. They are tried in the order of
//! their distance to the policy ([`kms_proto::placement`]). The first n that answer get one fragment each. The entry in the ledger comes last: before it, the fragments are worth nothing.

use kms_crypto::id::PolicyId;
use kms_crypto::key::{DelegatingKey, LedgerKey, PublicKey};
use kms_crypto::policy::{PolicyParams, Threshold, revocation};
use kms_crypto::scheme::{KeyFrag, check_threshold};
use kms_proto::arrange::ArrangeOptions;
use kms_proto::ledger::{self, Entry, EntryRefusal, LedgerError, PolicyState};
use kms_proto::message::{Arrange, Command, RemoveRekey, Response, StoreRekey};
use kms_proto::placement::nearest_first;
use kms_proto::secret::SecretBytes;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, rng};
use crate::drive::{self, Placed, Placing};
use crate::error::{Answer, Answers, ClientError, Quorum, RequestError};
use crate::place::NodeAddress;

/// How long a grant lasts for which nothing is said, if nodes serve so long.
pub const USUAL_TTL_SECONDS: u64 = 365 * 86_400;

/// What to grant.
pub struct GrantRequest<'a> {
    /// The key of the label that is shared.
    pub delegating_key: &'a DelegatingKey,
    /// The author of the policy: a key of this policy alone.
    pub ledger_key: &'a LedgerKey,
    /// Whom it is shared with.
    pub recipient: PublicKey,
    /// Makes the policy one of its own; the ledger key is derived from it.
    pub salt: [u8; 32],
    /// How many nodes of how many.
    pub threshold: Threshold,
    /// When it ends, in seconds since 1970.
    pub expiry: u64,
    /// The label's epoch. Whoever has the ledger key's revocation secret can move it on to the next one, and so revoke.
    pub epoch: u32,
}

/// A grant that nodes and ledger know of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// What the policy's id is made of.
    pub params: PolicyParams,
    /// How many nodes of how many.
    pub threshold: Threshold,
    /// When it ends, in seconds since 1970.
    pub expiry: u64,
    /// Who holds fragment 0, 1, ….
    pub nodes: Vec<NodeAddress>,
    /// The height of its entry in the ledger.
    pub height: u64,
}

impl GrantRequest<'_> {
    /// What the policy's id is made of.
    #[must_use]
    pub fn params(&self) -> PolicyParams {
        PolicyParams::new(
            self.ledger_key.public(),
            self.delegating_key.public(),
            self.recipient,
            self.salt,
        )
    }
}

impl Client {
    /// Makes a grant. When it fails, what had been stored has been taken back as far as nodes confirmed it, unless the
    /// ledger may yet show the grant. To be sure, revoke it; or repeat the very same request: a grant that is there is
    /// returned.
    pub async fn grant(&self, request: &GrantRequest<'_>) -> Result<Grant, ClientError> {
        self.grant_among(request, |_| true).await
    }

    /// The same on nodes that are `eligible`.
    pub async fn grant_among(
        &self,
        request: &GrantRequest<'_>,
        eligible: impl Fn(&PublicKey) -> bool,
    ) -> Result<Grant, ClientError> {
        if request.expiry <= self.now() {
            return Err(RequestError::AlreadyOver { at: request.expiry }.into());
        }
        let deadline = self.deadline();
        let params = request.params();
        check_threshold(params.scheme(), request.threshold).map_err(RequestError::Split)?;
        if let Some(grant) = self.made_before(request, &params, deadline).await? {
            return Ok(grant);
        }
        let nodes = self
            .candidates(&params.id(), request, eligible, deadline)
            .await?;
        let fragments = request
            .delegating_key
            .split(&mut rng(), &params, request.ledger_key, request.threshold)
            .map_err(RequestError::Split)?;
        let placing = FragmentPlacing {
            client: self,
            request,
            params,
            nodes: &nodes,
            fragments: &fragments,
            deadline,
            withdrawing: Mutex::default(),
        };
        let holders = match drive::place(
            &nodes,
            self.placing_options(request.threshold, deadline),
            &placing,
        )
        .await
        {
            Placed::All(holders) => holders,
            Placed::NotAll(answers) => return Err(placing.give_up(answers).await),
        };
        let holders: Vec<NodeAddress> = holders
            .iter()
            .filter_map(|index| nodes.get(*index).cloned())
            .collect();
        match self
            .record_grant(request, &params, &holders, deadline)
            .await
        {
            Ok(height) => Ok(Grant {
                params,
                threshold: request.threshold,
                expiry: request.expiry,
                nodes: holders,
                height,
            }),
            Err(error) => {
                if excludes_grant(&error) {
                    placing.withdraw_all(&holders);
                    placing.withdrawn().await;
                }
                Err(error)
            }
        }
    }

    /// The grant that this very request has made already: its author may have been struck down before she heard of it.
    /// Its fragments must not be replaced by others, which would not go together.
    async fn made_before(
        &self,
        request: &GrantRequest<'_>,
        params: &PolicyParams,
        deadline: Instant,
    ) -> Result<Option<Grant>, ClientError> {
        let grant = match self.fresh_policy_state_by(&params.id(), deadline).await? {
            PolicyState::Unknown => return Ok(None),
            PolicyState::Live(grant) => grant,
            PolicyState::Revoked { at, .. } => return Err(ClientError::Revoked { at }),
            PolicyState::Expired { at, .. } => return Err(ClientError::Expired { at }),
        };
        let threshold = request.threshold;
        let same = grant.expiry == request.expiry
            && (usize::from(grant.m), grant.nodes.len())
                == (
                    usize::from(threshold.needed()),
                    usize::from(threshold.total()),
                );
        if !same {
            let refusal = EntryRefusal::Outnumbered {
                latest: grant.seq.into(),
            };
            return Err(LedgerError::Refused(refusal).into());
        }
        Ok(Some(Grant {
            params: *params,
            threshold,
            expiry: grant.expiry,
            nodes: self.locate(&grant.nodes, &[], deadline).await,
            height: self
                .read_ledger(deadline, |ledger| Ok(ledger.head()?.height))
                .await?,
        }))
    }

    /// When a grant ends for which nothing is said, in seconds since 1970: in a year, or as long as n nodes promise to
    /// serve.
    pub async fn usual_expiry(&self, threshold: Threshold) -> u64 {
        let now = self.now();
        let wanted = now.saturating_add(USUAL_TTL_SECONDS);
        let Ok(nodes) = self.nodes().await else {
            return wanted;
        };
        let mut until: Vec<u64> = nodes
            .iter()
            .map(|node| node.available_until)
            .filter(|until| *until > now)
            .collect();
        until.sort_unstable_by(|a, b| b.cmp(a));
        let last_of_n = until.get(usize::from(threshold.total()).saturating_sub(1));
        last_of_n.map_or(wanted, |until| wanted.min(*until))
    }

    async fn record_grant(
        &self,
        request: &GrantRequest<'_>,
        params: &PolicyParams,
        holders: &[NodeAddress],
        deadline: Instant,
    ) -> Result<u64, ClientError> {
        let entry = Entry::Grant(ledger::Grant {
            ledger_key: params.ledger_key,
            inner: params.inner(),
            expiry: request.expiry,
            m: request.threshold.needed(),
            nodes: holders.iter().map(|node| node.key).collect(),
            seq: 1,
            revocation: Some(revocation(
                &request.ledger_key.revocation_secret(),
                request.epoch.saturating_add(1),
            )),
        });
        self.submit(&params.id(), entry, request.ledger_key, holders, deadline)
            .await
    }

    /// The nodes that may hold a fragment, nearest first.
    async fn candidates(
        &self,
        policy: &PolicyId,
        request: &GrantRequest<'_>,
        eligible: impl Fn(&PublicKey) -> bool,
        deadline: Instant,
    ) -> Result<Vec<NodeAddress>, ClientError> {
        let (head, mut records) = self
            .read_ledger(deadline, |ledger| Ok((ledger.head()?, ledger.nodes()?)))
            .await?;
        records.retain(|it| eligible(&it.key));
        let registered = records
            .iter()
            .filter(|it| it.available_until > self.now())
            .count();
        let nodes = nearest_first(policy, &head.hash, records, request.expiry);
        let nodes: Vec<_> = nodes.into_iter().map(NodeAddress::from).collect();
        let needed = request.threshold.total();
        if nodes.len() < usize::from(needed) {
            return Err(ClientError::TooFewNodes {
                needed,
                eligible: nodes.len(),
                registered,
                until: request.expiry,
            });
        }
        Ok(nodes)
    }

    /// Part of the time is kept back for the ledger, or for taking back what was stored.
    fn placing_options(&self, threshold: Threshold, deadline: Instant) -> ArrangeOptions {
        let timeout = self.timeout();
        let left = deadline.saturating_duration_since(Instant::now());
        ArrangeOptions {
            count: threshold.total(),
            hedge_after: self.shared.config.hedge,
            store_within: timeout / 4,
            give_up_at: left.saturating_sub(timeout * 3 / 8),
        }
    }
}

/// Whether there is no grant and will be none after submitting it has failed so. Otherwise the entry may be on its way, and
/// the fragments must be there when it arrives; if it does not, nodes erase them by themselves.
fn excludes_grant(error: &ClientError) -> bool {
    use EntryRefusal::Outnumbered;
    match error {
        ClientError::Ledger(LedgerError::Refused(Outnumbered { .. })) => false,
        ClientError::Ledger(LedgerError::Refused(_)) | ClientError::BadRequest(_) => true,
        _ => false,
    }
}

struct FragmentPlacing<'a> {
    client: &'a Client,
    request: &'a GrantRequest<'a>,
    params: PolicyParams,
    nodes: &'a [NodeAddress],
    fragments: &'a [KeyFrag],
    deadline: Instant,
    withdrawing: Mutex<Vec<(PublicKey, JoinHandle<bool>)>>,
}

impl Placing for FragmentPlacing<'_> {
    async fn ask(&self, node: usize) -> Result<(), Answer> {
        let command = || {
            Command::Arrange(Arrange {
                ledger_key: self.params.ledger_key,
                inner: self.params.inner(),
                expiry: self.request.expiry,
                m: self.request.threshold.needed(),
                n: self.request.threshold.total(),
            })
        };
        match self.send(node, command).await? {
            Response::Arranged(it)
                if it.policy == self.params.id() && it.available_until >= self.request.expiry =>
            {
                Ok(())
            }
            Response::Refused(refusal) => Err(Answer::Refused(refusal)),
            _ => Err(Answer::Malformed),
        }
    }

    async fn store(&self, node: usize, index: u8) -> Result<(), Answer> {
        let fragment = self
            .fragments
            .get(usize::from(index))
            .ok_or(Answer::NotAsked)?;
        let command = || {
            Command::StoreRekey(StoreRekey {
                params: self.params,
                expiry: self.request.expiry,
                m: self.request.threshold.needed(),
                n: self.request.threshold.total(),
                index,
                fragment: SecretBytes::new(fragment.to_bytes().to_vec()),
            })
        };
        match self.send(node, command).await? {
            Response::Stored {
                policy,
                index: stored,
            } if policy == self.params.id() && stored == index => Ok(()),
            Response::Refused(refusal) => Err(Answer::Refused(refusal)),
            _ => Err(Answer::Malformed),
        }
    }

    fn withdraw(&self, node: usize) {
        if let Some(node) = self.nodes.get(node) {
            self.begin_withdrawal(node);
        }
    }
}

impl FragmentPlacing<'_> {
    async fn send(&self, node: usize, command: impl Fn() -> Command) -> Result<Response, Answer> {
        let node = self.nodes.get(node).ok_or(Answer::NotAsked)?;
        self.client
            .command(node, command, self.request.ledger_key, self.deadline)
            .await
    }

    /// Asks in the background, so that neither success nor failure waits for a node that may be dead.
    fn begin_withdrawal(&self, node: &NodeAddress) {
        let sign = || {
            let command = Command::RemoveRekey(RemoveRekey {
                ledger_key: self.params.ledger_key,
                inner: self.params.inner(),
            });
            self.client.signed(
                &node.key,
                command,
                self.request.ledger_key,
                self.client.deadline(),
            )
        };
        // The key does not go into the background: what may be needed is signed here.
        let mut messages = vec![sign(), sign()];
        let message = move || messages.pop().unwrap_or(Err(Answer::NotAsked));
        // Whoever waits does so until the operation's deadline; the request may take longer.
        let deadline = self.client.deadline();
        let (client, node) = (self.client.clone(), node.clone());
        let (key, policy) = (node.key, self.params.id());
        let task = tokio::spawn(async move {
            let removed = client.ask_with(&node, message, deadline).await;
            removed.is_ok_and(|it| client.receipt(it, &node.key, &policy).is_some())
        });
        self.withdrawing.lock().push((key, task));
    }

    fn withdraw_all(&self, holders: &[NodeAddress]) {
        holders.iter().for_each(|node| self.begin_withdrawal(node));
    }

    /// Waits for the nodes that were asked to take a fragment back; returns those that have not confirmed it.
    async fn withdrawn(&self) -> Vec<PublicKey> {
        let tasks = std::mem::take(&mut *self.withdrawing.lock());
        let mut left = Vec::new();
        for (node, task) in tasks {
            if !matches!(timeout_at(self.deadline, task).await, Ok(Ok(true))) {
                left.push(node);
            }
        }
        left
    }

    async fn give_up(&self, answers: Answers) -> ClientError {
        let left = self.withdrawn().await;
        let good = u8::try_from(answers.count(|it| *it == Answer::Good)).unwrap_or(u8::MAX);
        let quorum = Quorum {
            needed: self.request.threshold.total(),
            good,
            answers,
        };
        ClientError::NotStored { quorum, left }
    }
}
