//! Key fragments: what each node is given. UMBRAL §3.

use core::fmt;

use k256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Capsule, CapsuleFrag, Parties, Umbral};
use crate::curve::{self, POINT_LEN, SCALAR_LEN, encode_point};
use crate::error::{DecodeError, FragError, SplitError};
use crate::key::{EcDelegatingKey, LedgerKey, PublicKey};
use crate::policy::Threshold;
use crate::scheme::wire::Fields;
use crate::sign::{Signature, sign_digest};
use crate::splitkey::{self, ID_LEN, Share, mul_u};
use crate::wipe::{Kept, without_trace};

/// Which keys the signature for the node covers. The one for the recipient always covers both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedKeys {
    /// The delegating key: the node must know it to check the fragment.
    pub delegating: bool,
    /// The receiving key.
    pub receiving: bool,
}

impl SignedKeys {
    /// Both, which is what one wants unless nodes are not to know them.
    pub const BOTH: Self = Self {
        delegating: true,
        receiving: true,
    };
}

/// One node's share, as received.
pub struct KeyFrag {
    rk: Kept<Scalar>,
    share: Share,
    for_node: Signature,
    for_recipient: Signature,
    signed: SignedKeys,
}

impl fmt::Debug for KeyFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("umbral::KeyFrag(..)")
    }
}

impl KeyFrag {
    /// Length of the encoding.
    pub const LEN: usize = ID_LEN + SCALAR_LEN + 2 * POINT_LEN + 2 * Signature::LEN + 2;

    /// Reads `id ‖ rk ‖ X ‖ U₁ ‖ two signatures ‖ two flags`; what it claims is not checked yet.
    ///
    /// # Errors
    /// Anything but that, in its one permitted form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes, WHAT).exactly(Self::LEN)?;
        let id = fields.bytes()?;
        let rk = without_trace(|| fields.scalar("rk").map(Kept::new))?;
        let share = Share {
            id,
            precursor: fields.point("X")?,
            u1: fields.point("U1")?,
        };
        let for_node = fields.signature()?;
        let for_recipient = fields.signature()?;
        let [delegating @ (0 | 1), receiving @ (0 | 1)] = fields.bytes()? else {
            return Err(DecodeError::Malformed { what: WHAT });
        };
        Ok(Self {
            rk,
            share,
            for_node,
            for_recipient,
            signed: SignedKeys {
                delegating: delegating == 1,
                receiving: receiving == 1,
            },
        })
    }

    /// The encoding; it is secret.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Reserved in full, so that growing leaves no copy of the share behind.
        let mut out = Zeroizing::new(Vec::with_capacity(Self::LEN));
        out.extend_from_slice(&self.share.id);
        without_trace(|| out.extend_from_slice(&self.rk.to_bytes()));
        out.extend_from_slice(&encode_point(&self.share.precursor));
        out.extend_from_slice(&encode_point(&self.share.u1));
        out.extend_from_slice(self.for_node.as_bytes());
        out.extend_from_slice(self.for_recipient.as_bytes());
        let SignedKeys {
            delegating,
            receiving,
        } = self.signed;
        out.extend_from_slice(&[delegating.into(), receiving.into()]);
        out
    }

    /// Checks the share against its commitment and the owner's signature. A key that the signature
    /// covers must be given; with both keys known, the recipient's signature is checked as well.
    ///
    /// # Errors
    /// Which check failed.
    pub fn verify(
        self,
        verifying: &PublicKey,
        delegating: Option<&PublicKey>,
        receiving: Option<&PublicKey>,
    ) -> Result<VerifiedKeyFrag, FragError> {
        curve::count_operation();
        without_trace(|| {
            if mul_u(&self.rk) != ProjectivePoint::from(self.share.u1) {
                return Err(FragError::Commitment);
            }
            let covered = |flag, key| match (flag, key) {
                (true, None) => Err(FragError::Signature),
                (true, key) => Ok(key),
                (false, _) => Ok(None),
            };
            let digest = digest(
                &self.share,
                covered(self.signed.delegating, delegating)?,
                covered(self.signed.receiving, receiving)?,
            );
            verifying
                .verify_digest(&digest, &self.for_node)
                .map_err(|_| FragError::Signature)?;
            // The same signature on the same message need not be checked twice.
            let checked = self.signed == SignedKeys::BOTH && self.for_node == self.for_recipient;
            if let (Some(&delegating), Some(&receiving), false) = (delegating, receiving, checked) {
                let parties = Parties {
                    verifying: *verifying,
                    delegating,
                    receiving,
                };
                verify_for_recipient(&self.share, &self.for_recipient, &parties)?;
            }
            Ok(VerifiedKeyFrag { frag: self })
        })
    }
}

const WHAT: &str = "Umbral key fragment";

/// One node's share, checked.
#[derive(Debug)]
pub struct VerifiedKeyFrag {
    frag: KeyFrag,
}

impl VerifiedKeyFrag {
    /// Re-encrypts a capsule and proves it.
    #[must_use]
    pub fn reencrypt(&self, rng: &mut (impl CryptoRng + ?Sized), capsule: &Capsule) -> CapsuleFrag {
        curve::count_operation();
        let share = &self.frag.share;
        let context: [&[u8]; 3] = [&[], &share.id, capsule.as_bytes()];
        let rk = &self.frag.rk;
        let answer =
            without_trace(|| splitkey::prove(rng, &Umbral, &capsule.core, share, rk, &context));
        CapsuleFrag::new(share.clone(), answer, self.frag.for_recipient)
    }

    /// The fragment as it was received.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.frag.to_bytes()
    }
}

/// Makes the fragments for one recipient: any m of them open whatever is sealed to `key`.
///
/// # Errors
/// The random number source repeats itself.
pub fn generate_key_frags(
    rng: &mut (impl CryptoRng + ?Sized),
    key: &EcDelegatingKey,
    receiving: &PublicKey,
    signer: &LedgerKey,
    threshold: Threshold,
    signed: SignedKeys,
) -> Result<Vec<KeyFrag>, SplitError> {
    curve::count_operation();
    without_trace(|| {
        let delegating = key.public();
        let shares = splitkey::share(rng, &Umbral, key.scalar(), receiving, threshold)?;
        let mut frags = Vec::with_capacity(shares.public.len());
        for (share, rk) in shares.public.into_iter().zip(shares.secret.iter()) {
            let full = digest(&share, Some(&delegating), Some(receiving));
            let for_recipient = sign_digest(signer.scalar(), &full, rng);
            let for_node = if signed == SignedKeys::BOTH {
                // It would be a signature on the same message.
                for_recipient
            } else {
                let delegating = signed.delegating.then_some(&delegating);
                let receiving = signed.receiving.then_some(receiving);
                sign_digest(signer.scalar(), &digest(&share, delegating, receiving), rng)
            };
            frags.push(KeyFrag {
                rk: Kept::new(*rk),
                share,
                for_node,
                for_recipient,
                signed,
            });
        }
        Ok(frags)
    })
}

/// The owner signed this share for these two keys.
pub(super) fn verify_for_recipient(
    share: &Share,
    signature: &Signature,
    parties: &Parties,
) -> Result<(), FragError> {
    let digest = digest(share, Some(&parties.delegating), Some(&parties.receiving));
    parties
        .verifying
        .verify_digest(&digest, signature)
        .map_err(|_| FragError::Signature)
}

/// What is signed: id, U₁, X, and each key behind a 1, or a 0 for none.
fn digest(
    share: &Share,
    delegating: Option<&PublicKey>,
    receiving: Option<&PublicKey>,
) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(share.id);
    hasher.update(encode_point(&share.u1));
    hasher.update(encode_point(&share.precursor));
    for key in [delegating, receiving] {
        match key {
            Some(key) => {
                hasher.update([1]);
                hasher.update(key.as_bytes());
            }
            None => hasher.update([0]),
        }
    }
    hasher.finalize().into()
}
