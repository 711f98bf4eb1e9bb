//! Capsule fragments: the nodes' answers, and what the recipient makes of them. UMBRAL §4.

use core::fmt;

use zeroize::Zeroizing;

use super::kfrag::verify_for_recipient;
use super::{Capsule, Parties, Reader, Umbral, UmbralError};
use crate::curve::{self, POINT_LEN, SCALAR_LEN, encode_point};
use crate::error::{DecodeError, FragError, OpenError};
use crate::key::IdentitySecret;
use crate::scheme::wire::Fields;
use crate::sign::Signature;
use crate::splitkey::{Answer, Claim, ID_LEN, KnownShare, Proof, Share, check_all, equations};

/// One node's answer, as received.
#[derive(Clone, PartialEq, Eq)]
pub struct CapsuleFrag {
    pub(super) share: Share,
    pub(super) answer: Answer,
    pub(super) signature: Signature,
}

impl fmt::Debug for CapsuleFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("umbral::CapsuleFrag(..)")
    }
}

impl CapsuleFrag {
    /// Length of the encoding.
    pub const LEN: usize = 7 * POINT_LEN + ID_LEN + SCALAR_LEN + Signature::LEN;

    pub(super) const fn new(share: Share, answer: Answer, signature: Signature) -> Self {
        Self {
            share,
            answer,
            signature,
        }
    }

    /// Reads `E₁ ‖ V₁ ‖ id ‖ X ‖ E₂ ‖ V₂ ‖ U₁ ‖ U₂ ‖ ρ ‖ signature`; its proof is not checked yet.
    ///
    /// # Errors
    /// Anything but that, in its one permitted form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::read(bytes, |_| None)
    }

    /// Points that stand in a known share as well are taken from there: their encodings are the same, and
    /// a point has only one.
    pub(super) fn read<'a>(
        bytes: &[u8],
        known: impl FnOnce(&[u8; ID_LEN]) -> Option<&'a KnownShare>,
    ) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes, "Umbral capsule fragment").exactly(Self::LEN)?;
        let (e1, v1) = (fields.point("E1")?, fields.point("V1")?);
        let id = fields.bytes()?;
        let known = known(&id);
        let precursor = fields.point_or("X", known.map(KnownShare::precursor))?;
        let (e2, v2) = (fields.point("E2")?, fields.point("V2")?);
        let u1 = fields.point_or("U1", known.map(KnownShare::u1))?;
        let u2 = fields.point("U2")?;
        let rho = fields.scalar("rho")?;
        let signature = fields.signature()?;
        let proof = Proof { e2, v2, u2, rho };
        Ok(Self {
            share: Share { id, precursor, u1 },
            answer: Answer { e1, v1, proof },
            signature,
        })
    }

    /// The encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Answer { e1, v1, proof } = &self.answer;
        let mut out = Vec::with_capacity(Self::LEN);
        out.extend_from_slice(&encode_point(e1));
        out.extend_from_slice(&encode_point(v1));
        out.extend_from_slice(&self.share.id);
        for point in [
            &self.share.precursor,
            &proof.e2,
            &proof.v2,
            &self.share.u1,
            &proof.u2,
        ] {
            out.extend_from_slice(&encode_point(point));
        }
        out.extend_from_slice(&proof.rho.to_bytes());
        out.extend_from_slice(self.signature.as_bytes());
        out
    }

    /// Checks that a holder of a share which the owner signed made this from this capsule.
    ///
    /// # Errors
    /// Which check failed.
    pub fn verify(
        self,
        capsule: &Capsule,
        parties: &Parties,
    ) -> Result<VerifiedCapsuleFrag, FragError> {
        curve::count_operation();
        verify_for_recipient(&self.share, &self.signature, parties)?;
        equations(&Umbral, &capsule.core, &self.share, &self.answer)?;
        Ok(VerifiedCapsuleFrag::new(self, capsule, parties))
    }

    /// Checks several answers to one capsule, their proofs together, which takes about half of the
    /// time. A verdict on each, in the order given: should the sum not hold, they are checked one by
    /// one.
    #[must_use]
    pub fn verify_all(
        frags: Vec<Self>,
        capsule: &Capsule,
        parties: &Parties,
    ) -> Vec<Result<VerifiedCapsuleFrag, FragError>> {
        Reader::new(*parties).verify_all(frags, capsule)
    }
}

/// Checks answers; `signed` says whether the owner signed the share of one.
pub(super) fn verify_all(
    frags: Vec<CapsuleFrag>,
    capsule: &Capsule,
    parties: &Parties,
    mut signed: impl FnMut(&CapsuleFrag) -> Result<(), FragError>,
) -> Vec<Result<VerifiedCapsuleFrag, FragError>> {
    curve::count_operation();
    let claims = frags.iter().map(|frag| Claim {
        signed: signed(frag),
        dialect: Umbral,
        share: &frag.share,
        answer: &frag.answer,
    });
    let verdicts = check_all(&capsule.core, &claims.collect::<Vec<_>>());
    let both = frags.into_iter().zip(verdicts);
    both.map(|(frag, verdict)| verdict.map(|()| VerifiedCapsuleFrag::new(frag, capsule, parties)))
        .collect()
}

/// One node's answer, its proof checked against one capsule and three keys.
#[derive(Clone)]
pub struct VerifiedCapsuleFrag {
    pub(super) frag: CapsuleFrag,
    capsule: [u8; Capsule::LEN],
    parties: Parties,
}

impl VerifiedCapsuleFrag {
    fn new(frag: CapsuleFrag, capsule: &Capsule, parties: &Parties) -> Self {
        Self {
            frag,
            capsule: capsule.to_bytes(),
            parties: *parties,
        }
    }
}

impl fmt::Debug for VerifiedCapsuleFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("umbral::VerifiedCapsuleFrag(..)")
    }
}

/// Opens a message with the answers of m nodes or more; all of them are used.
///
/// # Errors
/// Fewer than m answers, two of one share, answers that do not belong together or to this recipient;
/// a message for another key or capsule, or an altered one.
pub fn decrypt_reencrypted(
    recipient: &IdentitySecret,
    parties: &Parties,
    capsule: &Capsule,
    frags: &[VerifiedCapsuleFrag],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, UmbralError> {
    Reader::new(*parties).decrypt(recipient, capsule, frags, sealed)
}

/// That the answers are this recipient's, of one capsule and one split; the first one's share.
pub(super) fn belong_together<'a>(
    recipient: &IdentitySecret,
    parties: &Parties,
    capsule: &Capsule,
    frags: &'a [VerifiedCapsuleFrag],
) -> Result<&'a Share, OpenError> {
    if recipient.public() != parties.receiving {
        return Err(OpenError::OtherRecipient);
    }
    let too_few = OpenError::TooFew {
        needed: 1,
        found: 0,
    };
    let first = &frags.first().ok_or(too_few)?.frag.share;
    let belongs = |it: &VerifiedCapsuleFrag| {
        it.parties == *parties
            && it.capsule == *capsule.as_bytes()
            && it.frag.share.precursor == first.precursor
    };
    if frags.iter().all(belongs) {
        Ok(first)
    } else {
        Err(OpenError::Mixed)
    }
}
