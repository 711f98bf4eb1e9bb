//! A recipient who opens many capsules of one owner. UMBRAL §5.

use core::fmt;

use k256::ProjectivePoint;
use zeroize::Zeroizing;

use super::cfrag::{belong_together, verify_all};
use super::kfrag::verify_for_recipient;
use super::{Capsule, CapsuleFrag, Parties, Umbral, UmbralError, VerifiedCapsuleFrag, dem};
use crate::curve;
use crate::error::{DecodeError, FragError, OpenError};
use crate::key::IdentitySecret;
use crate::splitkey::{Memory, Shared, combine, combine_unchecked, weights};
use crate::wipe::without_trace;

/// Remembers what is the same in every answer: whose signatures were checked, and with which weights
/// the answers of which nodes add up. Every proof is checked all the same.
pub struct Reader {
    parties: Parties,
    memory: Memory,
}

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
            memory: Memory::default(),
        }
    }

    /// The weights it remembers, to look for them in memory.
    #[cfg(test)]
    pub(crate) fn weights(&self) -> impl Iterator<Item = &k256::Scalar> {
        self.memory.known_weights()
    }

    /// Like [`CapsuleFrag::from_bytes`], but the points of a share that is known are not decompressed again.
    ///
    /// # Errors
    /// The same.
    pub fn parse(&self, bytes: &[u8]) -> Result<CapsuleFrag, DecodeError> {
        CapsuleFrag::read(bytes, |id| self.memory.share(id))
    }

    /// Like [`CapsuleFrag::verify_all`].
    pub fn verify_all(
        &mut self,
        frags: Vec<CapsuleFrag>,
        capsule: &Capsule,
    ) -> Vec<Result<VerifiedCapsuleFrag, FragError>> {
        let Self { parties, memory } = self;
        verify_all(frags, capsule, parties, |frag| {
            memory.check(&frag.share, frag.signature.as_bytes(), || {
                verify_for_recipient(&frag.share, &frag.signature, parties)
            })
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
        without_trace(|| {
            let parties = self.parties;
            let share = belong_together(recipient, &parties, capsule, frags)?;
            let shares = frags.iter().map(|it| &it.frag.share);
            let answers = frags.iter().map(|it| &it.frag.answer);
            if let Some(weights) = self.memory.weights(shares.clone()) {
                let point = combine_unchecked(weights, answers);
                return dem::open(&point, capsule.as_bytes(), sealed);
            }
            let dh = Zeroizing::new(ProjectivePoint::from(share.precursor) * recipient.scalar());
            let shared = Shared::new(&Umbral, &share.precursor, &parties.receiving, &dh);
            let ids: Vec<_> = shares.clone().map(|share| &share.id).collect();
            let weights = weights(&shared, &ids).ok_or(OpenError::Duplicate)?;
            let point = combine(&capsule.core, &parties.delegating, &weights, answers);
            let point = point.ok_or(OpenError::Inconsistent)?;
            self.memory.add_up(shares, weights);
            dem::open(&point, capsule.as_bytes(), sealed)
        })
    }
}
