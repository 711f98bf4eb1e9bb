//! Threshold signing: m of n nodes make a signature that nobody can make alone. SCHEMES §14.
//!
//! FROST(secp256k1, SHA-256) of RFC 9591, computed by the crate `frost-secp256k1`; dealing, encodings and the order in
//! which things may happen are ours. The group key is a policy's label key and a share is a key fragment, so that policies,
//! ledger, storage and revocation are those of re-encryption.
//!
//! ```
//! use kms_crypto::id::SchemeId;
//! use kms_crypto::key::{DelegatingKey, IdentitySecret, LabelPublicKey, StoreKey};
//! use kms_crypto::policy::{PolicyParams, Threshold};
//! use kms_crypto::scheme::VerifiedKeyFrag;
//! use kms_crypto::scheme::signing::{Ceremony, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
//! let owner = IdentitySecret::generate(&mut rng);
//!
//! // The owner deals three shares, two of which sign, and forgets the key.
//! let salt = [7; 32]; // random in earnest
//! let signer = StoreKey::generate(&mut rng).ledger_key(&salt);
//! let key = DelegatingKey::generate_for(SchemeId::SIGNING, &mut rng)?;
//! let policy = PolicyParams::new(signer.public(), key.public(), owner.public(), salt);
//! let shares = key.split(&mut rng, &policy, &signer, Threshold::new(2, 3)?)?;
//! drop(key);
//!
//! // Two nodes check their shares and commit themselves to nonces.
//! let mut nodes = Vec::new();
//! for share in shares.into_iter().take(2) {
//!     let VerifiedKeyFrag::Signing(share) = share.verify(&policy)? else { panic!() };
//!     let (nonces, commitment) = share.commit(&mut rng);
//!     nodes.push((share, nonces, commitment));
//! }
//! let signers: Vec<_> = nodes.iter().map(|(share, _, it)| (share.index(), *it)).collect();
//!
//! // Whoever asks knows the split from any of them; each gives its part of the signature.
//! let split = nodes[0].0.split().clone().verify(&policy)?;
//! let ceremony = Ceremony::new(&split, b"pay the ferryman", &signers)?;
//! let mut parts = Vec::new();
//! for (share, nonces, _) in nodes {
//!     let part = share.sign(nonces, b"pay the ferryman", &signers)?;
//!     parts.push((share.index(), ceremony.check(share.index(), &part)?));
//! }
//! let signature = ceremony.finish(&parts)?;
//! let LabelPublicKey::Signing(group) = policy.label_key else { panic!() };
//! verify(&group, b"pay the ferryman", &signature)?;
//! # Ok(())
//! # }
//! ```

mod ceremony;
mod share;
mod split;

use frost_secp256k1 as frost;

use super::threshold::{MAX_SIGNERS, ThresholdRule};
use super::wire::Fields;
use crate::curve::{POINT_LEN, SCALAR_LEN, decode_point, decode_scalar};
use crate::error::{DecodeError, SignatureError, SplitError};
use crate::id::{CurveId, SchemeId};
use crate::key::PublicKey;
use crate::policy::Threshold;

pub use ceremony::{Ceremony, SignatureShare};
pub(super) use share::split;
pub use share::{KeyFrag, Nonces, VerifiedKeyFrag};
pub use split::{Split, VerifiedSplit};

/// Its number in every encoding.
pub(super) const ID: SchemeId = SchemeId::SIGNING;
/// Its curve's number in every encoding.
pub(super) const CURVE: CurveId = CurveId::SECP256K1;

/// The most nodes that sign together.
pub const MAX_NEEDED: u8 = MAX_SIGNERS;
/// The longest message, in bytes. What is longer is hashed by whoever wants it signed.
pub const MAX_MESSAGE_LEN: usize = 8192;
/// Bytes of a commitment to nonces.
pub const COMMITMENT_LEN: usize = 2 * POINT_LEN;
/// Bytes of a signature share.
pub const SHARE_LEN: usize = SCALAR_LEN;
/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = POINT_LEN + SCALAR_LEN;

/// A signature by a group of nodes: R ‖ z.
pub type GroupSignature = [u8; SIGNATURE_LEN];

/// What was asked cannot be signed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The message is longer than [`MAX_MESSAGE_LEN`].
    #[error("a message of {0} bytes is too long to be signed: sign its hash")]
    TooLong(usize),
    /// Not m different signers of the n, in the order of their indices.
    #[error("these are not the m signers it takes, in their order")]
    Signers,
    /// The nonces are not those that the list of signers says.
    #[error("the nonces are not those of the list of signers")]
    OtherNonces,
    /// Share by share it was right, and together it is not: the dealer signed what is no split.
    #[error("the shares do not add up to a signature of the group")]
    Inconsistent,
}

/// What a node commits itself to before it knows the message: the points of its two nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment([u8; COMMITMENT_LEN]);

impl Commitment {
    /// Reads one.
    ///
    /// # Errors
    /// Anything but two points, neither of which is the identity.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let what = "commitment to nonces";
        let mut fields = Fields::new(bytes, what).exactly(COMMITMENT_LEN)?;
        fields.point("hiding nonce")?;
        fields.point("binding nonce")?;
        let bytes = bytes.try_into();
        bytes.map(Self).map_err(|_| DecodeError::Malformed { what })
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; COMMITMENT_LEN] {
        &self.0
    }

    fn new(commitments: &frost::round1::SigningCommitments) -> Self {
        let mut bytes = [0; COMMITMENT_LEN];
        let (hiding, binding) = bytes.split_at_mut(POINT_LEN);
        let encode = |it: &frost::round1::NonceCommitment| {
            it.serialize().expect("no nonce is zero, as hashes go")
        };
        hiding.copy_from_slice(&encode(commitments.hiding()));
        binding.copy_from_slice(&encode(commitments.binding()));
        Self(bytes)
    }

    fn points(&self) -> Option<frost::round1::SigningCommitments> {
        let (hiding, binding) = self.0.split_at(POINT_LEN);
        let decode = |it| frost::round1::NonceCommitment::deserialize(it).ok();
        let (hiding, binding) = (decode(hiding)?, decode(binding)?);
        Some(frost::round1::SigningCommitments::new(hiding, binding))
    }
}

/// Whether a signature of `message` is the group's. Anybody can tell: no node is asked, and no ledger.
///
/// # Errors
/// It is not, or is not in its one permitted form.
pub fn verify(group: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    crate::curve::count_operation();
    let (point, scalar) = signature
        .split_at_checked(POINT_LEN)
        .ok_or(SignatureError)?;
    if decode_point(point).is_none() || decode_scalar(scalar).is_none() {
        return Err(SignatureError);
    }
    let refuse = |_| SignatureError;
    let key = frost::VerifyingKey::deserialize(group.as_bytes()).map_err(refuse)?;
    let signature = frost::Signature::deserialize(signature).map_err(refuse)?;
    key.verify(message, &signature).map_err(refuse)
}

/// Which thresholds there can be.
///
/// # Errors
/// [`SplitError::Rule`].
pub(super) const fn check_threshold(threshold: Threshold) -> Result<(), SplitError> {
    ThresholdRule::Signers.check(ID, threshold)
}

/// The number that stands for an index in RFC 9591: none is zero.
fn identifier(index: u8) -> frost::Identifier {
    let number = u16::from(index) + 1;
    number
        .try_into()
        .expect("no number of 16 bits but zero is refused")
}

/// What nodes sign, and with which nonces, as the crate wants it: exactly m of the n signers in their order.
fn package(
    threshold: Threshold,
    message: &[u8],
    signers: &[(u8, Commitment)],
) -> Result<frost::SigningPackage, SigningError> {
    if message.len() > MAX_MESSAGE_LEN {
        return Err(SigningError::TooLong(message.len()));
    }
    let ordered = signers.windows(2).all(|two| two[0].0 < two[1].0);
    let dealt_to = signers.iter().all(|(index, _)| *index < threshold.total());
    if signers.len() != usize::from(threshold.needed()) || !ordered || !dealt_to {
        return Err(SigningError::Signers);
    }
    let commitments = signers
        .iter()
        .map(|(index, it)| Some((identifier(*index), it.points()?)))
        .collect::<Option<_>>();
    let commitments = commitments.ok_or(SigningError::Signers)?;
    Ok(frost::SigningPackage::new(commitments, message))
}

#[cfg(test)]
mod tests;
