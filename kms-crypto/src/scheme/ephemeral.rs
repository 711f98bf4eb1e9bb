//! What schemes 2, 3 and 4 have in common: the re-encryption key leads to an *ephemeral* key, which
//! is sealed to the recipient and travels with every fragment. SCHEMES §9.
//!
//! So the owner needs no secret of the recipient, whatever curve the scheme is on, and a re-encryption
//! key of one policy says nothing about another's.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::wire::Fields;
use crate::curve::SCALAR_LEN;
use crate::error::{DecodeError, FragError, OpenError};
use crate::id::PolicyId;
use crate::key::{IdentitySecret, LedgerKey};
use crate::policy::{PolicyParams, Threshold};
use crate::seal::{SEALED_OVERHEAD, seal_to};
use crate::sign::Signature;

/// Length of the sealed ephemeral key.
pub(super) const SEALED_LEN: usize = SEALED_OVERHEAD + SCALAR_LEN;
const ID_LEN: usize = 32;

/// How long the public half of a share is when what the share is committed to has `public` bytes.
pub(super) const fn commitment_len(public: usize) -> usize {
    ID_LEN + public + SEALED_LEN + 2 + Signature::LEN
}

/// The domain strings of one scheme.
pub struct Domains {
    /// Of the sealed ephemeral key.
    pub(super) ephemeral: &'static str,
    /// Of the owner's signature on each share.
    pub(super) fragment: &'static str,
    /// Of the challenge of a proof.
    pub(super) proof: &'static str,
    /// Of the nonce of a proof.
    pub(super) nonce: &'static str,
    /// Of the label secret.
    pub(super) label_secret: &'static str,
}

/// The public half of a share, which the owner signs and the node passes on with each answer. `P` is
/// how long the encoding of what the share is committed to is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Commitment<const P: usize> {
    /// Names the share.
    pub(super) id: [u8; ID_LEN],
    /// What the share is committed to, in its one encoding.
    pub(super) public: [u8; P],
    /// The ephemeral key, for the recipient.
    pub(super) sealed: [u8; SEALED_LEN],
    pub(super) threshold: Threshold,
    pub(super) signature: Signature,
}

impl<const P: usize> Commitment<P> {
    /// Makes and signs one.
    pub(super) fn sign(
        rng: &mut (impl CryptoRng + ?Sized),
        domains: &Domains,
        (signer, policy): (&LedgerKey, &PolicyId),
        id: [u8; ID_LEN],
        public: [u8; P],
        sealed: [u8; SEALED_LEN],
        threshold: Threshold,
    ) -> Self {
        let message = signed(policy, &id, &public, &sealed, threshold);
        Self {
            id,
            public,
            sealed,
            threshold,
            signature: signer.sign(domains.fragment, &message, rng),
        }
    }

    /// Reads the id; the share's secret half, if there is one, follows it.
    pub(super) fn read_id(fields: &mut Fields<'_>) -> Result<[u8; ID_LEN], DecodeError> {
        fields.bytes()
    }

    /// Reads what follows; what `public` holds is for the caller to check.
    pub(super) fn read(
        id: [u8; ID_LEN],
        public: [u8; P],
        fields: &mut Fields<'_>,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            id,
            public,
            sealed: fields.bytes()?,
            threshold: fields.threshold()?,
            signature: fields.signature()?,
        })
    }

    /// Writes everything after the id.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.public);
        out.extend_from_slice(&self.sealed);
        out.extend_from_slice(&self.threshold_bytes());
        out.extend_from_slice(self.signature.as_bytes());
    }

    /// The owner signed this share for this policy.
    pub(super) fn verify(
        &self,
        domains: &Domains,
        policy: &PolicyParams,
        id: &PolicyId,
    ) -> Result<(), FragError> {
        let message = signed(id, &self.id, &self.public, &self.sealed, self.threshold);
        policy
            .ledger_key
            .verify(domains.fragment, &message, &self.signature)
            .map_err(|_| FragError::Signature)
    }

    pub(super) fn threshold_bytes(&self) -> [u8; 2] {
        [self.threshold.needed(), self.threshold.total()]
    }
}

fn signed(
    policy: &PolicyId,
    id: &[u8],
    public: &[u8],
    sealed: &[u8],
    threshold: Threshold,
) -> Vec<u8> {
    let numbers = [threshold.needed(), threshold.total()];
    [&policy.0, id, public, sealed, &numbers].concat()
}

/// Seals the ephemeral key to the policy's recipient.
pub(super) fn seal(
    rng: &mut (impl CryptoRng + ?Sized),
    domains: &Domains,
    policy: &PolicyParams,
    ephemeral: &[u8; SCALAR_LEN],
) -> [u8; SEALED_LEN] {
    let id = policy.id();
    seal_to(
        &policy.recipient,
        domains.ephemeral,
        &[&id.0],
        ephemeral,
        rng,
    )
    .try_into()
    .expect("a sealed box adds a fixed number of bytes")
}

/// Opens the ephemeral key.
pub(super) fn unseal(
    recipient: &IdentitySecret,
    domains: &Domains,
    policy: &PolicyId,
    sealed: &[u8; SEALED_LEN],
) -> Result<Zeroizing<[u8; SCALAR_LEN]>, OpenError> {
    let opened = recipient
        .open_sealed(domains.ephemeral, &[&policy.0], sealed)
        .map_err(|_| OpenError::SealedKey)?;
    let mut bytes = Zeroizing::new([0; SCALAR_LEN]);
    if opened.len() != SCALAR_LEN {
        return Err(OpenError::SealedKey);
    }
    bytes.copy_from_slice(&opened);
    Ok(bytes)
}

/// The first m of the given answers, provided all of them belong together and are distinct.
pub(super) fn choose<'a, T, const P: usize>(
    frags: &[&'a T],
    commitment: impl Fn(&T) -> &Commitment<P>,
    belong: impl Fn(&T, &T) -> bool,
) -> Result<Vec<&'a T>, OpenError> {
    let Some(first) = frags.first() else {
        return Err(OpenError::TooFew {
            needed: 1,
            found: 0,
        });
    };
    let model = commitment(first);
    let fits = |frag: &&T| {
        let own = commitment(frag);
        own.threshold == model.threshold && own.sealed == model.sealed && belong(first, frag)
    };
    if !frags.iter().all(fits) {
        return Err(OpenError::Mixed);
    }
    let mut ids: Vec<_> = frags.iter().map(|frag| commitment(frag).id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() != frags.len() {
        return Err(OpenError::Duplicate);
    }
    let needed = usize::from(model.threshold.needed());
    let chosen = frags.get(..needed).ok_or(OpenError::TooFew {
        needed,
        found: frags.len(),
    })?;
    Ok(chosen.to_vec())
}
