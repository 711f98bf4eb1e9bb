//! What a recipient may remember of one policy's shares. UMBRAL §5.
//!
//! Never proofs: each answer's is checked. That is what makes the rest sound: a proof ties an answer to
//! its signed share, and the sum of the same shares with the same weights has been seen to be the
//! owner's key.

use std::collections::HashMap;

use k256::{AffinePoint, Scalar};
use zeroize::Zeroizing;

use super::{ID_LEN, Share};
use crate::curve::{POINT_LEN, encode_point};

/// Owners make at most 255 shares at a time; beyond two splits' worth the memory begins anew.
const MAX_SIGNED: usize = 512;
/// Sets of nodes that answer differ when one of them is down.
const MAX_SETS: usize = 8;

/// Shares whose signatures were checked, and weights with which they added up.
#[derive(Default)]
pub(crate) struct Memory {
    signed: HashMap<[u8; ID_LEN], Signed>,
    /// The oldest first.
    sets: Vec<Set>,
}

/// A share and everything else that was under its signature, and the signature.
struct Signed {
    share: KnownShare,
    rest: Vec<u8>,
}

/// A share beside the encodings of its points, so that they need not be decompressed again.
pub(crate) struct KnownShare {
    share: Share,
    precursor: [u8; POINT_LEN],
    u1: [u8; POINT_LEN],
}

/// Shares in order, whole and not by name alone, and their weights.
struct Set {
    shares: Vec<Share>,
    weights: Zeroizing<Vec<Scalar>>,
}

impl KnownShare {
    /// X, encoded and not.
    pub(crate) const fn precursor(&self) -> (&[u8; POINT_LEN], &AffinePoint) {
        (&self.precursor, &self.share.precursor)
    }

    /// U₁, encoded and not.
    pub(crate) const fn u1(&self) -> (&[u8; POINT_LEN], &AffinePoint) {
        (&self.u1, &self.share.u1)
    }
}

impl Memory {
    /// The share of this name, if its signature was checked.
    pub(crate) fn share(&self, id: &[u8; ID_LEN]) -> Option<&KnownShare> {
        self.signed.get(id).map(|signed| &signed.share)
    }

    /// Whether exactly this was checked before; if not, checks it and remembers it when it is good.
    pub(crate) fn check<E>(
        &mut self,
        share: &Share,
        rest: &[u8],
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let known = self.signed.get(&share.id);
        if known.is_some_and(|it| it.share.share == *share && it.rest == rest) {
            return Ok(());
        }
        check()?;
        if self.signed.len() >= MAX_SIGNED {
            self.signed.clear();
        }
        let known = KnownShare {
            share: share.clone(),
            precursor: encode_point(&share.precursor),
            u1: encode_point(&share.u1),
        };
        let signed = Signed {
            share: known,
            rest: rest.to_vec(),
        };
        self.signed.insert(share.id, signed);
        Ok(())
    }

    /// The weights of these shares in this order, if they have added up to the owner's key.
    pub(crate) fn weights<'a>(
        &self,
        shares: impl Iterator<Item = &'a Share> + Clone,
    ) -> Option<&[Scalar]> {
        let known = |set: &&Set| set.shares.iter().eq(shares.clone());
        self.sets.iter().find(known).map(|set| &set.weights[..])
    }

    /// All weights it remembers.
    #[cfg(test)]
    pub(crate) fn known_weights(&self) -> impl Iterator<Item = &Scalar> {
        self.sets.iter().flat_map(|set| set.weights.iter())
    }

    /// Remembers weights with which these shares have added up to the owner's key.
    pub(crate) fn add_up<'a>(
        &mut self,
        shares: impl Iterator<Item = &'a Share>,
        weights: Zeroizing<Vec<Scalar>>,
    ) {
        if self.sets.len() >= MAX_SETS {
            self.sets.remove(0);
        }
        let shares = shares.cloned().collect();
        self.sets.push(Set { shares, weights });
    }
}
