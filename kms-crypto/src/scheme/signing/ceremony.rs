//! The side that asks: checks each node's part, names who gave a wrong one, adds the parts up. SCHEMES §14.3.

use core::fmt;

use frost_secp256k1 as frost;
use frost_secp256k1::keys::PublicKeyPackage;

use super::{Commitment, GroupSignature, SigningError, VerifiedSplit};
use crate::curve;
use crate::error::FragError;

/// One try at a signature: this message, these nodes with these nonces.
pub struct Ceremony {
    package: frost::SigningPackage,
    keys: PublicKeyPackage,
}

impl fmt::Debug for Ceremony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ceremony(..)")
    }
}

/// One node's part of a signature, found right.
#[derive(Clone, Copy)]
pub struct SignatureShare(frost::round2::SignatureShare);

impl fmt::Debug for SignatureShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignatureShare(..)")
    }
}

impl Ceremony {
    /// Begins with what m nodes have committed themselves to, in the order of their indices.
    ///
    /// # Errors
    /// The message is too long, or these are not m signers in their order.
    pub fn new(
        split: &VerifiedSplit,
        message: &[u8],
        signers: &[(u8, Commitment)],
    ) -> Result<Self, SigningError> {
        let split = split.split();
        Ok(Self {
            package: super::package(split.threshold(), message, signers)?,
            keys: split.keys(signers.iter().map(|(index, _)| *index)),
        })
    }

    /// Checks a node's part.
    ///
    /// # Errors
    /// It is wrong: that node's fault and nobody else's.
    pub fn check(&self, index: u8, share: &[u8]) -> Result<SignatureShare, FragError> {
        curve::count_operation();
        let identifier = super::identifier(index);
        let verifying = self.keys.verifying_shares().get(&identifier);
        let share = frost::round2::SignatureShare::deserialize(share);
        let (Some(verifying), Ok(share)) = (verifying, share) else {
            return Err(FragError::SignatureShare);
        };
        let key = self.keys.verifying_key();
        frost_core::verify_signature_share(identifier, verifying, &share, &self.package, key)
            .map_err(|_| FragError::SignatureShare)?;
        Ok(SignatureShare(share))
    }

    /// Adds the parts of all signers up.
    ///
    /// # Errors
    /// Some are missing, or the sum is no signature although every part is right.
    pub fn finish(&self, shares: &[(u8, SignatureShare)]) -> Result<GroupSignature, SigningError> {
        curve::count_operation();
        let shares = shares
            .iter()
            .map(|(index, it)| (super::identifier(*index), it.0))
            .collect();
        let signature = frost::aggregate(&self.package, &shares, &self.keys)
            .map_err(|_| SigningError::Inconsistent)?;
        let bytes = signature.serialize().ok().map(TryInto::try_into);
        match bytes {
            Some(Ok(bytes)) => Ok(bytes),
            _ => Err(SigningError::Inconsistent),
        }
    }
}
