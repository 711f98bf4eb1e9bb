//! The side that leaves: hands each fragment to a node that stays, in the order of WIRE §7.2.
//!
//! Nothing about the progress is kept but what store and ledger say: a round looks at every fragment that is here, and
//! goes on with it wherever an earlier round, or an earlier process, has stopped.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kms_crypto::id::PolicyId;
use kms_crypto::key::PublicKey;
use kms_proto::codec::{DecodeError, MAX_REQUEST_BYTES};
use kms_proto::ledger::{
    self, Entry, EntryRefusal, EntryStatement, Grant, LedgerError, NodeRecord, PolicyState,
};
use kms_proto::message::{
    Command, ForwardRemovals, Handover, MAX_REMOVALS, Parcel, Refusal, Response,
};
use kms_proto::placement::nearest_first;
use kms_proto::signed::{Address, Signed};
use kms_proto::transport::{Transport, TransportError};
use parking_lot::Mutex;
use serde_bytes::ByteBuf;
use tokio::time::Instant;

use crate::node::Node;
use crate::rng;
use crate::store::{Fragment, Memory, Row, StoreError};

/// Why a fragment is still here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The new node cannot be reached.
    #[error("the node {0} {1}")]
    Transport(Box<PublicKey>, TransportError),
    /// The new node refuses.
    #[error("the node {0} refuses: {1}")]
    Refused(Box<PublicKey>, Refusal),
    /// The new node says something else than it should, or does not prove that it has the fragment.
    #[error("the node {0} does not prove that it has taken the fragment")]
    NoProof(Box<PublicKey>),
    /// The new node's answer does not parse.
    #[error("the node {0} answers with something else: {1}")]
    Malformed(Box<PublicKey>, DecodeError),
    /// The ledger does not answer, or does not take the entry.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// This node's own view of the ledger is too old.
    #[error("the ledger cannot be reached")]
    Stale,
    /// This node's own store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No node is left to ask.
    #[error("no other registered node serves until {until} and has no fragment of the policy yet")]
    NoCandidate {
        /// The policy's end, Unix seconds.
        until: u64,
    },
    /// A grant may still come for it.
    #[error("a fragment was stored just now and is not granted yet")]
    TooNew,
    /// A worker thread failed.
    #[error("a worker has failed")]
    Internal,
}

impl HandoverError {
    /// Whether another node may do better.
    const fn is_the_others(&self) -> bool {
        matches!(
            self,
            Self::Transport(..) | Self::Refused(..) | Self::NoProof(_) | Self::Malformed(..)
        )
    }
}

/// How far one round has come.
#[derive(Debug, Default)]
pub struct Round {
    /// How many fragments were handed over.
    pub handed_over: u64,
    /// How many have yet to be.
    pub left: u64,
    /// Why the last of them could not.
    pub trouble: Option<HandoverError>,
}

/// A node that leaves.
pub struct Leaver {
    node: Arc<Node>,
    transport: Arc<dyn Transport>,
    /// Whom owners' removals have been forwarded to.
    told: Mutex<HashSet<PublicKey>>,
}

/// What is to be done about one fragment.
enum Task {
    /// It stays, or others see to it.
    Nothing,
    /// Nobody ever granted it.
    Drop,
    /// It may be granted yet.
    Wait,
    /// Hand it over.
    Give(Grant),
    /// The ledger names another node already: see that it has the fragment, then erase it here.
    Finish(PublicKey),
}

/// A chain takes its time for each handover.
const AT_ONCE: usize = 32;
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const DEADLINE_SECONDS: u64 = 30;
/// An entry is made this long after the receipt at most: the other side waits an hour for it.
const RECEIPT_COUNTS: Duration = Duration::from_secs(60);
/// So long the new node may be away, or lie, after the ledger has named it.
const KEEPER_PROVES_WITHIN_SECONDS: u64 = 10 * 60;
/// A fragment older than this without a grant is nobody's.
const GRANT_WITHIN_SECONDS: u64 = 120;
/// How many nodes are tried for one fragment in one round.
const CANDIDATES: usize = 8;
/// A node takes 32 removals a second: as many as are in one request.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
const BUSY_AT_MOST: u32 = 5;
/// Room for everything in a request beside the removals.
const OVERHEAD_BYTES: usize = 512;

impl Leaver {
    /// Hands over what `node` keeps, through `transport`.
    pub fn new(node: Arc<Node>, transport: Arc<dyn Transport>) -> Self {
        Self {
            node,
            transport,
            told: Mutex::default(),
        }
    }

    /// Goes over all fragments once.
    pub async fn round(&self, until: u64, to: Option<PublicKey>) -> Result<Round, HandoverError> {
        let node = Arc::clone(&self.node);
        let rows = blocking(move || node.vault().rows()).await??;
        let done = futures::stream::iter(rows)
            .map(|(policy, row)| self.one(policy, row, until, to))
            .buffer_unordered(AT_ONCE);
        let round = done.fold(Round::default(), |mut round, done| async move {
            match done {
                Ok(Some(())) => round.handed_over += 1,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a fragment cannot be handed over yet");
                    round.left += 1;
                    round.trouble = Some(error);
                }
            }
            round
        });
        Ok(round.await)
    }

    async fn one(
        &self,
        policy: PolicyId,
        row: Row,
        until: u64,
        to: Option<PublicKey>,
    ) -> Result<Option<()>, HandoverError> {
        let node = Arc::clone(&self.node);
        let task = blocking(move || task(&node, &policy, &row, until)).await??;
        match task {
            Task::Nothing => Ok(None),
            Task::Wait => Err(HandoverError::TooNew),
            Task::Drop => {
                let now = self.node.view().now();
                self.node.vault().remove(policy, now, Memory::Short).await?;
                Ok(None)
            }
            Task::Finish(keeper) => self.finish(policy, keeper).await,
            Task::Give(grant) => self.give(policy, &grant, to).await,
        }
    }

    /// The last steps: the ledger names the other node already. One that does not prove its fragment again, for so long,
    /// is believed its receipt: nobody but that node could name another one, and nobody asks for the fragment here.
    async fn finish(
        &self,
        policy: PolicyId,
        keeper: PublicKey,
    ) -> Result<Option<()>, HandoverError> {
        let Some(fragment) = self.fragment(policy).await? else {
            return Ok(None);
        };
        let known = self.registered().await?;
        let proven = match known.into_iter().find(|it| it.key == keeper) {
            Some(record) => self.offer(&record, &fragment).await,
            None => Err(HandoverError::NoProof(Box::new(keeper))),
        };
        if let Err(error) = proven {
            let is_over = self.node.doubted_for(policy) >= KEEPER_PROVES_WITHIN_SECONDS;
            if !(is_over && error.is_the_others()) {
                return Err(error);
            }
            tracing::warn!(?policy, %error, "a fragment may be lost: its owner can issue it anew");
        }
        self.node.doubt_no_more(&policy);
        self.erase(policy).await.map(Some)
    }

    /// Finds the fragment a new place.
    async fn give(
        &self,
        policy: PolicyId,
        grant: &Grant,
        to: Option<PublicKey>,
    ) -> Result<Option<()>, HandoverError> {
        let Some(fragment) = self.fragment(policy).await? else {
            return Ok(None);
        };
        let mut candidates = self.candidates(&policy, grant).await?;
        if let Some(to) = to {
            candidates.retain(|it| it.key == to);
        }
        let until = grant.expiry;
        let mut last = HandoverError::NoCandidate { until };
        for candidate in candidates.iter().take(CANDIDATES) {
            match self.move_to(candidate, &fragment).await {
                Err(error) if error.is_the_others() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// The steps of WIRE §7.2.
    async fn move_to(
        &self,
        to: &NodeRecord,
        fragment: &Fragment,
    ) -> Result<Option<()>, HandoverError> {
        let policy = fragment.params.id();
        self.forward_removals(to).await?;
        self.offer(to, fragment).await?;
        let taken = Instant::now();
        let entry = self.entry(to.key, fragment).await?;
        let node = Arc::clone(&self.node);
        // Its owner may have had it removed meanwhile; then the other side has to hear of that, and nothing else.
        if self.fragment(policy).await?.is_none() {
            self.told.lock().remove(&to.key);
            self.forward_removals(to).await?;
            return Ok(None);
        }
        if taken.elapsed() > RECEIPT_COUNTS {
            return Err(HandoverError::NoProof(Box::new(to.key)));
        }
        blocking(move || node.view().ledger().submit(&entry)).await??;
        self.offer(to, fragment).await?;
        self.erase(policy).await.map(Some)
    }

    async fn entry(
        &self,
        to: PublicKey,
        fragment: &Fragment,
    ) -> Result<ledger::SignedEntry, HandoverError> {
        let node = Arc::clone(&self.node);
        let (policy, index) = (fragment.params.id(), fragment.index);
        let after = blocking(move || node.view().ledger().mark(&policy, index)).await??;
        let statement = EntryStatement {
            network: self.node.network().to_owned(),
            entry: Entry::Handover(ledger::Handover {
                from: self.node.key(),
                to,
                policy,
                index,
                after,
            }),
        };
        let signed = Signed::sign(statement, self.node.secret(), &mut rng())
            .expect("the entry names this node's key");
        Ok(signed.into_signed())
    }

    /// Has the other node take the fragment, or say that it has it, and prove that.
    async fn offer(&self, to: &NodeRecord, fragment: &Fragment) -> Result<(), HandoverError> {
        let mut challenge = [0; 32];
        rand_core::Rng::fill_bytes(&mut rng(), &mut challenge);
        let policy = fragment.params.id();
        let parcel = Parcel {
            network: self.node.network(),
            from: self.node.key(),
            to: to.key,
            policy,
            index: fragment.index,
        };
        let command = Command::Handover(Handover {
            from: self.node.key(),
            params: fragment.params,
            index: fragment.index,
            challenge,
            fragment: parcel.seal(&fragment.given, &mut rng()),
        });
        let no_proof = || HandoverError::NoProof(Box::new(to.key));
        let Response::Taken(receipt) = self.ask(to, command).await? else {
            return Err(no_proof());
        };
        let receipt = receipt.verify().map_err(|_| no_proof())?;
        let about_this = receipt.network == self.node.network()
            && receipt.node == to.key
            && receipt.from == self.node.key()
            && receipt.policy == policy
            && receipt.index == fragment.index;
        let proven = receipt.proof == parcel.proof(&challenge, &fragment.given);
        if about_this && proven {
            Ok(())
        } else {
            Err(no_proof())
        }
    }

    /// Tells a node what owners had removed here, once.
    async fn forward_removals(&self, to: &NodeRecord) -> Result<(), HandoverError> {
        if self.told.lock().contains(&to.key) {
            return Ok(());
        }
        let mut after = None;
        let mut together: Vec<ByteBuf> = Vec::new();
        let mut bytes = 0;
        loop {
            let node = Arc::clone(&self.node);
            let (last, requests) = blocking(move || removals_after(&node, after)).await??;
            if last.is_none() {
                break;
            }
            after = last;
            for request in requests {
                let full = bytes + request.len() > MAX_REQUEST_BYTES / 2 - OVERHEAD_BYTES;
                if full || together.len() == MAX_REMOVALS {
                    self.forward(to, std::mem::take(&mut together)).await?;
                    bytes = 0;
                }
                bytes += request.len();
                together.push(ByteBuf::from(request));
            }
        }
        if !together.is_empty() {
            self.forward(to, together).await?;
        }
        self.told.lock().insert(to.key);
        Ok(())
    }

    /// Passes some removals on, as slowly as the other side wants it.
    async fn forward(&self, to: &NodeRecord, removals: Vec<ByteBuf>) -> Result<(), HandoverError> {
        let from = self.node.key();
        let mut busy = 0;
        loop {
            let removals = removals.clone();
            let command = Command::ForwardRemovals(ForwardRemovals { from, removals });
            match self.ask(to, command).await {
                Ok(Response::Noted) => return Ok(()),
                Ok(_) => return Err(HandoverError::NoProof(Box::new(to.key))),
                Err(HandoverError::Refused(_, Refusal::Busy)) if busy < BUSY_AT_MOST => busy += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    async fn ask(&self, to: &NodeRecord, command: Command) -> Result<Response, HandoverError> {
        let address = Address {
            network: self.node.network(),
            node: to.key,
            deadline: self.node.view().now().saturating_add(DEADLINE_SECONDS),
        };
        let message = command
            .sign(&address, self.node.secret(), &mut rng())
            .expect("the command names this node's key");
        let answer = self
            .transport
            .call(&to.key, &to.addrs, message, CALL_TIMEOUT);
        let answer = answer
            .await
            .map_err(|error| HandoverError::Transport(Box::new(to.key), error))?;
        match Response::from_bytes(&answer) {
            Ok(Response::Refused(refusal)) => {
                Err(HandoverError::Refused(Box::new(to.key), refusal))
            }
            Ok(response) => Ok(response),
            Err(error) => Err(HandoverError::Malformed(Box::new(to.key), error)),
        }
    }

    async fn erase(&self, policy: PolicyId) -> Result<(), HandoverError> {
        let now = self.node.view().now();
        self.node
            .vault()
            .remove(policy, now, Memory::HandedOver)
            .await?;
        tracing::info!(?policy, "a fragment is handed over");
        Ok(())
    }

    async fn fragment(&self, policy: PolicyId) -> Result<Option<Fragment>, HandoverError> {
        let node = Arc::clone(&self.node);
        Ok(blocking(move || node.vault().fragment(&policy)).await??)
    }

    async fn registered(&self) -> Result<Vec<NodeRecord>, HandoverError> {
        let node = Arc::clone(&self.node);
        Ok(blocking(move || node.view().ledger().nodes()).await??)
    }

    /// The nodes that may take it, nearest first: registered for so long, and without a fragment of the policy.
    async fn candidates(
        &self,
        policy: &PolicyId,
        grant: &Grant,
    ) -> Result<Vec<NodeRecord>, HandoverError> {
        let node = Arc::clone(&self.node);
        let head = blocking(move || node.view().ledger().head()).await??;
        let nodes = self.registered().await?;
        let mut nodes = nearest_first(policy, &head.hash, nodes, grant.expiry);
        nodes.retain(|it| !grant.nodes.contains(&it.key) && it.key != self.node.key());
        Ok(nodes)
    }
}

/// The owners' requests among a few removals, of policies that the ledger knows: strangers can have any others noted. And
/// the last of those few; none at the end. May block.
fn removals_after(
    node: &Node,
    after: Option<PolicyId>,
) -> Result<(Option<PolicyId>, Vec<Vec<u8>>), HandoverError> {
    let stones = node.vault().removals_after(after)?;
    let last = stones.last().map(|(policy, _)| *policy);
    let mut requests = Vec::new();
    for (policy, stone) in stones {
        if stone.request.is_empty() {
            continue;
        }
        match node.view().policy(&policy) {
            Ok(PolicyState::Unknown) => {}
            Ok(_) => requests.push(stone.request),
            Err(_) => return Err(HandoverError::Stale),
        }
    }
    Ok((last, requests))
}

/// What has to become of one fragment, by the ledger. May block.
fn task(node: &Node, policy: &PolicyId, row: &Row, until: u64) -> Result<Task, HandoverError> {
    let grant = match node.view().policy(policy) {
        Err(_) => return Err(HandoverError::Stale),
        // Erased by the sweep, sooner or later; the ledger does not count on it.
        Ok(PolicyState::Revoked { .. } | PolicyState::Expired { .. }) => return Ok(Task::Nothing),
        Ok(PolicyState::Unknown) => {
            let waits = row.stored_at.saturating_add(GRANT_WITHIN_SECONDS) > node.view().now();
            return Ok(if waits { Task::Wait } else { Task::Drop });
        }
        Ok(PolicyState::Live(grant)) => grant,
    };
    if grant.expiry <= until {
        return Ok(Task::Nothing);
    }
    if grant.nodes.contains(&node.key()) {
        return Ok(Task::Give(grant));
    }
    let index = node.vault().fragment(policy)?.map(|it| it.index);
    let keeper = index.and_then(|index| grant.nodes.get(usize::from(index)));
    Ok(keeper.map_or(Task::Nothing, |keeper| Task::Finish(*keeper)))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HandoverError> {
    crate::work::blocking(work)
        .await
        .map_err(|_| HandoverError::Internal)
}

/// Whether the ledger refuses to let the node go because of a policy that it still names it for.
pub fn is_still_needed(error: &LedgerError) -> Option<u64> {
    match error {
        LedgerError::Refused(EntryRefusal::Shortened { until }) => Some(*until),
        _ => None,
    }
}
