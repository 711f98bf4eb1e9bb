//! Which good answers go together (WIRE §5).
//!
//! A key can have been split twice for one policy, by an owner who was struck down and began anew. Nodes that keep shares of
//! the other split do nothing wrong, and must not keep a reader out as long as m of one split answer.

use kms_crypto::scheme::VerifiedCapsuleFrag;

/// The splits that answers were of.
#[derive(Debug, Default)]
pub struct Splits {
    shares: Vec<[u8; 32]>,
    /// Which node gave an answer of which split.
    given: Vec<(usize, Vec<u8>)>,
}

impl Splits {
    /// Takes note of a node's answer. Says how many there are now beside those of the most frequent split; nothing when
    /// the share has answered before.
    pub fn add(&mut self, node: usize, frag: &VerifiedCapsuleFrag) -> Option<usize> {
        if self.shares.contains(&frag.share_id()) {
            return None;
        }
        self.shares.push(frag.share_id());
        self.given.push((node, frag.split_id()));
        let most = self.most_frequent().map_or(0, |split| self.count(split));
        Some(self.given.len() - most)
    }

    /// Whether an answer is of the most frequent split.
    pub fn are_most(&self, frag: &VerifiedCapsuleFrag) -> bool {
        self.most_frequent() == Some(&frag.split_id())
    }

    /// The nodes whose answers are of others.
    pub fn astray(&self) -> impl Iterator<Item = usize> {
        let chosen = self.most_frequent();
        let given = self.given.iter();
        given
            .filter(move |(_, split)| Some(split.as_slice()) != chosen)
            .map(|(node, _)| *node)
    }

    fn most_frequent(&self) -> Option<&[u8]> {
        let splits = self.given.iter().map(|(_, split)| split.as_slice());
        splits.max_by_key(|split| self.count(split))
    }

    fn count(&self, split: &[u8]) -> usize {
        self.given.iter().filter(|(_, it)| it == split).count()
    }
}
