//! How fast a chain is, by which everything that waits for it goes (LEDGER §5.4.3).

use std::time::{Duration, Instant};

use kms_proto::ledger::Entry;

use crate::EvmLedger;

/// From so many blocks the time between two of them is told.
const BLOCKS: u64 = 5;
/// For so long that is believed.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(600);
/// A chain that makes blocks when it is asked to may rest for hours between them.
const SLOWEST: Duration = Duration::from_secs(60);
/// What an entry may take beside the chain's own time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How fast a chain is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// From one block to the next.
    pub(crate) block: Duration,
    confirmations: u32,
}

impl Pace {
    /// How long it takes until an entry counts that is sent now: until it is in a block and confirmed. A revocation counts
    /// as soon as it is seen.
    pub(crate) fn settles_within(self, entry: &Entry) -> Duration {
        let blocks = match entry.revoked() {
            Some(_) => 1,
            None => self.confirmations.saturating_add(1),
        };
        self.block.saturating_mul(blocks)
    }

    /// How long an entry may take until it is in the chain and counts.
    pub(super) fn patience(self, entry: &Entry) -> Duration {
        PATIENCE + self.settles_within(entry).saturating_mul(4)
    }

    /// After which time a transaction is sent again, for a higher fee.
    pub(super) fn send_again(self) -> Duration {
        Duration::from_secs(15).max(self.block * 3)
    }

    /// So long after a refusal the very same entry, carried by somebody else, may come to light.
    pub(super) fn seen_within(self) -> Duration {
        Duration::from_secs(1) + self.block
    }

    /// How often to look whether it is there.
    pub(super) fn look_again(self) -> Duration {
        (self.block / 32).clamp(super::LOOK_AGAIN, Duration::from_millis(500))
    }
}

impl EvmLedger {
    /// How fast the chain is, as far as it can be told.
    pub(crate) fn pace(&self) -> Pace {
        let mut known = self.pace.lock();
        if let Some((pace, looked)) = *known
            && looked.elapsed() < LOOKED_AT_EVERY
        {
            return pace;
        }
        let times = self.ask(|source| {
            let head = source.head()?;
            let first = head.mark.number.saturating_sub(BLOCKS - 1);
            let mut times = Vec::new();
            for number in first..head.mark.number {
                times.extend(source.block(number)?.map(|block| block.time));
            }
            times.push(head.time);
            Ok(times)
        });
        let Ok(times) = times else {
            // To be looked at the next time.
            return known.map_or_else(Pace::default, |(pace, _)| pace);
        };
        let pace = Pace {
            block: Duration::from_secs(usual_gap(&times)).min(SLOWEST),
            confirmations: u32::try_from(self.name.confirmations).unwrap_or(u32::MAX),
        };
        *known = Some((pace, Instant::now()));
        pace
    }
}

/// What usually lies between two of these moments: not the mean, for one long rest says nothing about the others.
fn usual_gap(times: &[u64]) -> u64 {
    let pairs = times.iter().zip(times.iter().skip(1));
    let mut gaps: Vec<u64> = pairs.map(|(one, next)| next.saturating_sub(*one)).collect();
    gaps.sort_unstable();
    let middle = gaps.len().saturating_sub(1) / 2;
    gaps.get(middle).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_rest_between_blocks_does_not_make_a_chain_slow() {
        assert_eq!(usual_gap(&[100, 112, 124, 136, 148]), 12);
        assert_eq!(usual_gap(&[100, 101, 102, 9000, 9001]), 1);
        assert_eq!(usual_gap(&[100]), 0);
        assert_eq!(usual_gap(&[]), 0);
    }
}
