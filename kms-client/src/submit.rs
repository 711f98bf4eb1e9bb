//! Writing into the ledger through nodes.
//!
//! A node that says an entry is written may lie, and a swallowed revocation would be worse than an error: an entry
//! counts when this client's own view of the ledger shows it. Submitting twice is harmless (LEDGER §4).

use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::LedgerKey;
use kms_proto::ledger::{Entry, EntryStatement, LedgerError, PolicyState, SignedEntry};
use kms_proto::message::{Query, Refusal, Response};
use kms_proto::signed::{Signed, Statement};
use tokio::time::{Instant, sleep};

use crate::client::{Client, rng};
use crate::drive::{self, Fault, Patience};
use crate::error::{Answer, ClientError, RequestError};
use crate::place::NodeAddress;

/// How long a node may take to write before another is asked beside it.
const HEDGE: Duration = Duration::from_millis(1500);
/// How long the ledger may take to show what a node says it has written.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// The part of the time that is kept back for looking into the ledger once more, 1 divided by it.
const LAST_LOOK: u32 = 16;
const FIRST_LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Client {
    /// Signs an entry about `policy` and has it written by the first of `nodes` that can, or by any other. Returns its
    /// height.
    pub(crate) async fn submit(
        &self,
        policy: &PolicyId,
        entry: Entry,
        author: &LedgerKey,
        nodes: &[NodeAddress],
        deadline: Instant,
    ) -> Result<u64, ClientError> {
        let statement = EntryStatement {
            network: self.network().to_owned(),
            entry,
        };
        let signed = match statement.signer() {
            Some(_) => Signed::sign(statement, author, &mut rng()),
            None => Signed::unsigned(statement),
        };
        let signed = signed
            .map_err(|_| RequestError::NotTheAuthor)?
            .into_signed();
        if self.writes_itself() {
            let written = self
                .read_ledger(deadline, move |ledger| ledger.submit(&signed))
                .await;
            self.forget_state(policy);
            return Ok(written?.height);
        }
        // A last look has to be possible: an entry that was written and not believed would be worse than none.
        let over = deadline;
        let deadline = deadline
            .checked_sub(self.timeout() / LAST_LOOK)
            .unwrap_or(deadline);
        let scribes = self.scribes(nodes, deadline).await;
        let patience = Patience {
            hedge: HEDGE,
            deadline,
        };
        let write =
            |index: usize| self.write_through(policy, &signed, scribes.get(index), deadline);
        let gathered = drive::gather(&scribes, 1, patience, write, |said| {
            said.into_iter().map(|(_, it)| Ok((it, 0))).collect()
        })
        .await?;
        self.forget_state(policy);
        if let Some(height) = gathered.good.first() {
            return Ok(*height);
        }
        // The answer may have been lost after the entry was written.
        if self.shows(policy, &signed.claim().entry, over).await {
            return self
                .read_ledger(over, |ledger| Ok(ledger.head()?.height))
                .await;
        }
        for it in &gathered.answers.0 {
            if let Answer::Refused(Refusal::Ledger(refusal)) = &it.answer {
                return Err(LedgerError::Refused(refusal.clone()).into());
            }
        }
        Err(ClientError::NotRecorded(gathered.answers))
    }

    /// Whether the ledger brings an entry to all who keep it; otherwise nodes write for people.
    pub(crate) fn writes_itself(&self) -> bool {
        self.shared.config.ledger.replica().is_some()
    }

    async fn write_through(
        &self,
        policy: &PolicyId,
        entry: &SignedEntry,
        node: Option<&NodeAddress>,
        deadline: Instant,
    ) -> Result<u64, Fault> {
        let node = node.ok_or(Answer::NotAsked)?;
        let query = Query::LedgerSubmit {
            entry: entry.to_bytes(),
        };
        let height = match self.ask(node, query.to_bytes(), deadline).await? {
            Response::Submitted { height } => height,
            Response::Refused(refusal) => return Err(Answer::Refused(refusal).into()),
            _ => return Err(Answer::Malformed.into()),
        };
        let patient_until = deadline.min(Instant::now() + SHOWN_WITHIN);
        let mut pause = FIRST_LOOK_AGAIN;
        while !self.shows(policy, &entry.claim().entry, deadline).await {
            if Instant::now() >= patient_until {
                return Err(Answer::NotWritten.into());
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        Ok(height)
    }

    /// Whether the ledger shows the entry, or one that makes it superfluous.
    async fn shows(&self, policy: &PolicyId, entry: &Entry, deadline: Instant) -> bool {
        match (self.fresh_policy_state_by(policy, deadline).await, entry) {
            (Ok(PolicyState::Live(grant)), Entry::Grant(wanted)) => grant == *wanted,
            (Ok(PolicyState::Revoked { .. }), entry) => entry.revoked().is_some(),
            _ => false,
        }
    }

    /// The nodes to write through: those of the policy first, then all others that still serve.
    async fn scribes(&self, nodes: &[NodeAddress], deadline: Instant) -> Vec<NodeAddress> {
        let mut scribes = nodes.to_vec();
        let now = self.now();
        for it in self.nodes_by(deadline).await.unwrap_or_default() {
            if it.available_until > now && scribes.iter().all(|known| known.key != it.key) {
                scribes.push(NodeAddress {
                    key: it.key,
                    addrs: it.addrs,
                });
            }
        }
        scribes
    }
}
