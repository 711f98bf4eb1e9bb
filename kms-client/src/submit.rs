//! Writing into the ledger through nodes.
//!
//! A node that says an entry is written may lie, and a swallowed revocation would be worse than an error: an entry
//! counts when this client's own view of the ledger shows it. Submitting twice is harmless (LEDGER §4), though on a chain
//! two nodes might pay for it.

mod errand;

use std::sync::Arc;
use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::LedgerKey;
use kms_proto::ledger::{Entry, EntryStatement, LedgerError, PolicyState, SignedEntry};
use kms_proto::message::Refusal;
use kms_proto::signed::{Signed, Statement};
use tokio::time::Instant;

use self::errand::Errand;

use crate::client::{Client, rng};
use crate::error::{Answer, ClientError, RequestError};
use crate::place::NodeAddress;

/// The part of the time that is kept back for looking into the ledger once more, 1 divided by it.
const LAST_LOOK: u32 = 16;
/// No ledger is waited for any longer.
const LONGEST: Duration = Duration::from_secs(900);

/// How long an entry may take that usually takes so long.
pub(crate) fn patience(expected: Duration) -> Duration {
    expected.saturating_mul(3).min(LONGEST)
}

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
        let signed = self.sign_entry(entry, author)?;
        if self.writes_itself() {
            let written = self
                .read_ledger(deadline, move |ledger| ledger.submit(&signed))
                .await;
            self.forget_state(policy);
            return Ok(written?.height);
        }
        let ledger = Arc::clone(&self.shared.config.ledger);
        let entry = signed.claim().entry.clone();
        let expected = self
            .read_ledger(deadline, move |_| Ok(ledger.settles_within(&entry)))
            .await
            .unwrap_or_default();
        // The ledger's own time is not the nodes': whoever wants it written waits for both.
        let over = match expected.is_zero() {
            true => deadline,
            false => deadline.max(Instant::now() + self.timeout() + patience(expected)),
        };
        // A last look has to be possible: an entry that was written and not believed would be worse than none.
        let errand = Errand {
            policy,
            entry: &signed,
            expected,
            deadline: over.checked_sub(self.timeout() / LAST_LOOK).unwrap_or(over),
        };
        let scribes = self.scribes(nodes, deadline).await;
        let answers = match self.have_written(&errand, &scribes).await {
            Ok(height) => {
                self.forget_state(policy);
                return Ok(height);
            }
            Err(answers) => answers,
        };
        self.forget_state(policy);
        // The answer may have been lost after the entry was written.
        if self.shows(policy, &signed.claim().entry, over).await {
            return self.height(over).await;
        }
        for it in &answers.0 {
            if let Answer::Refused(Refusal::Ledger(refusal)) = &it.answer {
                return Err(LedgerError::Refused(refusal.clone()).into());
            }
        }
        Err(ClientError::NotRecorded(answers))
    }

    pub(crate) fn sign_entry(
        &self,
        entry: Entry,
        author: &LedgerKey,
    ) -> Result<SignedEntry, ClientError> {
        let statement = EntryStatement {
            network: self.network().to_owned(),
            entry,
        };
        let signed = match statement.signer() {
            Some(_) => Signed::sign(statement, author, &mut rng()),
            None => Signed::unsigned(statement),
        };
        let signed = signed.map_err(|_| RequestError::NotTheAuthor)?;
        Ok(signed.into_signed())
    }

    /// Whether the ledger brings an entry to all who keep it; otherwise nodes write for people.
    pub(crate) fn writes_itself(&self) -> bool {
        self.shared.config.ledger.replica().is_some()
    }

    /// Whether the ledger shows the entry, or one that makes it superfluous.
    pub(super) async fn shows(&self, policy: &PolicyId, entry: &Entry, deadline: Instant) -> bool {
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
