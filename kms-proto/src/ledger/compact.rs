//! Which entries of a ledger say nothing any more (LEDGER §5.2.1).

use std::collections::{HashMap, HashSet};

use kms_crypto::{id::PolicyId, key::PublicKey};

use super::{About, Entry, Heading, Record, chain::KEPT_SECONDS};
use crate::codec::DecodeError;

/// Looks at all records of a ledger, in their order, and says which need only their headings.
#[derive(Debug, Default)]
pub struct Compaction {
    policies: HashMap<PolicyId, Uses>,
    nodes: HashMap<PublicKey, Vec<u64>>,
}

#[derive(Debug, Default)]
struct Uses {
    /// The latest expiry of all grants.
    until: u64,
    /// Whether it was revoked by the secret, which is checked against the grant.
    released: bool,
    /// The heights of its grants.
    grants: Vec<u64>,
    /// The heights of its handovers, and to whom.
    handovers: Vec<(u64, PublicKey)>,
}

impl Compaction {
    /// Looks at the record at a height, or what is left of it; its heading, if that may once be all that is needed.
    pub fn look_at(&mut self, height: u64, bytes: &[u8]) -> Result<Option<Heading>, DecodeError> {
        if Heading::is_it(bytes) {
            return Ok(None);
        }
        let record = Record::from_bytes(bytes)?;
        match &record.entry.claim().entry {
            Entry::RegisterNode(it) => self.nodes.entry(it.key).or_default().push(height),
            Entry::Grant(it) => {
                let uses = self.policies.entry(it.policy()).or_default();
                uses.until = uses.until.max(it.expiry);
                uses.grants.push(height);
            }
            Entry::Revoke(_) => {}
            Entry::Release(it) => self.policies.entry(it.policy).or_default().released = true,
            Entry::Handover(it) => {
                let uses = self.policies.entry(it.policy).or_default();
                uses.handovers.push((height, it.to));
            }
        }
        let heading = record.heading();
        let stays = matches!(heading.about, About::Revoke | About::Release);
        Ok((!stays).then_some(heading))
    }

    /// The heights whose entries are to be left out, the time of the last record being `time`.
    pub fn left_out(self, time: u64) -> Vec<u64> {
        let mut out = Vec::new();
        let mut served: HashMap<PublicKey, Vec<u64>> = HashMap::new();
        for uses in self.policies.into_values() {
            let over = uses.until.saturating_add(KEPT_SECONDS) <= time;
            if over && !uses.released {
                out.extend(uses.grants);
                out.extend(uses.handovers.into_iter().map(|(height, _)| height));
            } else {
                for (height, to) in uses.handovers {
                    served.entry(to).or_default().push(height);
                }
            }
        }
        for (node, heights) in self.nodes {
            let served = served.remove(&node).unwrap_or_default();
            // The registration by which each handover to the node was accepted.
            let needed: HashSet<usize> = served
                .iter()
                .map(|at| heights.partition_point(|height| height < at))
                .collect();
            let but_the_last = heights.len().saturating_sub(1);
            let of_no_use = (0..but_the_last).filter(|index| !needed.contains(&(index + 1)));
            out.extend(of_no_use.filter_map(|index| heights.get(index)));
        }
        out.sort_unstable();
        out
    }
}
