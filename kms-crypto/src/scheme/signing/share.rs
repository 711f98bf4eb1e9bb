//! One node's share: dealing it, checking it, signing with it. SCHEMES §14.1 to §14.3.

use core::fmt;

use frost_core::round1::Nonce;
use frost_core::{Ciphersuite, Field};
use frost_secp256k1 as frost;
use k256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{CURVE, Commitment, ID, SHARE_LEN, SigningError, Split};
use crate::curve::{self, SCALAR_LEN, encode_point};
use crate::error::{DecodeError, FragError, SplitError};
use crate::id::PolicyId;
use crate::key::{EcDelegatingKey, LabelPublicKey, LedgerKey};
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::wire::{Fields, Kind, prefix};
use crate::wipe::{Kept, without_trace};

/// One node's share, as received.
pub struct KeyFrag {
    index: u8,
    /// sᵢ: the polynomial at index + 1.
    share: Kept<Scalar>,
    split: Split,
}

impl fmt::Debug for KeyFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFrag(..)")
    }
}

impl KeyFrag {
    pub(in crate::scheme) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let [index] = fields.bytes()?;
        let share = Kept::new(fields.scalar("share")?);
        let split = Split::read(fields)?;
        if index >= split.threshold().total() {
            return Err(DecodeError::Malformed {
                what: "key fragment",
            });
        }
        Ok(Self {
            index,
            share,
            split,
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.write(&prefix(Kind::KeyFrag, ID, CURVE))
    }

    fn write(&self, head: &[u8]) -> Zeroizing<Vec<u8>> {
        // Reserved in full, so that growing leaves no copy of the share behind.
        let len = head.len() + 1 + SCALAR_LEN + self.split.encoded_len();
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.extend_from_slice(head);
        out.push(self.index);
        out.extend_from_slice(self.share_bytes().as_slice());
        out.extend_from_slice(&self.split.to_bytes());
        out
    }

    fn share_bytes(&self) -> Zeroizing<[u8; SCALAR_LEN]> {
        Zeroizing::new(self.share.to_bytes().into())
    }

    fn secret(&self) -> frost::keys::SigningShare {
        let share = frost::keys::SigningShare::deserialize(self.share_bytes().as_slice());
        share.expect("it was read as a scalar")
    }

    pub(in crate::scheme) fn verify(
        self,
        policy: &PolicyParams,
    ) -> Result<VerifiedKeyFrag, FragError> {
        let split = self.split.clone().verify(policy)?;
        let identifier = super::identifier(self.index);
        let commitment = split.split().commitment();
        frost::keys::SecretShare::new(identifier, self.secret(), commitment)
            .verify()
            .map_err(|_| FragError::Commitment)?;
        Ok(VerifiedKeyFrag {
            frag: self,
            policy: policy.id(),
        })
    }
}

/// One node's share, checked against its policy.
#[derive(Debug)]
pub struct VerifiedKeyFrag {
    frag: KeyFrag,
    policy: PolicyId,
}

/// Two nonces that nobody has used. Neither can be copied, shown or written down; signing takes them.
///
/// Kept as bytes: what the crate does to wipe its own is no more than an assignment, and compilers leave that out.
pub struct Nonces(Kept<[u8; 2 * SCALAR_LEN]>);

impl Nonces {
    /// As the crate has them; on the stack, to be called where no trace is left.
    fn opened(&self) -> frost::round1::SigningNonces {
        let (hiding, binding) = self.0.split_at(SCALAR_LEN);
        let nonce = |bytes| Nonce::deserialize(bytes).expect("it was written as a scalar");
        frost::round1::SigningNonces::from_nonces(nonce(hiding), nonce(binding))
    }

    /// They, to look for them in memory.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> [&[u8]; 2] {
        self.0.split_at(SCALAR_LEN).into()
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

impl VerifiedKeyFrag {
    pub(in crate::scheme) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            policy: PolicyId(fields.bytes()?),
            frag: KeyFrag::read(fields)?,
        })
    }

    pub(in crate::scheme) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut head = prefix(Kind::StoredKeyFrag, ID, CURVE).to_vec();
        head.extend_from_slice(&self.policy.0);
        self.frag.write(&head)
    }

    pub(in crate::scheme) const fn policy(&self) -> PolicyId {
        self.policy
    }

    pub(in crate::scheme) const fn threshold(&self) -> Threshold {
        self.frag.split.threshold()
    }

    /// Which of the shares it is, from 0.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.frag.index
    }

    /// The public half.
    #[must_use]
    pub const fn split(&self) -> &Split {
        &self.frag.split
    }

    /// Round 1: draws nonces, and what others may know of them.
    pub fn commit(&self, rng: &mut (impl CryptoRng + ?Sized)) -> (Nonces, Commitment) {
        curve::count_operation();
        without_trace(|| {
            let mut nonces = Nonces(Kept::new([0; 2 * SCALAR_LEN]));
            let (hiding, binding) = nonces.0.split_at_mut(SCALAR_LEN);
            self.draw(rng, hiding);
            self.draw(rng, binding);
            let commitment = Commitment::new(nonces.opened().commitments());
            (nonces, commitment)
        })
    }

    /// RFC 9591 §4.1, as the crate does it, but that nothing of it is left on the heap.
    fn draw(&self, rng: &mut (impl CryptoRng + ?Sized), nonce: &mut [u8]) {
        let mut input = Zeroizing::new([0; 32 + SCALAR_LEN]);
        let (random, share) = input.split_at_mut(32);
        rng.fill_bytes(random);
        share.copy_from_slice(self.frag.share_bytes().as_slice());
        let drawn = frost::Secp256K1Sha256::H3(input.as_slice());
        let drawn = Zeroizing::new(frost::Secp256K1ScalarField::serialize(&drawn));
        nonce.copy_from_slice(drawn.as_slice());
    }

    /// Round 2: this node's part of a signature. The nonces are gone afterwards, whatever comes of it.
    ///
    /// # Errors
    /// The message is too long, or these are not m signers in their order with these nonces among them.
    pub fn sign(
        &self,
        nonces: Nonces,
        message: &[u8],
        signers: &[(u8, Commitment)],
    ) -> Result<[u8; SHARE_LEN], SigningError> {
        curve::count_operation();
        let threshold = self.threshold();
        let package = super::package(threshold, message, signers)?;
        let (own, all) = (
            super::identifier(self.frag.index),
            self.frag.split.keys([self.frag.index].into_iter()),
        );
        without_trace(|| {
            let verifying = all.verifying_shares().get(&own).copied();
            let key = frost::keys::KeyPackage::new(
                own,
                self.frag.secret(),
                verifying.ok_or(SigningError::Signers)?,
                *all.verifying_key(),
                threshold.needed().into(),
            );
            let share = frost::round2::sign(&package, &nonces.opened(), &key)
                .map_err(|_| SigningError::OtherNonces)?;
            drop(nonces);
            share
                .serialize()
                .try_into()
                .map_err(|_| SigningError::Inconsistent)
        })
    }
}

/// Deals a group key: a polynomial of degree m − 1 over it, one value for each node.
pub(in crate::scheme) fn split(
    rng: &mut (impl CryptoRng + ?Sized),
    key: &EcDelegatingKey,
    policy: &PolicyParams,
    signer: &LedgerKey,
    threshold: Threshold,
) -> Result<Vec<KeyFrag>, SplitError> {
    curve::count_operation();
    super::check_threshold(threshold)?;
    if policy.label_key != LabelPublicKey::Signing(key.public()) {
        return Err(SplitError::OtherKey("label key"));
    }
    if signer.public() != policy.ledger_key {
        return Err(SplitError::OtherKey("ledger key"));
    }
    let mut coefficients = Zeroizing::new(Vec::with_capacity(usize::from(threshold.needed())));
    coefficients.push(*key.scalar());
    for _ in 1..threshold.needed() {
        coefficients.push(curve::random_scalar(rng));
    }
    let point = |it| encode_point(&ProjectivePoint::mul_by_generator(it).to_affine());
    let points = coefficients.iter().map(point).collect();
    let split = Split::sign(&policy.id(), threshold, points, signer, rng);
    let frag = |index: u8| {
        let at = Scalar::from(u32::from(index) + 1);
        let value = coefficients
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, it| sum * at + it);
        // Zero has no encoding; only a broken random number source gets here.
        if bool::from(value.is_zero()) {
            return Err(SplitError::Randomness);
        }
        Ok(KeyFrag {
            index,
            share: Kept::new(value),
            split: split.clone(),
        })
    };
    (0..threshold.total()).map(frag).collect()
}
