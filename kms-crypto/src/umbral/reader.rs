//! A recipient who opens many capsules of one owner. UMBRAL §5.

use core::fmt;
use std::collections::HashMap;

use k256::{ProjectivePoint, Scalar};
use zeroize::Zeroizing;

use super::cfrag::{EncodedShare, belong_together, verify_all};
use super::kfrag::verify_for_recipient;
use super::{Capsule, CapsuleFrag, Parties, Umbral, UmbralError, VerifiedCapsuleFrag, dem};
use crate::curve;
use crate::error::{DecodeError, FragError, OpenError};
use crate::key::IdentitySecret;
use crate::sign::Signature;
use crate::splitkey::{ID_LEN, Share, Shared, combine, combine_unchecked, weights};

/// Remembers what is the same in every answer: whose signatures were checked, and with which weights
/// the answers of which nodes add up.
///
/// Proofs are never remembered: each answer's is checked. That is what makes the rest sound: a proof
/// ties an answer to its signed commitment, and the sum of the same commitments with the same weights
/// has been seen to be the owner's key.
pub struct Reader {
    parties: Parties,
    /// Shares whose signature was checked.
    signed: HashMap<[u8; ID_LEN], Signed>,
    /// Weights of shares that added up once, most recent last.
    sets: Vec<Set>,
}

/// A share and the signature on it that was checked.
struct Signed {
    share: EncodedShare,
    signature: Signature,
}

/// Shares in order, whole and not by name alone, and their weights.
struct Set {
    shares: Vec<Share>,
    weights: Zeroizing<Vec<Scalar>>,
}

/// Owners make at most 255 shares at a time; beyond two splits' worth the memory begins anew.
const MAX_SIGNED: usize = 512;
/// Sets of nodes that answer differ when one of them is down.
const MAX_SETS: usize = 8;

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("umbral::Reader(..)")
    }
}

impl Reader {
    /// One that remembers nothing yet.
    #[must_use]
    pub fn new(parties: Parties) -> Self {
        Self {
            parties,
            signed: HashMap::new(),
            sets: Vec::new(),
        }
    }

    /// Like [`CapsuleFrag::from_bytes`], but the points of a share that is known are not decompressed again.
    ///
    /// # Errors
    /// The same.
    pub fn parse(&self, bytes: &[u8]) -> Result<CapsuleFrag, DecodeError> {
        CapsuleFrag::read(bytes, |id| Some(&self.signed.get(id)?.share))
    }

    /// Like [`CapsuleFrag::verify_all`].
    pub fn verify_all(
        &mut self,
        frags: Vec<CapsuleFrag>,
        capsule: &Capsule,
    ) -> Vec<Result<VerifiedCapsuleFrag, FragError>> {
        let Self {
            parties, signed, ..
        } = self;
        verify_all(frags, capsule, parties, |frag| {
            let known = signed.get(&frag.share.id);
            if known
                .is_some_and(|it| *it.share.share() == frag.share && it.signature == frag.signature)
            {
                return Ok(());
            }
            verify_for_recipient(&frag.share, &frag.signature, parties)?;
            if signed.len() == MAX_SIGNED {
                signed.clear();
            }
            let known = Signed {
                share: EncodedShare::new(frag.share.clone()),
                signature: frag.signature,
            };
            signed.insert(frag.share.id, known);
            Ok(())
        })
    }

    /// Like [`super::decrypt_reencrypted`].
    ///
    /// # Errors
    /// The same.
    pub fn decrypt(
        &mut self,
        recipient: &IdentitySecret,
        capsule: &Capsule,
        frags: &[VerifiedCapsuleFrag],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, UmbralError> {
        curve::count_operation();
        let parties = self.parties;
        let share = belong_together(recipient, &parties, capsule, frags)?;
        let shares = frags.iter().map(|it| &it.frag.share);
        let answers = frags.iter().map(|it| &it.frag.answer);
        let known = |set: &&Set| set.shares.iter().eq(shares.clone());
        if let Some(set) = self.sets.iter().find(known) {
            let point = combine_unchecked(&set.weights, answers);
            return dem::open(&point, capsule.as_bytes(), sealed);
        }
        let dh = Zeroizing::new(ProjectivePoint::from(share.precursor) * recipient.scalar());
        let shared = Shared::new(&Umbral, &share.precursor, &parties.receiving, &dh);
        let ids: Vec<_> = shares.clone().map(|share| &share.id).collect();
        let weights = weights(&shared, &ids).ok_or(OpenError::Duplicate)?;
        let point = combine(&capsule.core, &parties.delegating, &weights, answers);
        let point = point.ok_or(OpenError::Inconsistent)?;
        if self.sets.len() == MAX_SETS {
            self.sets.remove(0);
        }
        let shares = shares.cloned().collect();
        self.sets.push(Set { shares, weights });
        dem::open(&point, capsule.as_bytes(), sealed)
    }
}
