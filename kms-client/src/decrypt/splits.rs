//! Which good answers go together (WIRE §5).
//!
//! A key can have been split twice for one policy, by an owner who was struck down and began anew. Nodes that keep shares of
//! the other split do nothing wrong, and must not keep a reader out as long as m of one split answer.

use kms_crypto::scheme::VerifiedCapsuleFrag;

use crate::drive::Gathered;
use crate::error::Answer;
use crate::place::NodeAddress;

/// The splits that answers were of.
#[derive(Default)]
pub(crate) struct Splits {
    shares: Vec<[u8; 32]>,
    /// Which node gave an answer of which split.
    given: Vec<(usize, Vec<u8>)>,
}

impl Splits {
    /// Takes note of a node's answer. Says how many there are now beside those of the most frequent split.
    pub(crate) fn add(&mut self, node: usize, frag: &VerifiedCapsuleFrag) -> Result<usize, Answer> {
        if self.shares.contains(&frag.share_id()) {
            return Err(Answer::Duplicate);
        }
        self.shares.push(frag.share_id());
        self.given.push((node, frag.split_id()));
        let most = self.most_frequent().map_or(0, |split| self.count(split));
        Ok(self.given.len() - most)
    }

    /// Leaves the answers of the most frequent split, and says what the others were.
    pub(crate) fn sort_out(
        &self,
        nodes: &[NodeAddress],
        gathered: &mut Gathered<VerifiedCapsuleFrag>,
    ) {
        let Some(chosen) = self.most_frequent() else {
            return;
        };
        gathered.good.retain(|frag| frag.split_id() == chosen);
        let astray = self.given.iter().filter(|(_, split)| split != chosen);
        for node in astray.filter_map(|(node, _)| nodes.get(*node)) {
            let answers = gathered.answers.0.iter_mut();
            for it in answers.filter(|it| it.node == node.key) {
                it.answer = Answer::OtherSplit;
            }
        }
    }

    fn most_frequent(&self) -> Option<&[u8]> {
        let splits = self.given.iter().map(|(_, split)| split.as_slice());
        splits.max_by_key(|split| self.count(split))
    }

    fn count(&self, split: &[u8]) -> usize {
        self.given.iter().filter(|(_, it)| it == split).count()
    }
}
